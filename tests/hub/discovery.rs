//! The hub's announcement in the network, as another implementation of mDNS sees it.

use tokio::process::Command;

use crate::clients::{installed, script, succeeds};
use crate::world::World;

fn browser(kind: &str, port: u16) -> Command {
    let mut command = Command::new(installed("venv/bin/python3"));
    command.arg(script("mdns_client.py")).args([kind, &port.to_string()]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_other_machines_reach_is_announced() {
    let world = World::start_with(&[
        ("TOYHUB_HTTP__LISTEN", "0.0.0.0:0"),
        ("TOYHUB_MQTT__LISTEN", "0.0.0.0:0"),
        ("TOYHUB_DISCOVERY__MDNS", "true"),
    ])
    .await;
    let (http, mqtt) = (world.http_addr().port(), world.mqtt_addr().port());
    let found = succeeds(browser("_toyhub._tcp", http)).await;
    assert!(found.contains("'tls': '0'"), "{found}");
    succeeds(browser("_mqtt._tcp", mqtt)).await;
}
