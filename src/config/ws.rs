//! `[ws]`

use super::settings::settings;

settings! {
    /// The app socket.
    pub struct Ws {
        /// Bytes of one message from an app.
        message_max_bytes: usize = 64 * 1024;
        /// Pushes that may wait for a slow app. At the limit, an event of the hub closes the socket (code 4001).
        /// Publications of clients may fill one half, then their publisher waits: see mqtt.backpressure_max_s.
        queue_messages_max: usize = 256;
        /// Bytes of such pushes.
        queue_bytes_max: usize = 4 * 1024 * 1024;
        /// Seconds in which an app must present its token.
        auth_timeout_s: u64 = 10;
        /// Seconds in which an app must read a frame that it was sent; otherwise it is disconnected.
        write_timeout_s: u64 = 20;
        /// Seconds between two pings of the hub.
        ping_interval_s: u64 = 25;
        /// Connections at once of one user or toy, MQTT included.
        connections_per_user_max: usize = 16;
        /// Topics that one connection may subscribe to.
        subscriptions_max: usize = 64;
        /// Requests that one connection may make in a second.
        requests_per_second: u32 = 20;
        /// Seconds until a ticket, with which a web page opens its socket, expires.
        ticket_ttl_s: u64 = 30;
        /// Unused tickets of all users and toys; not counted if the database is on a server. One user or toy has at most
        /// connections_per_user_max.
        tickets_max: usize = 10_000;
        /// Seconds for which the hub remembers which unread messages /login or /auto_login has counted for a legacy
        /// page: its socket /app/<id> does not send them again. 0 remembers none.
        login_counts_age_max_s: u64 = 24 * 3600 => MayBeZero;
        /// Such logins, each of one user at one address.
        login_counts_max: usize = 10_000;
        /// Seconds for which a refused older socket (/app/<id>, /toy/<id>) is held before it is closed: legacy pages
        /// reconnect without a pause. 0 closes it at once.
        refused_hold_s: u64 = 5 => MayBeZero;
        /// Refused sockets that are held at once. Beyond that they are closed at once.
        refused_held_max: usize = 512;
        /// Those of one address.
        refused_held_per_address_max: usize = 32;
    }
}
