//! Export of the running database as one text, and import into a new one.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, TryStreamExt as _};
use surrealdb::channel;
use surrealdb_core::dbs::Session;
use surrealdb_core::kvs::Datastore;
use tokio::runtime::Handle;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::server_export::Export;
use super::{Location, SCHEMA_VERSION, Server, Store, StoreError, StoreSettings};
use crate::ports::progress::{Counter, Progress, Unit};

/// Pieces of the text that are buffered for the writer; beyond that, the engine waits.
const PIECES_MAX: usize = 1;
/// The bytes of a text that are read at once.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// The schema version of this program.
pub const fn schema_version() -> i64 {
    SCHEMA_VERSION
}

impl Store {
    /// Whether the database ends with this process, so that there is nothing to copy.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.settings.place, Location::Memory)
    }

    /// The engine, with its handle for queries.
    fn datastore(&self) -> Result<(Arc<Datastore>, Session), StoreError> {
        let Engine::Embedded { datastore, .. } = &*self.engine() else { return Err(StoreError::Closed) };
        let session = Session::owner().with_ns(&self.settings.namespace).with_db(&self.settings.database);
        Ok((Arc::clone(datastore), session))
    }

    /// Writes a consistent snapshot of all tables to a new file, which is on disk when this returns. Other transactions
    /// continue.
    ///
    /// Rows are encoded on a separate thread, not on those that serve connections, or by the server.
    pub async fn export_to(
        &self,
        path: &Path,
        stop: &CancellationToken,
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let _era = self.era();
        let counter = progress.begin("copying the database", None, Unit::Bytes);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let (runtime, stop) = (Handle::current(), stop.clone());
        let source = match &self.settings.place {
            Location::Server(server) => {
                let limit = server.answer_timeout.max(self.settings.query_timeout);
                Source::Server(self.settings.clone(), server.clone(), limit)
            }
            _ => {
                let (datastore, session) = self.datastore()?;
                Source::Engine(datastore, session)
            }
        };
        let written = tokio::task::spawn_blocking(move || {
            runtime.block_on(async move {
                let mut file = BufWriter::with_capacity(READ_BYTES, file);
                tokio::select! {
                    copied = source.copy_to(&mut file, &counter) => copied?,
                    () = stop.cancelled() => return Err(StoreError::Copy("the hub stops".into())),
                }
                Ok(file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?)
            })
        });
        written.await.map_err(|error| StoreError::Copy(error.to_string()))?
    }

    /// Imports an export into this database, which must be new. The text defines its own tables; the next start
    /// migrates those of an older version. `token` is that of [`Self::begin_restore`], for a server.
    pub async fn import_from(&self, path: &Path, token: Option<&str>, progress: &Progress) -> Result<(), StoreError> {
        let file = tokio::fs::File::open(path).await?;
        let counter = progress.begin("restoring the database", Some(file.metadata().await?.len()), Unit::Bytes);
        if !matches!(&*self.engine(), Engine::Embedded { .. }) {
            return self.import_statements(file, token, &counter).await;
        }
        let (datastore, session) = self.datastore()?;
        let text = ReaderStream::with_capacity(file, READ_BYTES)
            .inspect_ok(move |piece| counter.add(piece.len() as u64))
            .map_err(anyhow::Error::from);
        let imported = datastore.import_stream(&session, text).boxed().await;
        for statement in imported.map_err(|error| StoreError::Copy(error.to_string()))? {
            statement.result?;
        }
        Ok(())
    }
}

/// The source of an export.
enum Source {
    Engine(Arc<Datastore>, Session),
    /// With the time limit of each piece.
    Server(StoreSettings, Server, Duration),
}

