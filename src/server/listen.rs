//! The listeners of all protocols, bound by the configuration.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

use crate::config::{self, ClientCertificates, Config, seconds};
use crate::edge::net::{Listeners, Tls, TlsTerms, UnixSocket};
use crate::edge::xiaozhi::Udp;
use crate::edge::{http, mqtt};

/// The listeners of a protocol.
pub(super) struct Bound {
    pub http: Listeners,
    pub mqtt: Listeners,
    pub console: Listeners,
    /// The listener for conformance tests.
    pub conformance: Listeners,
    /// The sound of devices with stock firmware; none if they are not offered MQTT.
    pub udp: Option<Arc<Udp>>,
    /// The addresses of each protocol, with the bound port if the configured one is 0.
    pub addresses: Vec<(&'static str, SocketAddr)>,
}

/// Binds everything. The error is one line that names the key.
pub(super) async fn bind_all(config: &Config) -> Result<Bound, String> {
    let Config { http, mqtt, .. } = config;
    let mut addresses = Vec::new();
    let mut bind =
        |name, key, listen: &[SocketAddr]| bind(name, key, listen, config.net.accept_backlog, &mut addresses);
    // In the order of `config::Http::dialects`.
    let mut plain = bind("http", "http.listen", &addresses_of(&http.listen))?;
    plain.extend(bind("legacy", "http.legacy_listen", &addresses_of(&http.legacy_listen))?);
    let with_tls = bind("https", "http.tls_listen", &addresses_of(&http.tls_listen))?;
    let mqtt_plain = bind("mqtt", "mqtt.listen", &mqtt.listen)?;
    let mqtt_with_tls = bind("mqtts", "mqtt.tls_listen", &mqtt.tls_listen)?;
    let for_tests = mqtt.conformance_listen.as_slice();
    let for_tests = bind("conformance", "mqtt.conformance_listen", for_tests)?;
    let console = bind("console", "console.listen", &config.console.listen)?;
    let console_with_tls = bind("consoles", "console.tls_listen", &config.console.tls_listen)?;
    let mut mqtt_listeners = Listeners::new(mqtt_plain, mqtt_with_tls, mqtt_tls(config).await?);
    if !mqtt.unix_socket.as_os_str().is_empty() {
        mqtt_listeners.add_unix(bind_unix(&mqtt.unix_socket).await?);
    }
    let udp = bind_udp(&config.xiaozhi).await?;
    if let Some(udp) = &udp {
        addresses.push(("udp", udp.address().map_err(|error| fault(UDP_KEY, config.xiaozhi.udp_listen, &error))?));
    }
    Ok(Bound {
        udp,
        http: Listeners::new(plain, with_tls, http_tls(config).await?),
        mqtt: mqtt_listeners,
        console: Listeners::new(console, console_with_tls, console_tls(config).await?),
        conformance: Listeners::new(for_tests, Vec::new(), None),
        addresses,
    })
}

const UDP_KEY: &str = "xiaozhi.udp_listen";

async fn bind_udp(config: &config::Xiaozhi) -> Result<Option<Arc<Udp>>, String> {
    if !config.enabled || !config.transport.has_mqtt() {
        return Ok(None);
    }
    let bound = Udp::bind(config).await;
    bound.map(|udp| Some(Arc::new(udp))).map_err(|error| fault(UDP_KEY, config.udp_listen, &error))
}

fn addresses_of(listen: &[config::HttpListen]) -> Vec<SocketAddr> {
    listen.iter().map(|listen| listen.address).collect()
}

/// TLS of `[http]`, if there is a listener for it.
async fn http_tls(config: &Config) -> Result<Option<Tls>, String> {
    let http = &config.http;
    let terms = tls_terms("http", http::ALPN, http.tls_record_max_bytes, &config.net);
    load(&addresses_of(&http.tls_listen), terms).await
}

/// TLS of `[mqtt]`, if there is a listener for it.
async fn mqtt_tls(config: &Config) -> Result<Option<Tls>, String> {
    let mqtt = &config.mqtt;
    let terms = TlsTerms {
        clients: mqtt.tls_client_certificates,
        client_ca: mqtt.tls_client_ca.clone(),
        ..tls_terms("mqtt", mqtt::ALPN, mqtt.tls_record_max_bytes, &config.net)
    };
    load(&mqtt.tls_listen, terms).await
}

/// TLS of `[console]`, if there is a listener for it.
async fn console_tls(config: &Config) -> Result<Option<Tls>, String> {
    let terms = tls_terms("console", http::ALPN, config.http.tls_record_max_bytes, &config.net);
    load(&config.console.tls_listen, terms).await
}

fn tls_terms(protocol: &'static str, alpn: &'static [u8], record_max_bytes: usize, net: &config::Net) -> TlsTerms {
    TlsTerms {
        protocol,
        certificate: net.tls_certificate.clone(),
        key: net.tls_key.clone(),
        clients: ClientCertificates::Off,
        client_ca: PathBuf::new(),
        alpn,
        record_max_bytes,
        reload_interval: seconds(net.tls_reload_interval_s),
    }
}

async fn load(listen: &[SocketAddr], terms: TlsTerms) -> Result<Option<Tls>, String> {
    if listen.is_empty() {
        return Ok(None);
    }
    Tls::load(terms).await.map(Some).map_err(|fault| fault.to_string())
}

/// Listens on all addresses of a key, and records them under `name`.
fn bind(
    name: &'static str,
    key: &str,
    listen: &[SocketAddr],
    backlog: u32,
    addresses: &mut Vec<(&'static str, SocketAddr)>,
) -> Result<Vec<TcpListener>, String> {
    let mut listeners = Vec::new();
    for address in listen {
        let bound = bind_one(*address, listen, backlog).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (bound, listener) = bound.map_err(|error| fault(key, *address, &error))?;
        addresses.push((name, bound));
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Checks whether the hub could listen on an address of a key. The error is one line that names both, and the remedy.
/// It needs the runtime's I/O.
pub fn try_listen(key: &str, address: SocketAddr, all: &[SocketAddr]) -> Result<(), String> {
    // It accepts none.
    bind_one(address, all, 1).map(drop).map_err(|error| fault(key, address, &error))
}

fn bind_one(address: SocketAddr, all: &[SocketAddr], backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port whose last connections are still being closed by the system is free.
    socket.set_reuseaddr(true)?;
    // [::] accepts IPv4, too, unless IPv4 has a listener of its own.
    if address.is_ipv6() && all.iter().any(|other| other.is_ipv4() && other.port() == address.port()) {
        SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.bind(address)?;
    socket.listen(backlog)
}

fn fault(key: &str, address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("{key}: {address} is in use; stop the other program or set another port"),
        io::ErrorKind::PermissionDenied => format!("{key}: {address} is not permitted; set a port above 1023"),
        _ => format!("{key}: cannot listen on {address} ({error}); set an address of this machine"),
    }
}

async fn bind_unix(path: &Path) -> Result<UnixSocket, String> {
    UnixSocket::bind(path).await.map_err(|error| {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("mqtt.unix_socket: {path} is in use; stop the other program or set another path")
            }
            io::ErrorKind::AlreadyExists => {
                format!("mqtt.unix_socket: {path} is a file other than a socket; move it away or set another path")
            }
            _ => {
                format!("mqtt.unix_socket: cannot listen at {path} ({error}); set a path in a folder of the hub's user")
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn one_port_serves_both_versions_of_ip() {
        let any = |port| [format!("0.0.0.0:{port}").parse().unwrap(), format!("[::]:{port}").parse().unwrap()];
        let v4 = bind_one(any(0)[0], &[], 1).unwrap();
        let both = any(v4.local_addr().unwrap().port());
        let v6 = bind_one(both[1], &both, 1).unwrap();
        let port = both[0].port();
        for (listener, address) in [(&v4, format!("127.0.0.1:{port}")), (&v6, format!("[::1]:{port}"))] {
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            assert_eq!(client.unwrap().local_addr().unwrap(), accepted.unwrap().1);
        }
        let alone = bind_one(any(0)[1], &[], 1).unwrap();
        let port = alone.local_addr().unwrap().port();
        let (client, accepted) = tokio::join!(TcpStream::connect(format!("127.0.0.1:{port}")), alone.accept());
        assert_eq!(client.unwrap().local_addr().unwrap().ip(), accepted.unwrap().1.ip().to_canonical());
    }
}
