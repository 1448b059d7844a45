//! Comparisons for `toyhub doctor`, a page at a time, and the repair of counters.
//!
//! A counter is only set if the rows have not changed since they were counted; otherwise they are counted again. So a
//! repair can run while the hub runs. The repair holds the turns of the parties, so that other writers of this process
//! change little meanwhile.

use surrealdb::types::{SurrealValue, vars};

use super::{Refusal, Store, StoreError, stored};
use crate::model::{FileName, MessageId};

/// The number of rows of a page.
const PAGE: i64 = 1000;
/// How often a chat or stream that has changed meanwhile is counted again.
const COUNTS_MAX: u32 = 8;
/// A text that sorts after every id with the same beginning, and before all other ids.
const AFTER: char = '!';

/// The result for a chat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChatCheck {
    /// The number of existing messages.
    pub messages: u64,
    /// The number of lost messages.
    pub lost: u64,
    /// Whether its row was lost, or a counter did not match the messages.
    pub was_wrong: bool,
}

/// The result for the stream of a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamCheck {
    /// The number of events that can be read.
    pub events: u64,
    /// Whether its row includes lost events, or lacks existing ones.
    pub was_wrong: bool,
}

/// One address book entry.
#[derive(Debug, Clone, PartialEq, Eq, SurrealValue)]
#[surreal(crate = "surrealdb::types")]
pub struct EntryKey {
    /// The owner.
    pub owner: String,
    /// The friend.
    pub friend: String,
    /// The chat of the two parties.
    pub chat: String,
}

/// A message and its sound.
#[derive(Debug)]
pub struct SoundOfMessage {
    /// The message.
    pub message: MessageId,
    /// Its recording.
    pub sound: FileName,
}

/// The key of a message in the table: chat and number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessagePlace(String, i64);

impl Store {
    /// A page of all address book entries, and the entry after which the next page begins. `None` begins.
    pub async fn entries_after(&self, entry: Option<&EntryKey>) -> Result<Vec<EntryKey>, StoreError> {
        let (owner, friend) = match entry {
            Some(entry) => (entry.owner.clone(), format!("{}{AFTER}", entry.friend)),
            None => (String::new(), String::new()),
        };
        let mut reply = self
            .run(
                "SELECT owner, friend, chat FROM friend:[$owner, $friend].. LIMIT $limit",
                vars! { owner: owner, friend: friend, limit: PAGE },
            )
            .await?;
        reply.rows::<EntryKey>(0)
    }

    /// Whether `owner` has an address book entry for `friend`.
    pub async fn has_entry(&self, owner: &str, friend: &str) -> Result<bool, StoreError> {
        let mut reply = self
            .run(
                "RETURN record::exists(type::record('friend', [$owner, $friend]))",
                vars! { owner: owner, friend: friend },
            )
            .await?;
        Ok(reply.optional::<bool>(0)?.unwrap_or_default())
    }

    /// A page of all messages from a key on, and the key at which the next page begins; empty at the end.
    pub async fn sounds_from(&self, place: &MessagePlace) -> Result<(Vec<SoundOfMessage>, MessagePlace), StoreError> {
        let mut reply = self
            .run(
                "SELECT uid, chat, seq, sound FROM message:[$chat, $seq].. LIMIT $limit",
                vars! { chat: place.0.as_str(), seq: place.1, limit: PAGE },
            )
            .await?;
        let rows = reply.rows::<SoundRow>(0)?;
        let next = rows.last().map_or_else(|| place.clone(), |last| MessagePlace(last.chat.clone(), last.seq + 1));
        let sounds =
            rows.iter().map(|row| Ok(SoundOfMessage { message: stored(&row.uid)?, sound: stored(&row.sound)? }));
        Ok((sounds.collect::<Result<_, StoreError>>()?, next))
    }

