//! `[reminders]`

use super::settings::settings;

settings! {
    /// Reminders, alarms and timers, which children ask their toys for.
    pub struct Reminders {
        /// Reminders of one toy that are not due yet. 0 turns them off.
        per_toy_max: usize = 20 => MayBeZero;
        /// Days up to which a reminder may be ahead.
        ahead_max_days: u32 = 31;
        /// Characters of what a child wants to be reminded of; longer words are cut.
        words_max_chars: usize = 200;
        /// Seconds for which a due reminder waits for a toy that is offline, or in its quiet hours. After that it is
        /// deleted.
        late_max_s: u64 = 3600;
        /// Seconds between two looks at the clock.
        check_interval_s: u64 = 1;
    }
}
