//! The operator of the console: a password, and sessions that expire.
//!
//! The password is made at the first start and stored as a hash, like that of a user. Sessions are kept in memory, by
//! the hashes of their tokens: they end with the process.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use super::Hub;
use super::accounts::hash_of;
use super::error::DomainError;
use crate::config;
use crate::model::{Network, Secret};

/// A name that the password must not be.
const OPERATOR: &str = "operator";

/// The sessions of the operator.
pub(super) struct Operators {
    /// By the hash of its token.
    sessions: DashMap<String, Session>,
    /// The number of changes of the password, so that a login with the old one that was being checked gets no session.
    changes: AtomicU64,
    idle_max: Duration,
    age_max: Duration,
    sessions_max: usize,
}

/// A session, by the hub's clock.
#[derive(Debug, Clone, Copy)]
struct Session {
    began_at: Duration,
    used_at: Duration,
}

impl Operators {
    pub(super) fn new(config: &config::Console) -> Self {
        Self {
            sessions: DashMap::new(),
            changes: AtomicU64::new(0),
            idle_max: Duration::from_secs(config.session_idle_minutes.saturating_mul(60)),
            age_max: Duration::from_secs(config.session_max_hours.saturating_mul(3600)),
            sessions_max: config.sessions_max,
        }
    }

    /// When a session ends unless it is used, by the hub's clock.
    fn end_of(&self, session: &Session) -> Duration {
        (session.used_at + self.idle_max).min(session.began_at + self.age_max)
    }

    /// Begins a session. The one that was used least recently makes room for it.
    fn begin(&self, token: &Secret, now: Duration) {
        self.sessions.retain(|_, session| self.end_of(session) > now);
        while self.sessions.len() >= self.sessions_max {
            let oldest = self.sessions.iter().min_by_key(|entry| entry.used_at).map(|entry| entry.key().clone());
            let Some(oldest) = oldest else { break };
            self.sessions.remove(&oldest);
        }
        self.sessions.insert(hash_of(token), Session { began_at: now, used_at: now });
    }

    /// The time that is left of a session; none if there is no such session. `is_used` says whether it is used now, or
    /// only looked at.
    fn take_up(&self, token: &Secret, is_used: bool, now: Duration) -> Option<Duration> {
        let mut session = self.sessions.get_mut(&hash_of(token))?;
        if self.end_of(&session) <= now {
            let key = session.key().clone();
            drop(session);
            self.sessions.remove(&key);
            return None;
        }
        if is_used {
            session.used_at = now;
        }
        Some(self.end_of(&session) - now)
    }

    /// Ends all sessions but one.
    fn end_others(&self, kept: Option<&Secret>) {
        let kept = kept.map(hash_of);
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.sessions.retain(|hash, _| Some(hash) == kept.as_ref());
    }
}

impl Hub {
    /// Makes the operator's password at the first start, and returns it. Errors: `Busy`.
    pub async fn prepare_operator(&self) -> Result<Option<Secret>, DomainError> {
        if self.store.operator_password().await?.is_some() {
            return Ok(None);
        }
        self.reset_operator_password(None).await.map(Some)
    }

    /// Removes a password that could not be shown: the next start makes another one.
    pub async fn forget_operator_password(&self) -> Result<(), DomainError> {
        self.store.set_operator_password(None).await?;
        self.operators.end_others(None);
        Ok(())
    }

    /// Gives the operator a new password, a random one if none is given, and ends all sessions. Errors: `Invalid`,
    /// `Busy`.
    pub async fn reset_operator_password(&self, new: Option<Secret>) -> Result<Secret, DomainError> {
        let new = match new {
            Some(new) => {
                self.check_new_password("password", OPERATOR, &new)?;
                new
            }
            None => Secret::invite_code(),
        };
        self.set_operator_password(new.clone(), None).await?;
        Ok(new)
    }

    /// Begins a session of the operator. Errors: `WrongCredentials`, `RateLimited`, `Busy`.
    pub async fn operator_login(&self, password: Secret, peer: IpAddr) -> Result<Secret, DomainError> {
        let changes = self.operators.changes.load(Ordering::SeqCst);
        self.check_operator_password(password, peer).await?;
        let token = Secret::random();
        self.operators.begin(&token, self.clock.now());
        if self.operators.changes.load(Ordering::SeqCst) != changes {
            self.end_operator_session(&token);
            return Err(DomainError::WrongCredentials);
        }
        tracing::info!("the operator has logged in to the console");
        Ok(token)
    }

