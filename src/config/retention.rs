//! `[retention]`

use super::settings::settings;

settings! {
    /// How long things are kept. What is older is deleted by the next search of `chats.sweep_interval_s`.
    pub struct Retention {
        /// Days that a voice message is kept, heard or not. 0 keeps it until somebody erases it.
        messages_days: u32 = 0 => MayBeZero;
        /// Days that a friend request is kept, answered or not. 0 keeps it until somebody erases it.
        requests_days: u32 = 365 => MayBeZero;
        /// Days that a token is kept after it has expired and opens nothing any more. 0 forgets it at once.
        tokens_days: u32 = 30 => MayBeZero;
        /// Days that the record is kept of who has read, bound, befriended, erased and exported what. 0 keeps it until the
        /// toy or the user is erased.
        audit_days: u32 = 365 => MayBeZero;
        /// Days that a recording is kept which was stored before a crash and belongs to no message, where it is or in
        /// `files/lost`. Most are of uploads that the crash cut off; if the database was damaged, one may be all that is
        /// left of its message. 0 keeps them until somebody deletes them.
        lost_days: u32 = 30 => MayBeZero;
    }
}
