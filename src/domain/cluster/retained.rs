//! Retained messages of clients in the database, for all hubs.
//!
//! A hub has those that it has got in memory, and writes the changes of its own clients to the database a moment later: until
//! then they are in its file of sessions. Before a client subscribes to a toy or chat, what the database has of it is read:
//! a hub that was started later, or was away, has missed some.
//!
//! ```text
//! hub A   PUBLISH toy/<id>/state/battery ─▶ file, PUBACK ─▶ 0.2 s later: database ─▶ deleted in the file
//! hub A   Bus::forward ─▶ hub B: memory, live subscribers
//! hub C   is started later; SUBSCRIBE toy/<id>/state/# ─▶ database ─▶ memory ─▶ the client
//! ```

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::super::Hub;
use super::super::error::DomainError;
use super::is_of_clients;
use crate::model::{QoS, Timestamp, Topic};
use crate::ports::clock::age_now;
use crate::ports::router::{Publication, Subjects};
use crate::ports::store::{RetainedChange, RetainedMessage};

/// Changes that one transaction writes.
const CHANGES_AT_ONCE: usize = 50;
/// How long changes wait for others of the same topics.
const PAUSE: Duration = Duration::from_millis(200);
/// The pause after a transaction that has failed.
const FAILED_PAUSE: Duration = Duration::from_secs(2);
/// Seconds in which another hub has written what it has published on the bus.
const YOUNG_S: f64 = 60.0;

/// The topics of this hub's clients that the database does not have yet as they are here, and their versions.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    topics: Mutex<HashMap<Topic, Timestamp>>,
    added: Notify,
}

impl Unwritten {
    fn topics(&self) -> MutexGuard<'_, HashMap<Topic, Timestamp>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes changes of topics, up to these versions.
    pub(super) fn add(&self, changes: impl IntoIterator<Item = (Topic, Timestamp)>) {
        let mut topics = self.topics();
        for (topic, version) in changes {
            let known = topics.entry(topic).or_insert(version);
            *known = known.max(version);
        }
        drop(topics);
        self.added.notify_one();
    }

    fn some(&self) -> Vec<(Topic, Timestamp)> {
        self.topics().iter().take(CHANGES_AT_ONCE).map(|(topic, version)| (topic.clone(), *version)).collect()
    }

    /// These changes are in the database; later ones are not.
    fn note_written(&self, written: &[(Topic, Timestamp)]) {
        let mut topics = self.topics();
        for (topic, version) in written {
            if topics.get(topic).is_some_and(|latest| latest <= version) {
                topics.remove(topic);
            }
        }
    }
}

impl Hub {
    /// Reads the retained messages that a filter, or a topic, may match: other hubs may have them. Errors: as of the store.
    pub(in crate::domain) async fn read_retained(&self, filter: &str) -> Result<(), DomainError> {
        let (Some(cluster), Some(group)) = (&self.cluster, group_of(filter)) else { return Ok(()) };
        let young = age_now() - YOUNG_S;
        let found = self.store.retained(group).await?.into_iter();
        let found = found.map(|message| (message.version, publication(message))).map(|(version, of)| (of, version));
        self.router.merge_retained(group, found.collect(), |topic, version| {
            version > young || cluster.retained.topics().contains_key(topic)
        });
        Ok(())
    }

    /// Deletes the retained messages of topics in the database, as `forget_retained_here` does here.
    pub(in crate::domain) async fn forget_shared(&self, topics: &str) -> Result<(), DomainError> {
        match self.has_bus() {
            true => Ok(self.store.delete_retained(topics).await?),
            false => Ok(()),
        }
    }

    /// Deletes the retained messages in the database that contain one of these ids.
    pub(in crate::domain) async fn erase_shared(&self, subjects: &[String]) -> Result<(), DomainError> {
        if !self.has_bus() {
            return Ok(());
        }
        let subjects = Subjects::new(subjects);
        let names = |RetainedMessage { topic, payload, properties, .. }: &RetainedMessage| {
            subjects.are_in([topic.as_str().as_bytes(), payload, properties])
        };
        Ok(self.store.delete_retained_that(names).await?)
    }

