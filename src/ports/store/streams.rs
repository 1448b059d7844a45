//! The stream of each user: numbered events, kept for devices that reconnect.
//!
//! An event is appended in the transaction that causes it. All writers of a stream write its one counter, so that they
//! commit one after the other: number n is assigned after n - 1 was committed.

use surrealdb::types::{SurrealValue, vars};

use super::rows::Row;
use super::transaction::{Transaction, keys_between, record, record_of};
use super::{Store, StoreError, stored, stored_number, stored_party};
use crate::model::{Event, MessageState, Party, UserId};

/// The maximum number of old events that one new event deletes. If the limit was lowered, the rest is deleted with the
/// next events.
const DELETED_AT_ONCE: i64 = 16;

/// A page of a stream, and its range.
#[derive(Debug)]
pub struct Missed {
    /// The number of the oldest kept event; `last` + 1 if there is none.
    pub first: u64,
    /// The number of the newest event; 0 before the first.
    pub last: u64,
    /// The requested events, with their numbers, oldest first.
    pub events: Vec<(u64, Event)>,
}

#[derive(SurrealValue, Clone, Copy)]
#[surreal(crate = "surrealdb::types")]
pub(super) struct StreamRow {
    first: i64,
    last: i64,
}

/// The number of the newest event, by the row of the stream; 0 without one.
pub(super) fn last_event_of(row: Option<Row>) -> Result<u64, StoreError> {
    row.map_or(Ok(0), |row| stored_number(row.read::<StreamRow>()?.last))
}

/// An event as a row; columns that its type does not have are none.
#[derive(SurrealValue, Default)]
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
    place: Option<String>,
}

impl EventRow {
    /// None for events that are not stored.
    fn of(seq: i64, event: &Event) -> Option<Self> {
        let row = |name: &str, party: &Party| Self {
            seq,
            r#type: name.to_owned(),
            party: party.id().to_owned(),
            kind: party.kind().as_str().to_owned(),
            ..Self::default()
        };
        Some(match event {
            Event::Message { id, from, chat, sound, notice, created_at } => Self {
                uid: Some(id.to_string()),
                chat: Some(chat.to_string()),
                sound: Some(sound.to_string()),
                notice: notice.as_ref().map(ToString::to_string),
                created_at: Some(*created_at),
                ..row("message", from)
            },
            Event::FriendRequest { id, requester, requestee } => Self {
                uid: Some(id.to_string()),
                requestee: Some(requestee.id().to_owned()),
                requestee_kind: Some(requestee.kind().as_str().to_owned()),
                ..row("friend_request", requester)
            },
            Event::FriendAdded { friend, chat } => Self { chat: Some(chat.to_string()), ..row("friend_added", friend) },
            Event::FriendRemoved { friend, chat } => {
                Self { chat: Some(chat.to_string()), ..row("friend_removed", friend) }
            }
            Event::ToyWantsIn { toy, place } => {
                Self { place: Some(place.clone()), ..row("toy_wants_in", &Party::Toy(toy.clone())) }
            }
            Event::ToyOpened { toy, place } => {
                Self { place: Some(place.clone()), ..row("toy_opened", &Party::Toy(toy.clone())) }
            }
            Event::Receipt { state, up_to, chat, by } => {
                let name = if *state == MessageState::Heard { "heard" } else { "delivered" };
                Self { uid: Some(up_to.to_string()), chat: Some(chat.to_string()), ..row(name, by) }
            }
            Event::Read { friend, chat, unread } => Self {
                chat: Some(chat.to_string()),
                unread: Some(i64::try_from(*unread).unwrap_or(i64::MAX)),
                ..row("read", friend)
            },
            // It names no party: the row belongs to its owner.
            Event::Erased => Self { seq, r#type: "erased".to_owned(), kind: "app".to_owned(), ..Self::default() },
            Event::Play { .. } | Event::Command(_) | Event::Reminder { .. } => return None,
        })
    }

    fn into_event(self) -> Result<(u64, Event), StoreError> {
        if self.r#type == "erased" {
            return Ok((stored_number(self.seq)?, Event::Erased));
        }
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
            "friend_removed" => Event::FriendRemoved { friend: party, chat: stored(&given(self.chat)?)? },
            "toy_wants_in" => Event::ToyWantsIn { toy: stored(&self.party)?, place: given(self.place)? },
            "toy_opened" => Event::ToyOpened { toy: stored(&self.party)?, place: given(self.place)? },
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

/// Reads a column that every event of this type has.
fn given<T>(column: Option<T>) -> Result<T, StoreError> {
    column.ok_or_else(|| StoreError::Corrupt("an event lacks a field".into()))
}

impl Transaction<'_> {
    /// Appends an event to a party's stream and returns its number; toys have no stream. Beyond the limit of a stream,
    /// the oldest events are deleted.
    ///
    /// A stream without its row continues after the remaining events, and an existing event with the new number is
    /// replaced: a damaged stream must not cause a message to be refused.
    pub(super) async fn append_event(&self, party: &Party, event: &Event) -> Result<Option<u64>, StoreError> {
        let Party::User(user) = party else { return Ok(None) };
        let id = record("stream", user.as_str());
        let row = self.one::<StreamRow>("SELECT first, last FROM ONLY $id", vars! { id: id }).await?;
        self.append_event_after(party, row, event).await
    }

    /// As [`Self::append_event`], for a caller that has read the row of the party's stream.
    pub(super) async fn append_event_after(
        &self,
        party: &Party,
        row: Option<StreamRow>,
        event: &Event,
    ) -> Result<Option<u64>, StoreError> {
        let Party::User(user) = party else { return Ok(None) };
        let id = record("stream", user.as_str());
        let StreamRow { first, last } = match row {
            Some(row) => row,
            None => self.stream_left(user).await?,
        };
        let seq = last + 1;
        let Some(event) = EventRow::of(seq, event) else { return Ok(None) };
        let kept = first.max((first + DELETED_AT_ONCE).min(seq - self.stream_events_max() + 1));
        self.run("UPSERT $id CONTENT $row RETURN NONE", vars! { id: id, row: StreamRow { first: kept, last: seq } })
            .await?;
        let id = record_of("event", user.as_str(), seq);
        self.run("UPSERT $id CONTENT $row RETURN NONE", vars! { id: id, row: event }).await?;
        for old in first..kept {
            let id = record_of("event", user.as_str(), old);
            self.run("DELETE $id RETURN NONE", vars! { id: id }).await?;
        }
        Ok(Some(stored_number(seq)?))
    }

    /// Appends an event to the stream of each of the users. Returns the numbers.
    pub(super) async fn append_to_all(
        &self,
        users: &[UserId],
        event: &Event,
    ) -> Result<Vec<(UserId, Option<u64>)>, StoreError> {
        let mut numbers = Vec::with_capacity(users.len());
        for user in users {
            numbers.push((user.clone(), self.append_event(&Party::User(user.clone()), event).await?));
        }
        Ok(numbers)
    }

    /// The range of a stream without a row: that of its remaining events, or an empty one.
    async fn stream_left(&self, user: &UserId) -> Result<StreamRow, StoreError> {
        let left = self
            .rows::<i64>(
                "SELECT VALUE seq FROM event:[$user, 1]..=[$user, 9223372036854775807]",
                vars! { user: user.as_str() },
            )
            .await?;
        let last = left.iter().copied().max().unwrap_or(0);
        Ok(StreamRow { first: left.into_iter().min().unwrap_or(1), last })
    }
}

impl Store {
    /// Appends an event to the streams of users. Returns the numbers.
    pub async fn notify(&self, users: &[UserId], event: &Event) -> Result<Vec<(UserId, Option<u64>)>, StoreError> {
        self.transact(|tx| async move { tx.append_to_all(users, event).await }).await
    }

