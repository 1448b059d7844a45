//! `[rates]`

use super::settings::settings;

settings! {
    /// Rate limits.
    pub struct Rates {
        /// Wrong passwords and secrets from one address in a minute.
        failed_logins_per_address_per_minute: u32 = 30;
        /// Wrong passwords for one account in a minute, from all addresses together. Each address at which the user has
        /// authenticated has a limit of its own, of the same size.
        failed_logins_per_account_per_minute: u32 = 10;
        /// Wrong invitation codes from one address in a minute.
        wrong_invites_per_address_per_minute: u32 = 10;
        /// Registrations from one address in a minute.
        registrations_per_address_per_minute: u32 = 30;
        /// Recordings from one user or toy in a minute.
        uploads_per_party_per_minute: u32 = 60;
        /// Friend requests from one user or toy in a minute.
        requests_per_party_per_minute: u32 = 30;
        /// Notifications of a toy's guardians in an hour that the toy was refused at a new address.
        refused_openings_per_toy_per_hour: u32 = 6;
        /// Calls of `/open_toy` by a device key alone in a minute from one address that do not open a toy. Beyond that,
        /// every such call from there is refused, except at the places of the toy.
        refused_openings_per_address_per_minute: u32 = 60;
        /// Connections of MQTT clients and app sockets from one address in a minute.
        connects_per_address_per_minute: u32 = 600;
        /// Refused connections in a minute of one user or toy, as the client names it, from one address. Beyond that,
        /// its connections are refused without a check, and do not count for the address, so that one broken page does
        /// not use up the connections of the others there.
        refused_connects_per_party_per_minute: u32 = 12;
    }
}
