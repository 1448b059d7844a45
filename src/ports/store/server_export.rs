//! The export of a database on a server, over the HTTP interface of the same address: its WebSocket has none.
//!
//! The server reads the whole export in one transaction.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::time::timeout;

use super::{Server, StoreError, StoreSettings, UserLevel};
use crate::ports::outgoing::{OpenAnswer, OutgoingError, Post};

/// An export of this hub's database restores into any other one, so it has neither users of the server nor settings of
/// the database there.
const WHAT: &[u8] = br#"{"users": false, "accesses": false, "database_definition": false}"#;
/// The bytes of a refusal that are shown.
const REFUSAL_MAX: usize = 300;

/// An export that is being read.
pub(super) struct Export {
    answer: OpenAnswer,
    limit: Duration,
}

impl Export {
    /// Signs in and asks for the export. `limit` is the time in which it, and each piece of it, has to come.
    pub(super) async fn open(settings: &StoreSettings, server: &Server, limit: Duration) -> Result<Self, StoreError> {
        let asked = timeout(limit, Self::ask(settings, server, limit)).await;
        asked.map_err(|_| StoreError::NoAnswer(limit))?
    }

    async fn ask(settings: &StoreSettings, server: &Server, limit: Duration) -> Result<Self, StoreError> {
        let StoreSettings { namespace, database, .. } = settings;
        let target = server.target("/export").map_err(failed)?;
        let user = STANDARD.encode(format!("{}:{}", server.username, server.password.reveal()));
        let authorization = format!("Basic {user}");
        let mut headers = vec![
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
            ("surreal-ns", namespace),
            ("surreal-db", database),
        ];
        if server.level != UserLevel::Root {
            headers.push(("surreal-auth-ns", namespace));
        }
        if server.level == UserLevel::Database {
            headers.push(("surreal-auth-db", database));
        }
        let tls = server.connector().map_err(failed)?;
        let post =
            Post { headers, body: WHAT.to_vec(), tls: &tls, is_permitted: |_| true, answer_max_bytes: usize::MAX };
        let mut answer = target.open(post).await.map_err(failed)?;
        if answer.status != 200 {
            return Err(StoreError::Copy(refusal(&mut answer).await));
        }
        Ok(Self { answer, limit })
    }

    /// The next piece; none at the end. An export that the server breaks off ends with an error.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let piece = timeout(self.limit, self.answer.next()).await;
        piece.map_err(|_| StoreError::NoAnswer(self.limit))?.transpose().map_err(failed)
    }
}

fn failed(error: OutgoingError) -> StoreError {
    StoreError::Copy(format!("its server: {error}"))
}

/// One line on an answer that is no export.
async fn refusal(answer: &mut OpenAnswer) -> String {
    let mut body = Vec::new();
    while body.len() < REFUSAL_MAX
        && let Some(Ok(piece)) = answer.next().await
    {
        body.extend_from_slice(&piece);
    }
    let told = String::from_utf8_lossy(&body[..body.len().min(REFUSAL_MAX)]).into_owned();
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let remedy = match answer.status {
        401 => "check store.username, store.password and store.user_level",
        403 => {
            "give the user of store.username the role EDITOR in the database, and permit the route 'export' of the server"
        }
        _ => "see the log of the server",
    };
    format!("its server refuses the export with status {} ({told}); {remedy}", answer.status)
}
