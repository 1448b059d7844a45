//! The payload of a publication: bytes of a client, or an event of the hub.
//!
//! An event stays an [`Event`] from the domain, where it is created, to the edge that sends it. Each edge encodes it in
//! its own form, and the text is kept beside the event, so that further subscribers with the same form get the same
//! bytes.
//!
//! A worked example, a message to a toy with one offline MQTT session and one older socket:
//!
//! ```text
//! Hub::announce     Payload::event(Event::Message { … }, None, events::encode)
//! session's file    payload.bytes()                      encodes the JSON text, and keeps it
//! MQTT, later       Payload::Stored { text, message }    the text of the file; PUBACK marks `message` delivered
//! older socket      announced.form(Form::Legacy, …)      encodes `{"to_user":…,"chat":…}`, and keeps it
//! ```

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::model::{Event, MessageId};

/// Encodes an event, with its number in the user's stream, as JSON text.
pub type EncodeEvent = fn(&Event, Option<u64>) -> Vec<u8>;

/// The size that an event counts in a queue. It is an estimate, as the event may not be encoded yet.
const EVENT_BYTES: usize = 640;

/// The encoding of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The JSON text of the API, over MQTT and the app socket.
    Json,
    /// The frame of the legacy socket.
    Legacy,
}

impl Form {
    const COUNT: usize = 2;
}

/// An event that is being published.
pub struct Announced {
    event: Event,
    seq: Option<u64>,
    encode: EncodeEvent,
    texts: [OnceLock<Bytes>; Form::COUNT],
}

impl fmt::Debug for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announced").field("event", &self.event).field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl Announced {
    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Its number in its user's stream; none for toys. It is not stored in sessions, as the store has the stream.
    pub fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// The JSON text.
    pub fn json(&self) -> &Bytes {
        self.form(Form::Json, |event| (self.encode)(event, self.seq))
    }

    /// The text in one form, which `encode` creates for the first subscriber with that form.
    pub fn form(&self, form: Form, encode: impl FnOnce(&Event) -> Vec<u8>) -> &Bytes {
        self.texts[form as usize].get_or_init(|| encode(&self.event).into())
    }
}

/// The content of a publication.
#[derive(Debug, Clone)]
pub enum Payload {
    /// Bytes that the hub forwards unchanged.
    Bytes(Bytes),
    /// An event of the hub.
    Event(Arc<Announced>),
    /// An event that announces a voice message, as it was stored in a session.
    Stored {
        /// Its JSON text.
        text: Bytes,
        /// The voice message.
        message: MessageId,
    },
}

impl Payload {
    /// An event, with its number in the user's stream.
    pub fn event(event: Event, seq: Option<u64>, encode: EncodeEvent) -> Self {
        Self::Event(Arc::new(Announced { event, seq, encode, texts: Default::default() }))
    }

    /// The bytes for MQTT and for the sessions' file.
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Bytes(bytes) | Self::Stored { text: bytes, .. } => bytes,
            Self::Event(announced) => announced.json(),
        }
    }

    /// The voice message that this announces. A client that acknowledges the payload has received the message.
    pub fn message(&self) -> Option<&MessageId> {
        match self {
            Self::Stored { message, .. } => Some(message),
            Self::Event(announced) => match &announced.event {
                Event::Message { id, .. } => Some(id),
                _ => None,
            },
            Self::Bytes(_) => None,
        }
    }

    /// Its size in a queue; the same at each call.
    #[inline]
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Bytes(bytes) | Self::Stored { text: bytes, .. } => bytes.len(),
            Self::Event(_) => EVENT_BYTES,
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Party, ToyId};

    fn message() -> (MessageId, Event) {
        let id = MessageId::random();
        let from = Party::Toy(ToyId::random());
        let (chat, sound) = ("5c8f582f268d7942f44c6703".parse().unwrap(), "a.mp3".parse().unwrap());
        (id.clone(), Event::Message { id, from, chat, sound, notice: None, created_at: 1.0 })
    }

    #[test]
    fn each_form_of_an_event_is_encoded_once() {
        let (id, event) = message();
        let payload = Payload::event(event, Some(7), |_, seq| format!("json {seq:?}").into_bytes());
        assert_eq!(payload.message(), Some(&id));
        assert_eq!(payload.weight(), EVENT_BYTES);
        assert_eq!(payload.bytes(), &b"json Some(7)"[..]);
        assert_eq!(payload.bytes().as_ptr(), payload.clone().bytes().as_ptr(), "the same bytes for all subscribers");
        let Payload::Event(announced) = &payload else { panic!() };
        assert_eq!(announced.form(Form::Legacy, |_| b"first".to_vec()), "first");
        assert_eq!(announced.form(Form::Legacy, |_| panic!("encoded twice")), "first");
        assert_eq!(payload.weight(), EVENT_BYTES, "what was added to a queue is what is removed from it");
    }
}
