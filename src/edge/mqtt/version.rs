//! The two versions of the protocol, and `rumqttd`'s codec of each.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{Packet, Protocol as _};

use super::reason::Fault;

/// The protocol version of a connection, chosen by its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

impl Version {
    /// Its name, for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5",
        }
    }

    /// The codec's packet for one whole frame.
    pub(super) fn read(self, mut frame: BytesMut) -> Result<Packet, Fault> {
        let size = frame.len();
        let read = move || match self {
            Self::V4 => V4.read_mut(&mut frame, size),
            Self::V5 => V5.read_mut(&mut frame, size),
        };
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Ok(packet)) => Ok(packet),
            Ok(Err(_)) | Err(_) => Err(Fault::Malformed),
        }
    }
}
