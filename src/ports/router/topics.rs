//! The topics, as the operator sees them: names and sizes, without any content.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Publication, Router};
use crate::model::{QoS, Timestamp, Topic};
use crate::ports::clock;

/// How long publications are noted after the operator has last looked at them.
const WATCHED_FOR: Duration = Duration::from_secs(15);
/// The number of the last publications that are kept.
const SEEN_MAX: usize = 200;

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedTopic {
    /// Its topic.
    pub topic: Topic,
    /// The size of its payload.
    pub bytes: usize,
    /// Its quality of service.
    pub qos: QoS,
}

/// The subscriptions to one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribedFilter {
    /// The filter, with the group of a shared one.
    pub filter: String,
    /// The number of connections and offline sessions that subscribe to it.
    pub subscribers: usize,
}

/// A publication that was routed.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// Its topic.
    pub topic: Topic,
    /// The size of its payload; an estimate for an event that no subscriber needed as text.
    pub bytes: usize,
    /// The publisher's quality of service.
    pub qos: QoS,
    /// Whether it is retained.
    pub is_retained: bool,
    /// Whether the hub itself published it.
    pub is_of_hub: bool,
    /// The number of its subscribers.
    pub subscribers: usize,
}

/// The topics of retained messages, and the filters of subscriptions, each with the number of all that were found.
#[derive(Debug, Default)]
pub struct Topics {
    /// Retained messages.
    pub retained: Vec<RetainedTopic>,
    /// Their number.
    pub retained_count: usize,
    /// Filters.
    pub filters: Vec<SubscribedFilter>,
    /// Their number.
    pub filters_count: usize,
}

/// The last publications. They are noted only while the operator looks at them: a publish then takes one more lock, or
/// is not noted if another one holds it.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    /// In milliseconds after `began`.
    until_ms: AtomicU64,
    seen: Mutex<VecDeque<Seen>>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { began: Instant::now(), until_ms: AtomicU64::new(0), seen: Mutex::default() }
    }
}

impl Watch {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes a publication.
    #[inline]
    pub(super) fn note(&self, publication: &Publication, subscribers: usize) {
        if self.until_ms.load(Ordering::Relaxed) != 0 {
            self.note_if_watched(publication, subscribers);
        }
    }

    fn note_if_watched(&self, publication: &Publication, subscribers: usize) {
        if self.until_ms.load(Ordering::Relaxed) <= self.now_ms() {
            return;
        }
        let Ok(mut seen) = self.seen.try_lock() else { return };
        if seen.len() >= SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back(Seen {
            at: clock::now(),
            topic: publication.topic.clone(),
            bytes: publication.payload.weight(),
            qos: publication.qos,
            is_retained: publication.retain,
            is_of_hub: publication.publisher.is_none(),
            subscribers,
        });
    }

    /// The publications that were noted, newest first. From now on they are noted for a while.
    fn look(&self) -> Vec<Seen> {
        let now_ms = self.now_ms();
        let was_until_ms = self.until_ms.swap(now_ms + WATCHED_FOR.as_millis() as u64, Ordering::Relaxed);
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if was_until_ms <= now_ms {
            // Those of an earlier look have gaps.
            seen.clear();
        }
        seen.iter().rev().cloned().collect()
    }
}

impl Router {
    /// The topics and filters that contain `text`, in their order, at most `limit` of each. It looks at every connection,
    /// session and retained message.
    pub fn topics(&self, text: &str, limit: usize) -> Topics {
        let mut topics = Topics::default();
        let mut retained = self.retained.sizes(text);
        topics.retained_count = retained.len();
        retained.sort_by(|a, b| a.topic.cmp(&b.topic));
        retained.truncate(limit);
        topics.retained = retained;

        let mut filters: BTreeMap<String, usize> = BTreeMap::new();
        let mut count = |queue: &super::Queue| {
            for known in &queue.state().filters {
                let filter = known.subscription.text();
                if filter.contains(text) {
                    *filters.entry(filter).or_default() += 1;
                }
            }
        };
        for present in &self.presence {
            // Those with a session are counted below.
            present.here.iter().filter(|queue| queue.durable.is_none()).for_each(|queue| count(queue));
        }
        for sessions in &self.sessions {
            sessions.iter().filter_map(std::sync::Weak::upgrade).for_each(|queue| count(&queue));
        }
        topics.filters_count = filters.len();
        let filters = filters.into_iter().map(|(filter, subscribers)| SubscribedFilter { filter, subscribers });
        topics.filters = filters.take(limit).collect();
        topics
    }

    /// The last publications, newest first, since the operator looks at them.
    pub fn seen(&self) -> Vec<Seen> {
        self.watch.look()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(topic: &str) -> Publication {
        Publication {
            topic: topic.parse().unwrap(),
            payload: bytes::Bytes::from_static(b"four").into(),
            qos: QoS::AtLeastOnce,
            retain: false,
            publisher: None,
            properties: bytes::Bytes::new(),
            expires_at: None,
        }
    }

    #[test]
    fn publications_are_noted_only_while_somebody_looks() {
        let watch = Watch::default();
        watch.note(&publication("a/0"), 1);
        assert_eq!(watch.look(), []);
        for number in 0..SEEN_MAX + 2 {
            watch.note(&publication(&format!("a/{number}")), 1);
        }
        let seen = watch.look();
        assert_eq!((seen.len(), seen[0].topic.as_str(), seen[0].bytes), (SEEN_MAX, "a/201", 4));
        watch.until_ms.store(0, Ordering::Relaxed);
        watch.note(&publication("a/later"), 1);
        assert_eq!(watch.look(), [], "the look before was too long ago");
    }
}