    /// The number of the user's last event; 0 before the first.
    pub async fn last_event(&self, user: &UserId) -> Result<u64, StoreError> {
        let [row] = self.rows_at([record("stream", user.as_str())]).await?;
        last_event_of(row)
    }

    /// The user's events that follow number `after`, at most `limit`, and the range of the stream, from one snapshot.
    ///
    /// No events if `after` is older than the oldest kept event, or newer than the newest. A lost or unreadable event
    /// is left out: its number is missing.
    pub async fn missed(&self, user: &UserId, after: u64, limit: usize) -> Result<Missed, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX - 1);
        let (next, until) = (after.saturating_add(1), after.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX)));
        let found = self.transact(|tx| async move {
            let id = record("stream", user.as_str());
            let row = tx.one::<StreamRow>("SELECT first, last FROM ONLY $id", vars! { id: id }).await?;
            let Some(stream) = row else { return Ok(None) };
            let last = stream.last.min(until);
            if next < stream.first || next > last {
                return Ok(Some((stream, Vec::new())));
            }
            let events = tx
                .rows::<EventRow>(
                    "SELECT * FROM type::record('event', $keys)",
                    vars! { keys: keys_between(user.as_str(), next, last) },
                )
                .await?;
            Ok(Some((stream, events)))
        });
        let Some((stream, mut events)) = found.await? else {
            return Ok(Missed { first: 1, last: 0, events: Vec::new() });
        };
        events.sort_by_key(|row| row.seq);
        let read = |row: EventRow| {
            let seq = row.seq;
            row.into_event().inspect_err(|error| tracing::warn!(seq, %error, "a stored event could not be read")).ok()
        };
        let events = events.into_iter().filter_map(read).collect();
        Ok(Missed { first: stored_number(stream.first)?, last: stored_number(stream.last)?, events })
    }
}
