//! The stream of each user: numbered events, kept for devices that come back.
//!
//! `fn::tell` of the schema appends them, always within the transaction that does what they tell of. All writers of a
//! stream write its one counter, so that they commit one after the other: number n is given after n - 1 was committed.

use surrealdb::types::{SurrealValue, vars};

use super::{Store, StoreError, stored, stored_number, stored_party};
use crate::model::{Event, MessageState, UserId};

/// What a user asks of a stream, and where it stands.
#[derive(Debug)]
pub struct Missed {
    /// The number of the oldest event that is kept; one more than `last` where none is.
    pub first: u64,
    /// The number of the newest event; 0 before the first.
    pub last: u64,
    /// The events asked for, with their numbers, oldest first.
    pub events: Vec<(u64, Event)>,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct StreamRow {
    first: i64,
    last: i64,
    events: Vec<EventRow>,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct EventRow {
    seq: i64,
    r#type: String,
    uid: Option<String>,
    party: String,
    kind: String,
    requestee: Option<String>,
    requestee_kind: Option<String>,
    chat: Option<String>,
    sound: Option<String>,
    notice: Option<String>,
    created_at: Option<f64>,
    unread: Option<i64>,
}

impl EventRow {
    fn into_event(self) -> Result<(u64, Event), StoreError> {
        let party = stored_party(&self.kind, &self.party)?;
        let event = match self.r#type.as_str() {
            "message" => Event::Message {
                id: stored(&given(self.uid)?)?,
                from: party,
                chat: stored(&given(self.chat)?)?,
                sound: stored(&given(self.sound)?)?,
                notice: self.notice.as_deref().map(stored).transpose()?,
                created_at: given(self.created_at)?,
            },
            "friend_request" => Event::FriendRequest {
                id: stored(&given(self.uid)?)?,
                requester: party,
                requestee: stored_party(&given(self.requestee_kind)?, &given(self.requestee)?)?,
            },
            "friend_added" => Event::FriendAdded { friend: party, chat: stored(&given(self.chat)?)? },
            state @ ("delivered" | "heard") => Event::Receipt {
                state: if state == "heard" { MessageState::Heard } else { MessageState::Delivered },
                up_to: stored(&given(self.uid)?)?,
                chat: stored(&given(self.chat)?)?,
                by: party,
            },
            "read" => Event::Read {
                friend: party,
                chat: stored(&given(self.chat)?)?,
                unread: stored_number(given(self.unread)?)?,
            },
            _ => return Err(StoreError::Corrupt("unknown type of an event".into())),
        };
        Ok((stored_number(self.seq)?, event))
    }
}

/// A column that every event of this type has.
fn given<T>(column: Option<T>) -> Result<T, StoreError> {
    column.ok_or_else(|| StoreError::Corrupt("an event lacks a field".into()))
}

impl Store {
    /// The user's events that follow number `after`, at most `limit`, and where the stream stands, as of one moment.
    ///
    /// No events where `after` is older than what is kept, or newer than the newest. An event that is lost, or that
    /// cannot be read, is left out: its number is missing.
    pub async fn missed(&self, user: &UserId, after: u64, limit: usize) -> Result<Missed, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX - 1);
        let variables = vars! {
            user: user.as_str(), next: after.saturating_add(1),
            until: after.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX)),
        };
        let mut reply = self
            .run(
                "{
                    LET $stream = (SELECT first, last FROM ONLY type::record('stream', $user));
                    IF $stream = NONE { RETURN NONE };
                    LET $last = math::min([$stream.last, $until]);
                    LET $events = IF $next < $stream.first OR $next > $last { [] } ELSE {
                        (SELECT * FROM event:[$user, $next]..=[$user, $last] ORDER BY seq)
                    };
                    RETURN { first: $stream.first, last: $stream.last, events: $events };
                }",
                variables,
            )
            .await?;
        let Some(row) = reply.optional::<StreamRow>(0)? else {
            return Ok(Missed { first: 1, last: 0, events: Vec::new() });
        };
        let read = |row: EventRow| {
            let seq = row.seq;
            row.into_event().inspect_err(|error| tracing::warn!(seq, %error, "stored event not readable")).ok()
        };
        let events = row.events.into_iter().filter_map(read).collect();
        Ok(Missed { first: stored_number(row.first)?, last: stored_number(row.last)?, events })
    }
}