    /// The time that is left of a session of the operator. A page that looks at it by itself, from time to time, does not
    /// use it, so that it ends although the page is open. Errors: `Unauthorized`.
    pub fn operator_session(&self, token: &Secret, is_used: bool) -> Result<Duration, DomainError> {
        self.operators.take_up(token, is_used, self.clock.now()).ok_or(DomainError::Unauthorized)
    }

    /// Ends a session of the operator.
    pub fn end_operator_session(&self, token: &Secret) {
        self.operators.sessions.remove(&hash_of(token));
    }

    /// Changes the operator's password, and ends all other sessions. Errors: `WrongCredentials`, `RateLimited`,
    /// `Invalid`, `Busy`.
    pub async fn change_operator_password(
        &self,
        (old, new): (Secret, Secret),
        session: &Secret,
        peer: IpAddr,
    ) -> Result<(), DomainError> {
        self.check_new_password("new", OPERATOR, &new)?;
        self.check_operator_password(old, peer).await?;
        self.set_operator_password(new, Some(session)).await
    }

    async fn check_operator_password(&self, password: Secret, peer: IpAddr) -> Result<(), DomainError> {
        let address = Network::from(peer);
        self.rates.failed_logins_of_operator.check(&address)?;
        let kept = self.store.operator_password().await?;
        if !self.is_password(password, kept).await? {
            self.rates.failed_logins_of_operator.note(&address);
            tracing::warn!("a wrong password for the console");
            return Err(DomainError::WrongCredentials);
        }
        Ok(())
    }

    async fn set_operator_password(&self, new: Secret, kept: Option<&Secret>) -> Result<(), DomainError> {
        let hash = self.hash_password(new).await?;
        self.store.set_operator_password(Some(&hash)).await?;
        self.operators.end_others(kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operators(sessions_max: usize) -> Operators {
        let config = config::Console {
            session_idle_minutes: 10,
            session_max_hours: 1,
            sessions_max,
            ..config::Console::default()
        };
        Operators::new(&config)
    }

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(count * 60)
    }

    #[test]
    fn a_session_ends_when_it_is_unused_and_when_it_is_old() {
        let (operators, token) = (operators(4), Secret::random());
        operators.begin(&token, Duration::ZERO);
        assert_eq!(operators.take_up(&token, true, minutes(9)), Some(minutes(10)));
        assert_eq!(operators.take_up(&token, false, minutes(18)), Some(minutes(1)), "looked at, and not used");
        assert_eq!(operators.take_up(&token, true, minutes(19)), None, "unused for ten minutes");
        assert!(operators.sessions.is_empty(), "nothing of it is left");

        operators.begin(&token, Duration::ZERO);
        for used in 1..12 {
            assert!(operators.take_up(&token, true, minutes(used * 5)).is_some(), "{used}");
        }
        assert_eq!(operators.take_up(&token, true, minutes(60)), None, "an hour old, however much it was used");
        assert_eq!(operators.take_up(&Secret::random(), true, Duration::ZERO), None);
    }

    #[test]
    fn beyond_the_limit_the_session_ends_that_was_used_least_recently() {
        let (operators, tokens) = (operators(2), [Secret::random(), Secret::random(), Secret::random()]);
        operators.begin(&tokens[0], minutes(0));
        operators.begin(&tokens[1], minutes(1));
        operators.take_up(&tokens[0], true, minutes(2)).unwrap();
        operators.begin(&tokens[2], minutes(3));
        let there = tokens.each_ref().map(|token| operators.take_up(token, false, minutes(4)).is_some());
        assert_eq!(there, [true, false, true]);
    }

    #[test]
    fn a_changed_password_ends_all_sessions_but_that_of_the_change() {
        let (operators, tokens) = (operators(4), [Secret::random(), Secret::random()]);
        for token in &tokens {
            operators.begin(token, Duration::ZERO);
        }
        operators.end_others(Some(&tokens[1]));
        assert_eq!(tokens.each_ref().map(|token| operators.take_up(token, false, minutes(1)).is_some()), [false, true]);
        operators.end_others(None);
        assert!(operators.sessions.is_empty());
    }
}
