//! `[chats]`

use super::settings::settings;

settings! {
    /// Voice messages.
    pub struct Chats {
        /// Seconds in which the same recording, byte for byte, from the same sender to the same receiver counts as the
        /// same message: a client that got no answer, or code 33, sends its recording again without making a duplicate.
        /// Later the same recording is a new message. 0 makes every recording a new message; a client that tries again
        /// may then make duplicates.
        retry_window_s: u64 = 600 => MayBeZero;
        /// Seconds that a call for unread messages waits for an earlier answer with messages to the same receiver, which
        /// is still being sent. Later it is answered with code 17 (busy).
        handover_timeout_s: u64 = 1;
        /// Seconds between two checks whether quiet hours of toys have begun or ended.
        quiet_check_interval_s: u64 = 10;
        /// Minutes for which a guardian's urgent message suspends the quiet hours of a toy.
        emergency_minutes: u32 = 15;
        /// Seconds between two searches for stored sounds without a message. Those older than an hour are deleted.
        sweep_interval_s: u64 = 3600;
    }
}
