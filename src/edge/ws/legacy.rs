//! The socket that legacy pages and phones open at `/app/<user id>` and `/toy/<toy id>` (docs/app-socket.md).
//!
//! They send `{"to_user":id,"music":name}` or `{"to_user":id,"from_user":id,"chat":name,"friend_type":"app"|"toy"}`,
//! and receive the same for each message to them and for each sound that a friend asks them to play. No frame is
//! answered; a frame that cannot be forwarded is logged. `[auth] mode` states whether a token is required, as for their
//! calls. A connection is closed when its token expires or is revoked.
//!
//! Legacy pages count the messages that they receive here, beginning with the counts of their login. So a user is sent
//! each message once on a connection, and none that the login has counted ([`Told`]). They also reconnect without a
//! pause, so that a refused one is held for a while before it is closed ([`refused`](super::refused)).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use ::bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::line::{Input, Line};
use super::socket::Socket;
use super::{Apps, CloseCause, End};
use crate::api::request::{Given, Request as _, Wanted, missing, request};
use crate::domain::error::DomainError;
use crate::domain::{Delivery, Form, Hub, Mailbox, Origin, Payload};
use crate::edge::label::note_party;
use crate::edge::{body, wire};
use crate::model::{Event, FileName, MessageId, Party, PartyId, PlayedSound, Secret, Timestamp};
use crate::ports::metrics::Traffic;
use crate::ports::router::LinkInfo;

request! {
    /// Has a friend play a sound.
    pub struct Said {
        /// The friend that plays it.
        to_user: PartyId,
        /// To play, of /get_music/. Either this or `chat`.
        music: Option<Wanted>,
        /// To play, of /get_chat/.
        chat: Option<Wanted>,
    }
}

/// Serves one client until it disconnects or the hub closes the connection.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    apps: &Apps,
    socket: &mut Socket<S>,
    path: &str,
    token: Option<Secret>,
    from: Origin,
    traffic: Arc<Traffic>,
) -> End {
    let (mut mailbox, expires_at) = match open(apps, path, token, from).await {
        Ok(opened) => opened,
        Err(error) => return apps.refused.hold(socket, path, from.peer, error).await,
    };
    mailbox.note_link(LinkInfo { protocol: "legacy socket", peer: from.peer, since: wire::now(), traffic });
    let told = Told::new(apps.hub.counted_up_to(mailbox.party(), from));
    let line = Line::new(socket, &mut mailbox, &apps.config, expires_at);
    let mut connection = Connection { apps, line, told, in_hand: None, waiting: VecDeque::new() };
    note_party(connection.line.party());
    tracing::info!("legacy client connected");
    let Err(end) = connection.converse().await;
    tracing::info!("legacy client disconnected");
    end
}

async fn open(
    apps: &Apps,
    path: &str,
    token: Option<Secret>,
    from: Origin,
) -> Result<(Mailbox, Timestamp), DomainError> {
    let (kind, name) = path.trim_start_matches('/').split_once('/').ok_or(DomainError::UnknownParty)?;
    apps.hub.may_connect_as(from.peer, name)?;
    let opening = async {
        let id = name.parse().map_err(|_| DomainError::UnknownParty)?;
        let admitted = apps.hub.authenticate_id(id, token, from, wire::now()).await?;
        if admitted.party.kind().as_str() != kind {
            return Err(DomainError::UnknownParty);
        }
        let mailbox = apps.hub.connect(&admitted, apps.queue_limits()).await?;
        apps.hub.subscribe_to_inbox(&mailbox)?;
        Ok((mailbox, admitted.expires_at))
    };
    opening.await.inspect_err(|error| apps.hub.note_refused_connection(from.peer, name, error))
}

/// The messages of which a user knows: those that its login has counted, and those that were sent on this connection.
struct Told {
    /// The number of an event; all messages up to it.
    up_to: u64,
    /// The last ones that were sent. A message may be published again, if its sender repeats it.
    last: VecDeque<MessageId>,
}

impl Told {
    /// How many messages are remembered.
    const LAST_MAX: usize = 64;

    fn new(counted_up_to: Option<u64>) -> Self {
        Self { up_to: counted_up_to.unwrap_or(0), last: VecDeque::new() }
    }

    /// Whether a message of this number is still to be sent; it is noted as sent then.
    fn is_new(&mut self, message: &MessageId, seq: Option<u64>) -> bool {
        if seq.is_some_and(|seq| seq <= self.up_to) || self.last.contains(message) {
            return false;
        }
        if self.last.len() >= Self::LAST_MAX {
            self.last.pop_front();
        }
        self.last.push_back(message.clone());
        true
    }
}

