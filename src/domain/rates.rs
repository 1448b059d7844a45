//! How often a client may do what is costly.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::error::DomainError;
use crate::config;
use crate::model::{Network, ToyId, UserId};

/// After so many checks the state of keys that are idle again is freed.
const SWEEP_EVERY: u32 = 4096;

/// So many in a time for each key, a minute unless it says otherwise, all at once if need be.
pub(super) struct PerMinute<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> PerMinute<K> {
    fn new(count: u32) -> Self {
        Self::of(Quota::per_minute(at_least_one(count)))
    }

    fn per_hour(count: u32) -> Self {
        Self::of(Quota::per_hour(at_least_one(count)))
    }

    fn of(quota: Quota) -> Self {
        Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default(), checks: 0.into() }
    }

    /// Counts one more, or says how long to wait.
    pub(super) fn spend(&self, key: &K) -> Result<(), DomainError> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(key).map_err(|until| DomainError::RateLimited {
            retry_after_s: until.wait_time_from(self.clock.now()).as_secs() + 1,
        })
    }
}

fn at_least_one(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

/// Failures of each key: after too many in a minute, every further try is refused, right or wrong.
pub(super) struct Failures<K: Hash + Eq + Clone> {
    rate: PerMinute<K>,
    refused_until: DashMap<K, Instant>,
}

impl<K: Hash + Eq + Clone> Failures<K> {
    fn new(count: u32) -> Self {
        Self { rate: PerMinute::new(count), refused_until: DashMap::new() }
    }

    /// Whether the key may try.
    pub(super) fn check(&self, key: &K) -> Result<(), DomainError> {
        let now = Instant::now();
        let Some(until) = self.refused_until.get(key).map(|until| *until) else { return Ok(()) };
        if until <= now {
            self.refused_until.remove_if(key, |_, until| *until <= now);
            return Ok(());
        }
        Err(DomainError::RateLimited { retry_after_s: (until - now).as_secs() + 1 })
    }

    /// Counts a failure of the key.
    pub(super) fn note(&self, key: &K) {
        if let Err(DomainError::RateLimited { retry_after_s }) = self.rate.spend(key) {
            let now = Instant::now();
            if self.refused_until.len() >= SWEEP_EVERY as usize {
                self.refused_until.retain(|_, until| *until > now);
            }
            self.refused_until.insert(key.clone(), now + Duration::from_secs(retry_after_s));
        }
    }
}

/// All the hub's rates, by what they guard.
pub(super) struct Rates {
    pub(super) failed_logins_of_address: Failures<Network>,
    pub(super) failed_logins_of_account: Failures<String>,
    pub(super) failed_logins_at_place: Failures<(UserId, Network)>,
    pub(super) wrong_invites: Failures<Network>,
    pub(super) registrations: PerMinute<Network>,
    pub(super) uploads: PerMinute<String>,
    pub(super) requests: PerMinute<String>,
    pub(super) refused_openings: PerMinute<ToyId>,
    pub(super) connects: PerMinute<Network>,
}

impl Rates {
    pub(super) fn new(config: &config::Rates) -> Self {
        Self {
            failed_logins_of_address: Failures::new(config.failed_logins_per_address_per_minute),
            failed_logins_of_account: Failures::new(config.failed_logins_per_account_per_minute),
            failed_logins_at_place: Failures::new(config.failed_logins_per_account_per_minute),
            wrong_invites: Failures::new(config.wrong_invites_per_address_per_minute),
            registrations: PerMinute::new(config.registrations_per_address_per_minute),
            uploads: PerMinute::new(config.uploads_per_party_per_minute),
            requests: PerMinute::new(config.requests_per_party_per_minute),
            refused_openings: PerMinute::per_hour(config.refused_openings_per_toy_per_hour),
            connects: PerMinute::new(config.connects_per_address_per_minute),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_too_many_failures_a_right_try_is_refused_too() {
        let failures = Failures::new(2);
        let key = "someone".to_owned();
        for _ in 0..3 {
            failures.check(&key).unwrap();
            failures.note(&key);
        }
        assert!(matches!(failures.check(&key), Err(DomainError::RateLimited { retry_after_s: 1..=61 })));
        assert!(failures.check(&"another".to_owned()).is_ok());
    }

    #[test]
    fn a_rate_counts_each_key_apart() {
        let rate = PerMinute::new(1);
        rate.spend(&1).unwrap();
        assert!(rate.spend(&1).is_err());
        rate.spend(&2).unwrap();
    }
}
