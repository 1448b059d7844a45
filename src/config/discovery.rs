//! `[discovery]`

use super::settings::settings;

settings! {
    /// How apps and toys find the hub in the home network.
    pub struct Discovery {
        /// Whether the hub announces itself by mDNS (Bonjour), as _toyhub._tcp and _mqtt._tcp. Listeners of this machine
        /// alone are not announced.
        mdns: bool = true;
    }
}
