//! The hub's announcement in the network, as another implementation of mDNS sees it.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::clients::{installed, script, succeeds};
use crate::world::{World, within};

fn browser(kind: &str, port: u16) -> Command {
    let mut command = Command::new(installed("venv/bin/python3"));
    command.arg(script("mdns_client.py")).args([kind, &port.to_string()]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_other_machines_reach_is_announced() {
    let mut world = World::start_with(&[
        ("TOYHUB_HTTP__LISTEN", "0.0.0.0:0"),
        ("TOYHUB_MQTT__LISTEN", "0.0.0.0:0"),
        ("TOYHUB_DISCOVERY__MDNS", "true"),
    ])
    .await;
    let (http, mqtt) = (world.http_addr().port(), world.mqtt_addr().port());
    let found = succeeds(browser("_toyhub._tcp", http)).await;
    assert!(found.contains("'tls': '0'"), "{found}");
    succeeds(browser("_mqtt._tcp", mqtt)).await;

    // A stop takes it back at once, long before it would expire.
    let mut watching =
        browser("_toyhub._tcp", http).arg("gone").stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    within("the announcement", lines.next_line()).await.unwrap().expect("a service");
    assert_eq!(world.stop().await, Some(0));
    assert!(within("its end", watching.wait()).await.unwrap().success());
}
