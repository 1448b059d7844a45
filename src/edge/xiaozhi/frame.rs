//! The binary messages: one packet of Opus each, in one of three layouts, which the device chooses in its hello.

use bytes::{BufMut as _, Bytes, BytesMut};

/// The layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The packet alone.
    Bare,
    /// Version 2: version u16, type u16, reserved u32, timestamp u32 (ms), size u32, payload; big endian.
    Timed,
    /// Version 3: type u8, reserved u8, size u16, payload; big endian.
    Short,
}

/// The content of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// A packet of sound.
    Sound(&'a [u8]),
    /// JSON, in version 2.
    Json(&'a [u8]),
}

impl Layout {
    /// That of a version of the hello; the first one for any other version.
    pub(super) fn of_version(version: u64) -> Self {
        match version {
            2 => Self::Timed,
            3 => Self::Short,
            _ => Self::Bare,
        }
    }

    /// The content of a message; none if it is malformed.
    pub(super) fn read(self, message: &[u8]) -> Option<Content<'_>> {
        let sized = |kind: u16, size: usize, payload| {
            let payload: &[u8] = payload;
            let content = payload.get(..size)?;
            match kind {
                0 => Some(Content::Sound(content)),
                1 => Some(Content::Json(content)),
                _ => None,
            }
        };
        match self {
            Self::Bare => Some(Content::Sound(message)),
            Self::Timed => {
                let (head, payload) = message.split_at_checked(16)?;
                let size = u32::from_be_bytes([head[12], head[13], head[14], head[15]]);
                sized(u16::from_be_bytes([head[2], head[3]]), usize::try_from(size).ok()?, payload)
            }
            Self::Short => {
                let (head, payload) = message.split_at_checked(4)?;
                sized(u16::from(head[0]), usize::from(u16::from_be_bytes([head[2], head[3]])), payload)
            }
        }
    }

    /// The message with a packet that is played at this time from the beginning of the sound, in milliseconds.
    pub(super) fn write(self, packet: &Bytes, at_ms: u32) -> Bytes {
        let mut message = BytesMut::with_capacity(16 + packet.len());
        match self {
            Self::Bare => return packet.clone(),
            Self::Timed => {
                message.put_u16(2);
                message.put_u16(0);
                message.put_u32(0);
                message.put_u32(at_ms);
                // Packets of Opus have at most 1275 bytes a frame.
                message.put_u32(packet.len() as u32);
            }
            Self::Short => {
                message.put_u16(0);
                message.put_u16(packet.len() as u16);
            }
        }
        message.put_slice(packet);
        message.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layouts_are_those_of_the_firmware() {
        let packet = Bytes::from_static(b"opus");
        assert_eq!(Layout::of_version(1).write(&packet, 60), packet);
        assert_eq!(&Layout::of_version(2).write(&packet, 0x0102)[..], b"\0\x02\0\0\0\0\0\0\0\0\x01\x02\0\0\0\x04opus");
        assert_eq!(&Layout::of_version(3).write(&packet, 60)[..], b"\0\0\0\x04opus");
        assert_eq!(Layout::of_version(9), Layout::Bare);
        assert_eq!(Layout::Timed.read(b"\0\x02\0\x01\0\0\0\0\0\0\0\0\0\0\0\x02{}"), Some(Content::Json(b"{}")));
    }

    #[test]
    fn malformed_messages_have_no_content() {
        for message in [
            &b""[..],
            b"\0\x02\0\0",
            b"\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x05opus",
            b"\0\x02\0\x07\0\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(Layout::Timed.read(message), None, "{message:?}");
        }
        for message in [&b""[..], b"\0\0\0", b"\0\0\0\x05opus", b"\x02\0\0\0"] {
            assert_eq!(Layout::Short.read(message), None, "{message:?}");
        }
        assert_eq!(Layout::Bare.read(b""), Some(Content::Sound(b"")), "silence of a device");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packet in prop::collection::vec(any::<u8>(), 0..1500), version in 1u64..4) {
            let layout = Layout::of_version(version);
            let written = layout.write(&packet.clone().into(), 7);
            prop_assert_eq!(layout.read(&written), Some(Content::Sound(&packet)));
        }
    }
}
