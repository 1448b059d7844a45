//! Which unread messages a login has counted already.
//!
//! Legacy pages show the counts of `/auto_login`, and add one for each message that their socket `/app/<user id>`
//! receives. A message that the login has counted must therefore not be sent on that socket again; one that arrives
//! between the login and the socket must. Both are told apart by its number in the user's stream of events.
//!
//! Such pages send no token on their socket, so that a login is known by the user, the address and the kind of client
//! (its `User-Agent`). Where a doubt is left, a message is counted twice rather than never: it is known here only for a
//! while, and not across a restart.

use std::time::Duration;

use dashmap::DashMap;

use super::Hub;
use super::places::Origin;
use crate::config;
use crate::model::{Network, Party, UserId};
use crate::ports::clock::MonotonicClock;

/// The maximum number of kinds of clients of one user at one address.
const CLIENTS_MAX: usize = 8;

/// The last login of one kind of client.
#[derive(Debug)]
struct Login {
    agent: Option<u64>,
    /// The number of the last event that it has counted.
    up_to: u64,
    at: Duration,
}

/// The logins of the users at their addresses.
pub(super) struct Counted {
    clock: MonotonicClock,
    age_max: Duration,
    max: usize,
    logins: DashMap<(UserId, Network), Vec<Login>>,
}

impl Counted {
    pub(super) fn new(config: &config::Ws, clock: &MonotonicClock) -> Self {
        Self {
            clock: clock.clone(),
            age_max: Duration::from_secs(config.login_counts_age_max_s),
            max: config.login_counts_max,
            logins: DashMap::new(),
        }
    }

    /// Notes a login that has counted the messages up to an event.
    fn note(&self, user: &UserId, from: Origin, up_to: u64) {
        let Some(place) = from.place() else { return };
        let (key, at) = ((user.clone(), place), self.clock.now());
        if !self.logins.contains_key(&key) && self.logins.len() >= self.max {
            self.logins.retain(|_, logins| logins.iter().any(|login| self.is_recent(login)));
            if self.logins.len() >= self.max {
                return;
            }
        }
        let mut logins = self.logins.entry(key).or_default();
        logins.retain(|login| login.agent != from.agent && self.is_recent(login));
        if logins.len() >= CLIENTS_MAX {
            // Which of them are in use is not known, and a message must not be left out for any.
            logins.clear();
        }
        logins.push(Login { agent: from.agent, up_to, at });
    }

    /// The number of the last event that a client of this address has counted at its login: a client of the same kind,
    /// or else all of them.
    fn up_to(&self, user: &UserId, from: Origin) -> Option<u64> {
        let logins = self.logins.get(&(user.clone(), from.place()?))?;
        let recent = || logins.iter().filter(|login| self.is_recent(login));
        let same = recent().find(|login| login.agent == from.agent).map(|login| login.up_to);
        same.or_else(|| recent().map(|login| login.up_to).min())
    }

    /// Forgets the logins of a party, whose clients have to log in again.
    pub(super) fn forget(&self, party: &Party) {
        if let Party::User(user) = party {
            self.logins.retain(|(known, _), _| known != user);
        }
    }

    fn is_recent(&self, login: &Login) -> bool {
        self.clock.now().saturating_sub(login.at) < self.age_max
    }
}

impl Hub {
    /// Notes that a client has got the counts of the unread messages up to an event.
    pub fn note_counted(&self, user: &UserId, from: Origin, up_to: u64) {
        self.counted.note(user, from, up_to);
    }

    /// The number of the last event of which a client of the older socket knows by its login; none if it knows of none.
    pub fn counted_up_to(&self, party: &Party, from: Origin) -> Option<u64> {
        match party {
            Party::User(user) => self.counted.up_to(user, from),
            Party::Toy(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config::Ws;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn counted(max: usize) -> (Counted, MonotonicClock) {
        let clock = MonotonicClock::stopped();
        let config = Ws { login_counts_age_max_s: 60, login_counts_max: max, ..Ws::default() };
        (Counted::new(&config, &clock), clock)
    }

    fn user(number: u8) -> UserId {
        format!("5c8f582f268d7942f44c67{number:02}").parse().unwrap()
    }

    fn with(agent: &str) -> Origin {
        Origin::from(HOME).with_agent(Some(agent))
    }

    #[test]
    fn a_client_is_known_by_its_user_its_address_and_its_kind() {
        let (counted, clock) = counted(10);
        let elsewhere = Origin::from(IpAddr::from(Ipv4Addr::new(192, 0, 2, 2)));
        assert_eq!(counted.up_to(&user(1), with("phone")), None);
        counted.note(&user(1), with("phone"), 5);
        assert_eq!(counted.up_to(&user(1), with("phone")), Some(5));
        assert_eq!(counted.up_to(&user(1), with("other")), Some(5), "the only client there is");
        assert_eq!(counted.up_to(&user(1), elsewhere), None);
        assert_eq!(counted.up_to(&user(2), with("phone")), None);
        // Another device has counted more: the first one has not.
        counted.note(&user(1), with("tablet"), 9);
        assert_eq!(counted.up_to(&user(1), with("phone")), Some(5));
        assert_eq!(counted.up_to(&user(1), with("tablet")), Some(9));
        assert_eq!(counted.up_to(&user(1), with("unknown")), Some(5), "all of them know of those");
        counted.note(&user(1), Origin { is_hidden: true, ..with("phone") }, 20);
        assert_eq!(counted.up_to(&user(1), with("phone")), Some(5), "behind a proxy that is not named");
        clock.advance(Duration::from_secs(59));
        counted.note(&user(1), with("tablet"), 12);
        clock.advance(Duration::from_secs(1));
        assert_eq!(counted.up_to(&user(1), with("phone")), Some(12), "the login of the phone is too long ago");
        counted.forget(&Party::User(user(1)));
        assert_eq!(counted.up_to(&user(1), with("tablet")), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let (counted, clock) = counted(2);
        for number in 1..=9 {
            counted.note(&user(number), with("phone"), 5);
        }
        assert_eq!(counted.logins.len(), 2);
        assert_eq!(counted.up_to(&user(9), with("phone")), None, "it gets everything");
        clock.advance(Duration::from_secs(60));
        counted.note(&user(9), with("phone"), 5);
        assert_eq!((counted.logins.len(), counted.up_to(&user(9), with("phone"))), (1, Some(5)));
        for agent in 0..100 {
            counted.note(&user(9), with(&agent.to_string()), 7);
        }
        assert!(counted.logins.get(&(user(9), HOME.into())).unwrap().len() <= CLIENTS_MAX);
    }
}
