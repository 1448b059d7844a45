//! Passwords: the requirements for new ones, and how they are stored, checked and changed.
//!
//! A password is hashed in Unicode's composed form (NFC), so that two keyboards produce the same password. Some clients
//! send a hash instead of the user's password; for the hub, that hash is the password.

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use unicode_normalization::UnicodeNormalization as _;

use super::Hub;
use super::accounts::hash_of;
use super::error::DomainError;
use super::places::Origin;
use crate::model::{Action, Network, Party, Secret, Timestamp, UserId};
use crate::ports::store::StoredUser;

/// The longest password that is hashed: a longer one only costs time.
const PASSWORD_MAX_BYTES: usize = 1024;
/// The most common passwords of at least eight characters, and the MD5 digests of the most common ones, which some
/// clients send: one per line, in lower case.
const COMMON: &str = include_str!("common_passwords.txt");

/// The failures that count against a login. A place at which the user has authenticated has a budget of its own, so
/// that wrong guesses from elsewhere do not lock the user out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LoginBudget {
    /// Failures of an account, from all other addresses.
    Account(String),
    /// Failures of an account at a place where it has authenticated.
    Place(UserId, Network),
}

impl Hub {
    /// Checks a new password. Errors: `Invalid`.
    pub(super) fn check_new_password(
        &self,
        field: &'static str,
        username: &str,
        password: &Secret,
    ) -> Result<(), DomainError> {
        let password = composed(password);
        let (text, min) = (password.reveal(), self.config.accounts.password_min_chars);
        let expected = if text.is_empty() {
            "is missing".to_owned()
        } else if text.len() > PASSWORD_MAX_BYTES {
            format!("has more than {PASSWORD_MAX_BYTES} bytes")
        } else if text.chars().count() < min {
            format!("has fewer than {min} characters")
        } else if is_monotone(text) {
            "is blank or one character again and again, choose another".to_owned()
        } else if is_common(text) || text.to_lowercase() == username.to_lowercase() {
            "is too common, choose another one".to_owned()
        } else {
            return Ok(());
        };
        Err(DomainError::invalid(field, expected))
    }

    /// Changes a user's password. Every token except that of the call is revoked, every place except that of the call
    /// is deleted, and all connections are closed. Returns a new token.
    ///
    /// Errors: `WrongCredentials`, `RateLimited`, `Invalid`, `DiskFull`, `Busy`.
    pub async fn change_password(
        &self,
        user: &UserId,
        (old, new): (Secret, Secret),
        kept: Option<&Secret>,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<Secret, DomainError> {
        let from = from.into();
        self.check_room(0)?;
        let found = self.store.user(user).await?.ok_or(DomainError::UnknownParty)?;
        self.check_new_password("new_password", &found.user.username, &new)?;
        let budget = self.login_budget(&found.user.username, Some(&found), from, now).await?;
        self.check_login_budget(&budget, from)?;
        if !self.is_password(old, Some(found.password_hash)).await? {
            self.note_failed_login(&budget, from);
            return Err(DomainError::WrongCredentials);
        }
        let kept = kept.map(hash_of);
        self.set_password(user, new, kept.as_deref()).await?;
        let party = Party::User(user.clone());
        self.note(&party, Action::PasswordChanged, Some(&party), None, now).await;
        self.note_proof(&party, from, now).await?;
        self.issue_token(&party, now).await
    }

    /// Gives a user a new password, for the operator of the hub, and revokes every token. Without a password, it
    /// generates a random one. Errors: `UnknownParty`, `Invalid`, `Busy`.
    pub async fn reset_password(
        &self,
        username: &str,
        new: Option<Secret>,
        now: Timestamp,
    ) -> Result<Secret, DomainError> {
        let user = self.user_named(username).await?;
        let new = match new {
            Some(new) => {
                self.check_new_password("password", username.trim(), &new)?;
                new
            }
            None => Secret::invite_code(),
        };
        self.set_password(&user, new.clone(), None).await?;
        self.note(&Party::User(user), Action::PasswordChanged, None, None, now).await;
        Ok(new)
    }

    async fn set_password(&self, user: &UserId, new: Secret, kept: Option<&str>) -> Result<(), DomainError> {
        let hash = self.hash_password(new).await?;
        // In one transaction, so that an old token does not outlive the password that it was issued for.
        self.store.set_password(user, &hash, kept).await?;
        let party = Party::User(user.clone());
        self.store.forget_places(&party).await?;
        self.end_connections(&party).await;
        Ok(())
    }

    /// The budget for a login with this name from this address.
    pub(super) async fn login_budget(
        &self,
        username: &str,
        found: Option<&StoredUser>,
        from: Origin,
        now: Timestamp,
    ) -> Result<LoginBudget, DomainError> {
        if let Some(found) = found
            && self.is_proven_at(&Party::User(found.user.id.clone()), from, now).await?
        {
            return Ok(LoginBudget::Place(found.user.id.clone(), from.peer.into()));
        }
        Ok(LoginBudget::Account(username.to_owned()))
    }

    /// Errors: `RateLimited`.
    pub(super) fn check_login_budget(&self, budget: &LoginBudget, from: Origin) -> Result<(), DomainError> {
        self.rates.failed_logins_of_address.check(&from.peer.into())?;
        match budget {
            LoginBudget::Account(account) => self.rates.failed_logins_of_account.check(account),
            LoginBudget::Place(user, place) => self.rates.failed_logins_at_place.check(&(user.clone(), *place)),
        }
    }

    pub(super) fn note_failed_login(&self, budget: &LoginBudget, from: Origin) {
        self.rates.failed_logins_of_address.note(&from.peer.into());
        match budget {
            LoginBudget::Account(account) => self.rates.failed_logins_of_account.note(account),
            LoginBudget::Place(user, place) => self.rates.failed_logins_at_place.note(&(user.clone(), *place)),
        }
    }

    /// The hash of a password, in PHC form. Errors: `Busy`.
    pub(super) async fn hash_password(&self, password: Secret) -> Result<String, DomainError> {
        let hasher = self.password_hasher()?;
        self.password_workers.run(move || hash(&hasher, &composed(&password))).await?
    }

    /// Whether a password matches this hash. Without a hash it takes as long, so that the time does not reveal whether
    /// a user exists. Errors: `Busy`.
    pub(super) async fn is_password(&self, password: Secret, kept: Option<String>) -> Result<bool, DomainError> {
        let hasher = self.password_hasher()?;
        let job = move || {
            let composed = composed(&password);
            // Versions before 0.2 hashed the password without normalisation.
            Ok(is_hashed(&hasher, &composed, kept.as_deref())?
                || (composed != password && is_hashed(&hasher, &password, kept.as_deref())?))
        };
        self.password_workers.run(job).await?
    }

    fn password_hasher(&self) -> Result<Argon2<'static>, DomainError> {
        let accounts = &self.config.accounts;
        let params = Params::new(accounts.password_memory_kib, accounts.password_passes, 1, None)
            .map_err(|error| DomainError::internal(error.to_string()))?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }
}

