//! The last retained message of each topic (MQTT 3.1.1 §3.3.1.3), in memory; `disk` has a copy of
//! those that clients published.
//!
//! Topics are grouped by their first two levels (`toy/<id>`), so that a new subscription searches the messages of one
//! toy and not those of all. A group is a sorted vector of pointers, 8 bytes for each message; most groups have a few.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use dashmap::DashMap;

use super::subjects::Subjects;
use super::topics::RetainedTopic;
use super::{Publication, RouterLimits};
use crate::model::{Timestamp, Topic, TopicFilter};

/// The result of storing a retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is stored, or deleted if it was empty.
    Kept,
    /// A limit prevents it.
    Refused,
}

/// Retained messages by topic.
#[derive(Debug)]
pub(super) struct Retained {
    groups: DashMap<Box<str>, Vec<Arc<Publication>>>,
    messages: AtomicUsize,
    messages_max: usize,
    per_owner_max: usize,
    payload_max_bytes: usize,
}

impl Retained {
    pub(super) fn new(limits: &RouterLimits) -> Self {
        Self {
            groups: DashMap::new(),
            messages: AtomicUsize::new(0),
            messages_max: limits.retained_messages_max,
            per_owner_max: limits.retained_per_owner_max,
            payload_max_bytes: limits.retained_max_bytes,
        }
    }

    pub(super) fn payload_max_bytes(&self) -> usize {
        self.payload_max_bytes
    }

    /// Stores `publication` in place of an older one, or only removes the older one if this one is empty.
    ///
    /// `changed` is called with the new state of the topic (an empty message if it was deleted), while no other change
    /// can happen.
    pub(super) fn store(&self, publication: &Arc<Publication>, changed: impl Fn(&Arc<Publication>)) -> Stored {
        let topic = &publication.topic;
        if publication.payload.bytes().is_empty() {
            self.remove(topic, || changed(publication));
            return Stored::Kept;
        }
        if publication.payload.bytes().len() > self.payload_max_bytes {
            // An outdated state is worse than none.
            self.remove(topic, || changed(&Arc::new(erasure(publication))));
            return Stored::Refused;
        }
        let mut group = self.groups.entry(group_of(topic.as_str()).into()).or_default();
        match group.binary_search_by(|other| other.topic.cmp(topic)) {
            Ok(at) => group[at] = Arc::clone(publication),
            Err(at) => {
                // The limits apply to clients. The hub's own retained messages, one presence for each party, are
                // bounded already.
                let exempt = publication.publisher.is_none();
                let room = |count| (exempt || count < self.messages_max).then_some(count + 1);
                let owner_is_full = !exempt && group.len() >= self.per_owner_max;
                if owner_is_full || self.messages.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
                    drop(group);
                    self.groups.remove_if(group_of(topic.as_str()), |_, group| group.is_empty());
                    return Stored::Refused;
                }
                if group.is_empty() {
                    group.reserve_exact(1);
                }
                group.insert(at, Arc::clone(publication));
            }
        }
        changed(publication);
        Stored::Kept
    }

    /// Whether `topic` has a retained message.
    pub(super) fn holds(&self, topic: &Topic) -> bool {
        let group = self.groups.get(group_of(topic.as_str()));
        group.is_some_and(|group| group.binary_search_by(|other| other.topic.cmp(topic)).is_ok())
    }

    fn remove(&self, topic: &Topic, removed: impl Fn()) {
        self.groups.remove_if_mut(group_of(topic.as_str()), |_, group| {
            if let Ok(at) = group.binary_search_by(|other| other.topic.cmp(topic)) {
                group.remove(at);
                self.messages.fetch_sub(1, Ordering::Relaxed);
                removed();
            }
            group.is_empty()
        });
    }

    /// Removes the messages below the first two levels `group`, and returns them.
    pub(super) fn take_group(&self, group: &str) -> Vec<Arc<Publication>> {
        let taken = self.groups.remove(group).map(|(_, messages)| messages).unwrap_or_default();
        self.messages.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }

    /// Removes the messages whose topics begin with `prefix`, of at least two levels, and returns them.
    pub(super) fn take_below(&self, prefix: &str) -> Vec<Arc<Publication>> {
        let mut taken = Vec::new();
        self.groups.remove_if_mut(group_of(prefix), |_, group| {
            taken.extend(group.extract_if(.., |message| message.topic.as_str().starts_with(prefix)));
            group.is_empty()
        });
        self.messages.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }

    /// Removes the messages that contain one of `subjects` in the topic, the properties or the payload, and returns
    /// them.
    pub(super) fn take_naming(&self, subjects: &Subjects) -> Vec<Arc<Publication>> {
        let names = |message: &mut Arc<Publication>| {
            let Publication { topic, properties, payload, .. } = &**message;
            subjects.are_in([topic.as_str().as_bytes(), properties, payload.bytes()])
        };
        let mut taken = Vec::new();
        self.groups.retain(|_, group| {
            taken.extend(group.extract_if(.., names));
            !group.is_empty()
        });
        self.messages.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }

    /// The topics that contain `text`, with the sizes of their messages, in no order.
    pub(super) fn sizes(&self, text: &str) -> Vec<RetainedTopic> {
        let mut found = Vec::new();
        for group in &self.groups {
            let wanted = group.iter().filter(|message| message.topic.as_str().contains(text));
            found.extend(wanted.map(|message| RetainedTopic {
                topic: message.topic.clone(),
                bytes: message.payload.bytes().len(),
                qos: message.qos,
            }));
        }
        found
    }

    /// The number of messages.
    pub(super) fn count(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// Removes expired messages, and returns them.
    pub(super) fn take_expired(&self, now: Timestamp) -> Vec<Arc<Publication>> {
        let mut expired = Vec::new();
        self.groups.retain(|_, group| {
            expired.extend(group.extract_if(.., |message| has_expired(message, now)));
            !group.is_empty()
        });
        self.messages.fetch_sub(expired.len(), Ordering::Relaxed);
        expired
    }

    /// Calls `visit` with each retained message whose topic matches `filter`.
    ///
    /// `visit` runs while the message cannot be replaced: a subscriber's queue gets it before a newer one, never after.
    pub(super) fn for_each_matching(&self, filter: &TopicFilter, mut visit: impl FnMut(&Arc<Publication>)) {
        let now = super::disk::now();
        let mut visit_group = |group: &[Arc<Publication>]| {
            let wanted = |message: &&Arc<Publication>| filter.matches(&message.topic) && !has_expired(message, now);
            group.iter().filter(wanted).for_each(&mut visit);
        };
        let group = group_of(filter.as_str());
        let literal = !group.contains(['+', '#']);
        if literal {
            if let Some(messages) = self.groups.get(group) {
                visit_group(&messages);
            }
        } else {
            for messages in &self.groups {
                visit_group(&messages);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.messages.load(Ordering::Relaxed), self.groups.iter().map(|group| group.len()).sum::<usize>());
        assert!(self.groups.iter().all(|group| !group.is_empty()));
        self.messages.load(Ordering::Relaxed)
    }
}

fn has_expired(message: &Publication, now: Timestamp) -> bool {
    message.expires_at.is_some_and(|at| at <= now)
}

/// The empty message that deletes `publication`.
pub(super) fn erasure(publication: &Publication) -> Publication {
    Publication { payload: Bytes::new().into(), ..publication.clone() }
}

/// The first two levels of a topic or filter, or all of it if it has fewer.
fn group_of(topic: &str) -> &str {
    topic.match_indices('/').nth(1).map_or(topic, |(end, _)| &topic[..end])
}
