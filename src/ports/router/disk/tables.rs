//! The tables of the file, the changes of each order, and the encoding of a message as a row.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition, TableHandle as _, WriteTransaction,
};

use super::{
    DiskLimits, Entry, ForwardId, Found, HEARD_STREAMS_MAX, HEARD_WITHIN, Heard, Op, Overflow, SessionId,
    StoredSession, now,
};
use crate::model::{MessageId, Party, QoS, Timestamp, Topic};
use crate::ports::router::subjects::Subjects;
use crate::ports::router::{ConnectionId, Payload, Publication, Subscription};

/// Party, client id, expiry interval in seconds, end of the last connection (0: connected).
pub(super) const SESSIONS: TableDefinition<u64, (&str, &str, u32, f64Bits)> = TableDefinition::new("sessions");
/// By session and filter: share name, quality of service, options, identifier.
pub(super) const FILTERS: TableDefinition<(u64, &str), (u8, u8, u32)> = TableDefinition::new("filters");
/// By session and sequence number.
pub(super) const QUEUE: TableDefinition<(u64, u64), Row> = TableDefinition::new("queue");
/// By session, the highest sequence number that was removed from its queue. It never decreases, so that no number, and
/// no packet id with it, is assigned to a second message while a client may still hold it for the first.
pub(super) const REMOVED: TableDefinition<u64, u64> = TableDefinition::new("removed");
/// Packet ids of QoS 2 messages that were routed and not released, by session.
pub(super) const RECEIVED: TableDefinition<(u64, u16), ()> = TableDefinition::new("received");
/// By topic. The time of acceptance is the version.
pub(super) const RETAINED: TableDefinition<&str, Row> = TableDefinition::new("retained");
/// Publications that the broker of the bus may not have, by stream and number.
pub(super) const OUTBOX: TableDefinition<(u64, u64), Row> = TableDefinition::new("outbox");
/// Publications of other hubs that sessions have stored: the hub, its stream, and the number divided by [`HEARD_IN_ROW`], with
/// a bit for each remainder.
pub(super) const HEARD: TableDefinition<(&str, u64, u64), u64> = TableDefinition::new("heard_bits");
/// The numbers of one row of [`HEARD`].
const HEARD_IN_ROW: u64 = 64;
/// As [`HEARD`], with a row for each number: of versions before 2026-11-29.
const HEARD_ONE_BY_ONE: TableDefinition<(&str, u64, u64), ()> = TableDefinition::new("heard");
/// Under [`HUB`], the hub that the file belongs to.
pub(super) const IDENTITY: TableDefinition<&str, &str> = TableDefinition::new("identity");
const HUB: &str = "hub";

/// A timestamp as the bits of its floating point number; 0 for none.
#[allow(non_camel_case_types)]
pub(super) type f64Bits = u64;

/// Topic, [properties](properties_of), payload, [`flags`], expiry, acceptance.
pub(super) type Row = (&'static str, &'static [u8], &'static [u8], u8, f64Bits, f64Bits);

/// The bits of a row's flags.
mod flags {
    pub const QOS: u8 = 0b0000_0011;
    pub const RETAIN: u8 = 0b0000_0100;
    pub const PUBLISHED_RETAIN: u8 = 0b0000_1000;
    pub const PUBLISHED_QOS_SHIFT: u8 = 4;
    pub const RELEASED: u8 = 0b0100_0000;
    pub const OWN: u8 = 0b1000_0000;
}

/// The state of one session's queue that is kept in memory.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    messages: u64,
    bytes: u64,
    /// The highest sequence number that was removed.
    removed: u64,
}

/// The tallies of all sessions, with the sessions whose highest removed number the next commit has to write.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    of: HashMap<u64, Tally>,
    changed: HashSet<u64>,
}

impl Tallies {
    /// The highest number of any session in the file.
    pub(super) fn last_session(&self) -> u64 {
        self.of.keys().copied().max().unwrap_or(0)
    }

    fn get(&self, session: u64) -> Tally {
        self.of.get(&session).copied().unwrap_or_default()
    }

