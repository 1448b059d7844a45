//! The client id of a device with MQTT, which the hub chooses: how the hub knows the device again when it connects.
//!
//! `GID_toyhub@@@a0_b1_c2_d3_e4_f5@@@<id of the firmware>@@@<version>@@@<address>`. The first three parts are customary.
//! The last two come from its check: the version of its firmware, and the address at which it reaches the hub. A device that
//! changes them affects only the messages to itself.

use super::firmware::Firmware;
use crate::edge::line::Topics;
use crate::model::StockIdentity;

const GROUP: &str = "GID_toyhub";
const BETWEEN: &str = "@@@";
/// The topic that all devices publish to.
pub(super) const TOPIC_UP: &str = "device-server";
/// The longest address.
const ADDRESS_MAX_BYTES: usize = 255;

/// The name of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientName {
    /// The device.
    pub(super) identity: StockIdentity,
    /// The version of its firmware, if it has told one.
    pub(super) firmware: Option<Firmware>,
    /// The scheme, host and port of HTTP at which it reaches the hub, such as `http://192.168.1.10:9527`.
    pub(super) address: String,
}

impl ClientName {
    /// The client id.
    pub(super) fn write(&self) -> String {
        let firmware = self.firmware.map(|firmware| firmware.to_string()).unwrap_or_default();
        let parts = [GROUP, &self.mac(), self.identity.client(), &firmware, &self.address];
        parts.join(BETWEEN)
    }

    /// Reads a client id; none for any other client.
    pub(super) fn read(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(BETWEEN).collect();
        let [GROUP, mac, client, firmware, address] = parts[..] else { return None };
        let identity = StockIdentity::parse(&mac.replace('_', ":"), client).ok()?;
        let name = Self { identity, firmware: Firmware::parse(firmware), address: address.to_owned() };
        host_of(&name.address).is_some().then_some(name)
    }

    /// The topics of the device.
    pub(super) fn topics(&self) -> Option<Topics> {
        Some(Topics { up: TOPIC_UP.parse().ok()?, down: self.topic_down().parse().ok()? })
    }

    /// The topic of messages to the device.
    pub(super) fn topic_down(&self) -> String {
        format!("devices/p2p/{}", self.mac())
    }

    /// The host at which the device reaches the hub.
    pub(super) fn host(&self) -> &str {
        host_of(&self.address).unwrap_or_default()
    }

    fn mac(&self) -> String {
        self.identity.mac().replace(':', "_")
    }
}

/// The host of `http://host:port`; none for anything else.
fn host_of(address: &str) -> Option<&str> {
    let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"))?;
    let (host, port) = rest.split_once(':').unwrap_or((rest, "80"));
    let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    (address.len() <= ADDRESS_MAX_BYTES && !host.is_empty() && is_host && is_port).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a1b0c";

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let identity = StockIdentity::parse("a0:b1:c2:d3:e4:f5", UUID).unwrap();
        for (firmware, address, host) in [
            (Firmware::parse("2.5.0"), "http://192.168.1.10:9527", "192.168.1.10"),
            (None, "https://hub.example", "hub.example"),
        ] {
            let name = ClientName { identity: identity.clone(), firmware, address: address.into() };
            assert_eq!(ClientName::read(&name.write()).as_ref(), Some(&name));
            assert_eq!(name.host(), host);
            let topics = name.topics().unwrap();
            assert_eq!((topics.up.as_str(), topics.down.as_str()), ("device-server", "devices/p2p/a0_b1_c2_d3_e4_f5"));
        }
    }

    #[test]
    fn other_clients_have_no_such_name() {
        let with = |address: &str| format!("GID_toyhub@@@a0_b1_c2_d3_e4_f5@@@{UUID}@@@2.5.0@@@{address}");
        assert!(ClientName::read(&with("http://hub")).is_some());
        let long = format!("http://{}", "a".repeat(300));
        for address in [
            "",
            "hub",
            "ftp://hub",
            "http://",
            "http://hub:0",
            "http://hub:port",
            "http://h\"ub",
            "http://[::1]",
            &long,
        ] {
            assert_eq!(ClientName::read(&with(address)), None, "{address}");
        }
        for text in ["", "toy", "GID_toyhub@@@a0_b1@@@x@@@2.5.0@@@http://hub", &with("http://hub@@@x")] {
            assert_eq!(ClientName::read(text), None, "{text}");
        }
    }
}