fn composed(password: &Secret) -> Secret {
    Secret::new(password.reveal().nfc().collect::<String>())
}

/// Whether a password consists of spaces, or of one repeated character.
fn is_monotone(password: &str) -> bool {
    let mut chars = password.chars();
    let first = chars.next();
    password.trim().is_empty() || chars.all(|c| Some(c) == first)
}

fn is_common(password: &str) -> bool {
    let password = password.to_lowercase();
    COMMON.lines().any(|common| common == password)
}

fn hash(hasher: &Argon2<'_>, password: &Secret) -> Result<String, DomainError> {
    let salt = SaltString::generate(&mut OsRng);
    let hash = hasher.hash_password(password.reveal().as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|error| DomainError::internal(error.to_string()))
}

fn is_hashed(hasher: &Argon2<'_>, password: &Secret, kept: Option<&str>) -> Result<bool, DomainError> {
    let Some(kept) = kept else {
        hash(hasher, password)?;
        return Ok(false);
    };
    let kept = PasswordHash::new(kept).map_err(|error| DomainError::internal(error.to_string()))?;
    Ok(hasher.verify_password(password.reveal().as_bytes(), &kept).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_passwords_are_known_in_every_case_and_as_a_digest() {
        for common in ["password", "PassWord1", "12345678", "e10adc3949ba59abbe56e057f20f883e"] {
            assert!(is_common(common), "{common}");
        }
        assert!(!is_common("correct horse battery"));
        assert!(COMMON.lines().all(|line| line.chars().count() >= 8 && line == line.to_lowercase()));
    }

    #[test]
    fn blanks_and_one_character_again_and_again_are_monotone() {
        for monotone in ["", "        ", " \u{a0}\u{2003} \t     ", "aaaaaaaaaaaa", "ééééééééé", "0"] {
            assert!(is_monotone(monotone), "{monotone:?}");
        }
        for other in ["aaaaaaaaaaab", "correct horse", " a       "] {
            assert!(!is_monotone(other), "{other:?}");
        }
    }

    #[test]
    fn the_two_spellings_of_an_umlaut_are_one_password() {
        assert_eq!(composed(&Secret::new("u\u{308}ber")), Secret::new("\u{fc}ber"));
    }
}