    fn note_removed(&mut self, session: u64, seq: u64) {
        let tally = self.of.entry(session).or_default();
        if seq > tally.removed {
            tally.removed = seq;
            self.changed.insert(session);
        }
    }
}

/// All tables, open in one transaction.
pub(super) struct Tables<'t> {
    sessions: Table<'t, u64, (&'static str, &'static str, u32, f64Bits)>,
    filters: Table<'t, (u64, &'static str), (u8, u8, u32)>,
    queue: Table<'t, (u64, u64), Row>,
    removed: Table<'t, u64, u64>,
    received: Table<'t, (u64, u16), ()>,
    retained: Table<'t, &'static str, Row>,
    outbox: Table<'t, (u64, u64), Row>,
    heard: Table<'t, (&'static str, u64, u64), u64>,
    identity: Table<'t, &'static str, &'static str>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            sessions: transaction.open_table(SESSIONS)?,
            filters: transaction.open_table(FILTERS)?,
            queue: transaction.open_table(QUEUE)?,
            removed: transaction.open_table(REMOVED)?,
            received: transaction.open_table(RECEIVED)?,
            retained: transaction.open_table(RETAINED)?,
            outbox: transaction.open_table(OUTBOX)?,
            heard: transaction.open_table(HEARD)?,
            identity: transaction.open_table(IDENTITY)?,
        })
    }

    /// Makes one change. Returns the number of messages that were dropped at a limit. Orders that only wait for the
    /// commit change nothing.
    pub(super) fn apply(&mut self, op: &Op, limits: DiskLimits, tallies: &mut Tallies) -> Result<u64, redb::Error> {
        match op {
            Op::Open { session, party, client_id, expiry_s } => {
                self.sessions.insert(session.0, (party.to_string().as_str(), client_id.as_str(), *expiry_s, 0))?;
            }
            Op::Lifetime { session, expiry_s, ended_at } => self.set_lifetime(session.0, *expiry_s, *ended_at)?,
            Op::End { session: SessionId(session) } => self.end(*session, tallies)?,
            Op::Subscribe { session, subscription } => {
                let row = (subscription.qos as u8, subscription.options, subscription.id);
                self.filters.insert((session.0, subscription.text().as_str()), row)?;
            }
            Op::Unsubscribe { session, filter } => drop(self.filters.remove((session.0, filter.as_str()))?),
            Op::Enqueue { session, entry, own } => {
                return self.enqueue(session.0, entry, *own, limits, tallies);
            }
            Op::Forget { session, seq } => self.forget(session.0, *seq, tallies)?,
            // A session without a tally has ended, or never had a message.
            Op::Release { session: SessionId(session), seq } if tallies.of.contains_key(session) => {
                self.forget(*session, *seq, tallies)?;
                tallies.of.entry(*session).or_default().messages += 1;
                self.queue.insert((*session, *seq), ("", &[][..], &[][..], flags::RELEASED | 2, 0, 0))?;
            }
            Op::Received { session, id } => drop(self.received.insert((session.0, *id), ())?),
            Op::Completed { session, id } => drop(self.received.remove((session.0, *id))?),
            Op::Retain { publication, version } => self.retain(publication, *version)?,
            Op::Forward { id, publication, accepted_at } => {
                let bits = flags_of(publication, publication.qos, publication.retain);
                let row = row(publication, &publication.properties, bits, *accepted_at);
                self.outbox.insert((id.stream, id.number), row)?;
            }
            Op::Forwarded { ids } => {
                for ForwardId { stream, number } in ids {
                    self.outbox.remove((*stream, *number))?;
                }
            }
            Op::Heard(heard) => self.note_heard(heard)?,
            Op::Erase { subjects } => self.erase(subjects, tallies)?,
            Op::Claim { hub } => drop(self.identity.insert(HUB, hub.as_str())?),
            Op::Release { .. }
            | Op::Page { .. }
            | Op::Barrier(_)
            | Op::Snapshot(_)
            | Op::WriteAnew(_)
            | Op::Stop(_) => {}
        }
        Ok(0)
    }

    fn end(&mut self, session: u64, tallies: &mut Tallies) -> Result<(), redb::Error> {
        self.sessions.remove(session)?;
        self.filters.retain_in((session, "")..(session + 1, ""), |_, _| false)?;
        self.queue.retain_in((session, 0)..=(session, u64::MAX), |_, _| false)?;
        self.received.retain_in((session, 0)..=(session, u16::MAX), |_, ()| false)?;
        self.removed.remove(session)?;
        tallies.of.remove(&session);
        tallies.changed.remove(&session);
        Ok(())
    }

    /// Removes the sessions of `subjects`, and the messages and subscriptions of other sessions that contain one of
    /// them.
    fn erase(&mut self, subjects: &Subjects, tallies: &mut Tallies) -> Result<(), redb::Error> {
        let mut ended = Vec::new();
        for found in self.sessions.iter()? {
            let (key, row) = found?;
            let (party, client_id, ..) = row.value();
            if subjects.are_in([party.as_bytes(), client_id.as_bytes()]) {
                ended.push(key.value());
            }
        }
        for session in ended {
            self.end(session, tallies)?;
        }
        let mut named = Vec::new();
        for found in self.queue.iter()? {
            let (key, row) = found?;
            let (topic, properties, payload, ..) = row.value();
            if subjects.are_in([topic.as_bytes(), properties, payload]) {
                named.push(key.value());
            }
        }
        for (session, seq) in named {
            self.forget(session, seq, tallies)?;
        }
        self.filters.retain(|(_, filter), _| !subjects.are_in([filter.as_bytes()]))?;
        self.retained
            .retain(|topic, (_, properties, payload, ..)| !subjects.are_in([topic.as_bytes(), properties, payload]))?;
        self.outbox
            .retain(|_, (topic, properties, payload, ..)| !subjects.are_in([topic.as_bytes(), properties, payload]))?;
        Ok(())
    }

    fn note_heard(&mut self, Heard { hub, id: ForwardId { stream, number } }: &Heard) -> Result<(), redb::Error> {
        let hub = hub.as_str();
        let key = (hub, *stream, number / HEARD_IN_ROW);
        let known = self.heard.get(key)?.map(|bits| bits.value());
        let is_new =
            known.is_none() && self.heard.range((hub, *stream, 0)..=(hub, *stream, u64::MAX))?.next().is_none();
        self.heard.insert(key, known.unwrap_or(0) | 1 << (number % HEARD_IN_ROW))?;
        if known.is_some() {
            return Ok(());
        }
        if let Some(old) = number.checked_sub(HEARD_WITHIN + HEARD_IN_ROW) {
            self.heard.retain_in((hub, *stream, 0)..=(hub, *stream, old / HEARD_IN_ROW), |_, _| false)?;
        }
        if is_new {
            let mut streams = BTreeSet::new();
            for found in self.heard.range((hub, 0, 0)..=(hub, u64::MAX, u64::MAX))? {
                streams.insert(found?.0.value().1);
            }
            if let Some(first_kept) = streams.iter().rev().nth(HEARD_STREAMS_MAX - 1) {
                self.heard.retain_in((hub, 0, 0)..(hub, *first_kept, 0), |_, _| false)?;
            }
        }
        Ok(())
    }

    fn set_lifetime(&mut self, session: u64, expiry_s: u32, ended_at: Timestamp) -> Result<(), redb::Error> {
        let found = self.sessions.get(session)?.map(|row| {
            let (party, client_id, ..) = row.value();
            (party.to_owned(), client_id.to_owned())
        });
        if let Some((party, client_id)) = found {
            self.sessions.insert(session, (party.as_str(), client_id.as_str(), expiry_s, ended_at.to_bits()))?;
        }
        Ok(())
    }

    fn enqueue(
        &mut self,
        session: u64,
        entry: &Entry,
        own: bool,
        limits: DiskLimits,
        tallies: &mut Tallies,
    ) -> Result<u64, redb::Error> {
        let size = size_of(&entry.publication);
        let full = |tally: Tally| tally.messages >= limits.messages_max || tally.bytes + size > limits.bytes_max;
        let mut dropped = 0;
        while limits.overflow == Overflow::DropOldest && full(tallies.get(session)) {
            let oldest = self.queue.range((session, 0)..=(session, u64::MAX))?.next().transpose()?;
            let Some(seq) = oldest.map(|(key, _)| key.value().1) else { break };
            self.forget(session, seq, tallies)?;
            dropped += 1;
        }
        if full(tallies.get(session)) {
            // The connection may have got it from memory, under this number.
            tallies.note_removed(session, entry.seq);
            return Ok(dropped + 1);
        }
        let tally = tallies.of.entry(session).or_default();
        tally.messages += 1;
        tally.bytes += size;
        let mut bits = flags_of(&entry.publication, entry.qos, entry.retain);
        bits |= if own { flags::OWN } else { 0 };
        let properties = properties_of(&entry.publication);
        self.queue.insert((session, entry.seq), row(&entry.publication, &properties, bits, entry.published_at))?;
        Ok(dropped)
    }

    fn forget(&mut self, session: u64, seq: u64, tallies: &mut Tallies) -> Result<(), redb::Error> {
        let Some(row) = self.queue.remove((session, seq))? else { return Ok(()) };
        let (topic, properties, payload, bits, ..) = row.value();
        let tally = tallies.of.entry(session).or_default();
        tally.messages = tally.messages.saturating_sub(1);
        if bits & flags::RELEASED == 0 {
            let size = ROW_BYTES + (topic.len() + properties.len() + payload.len()) as u64;
            tally.bytes = tally.bytes.saturating_sub(size);
        }
        tallies.note_removed(session, seq);
        Ok(())
    }

    /// Stores a retained message, or deletes that of its topic if it is empty.
    fn retain(&mut self, publication: &Publication, version: Timestamp) -> Result<(), redb::Error> {
        let topic = publication.topic.as_str();
        if publication.payload.bytes().is_empty() {
            self.retained.remove(topic)?;
        } else {
            let bits = flags_of(publication, publication.qos, true);
            self.retained.insert(topic, row(publication, &publication.properties, bits, version))?;
        }
        Ok(())
    }

    /// At most `limit` messages of a session with numbers in `range`, oldest first, and the number of expired messages
    /// that were removed.
    pub(super) fn page(
        &mut self,
        session: SessionId,
        range: std::ops::RangeInclusive<u64>,
        limit: usize,
        own: ConnectionId,
        limits: DiskLimits,
        tallies: &mut Tallies,
    ) -> Result<(Vec<Entry>, u64), redb::Error> {
        let SessionId(session) = session;
        let mut entries = Vec::new();
        if range.is_empty() {
            return Ok((entries, 0));
        }
        let oldest = now() - limits.age_max_s as f64;
        let mut stale = Vec::new();
        for found in self.queue.range((session, *range.start())..=(session, *range.end()))? {
            let (key, row) = found?;
            let (seq, (.., accepted)) = (key.value().1, row.value());
            if accepted != 0 && f64::from_bits(accepted) < oldest {
                stale.push(seq);
            } else if let Some(entry) = entry_of(seq, row.value(), own) {
                entries.push(entry);
            }
            if entries.len() >= limit {
                break;
            }
        }
        for seq in &stale {
            self.forget(session, *seq, tallies)?;
        }
        Ok((entries, stale.len() as u64))
    }

    /// Writes the highest removed numbers that have changed. Each transaction with changes must call it.
    pub(super) fn write_removed(&mut self, tallies: &mut Tallies) -> Result<(), redb::Error> {
        for session in tallies.changed.drain() {
            if let Some(tally) = tallies.of.get(&session) {
                self.removed.insert(session, tally.removed)?;
            }
        }
        Ok(())
    }
}

