//! The requests of the app socket to its own connection, in addition to the calls that all edges share.

use crate::api::request::{Base64, FieldInfo, Given, Request, request};
use crate::domain::error::DomainError;
use crate::model::{Secret, Topic, TopicFilter, ToyId, UploadName};

request! {
    /// Logs in, in the first frame.
    pub struct Auth {
        /// The token.
        pub(super) token: Secret,
        /// The number of the last event that the client has seen.
        pub(super) after: Option<u64>,
    }
}

request! {
    /// Does nothing.
    pub struct Ping {}
}

request! {
    /// Subscribes to a topic.
    pub struct Subscribe {
        /// A topic of the table of topics.
        pub(super) topic: TopicFilter,
    }
}

request! {
    /// Ends a subscription.
    pub struct Unsubscribe {
        /// A topic of the table of topics.
        pub(super) topic: TopicFilter,
    }
}

request! {
    /// Publishes on a topic.
    pub struct Publish {
        /// A topic of the table of topics.
        pub(super) topic: Topic,
        /// The payload.
        pub(super) payload: Option<String>,
    }
}

request! {
    /// Sends a chunk of a recording, which an uploader uses afterwards.
    pub struct Voice {
        /// The sender's name of the recording.
        pub(super) upload: UploadName,
        /// The number of the chunk, from 0.
        pub(super) n: u32,
        /// The chunk, in Base64 (RFC 4648 §4).
        pub(super) data: Base64,
    }
}

request! {
    /// Unbinds an own toy and erases its data. The device can be bound again.
    pub struct Unbind {
        pub(super) toy: ToyId,
    }
}

request! {
    /// Revokes every token of the user and closes all connections, including this one, possibly before the answer.
    pub struct Logout {}
}

/// A word of `do` that only the app socket knows, as the documents describe it.
pub struct WordInfo {
    /// The word.
    pub word: &'static str,
    /// A description of one sentence.
    pub about: &'static str,
    /// Its fields.
    pub fields: fn() -> Vec<FieldInfo>,
}

macro_rules! words {
    ($($word:literal = $Name:ident,)+) => {
        /// A request of a client to its connection.
        pub(super) enum Word {
            $($Name($Name),)+
        }

        /// All words.
        pub const WORDS: &[WordInfo] = &[$(WordInfo { word: $word, about: $Name::ABOUT, fields: $Name::fields },)+];

        impl Word {
            /// The request of `word`; none if the app socket has no such word of its own.
            pub(super) fn read(word: &str, given: &mut Given) -> Option<Result<Self, DomainError>> {
                match word {
                    $($word => Some($Name::read(given).map(Self::$Name)),)+
                    _ => None,
                }
            }
        }
    };
}

words! {
    "auth" = Auth,
    "ping" = Ping,
    "subscribe" = Subscribe,
    "unsubscribe" = Unsubscribe,
    "publish" = Publish,
    "voice" = Voice,
    "unbind" = Unbind,
    "logout" = Logout,
}
