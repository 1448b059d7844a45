//! The properties of MQTT 5 that the hub passes on.

use bytes::{BufMut as _, Bytes, BytesMut};
use rumqttd::protocol::PublishProperties;

/// The properties of an incoming PUBLISH that subscribers get unchanged, in the encoding that they are sent in (v5
/// §3.3.2.3), without their length. Small and kept with the message, they are read once however many receive them.
pub(super) fn passed_on(properties: &PublishProperties) -> Bytes {
    let mut buffer = BytesMut::new();
    // No string or binary of a received packet is longer than its length of two bytes permits.
    let put_bytes = |buffer: &mut BytesMut, bytes: &[u8]| {
        buffer.put_u16(bytes.len() as u16);
        buffer.put_slice(bytes);
    };
    if let Some(format) = properties.payload_format_indicator {
        buffer.put_slice(&[1, format]);
    }
    if let Some(kind) = &properties.content_type {
        buffer.put_u8(3);
        put_bytes(&mut buffer, kind.as_bytes());
    }
    if let Some(topic) = &properties.response_topic {
        buffer.put_u8(8);
        put_bytes(&mut buffer, topic.as_bytes());
    }
    if let Some(data) = &properties.correlation_data {
        buffer.put_u8(9);
        put_bytes(&mut buffer, data);
    }
    for (name, value) in &properties.user_properties {
        buffer.put_u8(38);
        put_bytes(&mut buffer, name.as_bytes());
        put_bytes(&mut buffer, value.as_bytes());
    }
    buffer.freeze()
}