/// The approximate size of a row besides its topic, properties and payload.
const ROW_BYTES: u64 = 64;

fn size_of(publication: &Publication) -> u64 {
    let properties = properties_of(publication);
    ROW_BYTES + (publication.topic.as_str().len() + properties.len() + publication.payload.bytes().len()) as u64
}

/// The first byte of the properties of an event that announces a voice message; no property of MQTT has this number.
const ANNOUNCES: u8 = 0;

/// The column of properties: those of MQTT 5 in their encoding; or, of an event that announces a voice message and has
/// none, [`ANNOUNCES`] and the id of the message.
fn properties_of(publication: &Publication) -> Cow<'_, [u8]> {
    match publication.payload.message() {
        Some(message) if publication.properties.is_empty() => {
            let mut column = vec![ANNOUNCES];
            column.extend_from_slice(message.as_str().as_bytes());
            column.into()
        }
        _ => (&publication.properties[..]).into(),
    }
}

/// The payload, from the columns that [`properties_of`] and the payload were written to.
fn payload_of(properties: &[u8], payload: &[u8]) -> (Bytes, Payload) {
    let text = Bytes::copy_from_slice(payload);
    let announced = properties.strip_prefix(&[ANNOUNCES]);
    match announced.and_then(|id| std::str::from_utf8(id).ok()?.parse::<MessageId>().ok()) {
        Some(message) => (Bytes::new(), Payload::Stored { text, message }),
        None => (Bytes::copy_from_slice(properties), text.into()),
    }
}