    /// Deletes retained messages here: those of two levels, such as `toy/<id>`, or those whose topics begin with `topics`,
    /// which ends with '/'. What this hub was about to write to the database is not written, and deleted there.
    pub(in crate::domain) fn forget_retained_here(&self, topics: &str) {
        let own = match topics.ends_with('/') {
            true => self.router.forget_retained_below(topics),
            false => self.router.forget_retained(topics),
        };
        if let Some(cluster) = &self.cluster {
            cluster.retained.add(own);
        }
    }

    /// Writes changes to the database as they happen.
    pub(super) async fn write_retained(&self, unwritten: &Unwritten) {
        loop {
            unwritten.added.notified().await;
            sleep(PAUSE).await;
            while let Err(error) = self.write_all_retained(unwritten).await {
                tracing::debug!(?error, "retained messages are not in the database yet");
                sleep(FAILED_PAUSE).await;
            }
        }
    }

    /// Writes all changes to the database.
    pub(super) async fn write_all_retained(&self, unwritten: &Unwritten) -> Result<(), DomainError> {
        loop {
            let some = unwritten.some();
            if some.is_empty() {
                return Ok(());
            }
            let (mut changes, mut written) = (Vec::with_capacity(some.len()), Vec::with_capacity(some.len()));
            for (topic, changed_at) in some {
                let change = match self.router.retained(&topic) {
                    Some((publication, version)) => RetainedChange::Set(message(&publication, version)),
                    None => RetainedChange::Deleted(topic.clone(), changed_at),
                };
                changes.push(change);
                written.push((topic, changed_at));
            }
            self.store.write_retained(&changes).await?;
            for change in &changes {
                match change {
                    RetainedChange::Set(message) => self.router.note_shared(&message.topic, message.version),
                    RetainedChange::Deleted(topic, version) => self.router.note_shared(topic, *version),
                }
            }
            unwritten.note_written(&written);
        }
    }
}

fn message(publication: &Publication, version: Timestamp) -> RetainedMessage {
    RetainedMessage {
        topic: publication.topic.clone(),
        payload: publication.payload.bytes().clone(),
        properties: publication.properties.clone(),
        qos: publication.qos as u8,
        version,
        expires_at: publication.expires_at,
    }
}

fn publication(message: RetainedMessage) -> Publication {
    let RetainedMessage { topic, payload, properties, qos, expires_at, .. } = message;
    let qos = match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    Publication { topic, payload: Bytes::into(payload), qos, retain: true, publisher: None, properties, expires_at }
}

/// The first two levels of a topic or filter, if clients publish retained messages below them.
fn group_of(filter: &str) -> Option<&str> {
    let end = filter.match_indices('/').nth(1).map_or(filter.len(), |(end, _)| end);
    let group = &filter[..end];
    let has_wildcard = group.contains(['+', '#']);
    (!has_wildcard && is_of_clients(filter)).then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_topics_of_clients_are_read() {
        for (filter, group) in [
            ("toy/1/state/#", Some("toy/1")),
            ("toy/1/cmd/+/left", Some("toy/1")),
            ("chat/1", Some("chat/1")),
            ("toy/+/state/#", None),
            ("toy/1/in", None),
            ("toy/1/file/#", None),
            ("online/1", None),
            ("#", None),
        ] {
            assert_eq!(group_of(filter), group, "{filter}");
        }
    }

    #[test]
    fn a_change_during_the_writing_is_written_next() {
        let unwritten = Unwritten::default();
        let topic = |text: &str| text.parse::<Topic>().unwrap();
        unwritten.add([(topic("chat/1"), 2.0), (topic("chat/2"), 1.0), (topic("chat/1"), 1.0)]);
        let mut some = unwritten.some();
        some.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(some, [(topic("chat/1"), 2.0), (topic("chat/2"), 1.0)]);
        unwritten.add([(topic("chat/2"), 3.0)]);
        unwritten.note_written(&some);
        assert_eq!(unwritten.some(), [(topic("chat/2"), 3.0)]);
    }
}
