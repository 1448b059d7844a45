//! The present state of the hub in numbers, for the operator's monitoring.

use super::Hub;
use crate::ports::router::{Depths, Figures};

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

impl Hub {
    /// The present state in numbers. It looks at every connection, and is meant for a call each few seconds.
    pub fn gauges(&self) -> Gauges {
        let parts = self.health().parts().into_iter().filter_map(|(name, state)| match state {
            super::PartState::Ok => Some((name, true)),
            super::PartState::Off => None,
            super::PartState::Failed(_) => Some((name, false)),
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
