//! The last retained message of each topic (MQTT 3.1.1 §3.3.1.3), in memory; `disk` has a copy of
//! those that clients published.
//!
//! Of several hubs, each has those that it has got, and the database has all (`domain::cluster`): `disk` then has those that
//! are not in the database yet. Their version, the time of publishing, says which one replaces the other.
//!
//! Topics are grouped by their first two levels (`toy/<id>`), so that a new subscription searches the messages of one
//! toy and not those of all. A group is a sorted vector of pointers, 8 bytes for each message; most groups have a few.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use dashmap::DashMap;

use super::subjects::Subjects;
use super::topics::RetainedTopic;
use super::{Publication, RetainedAs, RouterLimits};
use crate::model::{QoS, Timestamp, Topic, TopicFilter};

/// The result of storing a retained message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stored {
    /// It is stored, or deleted if it was empty.
    Kept {
        /// Its version.
        version: Timestamp,
        /// Whether the topic had another value.
        is_new: bool,
    },
    /// A limit prevents it.
    Refused,
}

impl Stored {
    /// How the message of the topic was changed.
    pub(super) fn change(self) -> Option<RetainedAs> {
        match self {
            Self::Kept { version, is_new } => Some(RetainedAs { version, is_new }),
            Self::Refused => None,
        }
    }
}

/// A retained message.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) publication: Arc<Publication>,
    pub(super) version: Timestamp,
}

/// The least difference of two versions.
const STEP: f64 = 1e-5;

/// Retained messages by topic.
#[derive(Debug)]
pub(super) struct Retained {
    groups: DashMap<Box<str>, Vec<Kept>>,
    /// Whether the database has them, too: a value that does not change is not written again.
    is_shared: AtomicBool,
    messages: AtomicUsize,
    messages_max: usize,
    per_owner_max: usize,
    payload_max_bytes: usize,
}

impl Retained {
    pub(super) fn new(limits: &RouterLimits) -> Self {
        Self {
            groups: DashMap::new(),
            is_shared: AtomicBool::new(false),
            messages: AtomicUsize::new(0),
            messages_max: limits.retained_messages_max,
            per_owner_max: limits.retained_per_owner_max,
            payload_max_bytes: limits.retained_max_bytes,
        }
    }

    /// The first two levels of all topics.
    pub(super) fn groups(&self) -> Vec<Box<str>> {
        self.groups.iter().map(|group| group.key().clone()).collect()
    }

    pub(super) fn payload_max_bytes(&self) -> usize {
        self.payload_max_bytes
    }

    /// From now on, the database has the messages, too.
    pub(super) fn share(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
    }

    /// Stores `publication` in place of an older one, or only removes the older one if this one is empty. A later one
    /// stays, if it has a version: that of another hub. Without a version it is the latest.
    ///
    /// `changed` is called with the new state of the topic (an empty message if it was deleted) and its version, while no
    /// other change can happen.
    pub(super) fn store(
        &self,
        publication: &Arc<Publication>,
        version: Option<Timestamp>,
        changed: impl Fn(&Arc<Publication>, Timestamp),
    ) -> Stored {
        let topic = &publication.topic;
        if publication.payload.bytes().is_empty() {
            return self.remove(topic, version, |version| changed(publication, version));
        }
        if publication.payload.bytes().len() > self.payload_max_bytes {
            // An outdated state is worse than none.
            self.remove(topic, version, |version| changed(&Arc::new(erasure(publication)), version));
            return Stored::Refused;
        }
        let mut group = self.groups.entry(group_of(topic.as_str()).into()).or_default();
        let mut new = Kept { publication: Arc::clone(publication), version: version.unwrap_or_else(super::disk::now) };
        match group.binary_search_by(|other| other.publication.topic.cmp(topic)) {
            Ok(at) => {
                let known = &group[at];
                let is_same = self.is_shared.load(Ordering::Relaxed) && is_same(&known.publication, publication);
                if is_same || version.is_some_and(|version| version <= known.version) {
                    return Stored::Kept { version: known.version, is_new: false };
                }
                new.version = new.version.max(known.version + STEP);
                group[at] = new.clone();
            }
            Err(at) => {
                // The limits apply to clients. The hub's own retained messages, one presence for each party, are
                // bounded already.
                let exempt = publication.publisher.is_none() && version.is_none();
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
                group.insert(at, new.clone());
            }
        }
        changed(publication, new.version);
        Stored::Kept { version: new.version, is_new: true }
    }

    /// Whether `topic` has a retained message.
    pub(super) fn holds(&self, topic: &Topic) -> bool {
        let group = self.groups.get(group_of(topic.as_str()));
        group.is_some_and(|group| group.binary_search_by(|other| other.publication.topic.cmp(topic)).is_ok())
    }

    /// The message of a topic. `visit` runs while it cannot be replaced.
    pub(super) fn with<T>(&self, topic: &Topic, visit: impl FnOnce(&Kept) -> T) -> Option<T> {
        let group = self.groups.get(group_of(topic.as_str()))?;
        let at = group.binary_search_by(|other| other.publication.topic.cmp(topic)).ok()?;
        group.get(at).map(visit)
    }