fn flags_of(publication: &Publication, qos: QoS, retain: bool) -> u8 {
    qos as u8
        | if retain { flags::RETAIN } else { 0 }
        | if publication.retain { flags::PUBLISHED_RETAIN } else { 0 }
        | (publication.qos as u8) << flags::PUBLISHED_QOS_SHIFT
}

fn row<'a>(
    publication: &'a Publication,
    properties: &'a [u8],
    bits: u8,
    accepted_at: Timestamp,
) -> (&'a str, &'a [u8], &'a [u8], u8, f64Bits, f64Bits) {
    let expires_at = publication.expires_at.map_or(0, f64::to_bits);
    (publication.topic.as_str(), properties, publication.payload.bytes(), bits, expires_at, accepted_at.to_bits())
}

fn qos_of(bits: u8) -> QoS {
    match bits & flags::QOS {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// None if the row is damaged.
fn entry_of(
    seq: u64,
    (topic, properties, payload, bits, expires_at, published_at): (&str, &[u8], &[u8], u8, f64Bits, f64Bits),
    own: ConnectionId,
) -> Option<Entry> {
    let released = bits & flags::RELEASED != 0;
    let (properties, payload) = payload_of(properties, payload);
    let publication = Publication {
        topic: if released { "-" } else { topic }.parse::<Topic>().ok()?,
        payload,
        qos: qos_of(bits >> flags::PUBLISHED_QOS_SHIFT),
        retain: bits & flags::PUBLISHED_RETAIN != 0,
        publisher: (bits & flags::OWN != 0).then_some(own),
        properties,
        expires_at: (expires_at != 0).then(|| f64::from_bits(expires_at)),
    };
    let (qos, retain) = (qos_of(bits), bits & flags::RETAIN != 0);
    let published_at = f64::from_bits(published_at);
    Some(Entry { seq, publication: Arc::new(publication), qos, retain, released, published_at })
}

/// Creates missing tables.
pub(super) fn make(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    if transaction.list_tables()?.any(|table| table.name() == HEARD_ONE_BY_ONE.name()) {
        for found in transaction.open_table(HEARD_ONE_BY_ONE)?.iter()? {
            let key = found?.0;
            let (hub, stream, number) = key.value();
            tables.note_heard(&Heard { hub: hub.to_owned(), id: ForwardId { stream, number } })?;
        }
        transaction.delete_table(HEARD_ONE_BY_ONE)?;
    }
    drop(tables);
    Ok(transaction.commit()?)
}

/// Reads the data that a start needs.
pub(super) fn read(database: &Database) -> Result<(Found, Tallies), redb::Error> {
    let transaction = database.begin_read()?;
    let mut sessions: HashMap<u64, StoredSession> = HashMap::new();
    for row in transaction.open_table(SESSIONS)?.iter()? {
        let (key, row) = row?;
        let (party, client_id, expiry_s, ended_at) = row.value();
        let Ok(party) = party.parse::<Party>() else { continue };
        let ended_at = if ended_at == 0 { now() } else { f64::from_bits(ended_at) };
        let session = StoredSession {
            id: SessionId(key.value()),
            party,
            client_id: client_id.to_owned(),
            expiry_s,
            ended_at,
            seen_at: ended_at,
            subscriptions: Vec::new(),
            received: Vec::new(),
            last_seq: 0,
        };
        sessions.insert(key.value(), session);
    }
    for row in transaction.open_table(FILTERS)?.iter()? {
        let (key, row) = row?;
        let ((session, text), (qos, options, id)) = (key.value(), row.value());
        if let (Some(session), Some(subscription)) =
            (sessions.get_mut(&session), Subscription::from_text(text, qos_of(qos), options, id))
        {
            session.subscriptions.push(subscription);
        }
    }
    for row in transaction.open_table(RECEIVED)?.iter()? {
        let (session, id) = row?.0.value();
        if let Some(session) = sessions.get_mut(&session) {
            session.received.push(id);
        }
    }
    let mut tallies: HashMap<u64, Tally> = HashMap::new();
    for row in transaction.open_table(REMOVED)?.iter()? {
        let (key, removed) = row?;
        tallies.entry(key.value()).or_default().removed = removed.value();
        if let Some(session) = sessions.get_mut(&key.value()) {
            session.last_seq = removed.value();
        }
    }
    for row in transaction.open_table(QUEUE)?.iter()? {
        let (key, row) = row?;
        let ((session, seq), (topic, properties, payload, bits, ..)) = (key.value(), row.value());
        let tally = tallies.entry(session).or_default();
        tally.messages += 1;
        if bits & flags::RELEASED == 0 {
            tally.bytes += ROW_BYTES + (topic.len() + properties.len() + payload.len()) as u64;
        }
        if let Some(session) = sessions.get_mut(&session) {
            session.last_seq = session.last_seq.max(seq);
        }
    }
    let mut retained = Vec::new();
    for row in transaction.open_table(RETAINED)?.iter()? {
        let row = row?.1;
        let (.., version) = row.value();
        if let Some(entry) = entry_of(0, row.value(), ConnectionId::NOBODY) {
            let mut publication = Arc::unwrap_or_clone(entry.publication);
            publication.publisher = Some(ConnectionId::NOBODY);
            retained.push((publication, f64::from_bits(version)));
        }
    }
    let mut outbox = Vec::new();
    for found in transaction.open_table(OUTBOX)?.iter()? {
        let (key, row) = found?;
        let ((stream, number), (.., accepted_at)) = (key.value(), row.value());
        if let Some(entry) = entry_of(number, row.value(), ConnectionId::NOBODY) {
            let publication = Arc::unwrap_or_clone(entry.publication);
            outbox.push((ForwardId { stream, number }, publication, f64::from_bits(accepted_at)));
        }
    }
    let mut heard = Vec::new();
    for found in transaction.open_table(HEARD)?.iter()? {
        let (key, bits) = found?;
        let ((hub, stream, row), bits) = (key.value(), bits.value());
        for at in (0..HEARD_IN_ROW).filter(|at| bits & 1 << at != 0) {
            let number = row * HEARD_IN_ROW + at;
            heard.push(Heard { hub: hub.to_owned(), id: ForwardId { stream, number } });
        }
    }
    let tallies = Tallies { of: tallies, changed: HashSet::new() };
    let hub = transaction.open_table(IDENTITY)?.get(HUB)?.and_then(|hub| hub.value().parse().ok());
    Ok((Found { hub, sessions: sessions.into_values().collect(), retained, outbox, heard }, tallies))
}
