//! The counters and timings of the process, for the operator's monitoring.
//!
//! Each part counts in [`METRICS`] where it works: one atomic addition, without a lock. They are of the process and not
//! of a hub, so that no part has to be given them. They have no name, id or topic: nothing in them is of a family.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::QoS;

/// The upper bounds of the buckets of a [`Timing`], in seconds. One more bucket is for all longer times.
const BOUNDS_S: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The codes of answers are below this number.
const CODES: usize = 64;

/// The counters of this process.
pub static METRICS: Metrics = Metrics::new();

/// All counters and timings.
#[derive(Debug)]
pub struct Metrics {
    /// Connections of HTTP clients, also those that have become WebSockets.
    pub http: Connections,
    /// Connections of MQTT clients, also those over a WebSocket.
    pub mqtt: Connections,
    /// Connections to the operator's console.
    pub console: Connections,
    /// Open app sockets.
    pub app_sockets: Count,
    /// Open sockets of legacy pages and phones.
    pub legacy_sockets: Count,
    /// MQTT messages.
    pub mqtt_messages: Messages,
    /// Messages of app sockets.
    pub app_messages: Messages,
    /// Calls over HTTP, app sockets and MQTT.
    pub calls: Count,
    /// Refused and failed calls, by the code of the answer.
    refusals: [Count; CODES],
    /// Messages that were dropped because the queue of a slow client was full.
    pub dropped: Count,
    /// Commits of the database, with their sync.
    pub store_commit: Timing,
    /// Statements of the database.
    pub store_statement: Timing,
    /// Commits of the file of sessions, with their sync.
    pub sessions_commit: Timing,
    /// Writes of a sound or picture, with their sync.
    pub file_write: Timing,
    /// Decoding of recordings.
    pub decode: Timing,
    /// Encoding of recordings.
    pub encode: Timing,
    /// Notices of messages: looked up, or spoken.
    pub notice: Timing,
    /// Recognition of recordings, without the time in the queue.
    pub recognise: Timing,
}

impl Metrics {
    const fn new() -> Self {
        Self {
            http: Connections::new(),
            mqtt: Connections::new(),
            console: Connections::new(),
            app_sockets: Count::new(),
            legacy_sockets: Count::new(),
            mqtt_messages: Messages::new(),
            app_messages: Messages::new(),
            calls: Count::new(),
            refusals: [const { Count::new() }; CODES],
            dropped: Count::new(),
            store_commit: Timing::new(),
            store_statement: Timing::new(),
            sessions_commit: Timing::new(),
            file_write: Timing::new(),
            decode: Timing::new(),
            encode: Timing::new(),
            notice: Timing::new(),
            recognise: Timing::new(),
        }
    }

    /// The connections of the protocol of this name.
    pub fn connections_of(&self, protocol: &str) -> &Connections {
        match protocol {
            "http" => &self.http,
            "mqtt" => &self.mqtt,
            _ => &self.console,
        }
    }

    /// Counts an answer with this code.
    pub fn refused(&self, code: u16) {
        if let Some(count) = self.refusals.get(usize::from(code)) {
            count.add();
        }
    }

    /// The codes of answers so far, with their numbers.
    pub fn refusals(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.refusals.iter().map(Count::get).enumerate();
        counts.filter(|(_, count)| *count > 0)
    }
}

/// A number of something.
#[derive(Debug)]
pub struct Count(AtomicU64);

impl Count {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn add(&self) {
        self.add_many(1);
    }