    /// Calls `act` while the message of a topic cannot be replaced, unless there is a later one than this version.
    pub(super) fn unless_later(&self, topic: &Topic, version: Timestamp, act: impl FnOnce()) {
        let group = self.groups.entry(group_of(topic.as_str()).into()).or_default();
        let known =
            group.binary_search_by(|other| other.publication.topic.cmp(topic)).ok().and_then(|at| group.get(at));
        if known.is_none_or(|known| known.version <= version) {
            act();
        }
        drop(group);
        self.groups.remove_if(group_of(topic.as_str()), |_, group| group.is_empty());
    }

    /// Takes over the messages of a group as the database has them. Of those that it lacks, only those stay that
    /// `is_unwritten` names, by topic and version. Returns the others.
    pub(super) fn merge(
        &self,
        group: &str,
        found: Vec<Kept>,
        is_unwritten: impl Fn(&Topic, Timestamp) -> bool,
    ) -> Vec<Kept> {
        let known: Vec<Topic> = found.iter().map(|kept| kept.publication.topic.clone()).collect();
        for Kept { publication, version } in found {
            self.store(&publication, Some(version), |_, _| {});
        }
        let mut gone = Vec::new();
        self.groups.remove_if_mut(group, |_, messages| {
            gone.extend(messages.extract_if(.., |Kept { publication, version }| {
                !known.contains(&publication.topic) && !is_unwritten(&publication.topic, *version)
            }));
            messages.is_empty()
        });
        self.messages.fetch_sub(gone.len(), Ordering::Relaxed);
        gone
    }

    /// The messages that clients of this hub have published, with their versions.
    pub(super) fn of_clients(&self) -> Vec<(Topic, Timestamp)> {
        let mut found = Vec::new();
        for group in &self.groups {
            let own = group.iter().filter(|kept| kept.publication.publisher.is_some());
            found.extend(own.map(|kept| (kept.publication.topic.clone(), kept.version)));
        }
        found
    }

    fn remove(&self, topic: &Topic, version: Option<Timestamp>, removed: impl Fn(Timestamp)) -> Stored {
        let (mut latest, mut is_new) = (version.unwrap_or_else(super::disk::now), false);
        self.groups.remove_if_mut(group_of(topic.as_str()), |_, group| {
            if let Ok(at) = group.binary_search_by(|other| other.publication.topic.cmp(topic)) {
                let known = group[at].version;
                if version.is_some_and(|version| version <= known) {
                    latest = known;
                } else {
                    latest = latest.max(known + STEP);
                    group.remove(at);
                    self.messages.fetch_sub(1, Ordering::Relaxed);
                    removed(latest);
                    is_new = true;
                }
            }
            group.is_empty()
        });
        Stored::Kept { version: latest, is_new }
    }

    /// Removes the messages below the first two levels `group`, and returns them.
    pub(super) fn take_group(&self, group: &str) -> Vec<Kept> {
        let taken = self.groups.remove(group).map(|(_, messages)| messages).unwrap_or_default();
        self.messages.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }

    /// Removes the messages whose topics begin with `prefix`, of at least two levels, and returns them.
    pub(super) fn take_below(&self, prefix: &str) -> Vec<Kept> {
        let mut taken = Vec::new();
        self.groups.remove_if_mut(group_of(prefix), |_, group| {
            taken.extend(group.extract_if(.., |kept| kept.publication.topic.as_str().starts_with(prefix)));
            group.is_empty()
        });
        self.messages.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }

    /// Removes the messages that contain one of `subjects` in the topic, the properties or the payload, and returns
    /// them.
    pub(super) fn take_naming(&self, subjects: &Subjects) -> Vec<Kept> {
        let names = |kept: &mut Kept| {
            let Publication { topic, properties, payload, .. } = &*kept.publication;
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
            let messages = group.iter().map(|kept| &kept.publication);
            let wanted = messages.filter(|message| message.topic.as_str().contains(text));
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
    pub(super) fn take_expired(&self, now: Timestamp) -> Vec<Kept> {
        let mut expired = Vec::new();
        self.groups.retain(|_, group| {
            expired.extend(group.extract_if(.., |kept| has_expired(&kept.publication, now)));
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
        let mut visit_group = |group: &[Kept]| {
            let wanted = |message: &&Arc<Publication>| filter.matches(&message.topic) && !has_expired(message, now);
            group.iter().map(|kept| &kept.publication).filter(wanted).for_each(&mut visit);
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

/// Whether two messages of a topic have the same value.
fn is_same(a: &Publication, b: &Publication) -> bool {
    let value = |publication: &Publication| (publication.qos, publication.expires_at);
    value(a) == value(b) && a.payload.bytes() == b.payload.bytes() && a.properties == b.properties
}

/// The empty message that deletes `publication`.
pub(super) fn erasure(publication: &Publication) -> Publication {
    Publication { payload: Bytes::new().into(), ..publication.clone() }
}

/// The empty message that deletes that of a topic.
pub(super) fn erasure_of(topic: &Topic) -> Publication {
    Publication {
        topic: topic.clone(),
        payload: Bytes::new().into(),
        qos: QoS::AtMostOnce,
        retain: true,
        publisher: None,
        properties: Bytes::new(),
        expires_at: None,
    }
}

/// The first two levels of a topic or filter, or all of it if it has fewer.
fn group_of(topic: &str) -> &str {
    topic.match_indices('/').nth(1).map_or(topic, |(end, _)| &topic[..end])
}