impl Source {
    async fn copy_to(self, file: &mut impl Write, counter: &Counter) -> Result<(), StoreError> {
        let mut write = |piece: &[u8]| {
            counter.add(piece.len() as u64);
            file.write_all(piece)
        };
        let (datastore, session) = match self {
            Self::Engine(datastore, session) => (datastore, session),
            Self::Server(settings, server, limit) => {
                let mut export = Export::open(&settings, &server, limit).await?;
                while let Some(piece) = export.next().await? {
                    write(&piece)?;
                }
                return Ok(());
            }
        };
        let failed = |error: anyhow::Error| StoreError::Copy(error.to_string());
        let (pieces, received) = channel::bounded::<Vec<u8>>(PIECES_MAX);
        let export = datastore.export(&session, pieces).await.map_err(failed)?;
        let written = async move {
            while let Ok(piece) = received.recv().await {
                write(&piece)?;
            }
            Ok::<_, StoreError>(())
        };
        let (exported, written) = tokio::join!(export, written);
        // A writer that fails ends the export too: its own error is the cause.
        written?;
        exported.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use surrealdb::types::{Variables, vars};

    use super::*;
    use crate::model::{HubId, Secret, User, UserId};
    use crate::ports::store::{Dump, Refusal, RestoreState, StoredUser, read_dump};

    const MIB: u64 = 1024 * 1024;

    async fn open(path: &Path) -> Store {
        Store::open(&settings(path)).await.unwrap()
    }

    fn settings(path: &Path) -> StoreSettings {
        let place = Location::Folder { path: path.to_owned(), block_cache_bytes: 16 * MIB, memtable_bytes: 8 * MIB };
        StoreSettings {
            place,
            namespace: "toyhub".into(),
            database: "toyhub".into(),
            query_timeout: Duration::from_secs(60),
            stream_events_max: 100,
        }
    }

    async fn prepared(path: &Path) -> Store {
        let store = open(path).await;
        store.prepare(&HubId::random(), &Progress::unwatched()).await.unwrap();
        store
    }

    async fn export(store: &Store, path: &Path) -> Dump {
        store.export_to(path, &CancellationToken::new(), &Progress::unwatched()).await.unwrap();
        read_dump(path, |_, _, _| {}).unwrap()
    }

    fn user(id: &str, name: &str) -> StoredUser {
        let user = User {
            id: id.parse().unwrap(),
            username: name.into(),
            nickname: name.into(),
            gender: "1".into(),
            avatar: "mama.jpg".parse().unwrap(),
        };
        StoredUser { user, password_hash: "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA".into() }
    }

    /// Names and ids that need escaping in the export.
    const NAMES: [&str; 16] = [
        "mia's",
        "`tom`",
        "\"both\" 'kinds'",
        "back\\slash",
        "\\",
        "小明 🧸",
        "NONE",
        "true",
        "12345",
        "12e4",
        "1d2h",
        "{ sound: 'x' }",
        "]; DELETE user;",
        "-- TABLE DATA: user",
        "a\nb\tc\0",
        "⟨x⟩",
    ];
    const IDS: [&str; 10] = [
        "123e45678901234567890123",
        "000000000000000000000000",
        "1d0000000000000000000000",
        "12dec0000000000000000000",
        "5f0000000000000000000000",
        "1000000000000000000e1000",
        "1e1000000000000000000000",
        "9007199254740993000000ff",
        "e00000000000000000000000",
        "0123456789012345678901d2",
    ];

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_is_restored_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let store = prepared(&folder.path().join("one")).await;
        let secret = store.hub_secret(&Secret::random()).await.unwrap();
        for (number, name) in NAMES.iter().enumerate() {
            let id = IDS.get(number).map_or_else(|| UserId::random().to_string(), |id| (*id).to_owned());
            store.create_user(user(&id, name), 1_795_703_484.123_456_7 + number as f64).await.unwrap();
        }
        // More rows than one statement of the text has, and every kind of value that the tables hold.
        const MESSAGES: &str = "FOR $n IN 1..=2500 {
            CREATE type::record('message', [<string> ($n % 7), $n]) SET uid = string::repeat('0', 24 - string::len(<string> $n)) +
                <string> $n, chat = <string> ($n % 7), seq = $n, sender = 's', kind = 'toy', sound = <string> $n + '.mp3',
                notice = IF $n % 2 = 0 { NONE } ELSE { 'say.mp3' }, created_at = 0.1 + $n;
            CREATE type::record('user', string::repeat('0', 23 - string::len(<string> $n)) + 'e' + <string> $n) SET username = 'u',
                nickname = 'n', gender = '1', avatar = 'a.jpg', password = '$argon2id$', locked = $n % 3 = 0, created_at = $n / 3.0;
        }";
        store.run(MESSAGES, vars! {}).await.unwrap();
        let one = export(&store, &folder.path().join("one.surql")).await;
        assert_eq!((one.rows["message"], one.rows["user"], one.rows["user_name"]), (2500, 2500 + 16, 16));