    /// A page of the ids of all users after one.
    pub async fn users_after(&self, user: &str) -> Result<Vec<String>, StoreError> {
        let mut reply = self
            .run(
                "{
                    LET $place = type::record('user', $after);
                    RETURN (SELECT VALUE record::id(id) FROM user WHERE id > $place LIMIT $limit);
                }",
                vars! { after: user, limit: PAGE },
            )
            .await?;
        reply.rows::<String>(0)
    }

    /// Those of the sounds that have a message.
    pub async fn sounds_of_messages(&self, sounds: &[FileName]) -> Result<Vec<FileName>, StoreError> {
        let sounds: Vec<String> = sounds.iter().map(|sound| sound.as_str().to_owned()).collect();
        let mut reply =
            self.run("SELECT VALUE sound FROM message WHERE sound IN $sounds", vars! { sounds: sounds }).await?;
        reply.rows::<String>(0)?.iter().map(|sound| stored(sound)).collect()
    }

    /// Compares the counters of a chat, and of its two entries, with the existing messages.
    pub async fn check_chat(&self, chat: &str, a: &str, b: &str) -> Result<ChatCheck, StoreError> {
        let _turns = self.turns.of(a, b).await;
        Ok(self.count_chat(chat, a, b).await?.check())
    }

    /// Sets the counters of a chat, and of its two entries, to the existing messages. A lost row of the chat is created
    /// again. A number is never lowered, so that none is assigned twice.
    pub async fn mend_chat(&self, chat: &str, a: &str, b: &str) -> Result<ChatCheck, StoreError> {
        let _turns = self.turns.of(a, b).await;
        self.mend_chat_in_turn(chat, a, b).await
    }

    /// As [`Self::mend_chat`], for a caller that has the turns of the two parties already.
    pub(super) async fn mend_chat_in_turn(&self, chat: &str, a: &str, b: &str) -> Result<ChatCheck, StoreError> {
        for _ in 0..COUNTS_MAX {
            let count = self.count_chat(chat, a, b).await?;
            let check = count.check();
            if !check.was_wrong || self.set_chat(chat, a, b, count).await? {
                return Ok(check);
            }
        }
        Err(StoreError::Changing)
    }

    /// Counts a chat whose rows are unchanged afterwards, so that no message was added or marked as read meanwhile.
    async fn count_chat(&self, chat: &str, a: &str, b: &str) -> Result<ChatCount, StoreError> {
        let mut rows = self.chat_rows(chat, a, b).await?;
        for _ in 0..COUNTS_MAX {
            let count = self.count_messages(chat, [b, a], rows.clone()).await?;
            let rows_after = self.chat_rows(chat, a, b).await?;
            if rows == rows_after {
                return Ok(count);
            }
            rows = rows_after;
        }
        Err(StoreError::Changing)
    }

    async fn chat_rows(&self, chat: &str, a: &str, b: &str) -> Result<ChatRows, StoreError> {
        let mut reply = self
            .run(
                "SELECT seq, last_at, erased ?? 0 AS erased FROM ONLY type::record('chat', $chat);
                 SELECT incoming, heard, read_seq, delivered_seq, unread_since
                    FROM ONLY type::record('friend', [$a, $b]);
                 SELECT incoming, heard, read_seq, delivered_seq, unread_since
                    FROM ONLY type::record('friend', [$b, $a]);",
                vars! { chat: chat, a: a, b: b },
            )
            .await?;
        Ok((reply.optional::<ChatRow>(0)?, [reply.optional::<SideRow>(1)?, reply.optional::<SideRow>(2)?]))
    }

    async fn count_messages(
        &self,
        chat: &str,
        senders: [&str; 2],
        (row, [of_a, of_b]): ChatRows,
    ) -> Result<ChatCount, StoreError> {
        let sides = [SideCount::new(of_a, senders[0]), SideCount::new(of_b, senders[1])];
        let mut count = ChatCount { row, sides, ..ChatCount::default() };
        let mut next = 1;
        loop {
            let mut reply = self
                .run(
                    "SELECT seq, sender, created_at FROM message:[$chat, $first]..=[$chat, 9223372036854775807]
                        LIMIT $limit",
                    vars! { chat: chat, first: next, limit: PAGE },
                )
                .await?;
            let rows = reply.rows::<CountedRow>(0)?;
            let Some(last) = rows.last() else { return Ok(count) };
            next = last.seq + 1;
            rows.iter().for_each(|row| count.add(row));
        }
    }

    /// Returns false if the rows have changed since they were counted.
    async fn set_chat(&self, chat: &str, a: &str, b: &str, count: ChatCount) -> Result<bool, StoreError> {
        let (seq, last_at) = (count.seq(), count.last_at());
        let [of_a, of_b] = count.sides.map(|side| (side.row.clone().unwrap_or_default(), side));
        let variables = vars! {
            chat: chat, a: a, b: b, seen_seq: count.row.map(|row| row.seq), seq: seq, last_at: last_at,
            seen_a: [of_a.0.incoming, of_a.0.heard, of_a.0.read_seq].to_vec(),
            seen_b: [of_b.0.incoming, of_b.0.heard, of_b.0.read_seq].to_vec(),
            incoming_a: of_a.1.incoming, heard_a: of_a.1.heard, since_a: of_a.1.unread_since,
            incoming_b: of_b.1.incoming, heard_b: of_b.1.heard, since_b: of_b.1.unread_since,
        };
        let mended = self
            .run(
                "{
                    LET $row = (SELECT seq FROM ONLY type::record('chat', $chat));
                    LET $of_a = (SELECT incoming, heard, read_seq FROM ONLY type::record('friend', [$a, $b]));
                    LET $of_b = (SELECT incoming, heard, read_seq FROM ONLY type::record('friend', [$b, $a]));
                    LET $now_a = [$of_a.incoming ?? 0, $of_a.heard ?? 0, $of_a.read_seq ?? 0];
                    LET $now_b = [$of_b.incoming ?? 0, $of_b.heard ?? 0, $of_b.read_seq ?? 0];
                    IF $row.seq != $seen_seq OR $now_a != $seen_a OR $now_b != $seen_b {
                        THROW 'toyhub:damaged_chat'
                    };
                    IF $row = NONE {
                        CREATE type::record('chat', $chat) SET parties = [$a, $b], seq = $seq, last_at = $last_at;
                    } ELSE {
                        UPDATE type::record('chat', $chat) SET seq = $seq, last_at = $last_at;
                    };
                    UPDATE type::record('friend', [$a, $b]) SET incoming = $incoming_a, heard = $heard_a,
                        unread_since = $since_a;
                    UPDATE type::record('friend', [$b, $a]) SET incoming = $incoming_b, heard = $heard_b,
                        unread_since = $since_b;
                    RETURN NONE;
                }",
                variables,
            )
            .await;
        match mended {
            Ok(_) => Ok(true),
            Err(StoreError::Refused(Refusal::DamagedChat)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Compares the stream of a user with the existing events; none if there is neither.
    pub async fn check_stream(&self, user: &str) -> Result<StreamCheck, StoreError> {
        let _turn = self.turns.of(user, user).await;
        Ok(self.count_stream(user).await?.check())
    }

    /// Sets the stream of a user to the newest events without a gap.
    pub async fn mend_stream(&self, user: &str) -> Result<StreamCheck, StoreError> {
        let _turn = self.turns.of(user, user).await;
        for _ in 0..COUNTS_MAX {
            let count = self.count_stream(user).await?;
            let check = count.check();
            if !check.was_wrong || self.set_stream(user, &count).await? {
                return Ok(check);
            }
        }
        Err(StoreError::Changing)
    }

    /// Counts a stream whose row is unchanged afterwards.
    async fn count_stream(&self, user: &str) -> Result<StreamCount, StoreError> {
        let mut row = self.stream_row(user).await?;
        for _ in 0..COUNTS_MAX {
            let count = self.count_events(user, row).await?;
            row = self.stream_row(user).await?;
            if row == count.row {
                return Ok(count);
            }
        }
        Err(StoreError::Changing)
    }

    async fn stream_row(&self, user: &str) -> Result<Option<StreamRow>, StoreError> {
        let mut reply =
            self.run("SELECT first, last FROM ONLY type::record('stream', $user)", vars! { user: user }).await?;
        reply.optional::<StreamRow>(0)
    }

    async fn count_events(&self, user: &str, row: Option<StreamRow>) -> Result<StreamCount, StoreError> {
        let mut count = StreamCount { row, run: None };
        let mut next = 1;
        loop {
            let mut reply = self
                .run(
                    "SELECT VALUE seq FROM event:[$user, $first]..=[$user, 9223372036854775807] LIMIT $limit",
                    vars! { user: user, first: next, limit: PAGE },
                )
                .await?;
            let numbers = reply.rows::<i64>(0)?;
            let Some(last) = numbers.last() else { return Ok(count) };
            next = last + 1;
            for seq in numbers {
                count.run = match count.run {
                    Some((first, last)) if last + 1 == seq => Some((first, seq)),
                    _ => Some((seq, seq)),
                };
            }
        }
    }

    /// Returns false if the rows have changed since they were counted.
    async fn set_stream(&self, user: &str, count: &StreamCount) -> Result<bool, StoreError> {
        let (first, last) = count.bounds();
        let seen = count.row.as_ref().map(|row| row.last);
        let mended = self
            .run(
                "{
                    LET $now = (SELECT VALUE last FROM ONLY type::record('stream', $user));
                    IF $now != $seen { THROW 'toyhub:damaged_chat' };
                    UPSERT type::record('stream', $user) SET first = $first, last = $last;
                    DELETE event:[$user, 0]..[$user, $first];
                    RETURN NONE;
                }",
                vars! { user: user, seen: seen, first: first, last: last },
            )
            .await;
        match mended {
            Ok(_) => Ok(true),
            Err(StoreError::Refused(Refusal::DamagedChat)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct SoundRow {
    uid: String,
    chat: String,
    seq: i64,
    sound: String,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct CountedRow {
    seq: i64,
    sender: String,
    created_at: f64,
}

#[derive(SurrealValue, Clone, PartialEq)]
#[surreal(crate = "surrealdb::types")]
struct ChatRow {
    seq: i64,
    last_at: Option<f64>,
    erased: i64,
}

#[derive(SurrealValue, Clone, Default, PartialEq)]
#[surreal(crate = "surrealdb::types")]
struct SideRow {
    incoming: i64,
    heard: i64,
    read_seq: i64,
    delivered_seq: i64,
    unread_since: Option<f64>,
}

#[derive(SurrealValue, Clone, Copy, PartialEq)]
#[surreal(crate = "surrealdb::types")]
struct StreamRow {
    first: i64,
    last: i64,
}

/// The row of a chat and its two entries.
type ChatRows = (Option<ChatRow>, [Option<SideRow>; 2]);

/// A chat by its rows and by its messages.
#[derive(Default)]
struct ChatCount {
    row: Option<ChatRow>,
    messages: i64,
    newest: i64,
    latest: Option<f64>,
    sides: [SideCount; 2],
}

/// An entry by its row and by the messages of its friend.
#[derive(Default)]
struct SideCount {
    row: Option<SideRow>,
    sender: String,
    incoming: i64,
    heard: i64,
    unread_since: Option<f64>,
}

impl SideCount {
    fn new(row: Option<SideRow>, sender: &str) -> Self {
        Self { row, sender: sender.to_owned(), ..Self::default() }
    }

    fn is_wrong(&self) -> bool {
        self.row.as_ref().is_some_and(|row| {
            let is_known = row.unread_since.is_some() == self.unread_since.is_some();
            (row.incoming, row.heard) != (self.incoming, self.heard) || !is_known
        })
    }

    fn mark(&self) -> i64 {
        self.row.as_ref().map_or(0, |row| row.read_seq.max(row.delivered_seq))
    }
}

impl ChatCount {
    fn add(&mut self, message: &CountedRow) {
        self.messages += 1;
        self.newest = message.seq;
        self.latest = Some(self.latest.map_or(message.created_at, |latest| latest.max(message.created_at)));
        for side in self.sides.iter_mut().filter(|side| side.sender == message.sender) {
            side.incoming += 1;
            if side.row.as_ref().is_some_and(|row| message.seq <= row.read_seq) {
                side.heard += 1;
            } else if side.unread_since.is_none() {
                side.unread_since = Some(message.created_at);
            }
        }
    }

    /// The correct number of the chat: no message and no mark is above it.
    fn seq(&self) -> i64 {
        let row = self.row.as_ref().map_or(0, |row| row.seq);
        self.sides.iter().map(SideCount::mark).fold(row.max(self.newest), i64::max)
    }

    fn last_at(&self) -> Option<f64> {
        let row = self.row.as_ref().and_then(|row| row.last_at);
        row.into_iter().chain(self.latest).reduce(f64::max)
    }

    fn check(&self) -> ChatCheck {
        let seq = self.seq();
        ChatCheck {
            messages: self.messages.unsigned_abs(),
            lost: (seq - self.messages - self.row.as_ref().map_or(0, |row| row.erased)).max(0).unsigned_abs(),
            was_wrong: self.row.as_ref().is_none_or(|row| row.seq != seq) || self.sides.iter().any(SideCount::is_wrong),
        }
    }
}

/// A stream by its row, and the first and last number of its newest events without a gap.
struct StreamCount {
    row: Option<StreamRow>,
    run: Option<(i64, i64)>,
}

impl StreamCount {
    /// The correct `first` and `last`.
    fn bounds(&self) -> (i64, i64) {
        let (first, last) = self.row.as_ref().map_or((1, 0), |row| (row.first, row.last));
        match self.run {
            Some((start, end)) if end >= last => (start.max(first.min(end)), end),
            // Whether its newest events are lost.
            _ => (last + 1, last),
        }
    }

    fn check(&self) -> StreamCheck {
        let (first, last) = self.bounds();
        let row = self.row.as_ref().map(|row| (row.first, row.last));
        let is_empty = row.is_none() && self.run.is_none();
        StreamCheck {
            events: (last + 1 - first).max(0).unsigned_abs(),
            was_wrong: !is_empty && row != Some((first, last)),
        }
    }
}
