//! The present state of the hub in numbers, for the operator's monitoring.

use super::Hub;
use crate::model::Party;
use crate::ports::metrics::METRICS;
use crate::ports::router::{Connected, Depths, Figures, Seen, Topics};
use crate::ports::workers::Workers;

/// The present state in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauges {
    /// The counters of the router.
    pub router: Figures,
    /// The queues and sessions of the router.
    pub depths: Depths,
    /// Jobs that run or are queued, by the pool of workers.
    pub jobs: [(&'static str, usize); 3],
    /// The parts, and whether they work; those that are turned off are left out.
    pub parts: Vec<(&'static str, bool)>,
    /// Bytes that are free on the disk of the data folder.
    pub disk_free_bytes: u64,
    /// Bytes of them that stay free.
    pub disk_reserve_bytes: u64,
}

/// The use of something that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The key of the limit, or the name of a pool of workers.
    pub name: &'static str,
    /// How much of it is used.
    pub used: u64,
    /// The limit.
    pub max: u64,
}

impl Hub {
    /// The limits of the hub that all clients share, and their use.
    pub fn limits(&self) -> Vec<Limit> {
        let limit = |name, used, max: usize| Limit { name, used, max: max as u64 };
        let jobs = |name, workers: &Workers| limit(name, workers.jobs() as u64, workers.jobs_max());
        let (http, mqtt) = (&self.config.http, &self.config.mqtt);
        vec![
            limit("http.connections_max", METRICS.http.open.get(), http.connections_max),
            limit("mqtt.connections_max", METRICS.mqtt.open.get(), mqtt.connections_max),
            limit("mqtt.retained_messages_max", self.router.figures().retained as u64, mqtt.retained_messages_max),
            jobs("jobs: sounds", &self.audio_workers),
            jobs("jobs: passwords", &self.password_workers),
            jobs("jobs: disk", &self.disk_workers),
        ]
    }

    /// The live connections of parties whose id begins with `prefix`, at most `limit`, those with the longest queues
    /// first; and the number of all of these. It looks at every connection.
    pub fn connected(&self, prefix: &str, limit: usize) -> (Vec<Connected>, usize) {
        self.router.connected(prefix, limit)
    }

    /// Whether a party has a connection.
    pub fn is_online(&self, party: &Party) -> bool {
        self.router.online(party)
    }

    /// The topics and filters that contain `text`, at most `limit` of each, without any content.
    pub fn topics(&self, text: &str, limit: usize) -> Topics {
        self.router.topics(text, limit)
    }

    /// The last publications, newest first, without any content; those since the operator looks at them.
    pub fn seen_publications(&self) -> Vec<Seen> {
        self.router.seen()
    }

    /// The present state in numbers. It looks at every connection, and is meant for a call each few seconds.
    pub fn gauges(&self) -> Gauges {
        let parts = self.health().parts().into_iter().filter_map(|(name, state)| match state {
            super::PartState::Ok => Some((name, true)),
            super::PartState::Off => None,
            super::PartState::Loading | super::PartState::Failed(_) | super::PartState::Degraded(_) => {
                Some((name, false))
            }
        });
        Gauges {
            router: self.router.figures(),
            depths: self.router.depths(),
            jobs: [
                ("audio", self.audio_workers.jobs()),
                ("password", self.password_workers.jobs()),
                ("disk", self.disk_workers.jobs()),
            ],
            parts: parts.collect(),
            disk_free_bytes: self.space.left_bytes(),
            disk_reserve_bytes: self.config.server.free_bytes_min,
        }
    }
}
