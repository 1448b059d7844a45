//! Proof that a device has got what it was told.
//!
//! UDP does not say that packets are lost, and TCP takes a while to notice that the other end has gone. So what was told
//! is done only when the device has given a sign of life after the last packet of it. The hub asks for one.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::turn::Done;
use crate::model::ReminderId;

/// A device that does not answer within this time has gone. It may not have heard the end of what it was told.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// What was told to a device that does not answer questions. More is told again.
const TOLD_MAX: usize = 64;

/// What was told, without a sign of life since then.
#[derive(Default)]
pub(super) struct Unproven {
    told: Vec<Done>,
    /// When the device has gone; none if it was not asked.
    until: Option<Instant>,
    is_lost: bool,
}

impl Unproven {
    /// All packets of this were played now, if the device is still there.
    pub(super) fn add(&mut self, done: Done, is_asked: bool) {
        if self.told.len() < TOLD_MAX {
            self.told.push(done);
        }
        if is_asked {
            self.until.get_or_insert_with(|| Instant::now() + ANSWER_MAX);
        }
    }

    /// There is a sign of life: what was told before.
    pub(super) fn prove(&mut self) -> Vec<Done> {
        std::mem::take(self).told
    }

    /// Nobody knows whether the device has got what was told before.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The device has not answered.
    pub(super) fn lose(&mut self) {
        *self = Self { is_lost: true, ..Self::default() };
    }

    /// Whether the device has not answered, and has given no sign of life since.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether this reminder was told.
    pub(super) fn has_reminder(&self, id: &ReminderId) -> bool {
        self.told.iter().any(|done| matches!(done, Done::Reminder(told) if told == id))
    }

    /// When the device has gone, without a sign of life before.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }
}
