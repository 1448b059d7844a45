//! Two hubs over one store, one broker and one bucket, behind a balancer that gives each client to any of them: as one
//! world, for tests that know of one hub.

use std::net::SocketAddr;

use super::broker::Broker;
use super::bus::{bus_is, hub_of};
use super::{StoreServer, bus};
use crate::engines::{Balancer, free_port};
use crate::s3::S3;
use crate::world::{Front, World};

/// Settings of a hub that a balancer gives clients.
const BEHIND: [(&str, &str); 3] = [
    ("TOYHUB_NET__PROXIES", "127.0.0.1"),
    ("TOYHUB_HTTP__PROXY_PROTOCOL", "true"),
    ("TOYHUB_MQTT__PROXY_PROTOCOL", "true"),
];

/// Listeners that a hub keeps when it starts again: at an address that no client of the tests connects from, so that the
/// system gives their ports to no connection meanwhile.
fn listens() -> Vec<(&'static str, &'static str)> {
    let address = || -> &'static str { SocketAddr::from(([127, 0, 77, 1], free_port())).to_string().leak() };
    let names = ["TOYHUB_HTTP__LISTEN", "TOYHUB_HTTP__LEGACY_LISTEN", "TOYHUB_MQTT__LISTEN"];
    names.map(|name| (name, address())).to_vec()
}

/// Two hubs with these settings in addition. Commands, and `stop`, `kill` and `start_hub`, are those of the first one.
pub async fn world(settings: &[(&'static str, &'static str)]) -> World {
    let (store, broker, s3) = (StoreServer::start().await, Broker::start().await, S3::start().await);
    let mut hubs = Vec::new();
    for name in ["a", "b"] {
        let all = [&BEHIND[..], &bus::NEVER, &s3.settings(), &listens(), settings].concat();
        hubs.push(hub_of(&store, name, &broker.url(), &all).await);
    }
    let [mut a, mut b] = hubs.try_into().unwrap_or_else(|_| unreachable!());
    let addresses = [&a, &b].map(|hub| [hub.http_addr(), hub.mqtt_addr()]);
    let legacy = [a.legacy_addr(), b.legacy_addr()];
    let balancer = Balancer::start_in_turns(b.folder(), addresses, legacy).await;
    for hub in [&mut a, &mut b] {
        let [http, mqtt] = [hub.http_addr(), hub.mqtt_addr()];
        // Before they are clients of the balancer: an address that is not the balancer's.
        hub.use_proxy(http, mqtt, [127, 0, 0, 9].into());
        bus_is(hub, "ok").await;
    }
    balancer.wait_complete().await;
    let front = Front { http: balancer.http, mqtt: balancer.mqtt, legacy: balancer.legacy };
    a.put_behind(front, vec![Box::new(balancer), Box::new(b), Box::new(broker), Box::new(s3), Box::new(store)]);
    a
}
