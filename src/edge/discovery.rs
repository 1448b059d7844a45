//! Announces the hub in the home network by mDNS and DNS-SD (RFC 6762, RFC 6763), so that apps and toys need not be given
//! its address.

use std::net::SocketAddr;
use std::time::Duration;

use libmdns::Responder;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The time for the packets that take the announcement back.
const GOODBYE_MAX: Duration = Duration::from_millis(200);
/// The maximum length of a name in DNS, in bytes.
const NAME_MAX_BYTES: usize = 63;

/// A service that is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Its type.
    kind: &'static str,
    port: u16,
    text: &'static str,
}

/// The services of the listeners with these names: the first of each that other machines reach.
pub fn services(addresses: &[(&'static str, SocketAddr)]) -> Vec<Service> {
    let port_of = |name: &str| {
        let reached = addresses.iter().find(|(of, address)| *of == name && !address.ip().is_loopback());
        reached.map(|(_, address)| address.port())
    };
    let app = |name, text| port_of(name).map(|port| Service { kind: "_toyhub._tcp", port, text });
    let mqtt = |name, kind| port_of(name).map(|port| Service { kind, port, text: "" });
    let app = app("http", "tls=0").or_else(|| app("https", "tls=1"));
    [app, mqtt("mqtt", "_mqtt._tcp"), mqtt("mqtts", "_secure-mqtt._tcp")].into_iter().flatten().collect()
}

/// Announces `services` until `shutdown`. Without a network, the hub works all the same.
pub async fn run(services: Vec<Service>, shutdown: CancellationToken) {
    if services.is_empty() {
        return shutdown.cancelled().await;
    }
    let (responder, mut answering) = match Responder::with_default_handle() {
        Ok(started) => started,
        Err(error) => {
            tracing::warn!(%error, "the hub cannot be announced by mDNS; turn it off by discovery.mdns = false");
            return shutdown.cancelled().await;
        }
    };
    let name = instance_name(&std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default());
    let announce = |service: &Service| {
        let text = [service.text];
        let text = if service.text.is_empty() { &[] } else { &text[..] };
        responder.register(service.kind, &name, service.port, text)
    };
    let announced: Vec<_> = services.iter().map(announce).collect();
    tracing::info!(name, services = services.len(), "the hub is announced by mDNS");
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = &mut answering => {
            tracing::warn!("the hub is no longer announced by mDNS");
            return shutdown.cancelled().await;
        }
    }
    // This takes the announcement back. The responder ends without it if its handle is dropped first.
    drop(announced);
    let _ = timeout(GOODBYE_MAX, &mut answering).await;
    drop(responder);
}

/// The name of the hub on this machine. Dots would be taken for the borders of labels.
fn instance_name(host: &str) -> String {
    let host = host.trim().split('.').next().unwrap_or_default();
    let mut name = if host.is_empty() { "toyhub".to_owned() } else { format!("toyhub on {host}") };
    while name.len() > NAME_MAX_BYTES {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_this_machine_alone_are_not_announced() {
        let address = |text: &str| text.parse().unwrap();
        let all = [
            ("http", address("127.0.0.1:1")),
            ("http", address("0.0.0.0:2")),
            ("legacy", address("0.0.0.0:3")),
            ("https", address("0.0.0.0:4")),
            ("mqtt", address("[::]:5")),
            ("console", address("0.0.0.0:6")),
            ("mqtts", address("[::1]:7")),
        ];
        let service = |kind, port, text| Service { kind, port, text };
        assert_eq!(services(&all), [service("_toyhub._tcp", 2, "tls=0"), service("_mqtt._tcp", 5, "")]);
        assert_eq!(services(&all[3..4]), [service("_toyhub._tcp", 4, "tls=1")]);
        assert_eq!(services(&all[..1]), []);
    }

    #[test]
    fn the_name_is_one_label() {
        assert_eq!(instance_name("box.home.example\n"), "toyhub on box");
        assert_eq!(instance_name("\n"), "toyhub");
        assert_eq!(instance_name(&"x".repeat(200)).len(), NAME_MAX_BYTES);
        assert!(instance_name(&"ü".repeat(60)).len() <= NAME_MAX_BYTES);
    }
}
