//! `[xiaozhi]`

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::settings::settings;

settings! {
    /// Devices with stock firmware of the xiaozhi project, on the HTTP listeners. docs/xiaozhi.md describes them.
    pub struct Xiaozhi {
        /// Whether such devices are served. They need no port of their own, and do nothing until a user binds them.
        enabled: bool = true;
        /// Address of the hub's WebSocket for such devices, such as "wss://hub.example/xiaozhi/v1/", behind a proxy; ""
        /// for the address at which a device has reached the hub. Sounds for idle devices are fetched at the same host.
        websocket_url: String = String::new();
        /// The connection that devices are offered. "websocket": only during a conversation, and no port but that of
        /// HTTP. "mqtt": always, so that a message and a reminder are played on a device that is idle; its sound comes
        /// over UDP. "both": firmware takes MQTT, other clients choose. Firmware before 1.6.2 gets the WebSocket always.
        transport: StockTransport = StockTransport::Websocket;
        /// Host and port of MQTT for such devices, such as "hub.example:8883"; "" for the host at which a device has
        /// reached the hub, and the first port of mqtt.listen. Port 8883 means TLS to the firmware, with a certificate
        /// of a public authority; any other port means none.
        mqtt_endpoint: String = String::new();
        /// Address and port of the sound of devices with MQTT, over UDP.
        udp_listen: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 8884));
        /// Host and port that such devices send their sound to, such as "203.0.113.7:8884"; "" for the host at which a
        /// device has reached the hub, and the port of udp_listen.
        udp_endpoint: String = String::new();
        /// Conversations over UDP at once.
        udp_sessions_max: usize = 1000;
        /// Packets of one conversation that wait for the hub; more are dropped.
        udp_queue_packets_max: usize = 64;
        /// Seconds in which an idle device must begin to fetch a message or a reminder that it was told of over MQTT.
        notify_ttl_s: u64 = 15;
        /// Such messages and reminders of all devices at once.
        notifications_max: usize = 1000;
        /// Seconds between two questions for battery, volume and brightness of an idle device with MQTT.
        state_interval_s: u64 = 600;
        /// Seconds for which the code of a device that no user has bound is valid.
        activation_ttl_s: u64 = 15 * 60;
        /// Devices that wait for a user to bind them.
        activations_max: usize = 1000;
        /// Those at one address.
        activations_per_address_max: usize = 32;
        /// Seconds in which a device must say hello.
        hello_timeout_s: u64 = 10;
        /// Seconds without a word of the child or of the hub after which a conversation is ended, over any transport.
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

/// The connection that a device with stock firmware is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StockTransport {
    /// The WebSocket.
    Websocket,
    /// MQTT, with sound over UDP.
    Mqtt,
    /// Both.
    Both,
}

impl StockTransport {
    /// Whether MQTT is offered.
    pub fn has_mqtt(self) -> bool {
        self != Self::Websocket
    }
}

/// The fault of each of these keys whose number is too large.
macro_rules! too_large {
    ($config:ident: $($key:ident <= $max:literal),* $(,)?) => {
        [$(($config.$key > $max)
            .then_some(concat!("xiaozhi.", stringify!($key), " is more than ", $max, "; set a smaller number"))),*]
    };
}

/// The host and the port of an endpoint, such as `hub.example:8884`; none of anything else.
pub fn host_and_port(endpoint: &str) -> Option<(&str, u16)> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then_some((host, port))
}

impl Xiaozhi {
    pub(super) fn faults(&self) -> Vec<&'static str> {
        let is_socket = ["ws://", "wss://"].iter().any(|scheme| self.websocket_url.starts_with(scheme));
        let is_wrong = !self.websocket_url.is_empty() && !is_socket;
        let has_no_port = |endpoint: &str| !endpoint.is_empty() && host_and_port(endpoint).is_none();
        let too_far = self.lead_packets > LEAD_PACKETS_MAX;
        let too_large = too_large! { self:
            udp_sessions_max <= 100000,
            udp_queue_packets_max <= 10000,
            notify_ttl_s <= 3600,
            notifications_max <= 100000,
            state_interval_s <= 86400,
            activation_ttl_s <= 86400,
            activations_max <= 1000000,
            hello_timeout_s <= 3600,
            silence_timeout_s <= 86400,
            play_out_ms <= 60000,
            notice_pause_ms <= 3600000,
        };
        [
            is_wrong.then_some("xiaozhi.websocket_url is no WebSocket address; set ws://… or wss://…, or \"\""),
            has_no_port(&self.mqtt_endpoint)
                .then_some("xiaozhi.mqtt_endpoint is no host with a port; set hub.example:1883, or \"\""),
            has_no_port(&self.udp_endpoint)
                .then_some("xiaozhi.udp_endpoint is no host with a port; set hub.example:8884, or \"\""),
            too_far.then_some("xiaozhi.lead_packets is more than 5, which older firmware has no room for"),
        ]
        .into_iter()
        .chain(too_large)
        .flatten()
        .collect()
    }
}

/// The room of firmware 1.6.0.
const LEAD_PACKETS_MAX: u32 = 5;
