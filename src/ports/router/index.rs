//! The subscriptions of all connections, indexed by topic.
//!
//! Filters are grouped by their *literal prefix*: the levels before the first wildcard, or all of them.
//! A topic then needs one hash look-up for the filters that are equal to it, and one for each of its own
//! prefixes that is as long as the literal prefix of some wildcard filter. The hub's filters are of two
//! lengths (`toy/<id>/in`, `toy/<id>/cmd/#`), so a publish costs two look-ups however many toys there are.
//!
//! A trie would be slower: its upper nodes (`toy`) are read by every publish and written by every first and last
//! subscription, so that all cores contend for one lock and one cache line. Here each look-up takes the read lock of
//! one of dashmap's shards for nanoseconds, chosen by the hash of the whole prefix. Filters that begin with a wildcard
//! have no prefix; they are in a list of their own, which is skipped while empty.
//!
//! The filters of a client slow down only publishes with the client's own literal prefix. A group is freed with its
//! last filter.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use smallvec::SmallVec;

use super::ConnectionId;
use super::queue::Queue;
use super::share::Share;
use crate::model::{QoS, Topic, TopicFilter};

/// Literal prefixes are cut at this many levels, which bounds the look-ups for a topic of thousands of levels.
const PREFIX_LEVELS_MAX: usize = 16;

/// The subscriptions of all connections.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_prefix: DashMap<Box<str>, Group>,
    /// Filters whose first level is a wildcard.
    anywhere: RwLock<Vec<Tail>>,
    /// The number of subscriptions to wildcard filters, by the number of levels of their literal prefix.
    wildcards: [AtomicUsize; PREFIX_LEVELS_MAX + 1],
}

/// The filters of one literal prefix.
#[derive(Debug, Default)]
struct Group {
    /// Subscribers to the prefix itself, as a filter without wildcards.
    exact: Subscribers,
    /// Filters with more levels after the prefix.
    tails: Vec<Tail>,
}

/// The rest of a filter after the literal prefix, with the filter's subscribers.
#[derive(Debug)]
struct Tail {
    levels: Box<str>,
    subscribers: Subscribers,
}

/// The target of the messages that a filter matches.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A connection or a persistent session.
    Queue(Arc<Queue>),
    /// One member of a group.
    Share(Arc<Share>),
}

impl Target {
    pub(super) fn id(&self) -> ConnectionId {
        match self {
            Self::Queue(queue) => queue.id(),
            Self::Share(share) => share.id(),
        }
    }
}

/// The subscribers of a topic: without an allocation for a topic with few of them, as most are.
pub(super) type Matching = SmallVec<[(Target, QoS); 2]>;

/// Subscribers in the order of their connection ids, which is the order in which they connect: a new one is nearly
/// always appended.
#[derive(Debug, Default)]
struct Subscribers(Vec<(Target, QoS)>);

impl Subscribers {
    /// Adds a subscriber or changes its quality of service. Returns true if it is new.
    fn put(&mut self, target: &Target, qos: QoS) -> bool {
        match self.0.binary_search_by_key(&target.id(), |(other, _)| other.id()) {
            Ok(at) => {
                self.0[at].1 = qos;
                false
            }
            Err(at) => {
                if self.0.is_empty() {
                    // Most filters have one subscriber; by default, a vector would first allocate room for four.
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (target.clone(), qos));
                true
            }
        }
    }

    fn remove(&mut self, id: ConnectionId) -> bool {
        let found = self.0.binary_search_by_key(&id, |(other, _)| other.id());
        if let Ok(at) = found {
            self.0.remove(at);
        }
        found.is_ok()
    }
}

/// The position of a filter in the index.
struct FilterParts<'a> {
    /// The literal prefix, without a final slash.
    prefix: &'a str,
    /// The levels of the prefix.
    depth: usize,
    /// The rest, without the slash between; none in a filter without wildcards.
    tail: Option<&'a str>,
}

impl<'a> FilterParts<'a> {
    fn of(filter: &'a TopicFilter) -> Self {
        let filter = filter.as_str();
        if !filter.contains(['+', '#']) {
            return Self { prefix: filter, depth: 0, tail: None };
        }
        let (mut start, mut depth) = (0, 0);
        loop {
            let rest = &filter[start..];
            match rest.find('/') {
                Some(length) if depth < PREFIX_LEVELS_MAX && !rest.starts_with(['+', '#']) => {
                    start += length + 1;
                    depth += 1;
                }
                _ => return Self { prefix: &filter[..start.saturating_sub(1)], depth, tail: Some(rest) },
            }
        }
    }
}

