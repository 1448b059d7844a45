//! `[auth]`

use serde::{Deserialize, Serialize};

use super::settings::settings;

settings! {
    /// Access without a token.
    pub struct Auth {
        /// Which documented calls without a token are allowed. "place": calls from an address at which the user or toy
        /// that they name has authenticated: a user with a password, a toy with its device's secret or by an opening
        /// that was permitted at that address. "token": none. "open": all; only for a closed network. The app socket
        /// and MQTT always need a token or a secret.
        mode: AuthMode = AuthMode::Place => Everyday;
        /// Days until such an authentication of an address expires.
        place_days: u32 = 30;
        /// Addresses of one user or toy that are remembered; the oldest is forgotten first.
        places_max: usize = 64;
        /// Minutes in which a toy may open at a new address by its device key, after it was bound or after let_in. They
        /// end when it has opened at one, or logs in with its secret.
        let_in_minutes: u32 = 15;
        /// Minutes until the links to sounds (url, notice_url) that clients with a token get expire. A player, which
        /// has no token, can open them at every address.
        link_minutes: u32 = 1440;
        /// Addresses from which accounts can be registered. "local": private, loopback and link-local addresses.
        /// "open": every address. "invite": every address, with the code of an invitation, which a guardian or "toyhub
        /// invite" creates. "closed": none.
        registration: AllowedFrom = AllowedFrom::Local;
        /// Addresses from which devices can be bound: "local", "open", "invite" or "closed".
        binding: AllowedFrom = AllowedFrom::Local;
    }
}

/// Which documented calls without a token are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Calls from an address at which the party that they name has authenticated.
    Place,
    /// None.
    Token,
    /// All.
    Open,
}

impl AuthMode {
    /// The danger of a mode that protects nobody.
    pub fn warning(self) -> Option<&'static str> {
        (self == Self::Open).then_some(
            "auth.mode is \"open\": everybody who reaches this hub can read, hear and send as every user and toy; for a \
             closed network only",
        )
    }
}

/// The addresses from which an action is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AllowedFrom {
    /// Private, loopback and link-local addresses.
    Local,
    /// Every address.
    Open,
    /// Every address, with the code of an invitation.
    Invite,
    /// No address.
    Closed,
}
