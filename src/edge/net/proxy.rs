//! Proxies that are trusted with the addresses of their clients, and the header in which they name them at the start of
//! a connection (the PROXY protocol, versions 1 and 2).

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The shortest header, which is one of version 1: `PROXY UNKNOWN\r\n`.
const HEADER_MIN_BYTES: usize = 15;
/// The longest header of version 1.
const V1_MAX_BYTES: usize = 107;
/// The bytes of version 2 up to and including its length.
const V2_PREFIX_BYTES: usize = 16;
/// The longest header of version 2 that is read: addresses, and the fields of a proxy about TLS.
const V2_MAX_BYTES: usize = 1024;

/// The proxies of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Those of these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether this address is that of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Reads the header at the start of a proxy's connection, and no byte more: the client's address, or `None` for a
/// connection of the proxy itself, such as a health check.
///
/// Errors: `InvalidData` where there is no such header, `UnexpectedEof` where it is cut.
pub(super) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; HEADER_MIN_BYTES];
    stream.read_exact(&mut header).await?;
    if header.starts_with(b"PROXY ") {
        while !header.ends_with(b"\r\n") && header.len() < V1_MAX_BYTES {
            header.push(stream.read_u8().await?);
        }
    } else if header[0] == b'\r' {
        header.push(stream.read_u8().await?);
        let length = usize::from(u16::from_be_bytes([header[V2_PREFIX_BYTES - 2], header[V2_PREFIX_BYTES - 1]]));
        if length > V2_MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the PROXY header is too long"));
        }
        header.resize(V2_PREFIX_BYTES + length, 0);
        stream.read_exact(&mut header[V2_PREFIX_BYTES..]).await?;
    }
    let no_header = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let (parsed, length) = ProxyHeader::parse(&header, ParseConfig::default()).map_err(no_header)?;
    if length != header.len() {
        return Err(no_header(Error::Invalid));
    }
    Ok(parsed.proxied_address().map(|addresses| addresses.source.ip().to_canonical()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::ProxiedAddress;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn read(bytes: &[u8]) -> (io::Result<Option<IpAddr>>, Vec<u8>) {
        let mut stream = bytes;
        let header = block_on(read_header(&mut stream));
        (header, stream.to_vec())
    }

    fn v2(source: &str) -> Vec<u8> {
        let destination = if source.starts_with('[') { "[::1]:1883" } else { "127.0.0.1:1883" };
        let addresses = ProxiedAddress::stream(source.parse().unwrap(), destination.parse().unwrap());
        let mut header = Vec::new();
        ProxyHeader::with_address(addresses).encode_v2(&mut header).unwrap();
        header
    }

    #[test]
    fn both_versions_name_the_client_and_leave_its_bytes() {
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 1000 1883\r\n".to_vec(), Some("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 ::1 1000 1883\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1000 1883\r\n".to_vec(), Some("192.0.2.7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(), None),
            (v2("192.0.2.7:1000"), Some("192.0.2.7")),
            (v2("[2001:db8::7]:1000"), Some("2001:db8::7")),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0".to_vec(), None),
        ] {
            let (read, left) = read(&[&header[..], b"\x10\x0e"].concat());
            assert_eq!(read.unwrap(), expected.map(|address| address.parse().unwrap()), "{header:?}");
            assert_eq!(left, b"\x10\x0e", "{header:?}");
        }
    }

    #[test]
    fn a_cut_header_is_an_error_wherever_it_is_cut() {
        for header in [b"PROXY TCP4 192.0.2.7 10.0.0.1 1000 1883\r\n".to_vec(), v2("[2001:db8::7]:1000")] {
            for length in 0..header.len() {
                assert_eq!(read(&header[..length]).0.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{length}");
            }
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let long = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        let huge = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 2000]].concat();
        let short = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04"[..], &[0; 4]].concat();
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 a client hello",
            b"PROXY TCP4 nobody 10.0.0.1 1000 1883\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 99999 1883\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
            &long,
            &huge,
            &short,
        ] {
            assert_eq!(read(bytes).0.unwrap_err().kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_an_error(start in 0..3usize, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let start = [&b""[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"][start];
            let _ = read(&[start, &bytes].concat());
        }
    }
}
