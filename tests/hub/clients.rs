//! Third-party clients: Eclipse paho (Python), MQTT.js, ws and Playwright (Node), which `scripts/test` installs, as it
//! does the validator of `spec`.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::world::{World, within};

/// Where `scripts/test` has installed them.
pub fn installed(path: &str) -> PathBuf {
    let folder = std::env::var_os("TEST_CLIENTS").map(PathBuf::from);
    folder.expect("TEST_CLIENTS: run scripts/test, which installs the clients").join(path)
}

/// A script of `tests/clients`.
pub fn script(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "clients", name].iter().collect()
}

/// The output of a client that succeeded.
pub async fn succeeds(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = within("the client's end", output).await.expect("the client starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test]
async fn eclipse_paho() {
    let world = World::start_with(&[("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0")]).await;
    let address = world.conformance_addr();
    for (version, checks) in [("3", 4), ("5", 5)] {
        let mut command = Command::new(installed("venv/bin/python3"));
        command.arg(script("paho_client.py")).args([&address.ip().to_string(), &address.port().to_string(), version]);
        assert_eq!(succeeds(command).await.matches("ok ").count(), checks);
    }
}

#[tokio::test]
async fn mqtt_js_over_tcp_and_websocket() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    for url in [format!("mqtt://{}", world.mqtt_addr()), format!("ws://{}/mqtt", world.http_addr())] {
        for version in ["4", "5"] {
            let mut command = Command::new("node");
            command
                .arg(script("mqttjs_client.mjs"))
                .args([&url, version, &toy.device_key, &toy.secret, &toy.id])
                .env("NODE_PATH", installed("node_modules"));
            assert_eq!(succeeds(command).await.matches("ok ").count(), 3, "{url} {version}");
        }
    }
}

#[tokio::test]
async fn node_ws_works_without_the_compression_that_it_offers() {
    let world = World::start().await;
    let owner = world.user("mia").await;
    let toy = world.toy(&owner, "fluffy").await;
    let (app, mqtt) = (format!("ws://{}/ws", world.http_addr()), format!("mqtt://{}", world.mqtt_addr()));
    let mut command = Command::new("node");
    command
        .arg(script("ws_client.mjs"))
        .args([&app, &owner.token, &mqtt, &toy.device_key, &toy.secret, &toy.id])
        .env("NODE_PATH", installed("node_modules"));
    assert_eq!(succeeds(command).await.matches("ok ").count(), 4);
}
