//! `[accounts]`

use super::settings::settings;

settings! {
    /// Accounts, friends and tokens.
    pub struct Accounts {
        /// Days until a token expires.
        token_ttl_days: u32 = 365;
        /// Tokens of one user or toy at once; a new one beyond that replaces the oldest.
        tokens_max: usize = 32;
        /// Friends in one address book.
        friends_max: usize = 500;
        /// Friend requests to one user that are not answered yet.
        pending_requests_max: usize = 100;
        /// Hours after a refusal in which the same friend request is refused at once. 0 allows it again immediately.
        refused_request_pause_h: u32 = 24 => MayBeZero;
        /// Users and toys that one user, or one toy, may have blocked.
        blocks_max: usize = 500;
        /// Guardians of one toy, including its owner.
        guardians_max: usize = 8;
        /// Hours until an invitation expires.
        invite_ttl_h: u32 = 48;
        /// Unused invitations of one user, and of the operator of the hub.
        invites_max: usize = 32;
        /// Events of one user that are kept for devices that reconnect. A device that missed more has to load
        /// everything again.
        stream_events_max: usize = 1000;
        /// Characters of a name or remark.
        name_max_chars: usize = 100;
        /// Minimum number of characters of a new password. The most common passwords are refused, too.
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
