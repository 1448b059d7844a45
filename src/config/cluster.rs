//! `[cluster]`

use super::settings::settings;

settings! {
    /// Several hubs behind one address. See docs/cluster.md.
    pub struct Cluster {
        /// Seconds after which a hub whose SurrealDB server is lost closes the connections of its clients, so that a load
        /// balancer moves them to another hub. It accepts no new ones from the first failed request on.
        store_lost_close_s: u64 = 30;
        /// Seconds between two looks for quiet hours, daily minutes, voices and reminders of toys that were changed at
        /// another hub over the same SurrealDB server.
        rules_interval_s: u64 = 10;
        /// Seconds between two looks whether the logins of the connected clients are still valid: another hub over the
        /// same SurrealDB server may have revoked them.
        logins_interval_s: u64 = 60;
    }
}