impl Index {
    /// Adds the subscription of `target` to `filter`, or changes its quality of service.
    pub(super) fn insert(&self, filter: &TopicFilter, target: &Target, qos: QoS) {
        let place = FilterParts::of(filter);
        let Some(tail) = place.tail else {
            self.by_prefix.entry(place.prefix.into()).or_default().exact.put(target, qos);
            return;
        };
        let is_new = if place.depth == 0 {
            put_tail(&mut self.anywhere.write().unwrap_or_else(PoisonError::into_inner), tail, target, qos)
        } else {
            put_tail(&mut self.by_prefix.entry(place.prefix.into()).or_default().tails, tail, target, qos)
        };
        if is_new {
            self.wildcards[place.depth].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Removes the subscription of a connection to `filter`, and the filter with its last subscription.
    pub(super) fn remove(&self, filter: &TopicFilter, id: ConnectionId) {
        let place = FilterParts::of(filter);
        let removed = match place.tail {
            Some(tail) if place.depth == 0 => {
                remove_tail(&mut self.anywhere.write().unwrap_or_else(PoisonError::into_inner), tail, id)
            }
            _ => self.remove_from_group(&place, id),
        };
        if removed && place.tail.is_some() {
            self.wildcards[place.depth].fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn remove_from_group(&self, place: &FilterParts<'_>, id: ConnectionId) -> bool {
        let Entry::Occupied(mut entry) = self.by_prefix.entry(place.prefix.into()) else { return false };
        let group = entry.get_mut();
        let removed = match place.tail {
            Some(tail) => remove_tail(&mut group.tails, tail, id),
            None => group.exact.remove(id),
        };
        if group.exact.0.is_empty() && group.tails.is_empty() {
            entry.remove();
        }
        removed
    }

    /// The connections with a filter that matches `topic`, each once, at the highest of its granted
    /// qualities of service (MQTT 3.1.1 §3.3.5).
    pub(super) fn matching(&self, topic: &Topic) -> Matching {
        let name = topic.as_str();
        let mut found = Matching::new();
        if let Some(group) = self.by_prefix.get(name) {
            found.extend(group.exact.0.iter().cloned());
        }
        let mut lists = usize::from(!found.is_empty());
        let mut collect = |tails: &[Tail], rest: Option<&str>| {
            for tail in tails.iter().filter(|tail| tail_matches(&tail.levels, rest)) {
                found.extend(tail.subscribers.0.iter().cloned());
                lists += 1;
            }
        };
        // A wildcard in the first level does not match `$…` (§4.7.2).
        if self.has_wildcards(0) && !name.starts_with('$') {
            collect(&self.anywhere.read().unwrap_or_else(PoisonError::into_inner), Some(name));
        }
        let mut depth = 0;
        let mut start = 0;
        while depth < PREFIX_LEVELS_MAX {
            let end = name[start..].find('/').map(|length| start + length);
            depth += 1;
            if self.has_wildcards(depth)
                && let Some(group) = self.by_prefix.get(&name[..end.unwrap_or(name.len())])
            {
                collect(&group.tails, end.map(|end| &name[end + 1..]));
            }
            let Some(end) = end else { break };
            start = end + 1;
        }
        if lists > 1 {
            found.sort_unstable_by_key(|(target, qos)| (target.id(), std::cmp::Reverse(*qos)));
            found.dedup_by_key(|(target, _)| target.id());
        }
        found
    }

    #[inline]
    fn has_wildcards(&self, depth: usize) -> bool {
        self.wildcards[depth].load(Ordering::SeqCst) > 0
    }

    /// Whether no subscription is left.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_prefix.is_empty()
            && self.anywhere.read().unwrap().is_empty()
            && (0..=PREFIX_LEVELS_MAX).all(|depth| !self.has_wildcards(depth))
    }
}

fn put_tail(tails: &mut Vec<Tail>, levels: &str, target: &Target, qos: QoS) -> bool {
    if let Some(tail) = tails.iter_mut().find(|tail| &*tail.levels == levels) {
        return tail.subscribers.put(target, qos);
    }
    let mut subscribers = Subscribers::default();
    subscribers.put(target, qos);
    tails.reserve_exact(1);
    tails.push(Tail { levels: levels.into(), subscribers });
    true
}

fn remove_tail(tails: &mut Vec<Tail>, levels: &str, id: ConnectionId) -> bool {
    let Some(at) = tails.iter().position(|tail| &*tail.levels == levels) else { return false };
    let removed = tails[at].subscribers.remove(id);
    if tails[at].subscribers.0.is_empty() {
        tails.swap_remove(at);
    }
    removed
}

/// Whether the rest of a filter matches the `rest` of a topic; a topic that ends with the prefix has none,
/// which only a `#` matches, as it includes its parent level (MQTT 3.1.1 §4.7.1.2).
fn tail_matches(tail: &str, rest: Option<&str>) -> bool {
    let Some(rest) = rest else { return tail == "#" };
    let mut levels = rest.split('/');
    for wanted in tail.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
