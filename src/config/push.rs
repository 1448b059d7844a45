//! `[push]`

use super::settings::settings;

settings! {
    /// Push messages to browsers in which the family's app is closed. They say that there is something new, and neither
    /// what nor from whom.
    pub struct Push {
        /// Whether browsers may subscribe. The push service of a browser's vendor then learns when there is something new
        /// for its user. Only users who turn notifications on subscribe.
        enabled: bool = true;
        /// How push services reach the operator of this hub: "mailto:…" or "https://…"; "" for not at all. Apple's
        /// service requires it.
        contact: String = String::new();
        /// Whether subscriptions may name push services in private networks, also over http and on any port: for a push
        /// service of your own. Otherwise users could make the hub send requests into its own network.
        local_services: bool = false;
        /// Seconds that a message may take to an open app before a push message is sent. 0 waits for none.
        wait_s: u64 = 5 => MayBeZero;
        /// Seconds for which a push service keeps a message for a browser that is offline.
        ttl_s: u64 = 24 * 3600;
        /// Push messages that may wait to be sent. Beyond that, new ones are dropped.
        queue_max: usize = 1000;
        /// Push messages sent at once, and further attempts beside them.
        parallel_max: usize = 8;
        /// Seconds that one request to a push service may take.
        timeout_s: u64 = 10;
        /// Attempts for one push message.
        tries_max: u32 = 4;
        /// Seconds from the first attempt to the second, and at least what the push service asks for; the next pauses are
        /// twice as long each.
        retry_s: u64 = 5;
        /// Seconds up to which a push service may ask for a pause; after a longer one the push message is dropped.
        retry_max_s: u64 = 300;
    }
}

impl Push {
    /// Values that have the right type and are still wrong.
    pub(super) fn faults(&self) -> Vec<&'static str> {
        let is_known = ["mailto:", "https://"].iter().any(|scheme| self.contact.starts_with(scheme));
        let is_wrong = !self.contact.is_empty() && !is_known;
        is_wrong
            .then_some(
                "push.contact is no address for push services; set \"mailto:you@example.org\", https://… or \"\"",
            )
            .into_iter()
            .collect()
    }
}
