//! `[chats]`

use super::settings::settings;

settings! {
    /// Voice messages.
    pub struct Chats {
        /// Seconds in which the same recording, byte for byte, from the same sender to the same receiver is the same
        /// message: a client that got no answer, or code 33, sends its recording again, and nothing is doubled. What is
        /// sent again later is a new message. 0 makes every recording a new message; a client that tries again may then
        /// double one.
        retry_window_s: u64 = 600 => MayBeZero;
        /// Seconds between two looks at the clock for the quiet hours of toys.
        quiet_check_interval_s: u64 = 10;
        /// Minutes for which a guardian's urgent message lifts the quiet hours of a toy.
        emergency_minutes: u32 = 15;
        /// Seconds between two searches for stored sounds that no message has. Those older than an hour are deleted.
        sweep_interval_s: u64 = 3600;
    }
}
