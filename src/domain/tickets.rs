//! Tickets, with which a web page opens its socket: it cannot set a header, and a token must not be part of an address.
//!
//! A ticket is random, can be used once, and expires after seconds. It stands for the token that it was issued for: if
//! that one is revoked or expires meanwhile, the ticket is invalid.
//!
//! With an embedded database, the hub keeps the hashes of its tickets in memory only: each ticket would cost two commits
//! that wait for the disk. Hubs over one server keep them in its database, so that each accepts those of the others.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::accounts::hash_of;
use super::error::DomainError;
use super::login::Admitted;
use super::{Hub, clock};
use crate::config;
use crate::model::{Party, Secret, Timestamp};
use crate::ports::store::NewTicket;

const TICKET: &str = "ticket, use one or wait a moment";

/// The unused tickets.
pub(super) struct Tickets {
    waiting: Mutex<Waiting>,
    ttl_s: f64,
    per_party_max: usize,
    max: usize,
}

struct Ticket {
    hash: String,
    party: Party,
    token_hash: String,
    good_until: Timestamp,
}

/// A ticket is in all three maps. All tickets have the same lifetime, so that they expire in the order of their
/// numbers.
#[derive(Default)]
struct Waiting {
    by_number: BTreeMap<u64, Ticket>,
    numbers: HashMap<String, u64>,
    of_party: HashMap<Party, usize>,
    issued: u64,
}

impl Waiting {
    fn remove(&mut self, number: u64) -> Option<Ticket> {
        let ticket = self.by_number.remove(&number)?;
        self.numbers.remove(&ticket.hash);
        if let Some(count) = self.of_party.get_mut(&ticket.party) {
            *count -= 1;
            if *count == 0 {
                self.of_party.remove(&ticket.party);
            }
        }
        Some(ticket)
    }

    fn forget_expired(&mut self, now: Timestamp) {
        while let Some((&number, _)) = self.by_number.first_key_value().filter(|(_, ticket)| ticket.good_until <= now) {
            self.remove(number);
        }
    }
}

impl Tickets {
    pub(super) fn new(config: &config::Ws) -> Self {
        Self {
            waiting: Mutex::default(),
            ttl_s: config::seconds(config.ticket_ttl_s).as_secs_f64(),
            // A party cannot open more connections than this.
            per_party_max: config.connections_per_user_max,
            max: config.tickets_max,
        }
    }

    /// A new ticket for the token with this hash. Errors: `Full`.
    fn issue(&self, party: Party, token_hash: String, now: Timestamp) -> Result<Secret, DomainError> {
        let mut waiting = self.waiting();
        waiting.forget_expired(clock::age_of(now));
        let of_party = waiting.of_party.get(&party).copied().unwrap_or(0);
        if of_party >= self.per_party_max || waiting.by_number.len() >= self.max {
            return Err(DomainError::Full(TICKET));
        }
        let secret = Secret::random();
        let number = waiting.issued;
        waiting.issued += 1;
        waiting.numbers.insert(hash_of(&secret), number);
        waiting.of_party.insert(party.clone(), of_party + 1);
        let ticket = Ticket { hash: hash_of(&secret), party, token_hash, good_until: clock::age_of(now) + self.ttl_s };
        waiting.by_number.insert(number, ticket);
        Ok(secret)
    }

    /// The hash of the token that the ticket stands for. This uses the ticket up.
    fn take(&self, ticket: &Secret, now: Timestamp) -> Option<String> {
        let mut waiting = self.waiting();
        let number = waiting.numbers.get(&hash_of(ticket)).copied()?;
        waiting.remove(number).filter(|ticket| ticket.good_until > clock::age_of(now)).map(|ticket| ticket.token_hash)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Issues a ticket that opens a socket once, within `ws.ticket_ttl_s`, for the party of a token. Errors:
    /// `Unauthorized`, `RateLimited`, `Full`.
    pub async fn issue_ticket(&self, token: &Secret, peer: IpAddr, now: Timestamp) -> Result<Secret, DomainError> {
        let login = self.authenticate_token(token, peer, now).await?;
        if !self.store.is_on_server() {
            return self.tickets.issue(login.party, hash_of(token), now);
        }
        let (secret, now) = (Secret::random(), clock::age_of(now));
        let (party, token_hash, good_until) = (login.party, hash_of(token), now + self.tickets.ttl_s);
        let new = NewTicket { hash: hash_of(&secret), party, token_hash, good_until };
        match self.store.add_ticket(new, self.tickets.per_party_max, now).await? {
            true => Ok(secret),
            false => Err(DomainError::Full(TICKET)),
        }
    }

    /// The login of a ticket: that of the token that it was issued for. Errors: `Unauthorized`, `RateLimited`.
    pub async fn redeem_ticket(&self, ticket: &Secret, peer: IpAddr, now: Timestamp) -> Result<Admitted, DomainError> {
        self.rates.failed_logins_of_address.check(&peer.into())?;
        let token_hash = match self.store.is_on_server() {
            true => self.store.take_ticket(&hash_of(ticket), clock::age_of(now)).await?,
            false => self.tickets.take(ticket, now),
        };
        self.log_in(token_hash, peer, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserId;

    fn tickets(per_party_max: usize, max: usize) -> Tickets {
        let (connections_per_user_max, tickets_max) = (per_party_max, max);
        Tickets::new(&config::Ws { connections_per_user_max, tickets_max, ..config::Ws::default() })
    }

    #[test]
    fn a_ticket_opens_once_and_not_for_long() {
        let tickets = tickets(4, 10);
        let party = Party::User(UserId::random());
        let issue = |now| tickets.issue(party.clone(), "the token".into(), now).unwrap();
        let ticket = issue(100.0);
        assert_eq!(tickets.take(&Secret::random(), 100.0), None, "a guess");
        assert_eq!(tickets.take(&ticket, 129.9).as_deref(), Some("the token"));
        assert_eq!(tickets.take(&ticket, 129.9), None, "used");
        let ticket = issue(200.0);
        assert_eq!(tickets.take(&ticket, 230.0), None, "expired");
        assert!(tickets.waiting().numbers.is_empty() && tickets.waiting().of_party.is_empty(), "nothing is left");
    }

    #[test]
    fn tickets_are_counted_for_each_party_and_in_all_until_they_expire_or_are_used() {
        let tickets = tickets(2, 3);
        let parties: Vec<Party> = (0..3).map(|_| UserId::random().into()).collect();
        let issue = |party: usize, now| tickets.issue(parties[party].clone(), String::new(), now);
        let first = issue(0, 0.0).unwrap();
        issue(0, 1.0).unwrap();
        assert!(matches!(issue(0, 2.0), Err(DomainError::Full(_))), "a third of one party");
        issue(1, 2.0).unwrap();
        assert!(matches!(issue(2, 3.0), Err(DomainError::Full(_))), "a fourth in all");
        assert!(tickets.take(&first, 4.0).is_some());
        issue(0, 5.0).unwrap();
        assert!(matches!(issue(0, 30.9), Err(DomainError::Full(_))));
        issue(0, 31.0).unwrap();
        issue(2, 32.0).unwrap();
        assert_eq!(tickets.waiting().by_number.len(), 3);
    }
}