        // The import of this many rows takes longer than a query may.
        let settings = settings(&folder.path().join("other"));
        let hurried = StoreSettings { query_timeout: Duration::from_millis(50), ..settings };
        let other = Store::open_to_import(&hurried).await.unwrap();
        other.import_from(&folder.path().join("one.surql"), None, &Progress::unwatched()).await.unwrap();
        assert_eq!(export(&other, &folder.path().join("other.surql")).await, one);
        other.apply_schema(&Progress::unwatched()).await.unwrap();
        assert_eq!(other.hub_secret(&Secret::random()).await.unwrap().reveal(), secret.reveal());
        for (number, name) in NAMES.iter().enumerate() {
            let found = other.user_by_name(name).await.unwrap().unwrap();
            assert_eq!((found.user.username.as_str(), found.user.nickname.as_str()), (*name, *name));
            assert!(IDS.get(number).is_none_or(|id| found.user.id.as_str() == *id), "{name}");
        }
        let taken = other.create_user(user("ffffffffffffffffffffffff", NAMES[0]), 0.0).await;
        assert!(matches!(taken, Err(StoreError::Refused(Refusal::NameTaken))), "{taken:?}");
        const AGAIN: &str =
            "CREATE message:['x', 1] SET uid = string::repeat('1', 24), chat = 'x', seq = 1, sender = 's',
            kind = 'toy', sound = '7.mp3', created_at = 0.0";
        assert!(other.run(AGAIN, vars! {}).await.is_err(), "the unique indexes are there");
        store.close().await.unwrap();
        other.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_export_is_of_one_moment() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(prepared(&folder.path().join("one")).await);
        const SETUP: &str = "CREATE chat:c SET parties = ['a', 'b'], seq = 0";
        store.run(SETUP, vars! {}).await.unwrap();
        // A transaction changes two tables, of which the text has one before the other.
        const ADD: &str = "BEGIN;
            LET $seq = (UPDATE ONLY chat:c SET seq += 1).seq;
            CREATE type::record('message', ['c', $seq]) SET uid = string::repeat('0', 24 - string::len(<string> $seq)) +
                <string> $seq, chat = 'c', seq = $seq, sender = 's', kind = 'toy', sound = <string> $seq + '.mp3',
                created_at = 0.0;
            COMMIT";
        let done = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            async move {
                while !done.load(Ordering::Relaxed) {
                    store.run(ADD, Variables::new()).await.unwrap();
                }
            }
        });
        let mut messages = Vec::new();
        for number in 0..4 {
            let path = folder.path().join(format!("{number}.surql"));
            let exported = export(&store, &path).await;
            let other = open(&folder.path().join(format!("other-{number}"))).await;
            other.import_from(&path, None, &Progress::unwatched()).await.unwrap();
            let mut reply = other.run("SELECT VALUE seq FROM ONLY chat:c", vars! {}).await.unwrap();
            let seq = reply.optional::<i64>(0).unwrap().unwrap();
            assert_eq!(exported.rows["message"], seq as u64);
            messages.push(seq);
            other.close().await.unwrap();
        }
        done.store(true, Ordering::Relaxed);
        writer.await.unwrap();
        assert!(messages[0] < messages[3], "the writer was at work: {messages:?}");
        store.close().await.unwrap();
    }

    /// An engine that is filled as one on a server.
    async fn filled_by_statements(token: &str) -> Store {
        let settings = StoreSettings { place: Location::Memory, ..settings(Path::new("")) };
        let store = Store::open(&settings).await.unwrap();
        assert!(store.begin_restore(token).await.unwrap());
        store
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_on_a_server_is_filled_by_statements() {
        let folder = tempfile::tempdir().unwrap();
        let store = prepared(&folder.path().join("one")).await;
        for (number, name) in NAMES.iter().enumerate() {
            let id = IDS.get(number).map_or_else(|| UserId::random().to_string(), |id| (*id).to_owned());
            store.create_user(user(&id, name), 1_795_703_484.123_456_7 + number as f64).await.unwrap();
        }
        let path = folder.path().join("one.surql");
        export(&store, &path).await;
        let other = filled_by_statements("mine").await;
        assert_eq!(other.restore_state().await.unwrap(), Some(RestoreState::Filling));
        other.import_from(&path, Some("mine"), &Progress::unwatched()).await.unwrap();
        assert_eq!(other.hub().await.unwrap(), store.hub().await.unwrap());
        assert_eq!(other.counts().await.unwrap(), store.counts().await.unwrap());
        for name in NAMES {
            let [found, expected] = [&other, &store].map(|store| store.user_by_name(name));
            let (found, expected) = (found.await.unwrap().unwrap(), expected.await.unwrap().unwrap());
            assert_eq!((found.user, found.password_hash), (expected.user, expected.password_hash), "{name}");
        }
        // It is not ended by another restore, and a started hub ends it.
        other.end_restore("another", false).await.unwrap();
        assert_eq!(other.restore_state().await.unwrap(), Some(RestoreState::Filling));
        other.end_restore("mine", true).await.unwrap();
        assert_eq!(other.restore_state().await.unwrap(), Some(RestoreState::Erasing));
        other.forget_restore().await.unwrap();
        assert_eq!(other.restore_state().await.unwrap(), None);
        other.apply_schema(&Progress::unwatched()).await.unwrap();
        let taken = other.create_user(user("ffffffffffffffffffffffff", NAMES[0]), 0.0).await;
        assert!(matches!(taken, Err(StoreError::Refused(Refusal::NameTaken))), "{taken:?}");
        assert!(!other.begin_restore("third").await.unwrap(), "it is in use");
        store.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_interrupted_restore_is_removed_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = prepared(&folder.path().join("one")).await;
        store.create_user(user(IDS[0], "mia"), 0.0).await.unwrap();
        let path = folder.path().join("one.surql");
        export(&store, &path).await;
        store.close().await.unwrap();
        let other = filled_by_statements("first").await;
        other.import_from(&path, Some("first"), &Progress::unwatched()).await.unwrap();
        assert!(other.begin_restore("second").await.unwrap());
        let late = other.import_from(&path, Some("first"), &Progress::unwatched()).await.unwrap_err();
        assert!(late.to_string().contains("another restore"), "{late}");
        other.import_from(&path, Some("second"), &Progress::unwatched()).await.unwrap();
        other.undo_restore("first").await.unwrap();
        assert_eq!(other.counts().await.unwrap().users, 1, "it is not that of the first one any more");
        other.undo_restore("second").await.unwrap();
        assert_eq!((other.restore_state().await.unwrap(), other.hub().await.unwrap()), (None, None));
        assert!(other.begin_restore("third").await.unwrap(), "it is empty");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_text_that_is_cut_is_no_database() {
        let folder = tempfile::tempdir().unwrap();
        let store = prepared(&folder.path().join("one")).await;
        store.create_user(user(IDS[0], "mia"), 0.0).await.unwrap();
        let path = folder.path().join("one.surql");
        export(&store, &path).await;
        store.close().await.unwrap();
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 10]).unwrap();
        let other = open(&folder.path().join("other")).await;
        assert!(other.import_from(&path, None, &Progress::unwatched()).await.is_err());
        other.close().await.unwrap();
    }
}
