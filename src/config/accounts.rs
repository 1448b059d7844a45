//! `[accounts]`

use super::settings::settings;

settings! {
    /// Accounts, friends and tokens.
    pub struct Accounts {
        /// Days that a token is good for.
        token_ttl_days: u32 = 365;
        /// Tokens at once of one user or toy; the oldest goes first.
        tokens_max: usize = 32;
        /// Friends in one address book.
        friends_max: usize = 500;
        /// Requests that may wait for one user's answer.
        pending_requests_max: usize = 100;
        /// Hours in which a friend request that was refused is refused again. 0 allows it at once.
        refused_request_pause_h: u32 = 24 => MayBeZero;
        /// Users and toys that one user, or one toy, may have blocked.
        blocks_max: usize = 500;
        /// Guardians of one toy, with the user that it is bound to.
        guardians_max: usize = 8;
        /// Hours that an invitation is good for.
        invite_ttl_h: u32 = 48;
        /// Open invitations of one user, and of whoever runs the hub.
        invites_max: usize = 32;
        /// Events of one user that are kept for devices that come back; a device that missed more has to load all
        /// again.
        stream_events_max: usize = 1000;
        /// Characters of a name or remark.
        name_max_chars: usize = 100;
        /// Characters of a new password at least. The commonest passwords are refused, too.
        password_min_chars: usize = 8;
        /// KiB of memory for one password hash (argon2id). At least 8; 19456 or more is advised.
        password_memory_kib: u32 = 19 * 1024;
        /// Passes of one password hash (argon2id).
        password_passes: u32 = 2;
    }
}

impl Accounts {
    pub(super) fn faults(&self) -> Vec<&'static str> {
        let is_small = self.password_memory_kib < 8;
        let fault = is_small.then_some("accounts.password_memory_kib is below 8; set 19456 or more");
        fault.into_iter().collect()
    }
}
