//! Permissions to publish that were read a moment ago, for a hub whose database is a server: each publication would wait for
//! a reading otherwise, and the server would make them for all hubs.
//!
//! Only what is permitted is remembered, for [`LASTS`]. A permission that a party loses ends at once at this hub, and at the
//! others as the bus brings it ([`Notice::Lost`](crate::ports::bus::Notice::Lost)), or after that time.

use std::time::Duration;

use dashmap::DashMap;

use super::permissions::Rule;
use crate::model::Party;

/// How long a permission is remembered.
const LASTS: Duration = Duration::from_secs(1);
/// Permissions that are remembered. When they are more, all are forgotten.
const PERMITTED_MAX: usize = 20_000;

/// What was permitted, with the count of revocations and the time before it was read.
#[derive(Debug, Default)]
pub(super) struct Permitted(DashMap<(Party, Rule), (u64, Duration)>);

impl Permitted {
    /// Whether a rule was permitted to a party, and nothing was revoked since.
    pub(super) fn has(&self, party: &Party, rule: &Rule, revocations: u64, now: Duration) -> bool {
        let known = self.0.get(&(party.clone(), rule.clone()));
        known.is_some_and(|known| known.0 == revocations && now.saturating_sub(known.1) < LASTS)
    }

    /// A rule is permitted to a party, as the database said after this count and time.
    pub(super) fn note(&self, party: &Party, rule: Rule, revocations: u64, at: Duration) {
        if self.0.len() >= PERMITTED_MAX {
            self.0.clear();
        }
        self.0.insert((party.clone(), rule), (revocations, at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ToyId, UserId};

    #[test]
    fn a_permission_is_forgotten_with_the_next_revocation_and_after_a_while() {
        let (permitted, party) = (Permitted::default(), Party::User(UserId::random()));
        let rule = Rule::IfOwnerOf(ToyId::random());
        let now = Duration::from_secs(60);
        assert!(!permitted.has(&party, &rule, 3, now));
        permitted.note(&party, rule.clone(), 3, now);
        assert!(permitted.has(&party, &rule, 3, now) && !permitted.has(&party, &rule, 4, now));
        assert!(!permitted.has(&party, &Rule::IfOwnerOf(ToyId::random()), 3, now));
        assert!(!permitted.has(&Party::User(UserId::random()), &rule, 3, now));
        assert!(!permitted.has(&party, &rule, 3, now + LASTS));
    }

    #[test]
    fn the_memory_is_bounded() {
        let (permitted, party) = (Permitted::default(), Party::User(UserId::random()));
        (0..=PERMITTED_MAX).for_each(|_| permitted.note(&party, Rule::IfOwnerOf(ToyId::random()), 0, Duration::ZERO));
        assert_eq!(permitted.0.len(), 1);
    }
}
