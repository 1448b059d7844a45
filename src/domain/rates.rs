//! Rate limits.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::error::DomainError;
use crate::config;
use crate::model::{Network, ToyId, UserId};
use crate::ports::clock::MonotonicClock;

/// The number of checks after which the state of idle keys is freed.
const SWEEP_EVERY: u32 = 4096;

impl Clock for MonotonicClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Self::now(self)
    }
}

/// A quota for each key: a number in a minute, or in another period, which may be used up at once.
pub(super) struct PerMinute<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, DefaultKeyedStateStore<K>, MonotonicClock, NoOpMiddleware<Duration>>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> PerMinute<K> {
    fn new(count: u32, clock: &MonotonicClock) -> Self {
        Self::of(Quota::per_minute(at_least_one(count)), clock)
    }

    fn per_hour(count: u32, clock: &MonotonicClock) -> Self {
        Self::of(Quota::per_hour(at_least_one(count)), clock)
    }

    fn of(quota: Quota, clock: &MonotonicClock) -> Self {
        let limiter = RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock.clone());
        Self { limiter, checks: 0.into() }
    }

    /// Takes one from the quota, or returns how long to wait.
    pub(super) fn spend(&self, key: &K) -> Result<(), DomainError> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(key).map_err(|until| DomainError::RateLimited {
            retry_after_s: until.wait_time_from(self.limiter.clock().now()).as_secs() + 1,
        })
    }
}

fn at_least_one(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

/// A limit of failures for each key: after too many in a minute, every further attempt is refused, right or wrong.
pub(super) struct Failures<K: Hash + Eq + Clone> {
    rate: PerMinute<K>,
    clock: MonotonicClock,
    /// By the clock.
    refused_until: DashMap<K, Duration>,
}

impl<K: Hash + Eq + Clone> Failures<K> {
    fn new(count: u32, clock: &MonotonicClock) -> Self {
        Self { rate: PerMinute::new(count, clock), clock: clock.clone(), refused_until: DashMap::new() }
    }

    /// Whether the key has attempts left.
    pub(super) fn check(&self, key: &K) -> Result<(), DomainError> {
        let now = self.clock.now();
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
            let now = self.clock.now();
            if self.refused_until.len() >= SWEEP_EVERY as usize {
                self.refused_until.retain(|_, until| *until > now);
            }
            self.refused_until.insert(key.clone(), now + Duration::from_secs(retry_after_s));
        }
    }
}

/// All rate limits of the hub.
pub(super) struct Rates {
    pub(super) failed_logins_of_address: Failures<Network>,
    pub(super) failed_logins_of_account: Failures<String>,
    pub(super) failed_logins_of_operator: Failures<Network>,
    pub(super) failed_logins_at_place: Failures<(UserId, Network)>,
    pub(super) wrong_invites: Failures<Network>,
    pub(super) registrations: PerMinute<Network>,
    pub(super) uploads: PerMinute<String>,
    pub(super) requests: PerMinute<String>,
    pub(super) refused_openings: PerMinute<ToyId>,
    pub(super) refused_openings_of_address: Failures<Network>,
    pub(super) connects: PerMinute<Network>,
    /// By the name that the client gives.
    pub(super) refused_connects: Failures<(Network, String)>,
}

impl Rates {
    pub(super) fn new(config: &config::Rates, console: &config::Console, clock: &MonotonicClock) -> Self {
        Self {
            failed_logins_of_operator: Failures::new(console.failed_logins_per_minute, clock),
            failed_logins_of_address: Failures::new(config.failed_logins_per_address_per_minute, clock),
            failed_logins_of_account: Failures::new(config.failed_logins_per_account_per_minute, clock),
            failed_logins_at_place: Failures::new(config.failed_logins_per_account_per_minute, clock),
            wrong_invites: Failures::new(config.wrong_invites_per_address_per_minute, clock),
            registrations: PerMinute::new(config.registrations_per_address_per_minute, clock),
            uploads: PerMinute::new(config.uploads_per_party_per_minute, clock),
            requests: PerMinute::new(config.requests_per_party_per_minute, clock),
            refused_openings: PerMinute::per_hour(config.refused_openings_per_toy_per_hour, clock),
            refused_openings_of_address: Failures::new(config.refused_openings_per_address_per_minute, clock),
            connects: PerMinute::new(config.connects_per_address_per_minute, clock),
            refused_connects: Failures::new(config.refused_connects_per_party_per_minute, clock),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_too_many_failures_a_right_try_is_refused_too_until_the_time_is_over() {
        let clock = MonotonicClock::stopped();
        let failures = Failures::new(2, &clock);
        let key = "someone".to_owned();
        for _ in 0..3 {
            failures.check(&key).unwrap();
            failures.note(&key);
        }
        let refused = |failures: &Failures<String>| match failures.check(&key) {
            Err(DomainError::RateLimited { retry_after_s }) => retry_after_s,
            other => panic!("{other:?}"),
        };
        let retry_after_s = refused(&failures);
        assert!((1..=61).contains(&retry_after_s), "{retry_after_s}");
        assert!(failures.check(&"another".to_owned()).is_ok());
        clock.advance(Duration::from_secs(retry_after_s - 2));
        assert!(refused(&failures) <= 2);
        clock.advance(Duration::from_secs(1));
        failures.check(&key).unwrap();
    }

    #[test]
    fn a_rate_counts_each_key_apart_and_is_whole_again_after_its_time() {
        let clock = MonotonicClock::stopped();
        let (minute, hour) = (PerMinute::new(2, &clock), PerMinute::per_hour(1, &clock));
        let spend = |count: usize| (0..count).filter(|_| minute.spend(&1).is_ok()).count();
        assert_eq!(spend(3), 2);
        minute.spend(&2).unwrap();
        hour.spend(&1).unwrap();
        clock.advance(Duration::from_secs(30));
        assert_eq!(spend(3), 1, "half of the time gives half of them back");
        clock.advance(Duration::from_secs(3569));
        assert_eq!(spend(3), 2, "more than all are never saved up");
        assert!(hour.spend(&1).is_err());
        clock.advance(Duration::from_secs(1));
        hour.spend(&1).unwrap();
    }
}
