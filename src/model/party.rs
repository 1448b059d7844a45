//! Parties: the senders and receivers of messages.

use std::fmt;
use std::str::FromStr;

use super::Malformed;
use super::ids::{PartyId, ToyId, UserId};
use super::names::FileName;
use super::topics::Topic;

/// The kind of a party. On the wire: `"app"` or `"toy"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartyKind {
    /// A person with the app.
    App,
    /// A toy.
    Toy,
}

impl PartyKind {
    /// The word of the contract: `"app"` or `"toy"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Toy => "toy",
        }
    }
}

/// A sender and receiver of messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Party {
    /// A person with the app.
    User(UserId),
    /// A toy.
    Toy(ToyId),
}

impl Party {
    /// The 24 digits of the id, of either kind.
    pub fn id(&self) -> &str {
        match self {
            Self::User(id) => id.as_str(),
            Self::Toy(id) => id.as_str(),
        }
    }

    /// The kind of this party.
    pub fn kind(&self) -> PartyKind {
        match self {
            Self::User(_) => PartyKind::App,
            Self::Toy(_) => PartyKind::Toy,
        }
    }

    /// A party of `kind` with the digits of `id`.
    pub fn new(kind: PartyKind, id: &PartyId) -> Self {
        match kind {
            PartyKind::App => Self::User(UserId(id.0)),
            PartyKind::Toy => Self::Toy(ToyId(id.0)),
        }
    }

    /// Its name in logs: the first digits of its id. A log outlives an erasure, and the full id may permit access.
    pub fn in_log(&self) -> String {
        let id = self.id();
        format!("{}/{}…", self.kind().as_str(), &id[..id.len().min(8)])
    }

    /// The topic on which this party receives its events (`app/<id>/in`, `toy/<id>/in`).
    pub fn inbox(&self) -> Topic {
        Topic(format!("{self}/in").into())
    }

    /// The topic on which this party receives chunk `number` of a file.
    pub fn chunk_topic(&self, file: &FileName, number: u64) -> Topic {
        Topic(format!("{self}/file/{file}/{number}").into())
    }
}

impl From<UserId> for Party {
    fn from(id: UserId) -> Self {
        Self::User(id)
    }
}

impl From<ToyId> for Party {
    fn from(id: ToyId) -> Self {
        Self::Toy(id)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind().as_str(), self.id())
    }
}

impl FromStr for Party {
    type Err = Malformed;

    /// As it is displayed: `app/<id>` or `toy/<id>`.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (kind, id) = text.split_once('/').ok_or(Malformed("a party is app/<id> or toy/<id>"))?;
        let kind = [PartyKind::App, PartyKind::Toy].into_iter().find(|known| known.as_str() == kind);
        Ok(Self::new(kind.ok_or(Malformed("a party is app/<id> or toy/<id>"))?, &id.parse::<PartyId>()?))
    }
}
