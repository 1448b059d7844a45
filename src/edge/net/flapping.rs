//! Addresses whose connections are refused or break early, again and again, are refused for a while.
//!
//! The table belongs to the task that accepts: there is no lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Bans;
use crate::model::Network;

/// The span of time in which failures of an address are added up.
const WINDOW: Duration = Duration::from_secs(60);
/// The minimum interval between two sweeps of a full table.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Names at one address whose refusals are counted apart; those of further ones count in full.
const NAMES_MAX: usize = 16;

/// Failures of addresses, and the bans.
#[derive(Debug)]
pub(super) struct Flapping {
    bans: Bans,
    records: HashMap<Network, Record>,
    swept_at: Option<Instant>,
}

#[derive(Debug, Clone)]
enum Record {
    Counted { failures: u32, since: Instant, names: Vec<(u64, u32)> },
    Banned { until: Instant },
}

impl Record {
    fn new(since: Instant) -> Self {
        Self::Counted { failures: 0, since, names: Vec::new() }
    }

    fn is_over(&self, now: Instant) -> bool {
        match self {
            Self::Counted { since, .. } => now.duration_since(*since) >= WINDOW,
            Self::Banned { until } => now >= *until,
        }
    }
}

impl Flapping {
    pub(super) fn new(bans: Bans) -> Self {
        Self { bans, records: HashMap::new(), swept_at: None }
    }

    /// Whether connections of `address` are refused now.
    pub(super) fn is_banned(&self, address: IpAddr, now: Instant) -> bool {
        // Nobody is banned most of the time.
        !self.records.is_empty()
            && matches!(self.records.get(&Network::from(address)), Some(Record::Banned { until }) if now < *until)
    }

    /// Counts a connection that was refused, under a name if it has given one, or broke, unless it lasted; `true` if
    /// this one leads to a ban.
    pub(super) fn failed(&mut self, address: IpAddr, name: Option<u64>, started_at: Instant, now: Instant) -> bool {
        if now.duration_since(started_at) > self.bans.age {
            return false;
        }
        let address = Network::from(address);
        if !self.records.contains_key(&address) && !self.has_room(now) {
            return false;
        }
        let record = self.records.entry(address).or_insert_with(|| Record::new(now));
        if record.is_over(now) {
            *record = Record::new(now);
        }
        // A banned address whose last connections end is banned already.
        let Record::Counted { failures, names, .. } = record else { return false };
        if let Some(name) = name {
            match names.iter().position(|(known, _)| *known == name) {
                Some(at) if names[at].1 >= self.bans.refusals_per_name_max => return false,
                Some(at) => names[at].1 += 1,
                None if names.len() < NAMES_MAX => names.push((name, 1)),
                None => {}
            }
        }
        *failures += 1;
        let is_banned = *failures > self.bans.failures_max;
        if is_banned {
            *record = Record::Banned { until: now + self.bans.ban };
        }
        is_banned
    }

    /// Whether one more address can be counted. If not, it is not counted; the limits of connections and of the
    /// connection rate still apply.
    fn has_room(&mut self, now: Instant) -> bool {
        let is_due = self.swept_at.is_none_or(|at| now.duration_since(at) >= SWEEP_INTERVAL);
        if self.records.len() >= self.bans.addresses_max && is_due {
            self.swept_at = Some(now);
            self.records.retain(|_, record| !record.is_over(now));
        }
        self.records.len() < self.bans.addresses_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flapping() -> Flapping {
        let (age, ban) = (Duration::from_secs(10), Duration::from_secs(30));
        Flapping::new(Bans { failures_max: 2, refusals_per_name_max: 1, age, ban, addresses_max: 2 })
    }

    impl Flapping {
        /// A connection that was refused at once.
        fn refused(&mut self, address: IpAddr, now: Instant) -> bool {
            self.failed(address, None, now, now)
        }
    }

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const THIRD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

    #[test]
    fn too_many_failures_in_a_minute_are_a_ban_that_ends() {
        let (mut flapping, start) = (flapping(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        assert!(!flapping.refused(ADDRESS, at(0)));
        assert!(!flapping.refused(ADDRESS, at(1)));
        assert!(!flapping.is_banned(ADDRESS, at(1)));
        assert!(flapping.refused(ADDRESS, at(2)));
        assert!(flapping.is_banned(ADDRESS, at(31)) && !flapping.is_banned(OTHER, at(31)));
        assert!(!flapping.refused(ADDRESS, at(3)), "a ban is not made longer");
        assert!(!flapping.is_banned(ADDRESS, at(32)));
        assert!(!flapping.refused(ADDRESS, at(33)), "and counting begins anew");
    }

    #[test]
    fn a_late_disconnect_is_no_failure() {
        let (mut flapping, start) = (flapping(), Instant::now());
        for _ in 0..10 {
            assert!(!flapping.failed(ADDRESS, None, start, start + Duration::from_secs(11)));
        }
        assert!(flapping.records.is_empty());
    }

    #[test]
    fn one_broken_client_does_not_get_the_others_at_its_address_banned() {
        let (mut flapping, now) = (flapping(), Instant::now());
        for _ in 0..1000 {
            assert!(!flapping.failed(ADDRESS, Some(1), now, now));
        }
        assert!(!flapping.failed(ADDRESS, Some(2), now, now));
        assert!(flapping.failed(ADDRESS, Some(3), now, now), "many names are a stranger who guesses");
        // Refused and broken connections add up, and the table of names is bounded.
        let later = now + Duration::from_secs(100);
        assert!(!flapping.refused(ADDRESS, later) && !flapping.failed(ADDRESS, Some(1), later, later));
        assert!(flapping.refused(ADDRESS, later));
    }

    #[test]
    fn failures_of_different_minutes_are_not_added_up() {
        let (mut flapping, start) = (flapping(), Instant::now());
        for minute in 0..10 {
            assert!(!flapping.refused(ADDRESS, start + WINDOW * minute));
            assert!(!flapping.refused(ADDRESS, start + WINDOW * minute + Duration::from_secs(1)));
        }
    }

    #[test]
    fn the_table_is_bounded_and_frees_old_entries() {
        let (mut flapping, start) = (flapping(), Instant::now());
        for _ in 0..10 {
            for address in [ADDRESS, OTHER, THIRD] {
                flapping.refused(address, start);
            }
        }
        assert_eq!(flapping.records.len(), 2);
        assert!(flapping.is_banned(ADDRESS, start) && !flapping.is_banned(THIRD, start));
        flapping.refused(THIRD, start + Duration::from_secs(31));
        assert_eq!(flapping.records.len(), 1);
    }
}
