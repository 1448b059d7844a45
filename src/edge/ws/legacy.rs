//! The socket that older pages and phones open at `/app/<user id>` and `/toy/<toy id>` (contract, "The legacy socket").
//!
//! They send `{"to_user":id,"music":name}` or `{"to_user":id,"from_user":id,"chat":name,"friend_type":"app"|"toy"}`, and
//! are sent the same: of each message that comes for them, and of what a friend has them play. Nothing is answered; what
//! cannot be passed on is logged. Whether a token is needed is `[auth] mode`, as for their calls.

use futures_util::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::connection::{Heartbeat, Rate};
use super::{Apps, End, Goodbye, send, write};
use crate::api::events;
use crate::api::request::{Given, Request as _, Wanted, missing, request};
use crate::domain::error::DomainError;
use crate::domain::{Incoming, Mailbox, Origin};
use crate::edge::{body, wire};
use crate::model::{Party, PartyId, PlayedSound, Secret};

request! {
    /// Has a friend play a sound.
    pub struct Said {
        /// The friend who shall play it.
        to_user: PartyId,
        /// To play, of /get_music/. Either this or `chat`.
        music: Option<Wanted>,
        /// To play, of /get_chat/.
        chat: Option<Wanted>,
    }
}

/// Serves one client until it goes or the hub closes it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    apps: &Apps,
    stream: &mut WebSocketStream<S>,
    path: &str,
    token: Option<Secret>,
    from: Origin,
) -> End {
    let mailbox = match open(apps, path, token, from).await {
        Ok(mailbox) => mailbox,
        Err(error) => return error.into(),
    };
    let party = mailbox.party().clone();
    tracing::info!(%party, "legacy client connected");
    let end = match (Connection { apps, stream, mailbox, party: party.clone() }).converse().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    tracing::info!(%party, "legacy client disconnected");
    end
}

async fn open(apps: &Apps, path: &str, token: Option<Secret>, from: Origin) -> Result<Mailbox, DomainError> {
    apps.hub.may_connect(from.peer)?;
    let (kind, id) = path.trim_start_matches('/').split_once('/').ok_or(DomainError::UnknownParty)?;
    let id = id.parse().map_err(|_| DomainError::UnknownParty)?;
    let admitted = apps.hub.authenticate_id(id, token, from, wire::now()).await?;
    if admitted.party.kind().as_str() != kind {
        return Err(DomainError::UnknownParty);
    }
    let mailbox = apps.hub.connect(&admitted, apps.queue_limits()).await?;
    apps.hub.follow(&mailbox)?;
    Ok(mailbox)
}

struct Connection<'a, S> {
    apps: &'a Apps,
    stream: &'a mut WebSocketStream<S>,
    mailbox: Mailbox,
    party: Party,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn converse(&mut self) -> Result<std::convert::Infallible, End> {
        self.send_unheard().await?;
        let mut heartbeat = Heartbeat::new(self.apps.config.ping_interval_s);
        let mut rate = Rate::new(self.apps.config.requests_per_second);
        loop {
            tokio::select! {
                incoming = self.mailbox.recv() => match incoming {
                    Incoming::Delivery(delivery) => {
                        let told = serde_json::from_slice::<Value>(&delivery.publication.payload);
                        if let Some(frame) = told.ok().and_then(|told| wire::legacy(&told, &self.party)) {
                            send(self.stream, &frame).await?;
                        }
                    }
                    Incoming::Backlog => {}
                    Incoming::Closed(reason) => return Err(End::Say(reason.into())),
                },
                received = self.stream.next() => {
                    heartbeat.heard();
                    match received.ok_or(End::Gone)?? {
                        Message::Text(_) if !rate.has_room() => return Err(End::Say(Goodbye::TooMuch)),
                        Message::Text(text) => {
                            if let Err(error) = self.pass_on(text.as_bytes()).await {
                                tracing::info!(party = %self.party, %error, "a legacy client's words went nowhere");
                            }
                        }
                        Message::Close(_) => return Err(End::Gone),
                        Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
                    }
                },
                () = heartbeat.due() => write(self.stream, heartbeat.ping()?).await?,
            }
        }
    }

    /// What waits, once for each thing to play: a toy is told of a friend, not of each of the friend's messages.
    async fn send_unheard(&mut self) -> Result<(), End> {
        let mut last: Option<Value> = None;
        for event in self.apps.hub.unheard(&self.party).await? {
            let told = serde_json::from_slice::<Value>(&events::encode(&event, None));
            let frame = told.ok().and_then(|told| wire::legacy(&told, &self.party));
            if let Some(frame) = frame.filter(|frame| last.as_ref() != Some(frame)) {
                send(self.stream, &frame).await?;
                last = Some(frame);
            }
        }
        Ok(())
    }

    /// Has a friend told what to play. Errors: `UnknownParty`, `NotFriends`, `Invalid`.
    async fn pass_on(&mut self, text: &[u8]) -> Result<(), DomainError> {
        let fields = body::from_json(text).map_err(|fault| DomainError::invalid("frame", fault.to_string()))?;
        let Said { to_user: to, music, chat } = Said::read(&mut Given::of(fields))?;
        let sound = match (music, chat) {
            (Some(music), _) => PlayedSound::Music(music.0),
            (None, Some(chat)) => PlayedSound::Chat(chat.0),
            (None, None) => return Err(missing("chat")),
        };
        self.apps.hub.pass_on(&self.party, &to, sound, wire::now()).await
    }
}
