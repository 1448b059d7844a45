//! `[xiaozhi]`

use super::settings::settings;

settings! {
    /// Devices with stock firmware of the xiaozhi project, on the HTTP listeners. docs/xiaozhi.md describes them.
    pub struct Xiaozhi {
        /// Whether such devices are served. They need no port of their own, and do nothing until a user binds them.
        enabled: bool = true;
        /// Address of the hub's WebSocket for such devices, such as "wss://hub.example/xiaozhi/v1/", behind a proxy; ""
        /// for the address at which a device has reached the hub.
        websocket_url: String = String::new();
        /// Seconds for which the code of a device that no user has bound is valid.
        activation_ttl_s: u64 = 15 * 60;
        /// Devices that wait for a user to bind them.
        activations_max: usize = 1000;
        /// Those at one address.
        activations_per_address_max: usize = 32;
        /// Seconds in which a device must say hello.
        hello_timeout_s: u64 = 10;
        /// Seconds without a word of the child or of the hub after which a conversation is ended.
        silence_timeout_s: u64 = 120;
        /// Packets of 60 milliseconds that a device is sent ahead of the time at which they are played. With fewer, a
        /// stutter of the network is heard; devices keep at least five.
        lead_packets: u32 = 4;
        /// Milliseconds from the end of a sound to the message that ends it: a device may play it late, and cuts it off at
        /// that message.
        play_out_ms: u64 = 300;
        /// Milliseconds without a word after which a device that listens is told of unread messages. With fewer, the notice
        /// comes when the child wants to say something.
        notice_pause_ms: u64 = 2000;
        /// Bytes of one message from a device.
        message_max_bytes: usize = 64 * 1024;
    }
}

impl Xiaozhi {
    pub(super) fn faults(&self) -> Vec<&'static str> {
        let is_socket = ["ws://", "wss://"].iter().any(|scheme| self.websocket_url.starts_with(scheme));
        let is_wrong = !self.websocket_url.is_empty() && !is_socket;
        let too_far = self.lead_packets > LEAD_PACKETS_MAX;
        [
            is_wrong.then_some("xiaozhi.websocket_url is no WebSocket address; set ws://… or wss://…, or \"\""),
            too_far.then_some("xiaozhi.lead_packets is more than 5, which older firmware has no room for"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The room of firmware 1.6.0.
const LEAD_PACKETS_MAX: u32 = 5;
