//! The tools of devices with stock firmware: their state for the owner, and the owner's commands.

use std::collections::BTreeMap;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::json;
use tokio::sync::mpsc;

use crate::speech::hearing_any;
use crate::stock_device::{Device, FIRMWARES, MAC, UUID, activate, activate_as};
use crate::world::{User, World, within};
use crate::xiaozhi::spoken;

const IDS: (&str, &str) = (MAC, UUID);
const MQTT: [(&str, &str); 2] = [("TOYHUB_XIAOZHI__TRANSPORT", "mqtt"), ("TOYHUB_XIAOZHI__UDP_LISTEN", "127.0.0.1:0")];

/// The owner of a toy, over MQTT.
struct Owner {
    client: AsyncClient,
    toy: String,
    states: mpsc::UnboundedReceiver<(String, String)>,
    /// The last one of each key.
    seen: BTreeMap<String, String>,
}

impl Owner {
    async fn of(world: &World, user: &User) -> Self {
        let toys = world.post_as(user, "/toy_list", json!({"_id": user.id})).await;
        let toy = toys["data"][0]["_id"].as_str().unwrap().to_owned();
        let address = world.mqtt_addr();
        let mut options = MqttOptions::new("owner", address.ip().to_string(), address.port());
        options.set_credentials(&user.id, &user.token);
        let (client, mut events) = AsyncClient::new(options, 16);
        let (sender, states) = mpsc::unbounded_channel();
        let prefix = format!("toy/{toy}/state/");
        client.subscribe(format!("{prefix}#"), QoS::AtLeastOnce).await.unwrap();
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::Publish(publish)) = event {
                    let key = publish.topic.strip_prefix(&prefix).unwrap().to_owned();
                    let _ = sender.send((key, String::from_utf8(publish.payload.to_vec()).unwrap()));
                }
            }
        });
        Self { client, toy, states, seen: BTreeMap::new() }
    }

    async fn command(&self, key: &str, value: &str, is_retained: bool) {
        let topic = format!("toy/{}/cmd/{key}", self.toy);
        self.client.publish(topic, QoS::AtLeastOnce, is_retained, value).await.unwrap();
    }

    /// Waits for this state.
    async fn told(&mut self, key: &str, value: &str) {
        let wait = async {
            while self.seen.get(key).is_none_or(|seen| seen != value) {
                let (key, value) = self.states.recv().await.unwrap();
                // The network of the family is nobody's business.
                assert!(!value.contains("network"), "{value}");
                self.seen.insert(key, value);
            }
        };
        within(&format!("{key} {value}"), wait).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_sees_and_sets_an_idle_device_with_mqtt() {
    let world = World::start_with(&MQTT).await;
    let dad = world.user("dad").await;
    let answer = activate_as(&world, &dad, IDS, FIRMWARES[3]).await;
    let mut device = Device::log_in(&answer["mqtt"], FIRMWARES[3]).await;
    let mut owner = Owner::of(&world, &dad).await;
    device.board_is("a look at it", |board| board.calls.len() == 1).await;
    owner.told("volume", "70").await;
    owner.told("brightness", "50").await;
    owner.told("battery", r#"{"level":80,"charging":false}"#).await;
    owner.command("volume", "30", false).await;
    device.board_is("the volume", |board| board.volume == 30).await;
    device.board_is("another look", |board| board.calls.len() == 3).await;
    owner.told("volume", "30").await;
    owner.command("brightness", "5", false).await;
    device.board_is("the brightness", |board| board.brightness == Some(5)).await;
    device.board_is("another look", |board| board.calls.len() == 5).await;
    owner.told("brightness", "5").await;
    // What is no level has no effect, and no other tool is called: the board would panic.
    for (key, value) in
        [("volume", "101"), ("volume", "loud"), ("reboot", "1"), ("self.reboot", "1"), ("upgrade_firmware", "x")]
    {
        owner.command(key, value, false).await;
    }
    owner.command("volume", "31", false).await;
    device.board_is("the volume", |board| board.volume == 31).await;
    assert_eq!(device.board.calls.len(), 6, "{:?}", device.board.calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_command_reaches_a_device_with_a_websocket_when_it_is_woken() {
    let world = World::start().await;
    let dad = world.user("dad").await;
    let (url, token) = activate(&world, &dad, IDS).await;
    let mut owner = Owner::of(&world, &dad).await;
    owner.command("volume", "20", true).await;
    let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
    device.board_is("the volume", |board| board.volume == 20).await;
    device.board_is("another look", |board| board.calls.len() == 3).await;
    owner.told("volume", "20").await;
    // A board without a display.
    owner.command("brightness", "20", true).await;
    drop(device);
    let mut device = Device::open(&url, &token, IDS, FIRMWARES[3]).await;
    device.board.brightness = None;
    device.greet().await;
    device.board_is("the volume", |board| board.volume == 20).await;
    assert!(device.board.calls.iter().all(|name| !name.contains("brightness")), "{:?}", device.board.calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_a_child_call_no_tool_but_the_volume() {
    for words in ["reboot yourself", "call self reboot", "upgrade your firmware", "take a photo", "make it brighter"] {
        let world = hearing_any(words, &[]).await;
        let dad = world.user("dad").await;
        let (url, token) = activate(&world, &dad, IDS).await;
        let mut device = Device::connect(&url, &token, IDS, FIRMWARES[3]).await;
        let played = device.ask(&spoken("hello my little bear")).await;
        assert_eq!(played.heard.as_deref(), Some(words));
        assert!(
            device.board.calls.iter().all(|name| name == "self.get_device_status"),
            "{words}: {:?}",
            device.board.calls
        );
    }
}
