//! `[retention]`

use super::settings::settings;

settings! {
    /// Retention periods. Older data is deleted by the next run of `chats.sweep_interval_s`.
    pub struct Retention {
        /// Days that a voice message is kept, read or unread. 0 keeps it until it is erased.
        messages_days: u32 = 0 => MayBeZero;
        /// Days that a friend request is kept, answered or not. 0 keeps it until it is erased.
        requests_days: u32 = 365 => MayBeZero;
        /// Days that an expired token, which is no longer valid, is kept in the database. 0 deletes it at once.
        tokens_days: u32 = 30 => MayBeZero;
        /// Days that entries of the audit log are kept. 0 keeps them until the toy or the user is erased.
        audit_days: u32 = 365 => MayBeZero;
        /// Days that the words of children are kept, of toys whose guardians wish it (speech.keep_words).
        words_days: u32 = 7;
        /// Days that a recording is kept which was stored before a crash and belongs to no message, where it is or in
        /// `files/lost`. Most are of uploads that the crash cut off; if the database was damaged, one may be all that is
        /// left of its message. 0 keeps them until somebody deletes them.
        lost_days: u32 = 30 => MayBeZero;
    }
}
