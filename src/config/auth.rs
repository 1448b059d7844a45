//! `[auth]`

use serde::{Deserialize, Serialize};

use super::settings::settings;

settings! {
    /// Who may do what without a token.
    pub struct Auth {
        /// Which documented calls without a token are allowed. "place": those from an address at which the user or toy
        /// that they name has proved who it is: a user by a password, a toy by its device's secret, or by opening where
        /// it is let in. "token": none. "open": all; only for a closed network. The app socket and MQTT always need a
        /// token or a secret.
        mode: AuthMode = AuthMode::Place => Everyday;
        /// Days that such a proof is good for.
        place_days: u32 = 30;
        /// Addresses of one user or toy that are remembered; the oldest is forgotten first.
        places_max: usize = 64;
        /// Minutes in which a toy may open at its first address, after it was bound or its owner has let it in.
        let_in_minutes: u32 = 15;
        /// Minutes for which the links to sounds are good that clients with a token are sent (url, notice_url): a player,
        /// which has no token, opens them at every address.
        link_minutes: u32 = 1440;
        /// From where accounts are made. "local": from private, loopback and link-local addresses. "open": from every
        /// address. "invite": from every address, with the code of an invitation, which a guardian or "toyhub invite"
        /// makes. "closed": nowhere.
        registration: AllowedFrom = AllowedFrom::Local;
        /// From where devices are bound: "local", "open", "invite" or "closed".
        binding: AllowedFrom = AllowedFrom::Local;
    }
}

/// Which documented calls without a token are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Those from where the party that they name has proved who it is.
    Place,
    /// None.
    Token,
    /// All.
    Open,
}

/// From where something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AllowedFrom {
    /// Private, loopback and link-local addresses.
    Local,
    /// Every address.
    Open,
    /// Every address, with the code of an invitation.
    Invite,
    /// Nowhere.
    Closed,
}