    /// So many more.
    #[inline]
    pub fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// One more, as long as the guard lives.
    pub fn enter(&'static self) -> Entered {
        self.add();
        Entered(self)
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of a [`Count`]; dropping it subtracts it.
#[derive(Debug)]
pub struct Entered(&'static Count);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bytes of one connection, without those of TLS.
#[derive(Debug)]
pub struct Traffic {
    /// From the client.
    pub received: Count,
    /// To the client.
    pub sent: Count,
}

impl Traffic {
    /// Of a new connection.
    pub const fn new() -> Self {
        Self { received: Count::new(), sent: Count::new() }
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self::new()
    }
}

/// The connections of a protocol.
#[derive(Debug)]
pub struct Connections {
    /// Open ones.
    pub open: Count,
    /// Accepted ones.
    pub accepted: Count,
    /// Refused ones, as there were too many.
    pub full: Count,
    /// Refused ones, as there were too many of their address.
    pub address_full: Count,
    /// Refused ones of banned addresses.
    pub banned: Count,
    /// Those whose handshake of TLS or WebSocket failed.
    pub handshake: Count,
    /// Those whose login was refused.
    pub login: Count,
}

impl Connections {
    const fn new() -> Self {
        Self {
            open: Count::new(),
            accepted: Count::new(),
            full: Count::new(),
            address_full: Count::new(),
            banned: Count::new(),
            handshake: Count::new(),
            login: Count::new(),
        }
    }

    /// The refused ones by reason.
    pub fn refused(&self) -> [(&'static str, u64); 5] {
        [
            ("full", self.full.get()),
            ("address_full", self.address_full.get()),
            ("banned", self.banned.get()),
            ("handshake", self.handshake.get()),
            ("login", self.login.get()),
        ]
    }
}

/// The messages of a protocol, by quality of service.
#[derive(Debug)]
pub struct Messages {
    /// From clients.
    pub received: [Count; 3],
    /// To clients.
    pub sent: [Count; 3],
}

impl Messages {
    const fn new() -> Self {
        Self { received: [const { Count::new() }; 3], sent: [const { Count::new() }; 3] }
    }
}

/// Messages of one connection that are not in a [`Messages`] yet. All threads share that: a connection that has many
/// messages at once adds them together.
#[derive(Debug, Default)]
pub struct Tally {
    received: [u32; 3],
    sent: [u32; 3],
}

impl Tally {
    /// One more from the client, of this quality of service.
    #[inline]
    pub fn received(&mut self, qos: QoS) {
        self.received[qos as usize] += 1;
    }

    /// One more to the client, of this quality of service.
    #[inline]
    pub fn sent(&mut self, qos: QoS) {
        self.sent[qos as usize] += 1;
    }

    /// Adds them, and begins at 0 again.
    #[inline]
    pub fn add_to(&mut self, messages: &Messages) {
        let ours = self.received.iter_mut().chain(&mut self.sent);
        for (count, all) in ours.zip(messages.received.iter().chain(&messages.sent)) {
            if *count > 0 {
                all.add_many(std::mem::take(count).into());
            }
        }
    }
}

/// How long something takes.
#[derive(Debug)]
pub struct Timing {
    buckets: [AtomicU64; BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Timing {
    const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BOUNDS_S.len() + 1], sum_us: AtomicU64::new(0) }
    }

    /// Counts one that has begun at this time.
    pub fn since(&self, start: Instant) {
        self.observe(start.elapsed());
    }

    /// Measures `work`.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.since(start);
        done
    }

    /// As [`Self::time`], with the time in which it waits.
    pub async fn time_of<T>(&self, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let done = work.await;
        self.since(start);
        done
    }

    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS_S.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS_S.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The sum of all, in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_us.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// How many there were in each bucket, under its upper bound in seconds; that of the last one is the largest number.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_S.into_iter().chain([f64::MAX]);
        bounds.zip(self.buckets.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_that_it_does_not_exceed() {
        let timing = Timing::new();
        for millis in [0, 1, 2, 400, 31_000] {
            timing.observe(Duration::from_millis(millis));
        }
        let filled: Vec<_> = timing.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.0005, 1), (0.001, 1), (0.0025, 1), (0.5, 1), (f64::MAX, 1)]);
        assert_eq!(timing.sum_s(), 31.403);
    }

    #[test]
    fn a_guard_is_counted_as_long_as_it_lives() {
        static COUNT: Count = Count::new();
        let (first, second) = (COUNT.enter(), COUNT.enter());
        assert_eq!(COUNT.get(), 2);
        drop(first);
        assert_eq!(COUNT.get(), 1);
        drop(second);
        assert_eq!(COUNT.get(), 0);
    }

    #[test]
    fn a_tally_is_added_once() {
        let messages = Messages::new();
        let mut tally = Tally::default();
        let counts = || [&messages.received, &messages.sent].map(|counts| counts.each_ref().map(Count::get));
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            tally.received(qos);
        }
        tally.sent(QoS::ExactlyOnce);
        assert_eq!(counts(), [[0, 0, 0], [0, 0, 0]]);
        tally.add_to(&messages);
        tally.add_to(&messages);
        assert_eq!(counts(), [[1, 2, 1], [0, 0, 1]]);
    }

    #[test]
    fn a_code_beyond_all_known_ones_is_left_out() {
        let metrics = Metrics::new();
        for code in [10, 13, 13, u16::MAX] {
            metrics.refused(code);
        }
        assert_eq!(metrics.refusals().collect::<Vec<_>>(), [(10, 1), (13, 2)]);
    }
}