struct Connection<'a, S> {
    apps: &'a Apps,
    line: Line<'a, S>,
    told: Told,
    /// The frame that is being forwarded.
    in_hand: Option<JoinHandle<Option<()>>>,
    /// The frames that were received after it.
    waiting: VecDeque<Utf8Bytes>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    async fn converse(&mut self) -> Result<Infallible, End> {
        self.send_unread().await?;
        loop {
            tokio::select! {
                input = self.line.next() => match input? {
                    Input::Delivery(delivery) => self.push(&delivery).await?,
                    Input::Text(text) => self.take(text)?,
                    Input::Binary => {}
                    Input::PingDue => self.line.ping().await?,
                },
                () = end_of(&mut self.in_hand) => {
                    self.in_hand = self.waiting.pop_front().map(|text| self.pass_on(text));
                }
            }
        }
    }

    async fn push(&mut self, delivery: &Delivery) -> Result<(), End> {
        let Payload::Event(announced) = &delivery.publication.payload else { return Ok(()) };
        // A toy is notified again of messages that it has not fetched, for example when its quiet hours end.
        if let (Party::User(_), Event::Message { id, .. }) = (self.line.party(), announced.event())
            && !self.told.is_new(id, announced.seq())
        {
            return Ok(());
        }
        let text = announced.form(Form::Legacy, |event| text_of(event, self.line.party()));
        self.send(text.clone()).await
    }

    /// Sends a frame. It is empty for an event that these clients do not know, and is not sent then.
    async fn send(&mut self, text: Bytes) -> Result<(), End> {
        if text.is_empty() { Ok(()) } else { self.line.socket.send_text(text).await }
    }

    /// Sends the unread messages.
    async fn send_unread(&mut self) -> Result<(), End> {
        match self.line.party() {
            Party::User(_) => self.send_unread_to_user().await,
            Party::Toy(_) => self.send_unread_to_toy().await,
        }
    }

    /// Each message once, however many there are.
    async fn send_unread_to_user(&mut self) -> Result<(), End> {
        loop {
            let (page, next) = self.apps.hub.unread_page(self.line.party(), self.told.up_to).await?;
            for (event, _) in &page {
                self.send(text_of(event, self.line.party()).into()).await?;
            }
            let last = page.iter().filter_map(|(_, seq)| *seq).max();
            self.told.up_to = last.unwrap_or(self.told.up_to);
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Each frame once: it names a friend, not each message of the friend.
    async fn send_unread_to_toy(&mut self) -> Result<(), End> {
        let mut last = Bytes::new();
        for event in self.apps.hub.unread_events(self.line.party()).await? {
            let text = Bytes::from(text_of(&event, self.line.party()));
            if text != last {
                last = text.clone();
                self.send(text).await?;
            }
        }
        Ok(())
    }

    /// Accepts a frame of the client. Frames are forwarded one after the other, outside the loop.
    fn take(&mut self, text: Utf8Bytes) -> Result<(), End> {
        if self.waiting.len() >= self.apps.config.queue_messages_max {
            return Err(End::Close(CloseCause::TooMuch));
        }
        match self.in_hand {
            Some(_) => self.waiting.push_back(text),
            None => self.in_hand = Some(self.pass_on(text)),
        }
        Ok(())
    }

    fn pass_on(&self, text: Utf8Bytes) -> JoinHandle<Option<()>> {
        let (hub, party) = (Arc::clone(&self.apps.hub), self.line.party().clone());
        let passing = async move {
            if let Err(error) = pass_on(&hub, &party, text.as_bytes()).await {
                tracing::info!(%error, "frame of a legacy client not forwarded");
            }
        };
        self.apps.tasks.spawn(passing)
    }
}

/// Waits until the current frame is forwarded. Cancel-safe.
async fn end_of(in_hand: &mut Option<JoinHandle<Option<()>>>) {
    match in_hand {
        // A frame whose task panicked is dropped, like one that must not be forwarded.
        Some(in_hand) => drop(in_hand.await),
        None => pending().await,
    }
}

/// Publishes a play request to a friend. Errors: `UnknownParty`, `NotFriends`, `Invalid`.
async fn pass_on(hub: &Hub, party: &Party, text: &[u8]) -> Result<(), DomainError> {
    let fields = body::from_json(text).map_err(|fault| DomainError::invalid("frame", fault.to_string()))?;
    let Said { to_user: to, music, chat } = Said::read(&mut Given::of(fields))?;
    let sound = match (music, chat) {
        (Some(music), _) => PlayedSound::Music(music.0),
        (None, Some(chat)) => PlayedSound::Chat(chat.0),
        (None, None) => return Err(missing("chat")),
    };
    hub.pass_on(party, &to, sound, wire::now()).await
}

/// The frame of an event for `me`: the sound to play; empty if there is none. A toy gets the notice first, an app the
/// message itself.
fn text_of(event: &Event, me: &Party) -> Vec<u8> {
    let chat = |from: &Party, name: &FileName| {
        let (to, from, kind) = (me.id(), from.id(), from.kind().as_str());
        json!({"to_user": to, "from_user": from, "chat": name.as_str(), "friend_type": kind})
    };
    let frame = match (event, me) {
        (Event::Message { from, notice: Some(notice), .. }, Party::Toy(_)) => chat(from, notice),
        (Event::Message { from, sound, .. }, _) => chat(from, sound),
        (Event::Play { from, sound: PlayedSound::Chat(name) }, _) => chat(from, name),
        (Event::Play { from, sound: PlayedSound::Music(name) }, _) => {
            json!({"to_user": me.id(), "from_user": from.id(), "music": name.as_str()})
        }
        (
            Event::Command(_)
            | Event::Reminder { .. }
            | Event::FriendRequest { .. }
            | Event::FriendAdded { .. }
            | Event::FriendRemoved { .. }
            | Event::ToyWantsIn { .. }
            | Event::ToyOpened { .. }
            | Event::Erased
            | Event::Receipt { .. }
            | Event::Read { .. },
            _,
        ) => return Vec::new(),
    };
    wire::text(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_sent_once_and_not_if_the_login_has_counted_it() {
        let mut told = Told::new(Some(3));
        let messages: Vec<MessageId> = (0..100).map(|_| MessageId::random()).collect();
        assert!(!told.is_new(&messages[0], Some(3)), "counted");
        assert!(told.is_new(&messages[1], Some(5)) && told.is_new(&messages[2], Some(4)), "in whatever order");
        assert!(!told.is_new(&messages[1], Some(5)), "published again");
        assert!(told.is_new(&messages[3], None), "a message without a number");
        for message in &messages[4..] {
            assert!(told.is_new(message, Some(9)));
        }
        assert_eq!(told.last.len(), Told::LAST_MAX);
    }
}
