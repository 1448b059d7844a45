//! Devices with stock firmware over MQTT, with encrypted sound over UDP.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, SubscribeReasonCode};
use serde_json::{Value, json};

use crate::stock_device::link::{Heard, Link, Mqtt, slow_udp};
use crate::stock_device::{Device, FIRMWARES, Firmware, MAC, UUID, activate_as, post_as, slow_link};
use crate::transport::{TLS, tls_folder};
use crate::world::{User, World, within};
use crate::xiaozhi::{assert_silent_after_abort, hub, spoken};

const IDS: (&str, &str) = (MAC, UUID);
const MQTT: [(&str, &str); 2] = [("TOYHUB_XIAOZHI__TRANSPORT", "mqtt"), ("TOYHUB_XIAOZHI__UDP_LISTEN", "127.0.0.1:0")];

/// A hub that offers MQTT, with the included model.
async fn hub_with_mqtt(settings: &[(&'static str, &'static str)]) -> World {
    hub(&[&MQTT[..], settings].concat()).await
}

/// The same, with a user and a device that has logged in and is idle.
async fn hub_with_device(settings: &[(&'static str, &'static str)]) -> (World, User, Device) {
    let world = hub_with_mqtt(settings).await;
    let dad = world.user("dad").await;
    let answer = activate_as(&world, &dad, IDS, FIRMWARES[3]).await;
    let device = Device::log_in(&answer["mqtt"], FIRMWARES[3]).await;
    (world, dad, device)
}

/// The ids of device number `number`.
fn uuid(number: usize) -> String {
    format!("7b8a4c3e-0f1d-4e2a-9b6c-5d4e3f2a2b{number:02x}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_offers_what_the_settings_say_and_the_firmware_knows() {
    for (transport, expected) in [
        ("websocket", [[true, false], [true, false]]),
        ("mqtt", [[true, false], [false, true]]),
        ("both", [[true, false], [true, true]]),
    ] {
        let settings = [("TOYHUB_XIAOZHI__TRANSPORT", transport), MQTT[1]];
        let world = World::start_with(&settings).await;
        let dad = world.user("dad").await;
        activate_as(&world, &dad, IDS, FIRMWARES[3]).await;
        // A client of another kind has a version of its own.
        let other = Firmware { version: "py-xiaozhi-2.1.1", ..FIRMWARES[3] };
        let (_, answer) = post_as(&world, "/xiaozhi/ota/", IDS, other, "{}").await;
        assert_eq!(
            [answer.get("websocket").is_some(), answer.get("mqtt").is_some()],
            expected[1],
            "{transport}: {answer}"
        );
        // 1.6.0 knows no port of MQTT.
        for (firmware, [socket, mqtt]) in [FIRMWARES[4], FIRMWARES[3]].into_iter().zip(expected) {
            let (status, answer) = post_as(&world, "/xiaozhi/ota/", IDS, firmware, "{}").await;
            let what = format!("{transport}, {}: {answer}", firmware.version);
            assert_eq!(
                (status, answer.get("websocket").is_some(), answer.get("mqtt").is_some()),
                (200, socket, mqtt),
                "{what}"
            );
            let Some(section) = answer.get("mqtt").and_then(Value::as_object) else { continue };
            for (name, value) in section {
                assert!(name.len() <= 15, "a key of NVS: {what}");
                assert!(value.is_string() || value.is_u64(), "{what}");
            }
            assert_eq!(section["endpoint"], world.mqtt_addr().to_string(), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_with_mqtt_over_tls_alone_offers_it() {
    let settings = [
        ("TOYHUB_MQTT__LISTEN", ""),
        ("TOYHUB_XIAOZHI__MQTT_ENDPOINT", "hub.example:8883"),
        ("TOYHUB_XIAOZHI__UDP_ENDPOINT", "hub.example:8884"),
    ];
    let world = World::start_in(tls_folder(), &[TLS, &MQTT, &settings].concat()).await;
    let dad = world.user("dad").await;
    let answer = activate_as(&world, &dad, IDS, FIRMWARES[3]).await;
    assert_eq!(answer["mqtt"]["endpoint"], "hub.example:8883", "{answer}");
    assert!(answer.get("websocket").is_none(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_firmware_talks_over_mqtt_and_udp() {
    let world = hub_with_mqtt(&[]).await;
    let dad = world.user("dad").await;
    let question = spoken("what is two plus three");
    for (number, firmware) in FIRMWARES.into_iter().enumerate().filter(|(_, firmware)| firmware.version != "1.6.0") {
        let answer = activate_as(&world, &dad, (MAC, &uuid(number)), firmware).await;
        let mut device = Device::log_in(&answer["mqtt"], firmware).await;
        // Two conversations, each with its own key.
        for session in 0..2 {
            device.wake().await;
            for turn in 0..2 {
                let played = device.ask(&question).await;
                let what = format!("{} session {session} turn {turn}", firmware.version);
                assert!(played.heard.is_some(), "{what}");
                assert!(played.sentences.concat().contains('5'), "{what}: {:?}", played.sentences);
                played.assert_all_sent(&what);
                assert_eq!(device.mqtt().udp().lost, 0, "{what}");
                let loud = played.samples.iter().filter(|sample| sample.abs() > 0.05).count();
                assert!(loud > 4_000, "{what}: {loud}");
            }
            device.goodbye().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_with_a_wrong_sequence_and_odd_ones_are_ignored() {
    let (_world, _, mut device) = hub_with_device(&[]).await;
    device.wake().await;
    device.listen("start", "manual").await;
    let udp = device.mqtt().udp();
    // Packets of 0 and as many bytes as fit, then everything that is no packet, from another address, too.
    udp.send(&[]).await;
    udp.send(&[0xff; 1484]).await;
    let stranger = tokio::net::UdpSocket::bind("127.0.0.2:0").await.unwrap();
    stranger.connect(udp.socket.peer_addr().unwrap()).await.unwrap();
    let mut wrong_length = udp.datagram(3, b"opus");
    wrong_length.push(0);
    let mut unknown = udp.datagram(3, b"opus");
    unknown[4] ^= 0x40;
    let replays = [udp.datagram(1, b"opus"), udp.datagram(2, b"opus"), udp.datagram(0, b"opus")];
    let odd = [vec![], vec![1; 15], vec![1; 1500], vec![0xff; 2000], wrong_length, unknown];
    for datagram in replays.into_iter().chain(odd) {
        udp.socket.send(&datagram).await.unwrap();
        stranger.send(&datagram).await.unwrap();
    }
    // A new number, as only the device may send one: it would make the device's own numbers old.
    for ahead in [1, 50, 400] {
        stranger.send(&udp.datagram(udp.sent + ahead, &[0xff; 100])).await.unwrap();
    }
    // The sound of the child is between replays of itself.
    let question = spoken("what is four plus four");
    let end = device.speak(&question).await;
    let sent = device.mqtt().udp().sent;
    let udp = device.mqtt().udp();
    for sequence in 1..sent {
        stranger.send(&udp.datagram(sequence, &[0xff; 100])).await.unwrap();
    }
    device.listen("stop", "manual").await;
    let played = device.play(end, false).await;
    assert!(played.sentences.concat().contains('8'), "{:?}", played.sentences);
    played.assert_all_sent("between replays");
    assert_eq!(device.mqtt().udp().lost, 0);
    let mut bytes = [0; 2000];
    assert!(stranger.try_recv(&mut bytes).is_err(), "nothing goes to anybody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_make_no_sense_do_not_disturb_a_device() {
    let (_world, _, mut device) = hub_with_device(&[]).await;
    for text in ["", "null", "{", r#"{"type":"listen","state":"start","mode":"auto"}"#, r#"{"type":"goodbye"}"#] {
        device.mqtt().publish(text).await;
    }
    device.mqtt().publish(vec![0xff; 10_000]).await;
    device.wake().await;
    // The end of an earlier session, which has come late, and a hello in the middle of a session.
    device.send(json!({"type": "goodbye", "session_id": "earlier"})).await;
    device.wake().await;
    let played = device.ask(&spoken("what is one plus one")).await;
    assert!(played.sentences.concat().contains('2'), "{:?}", played.sentences);
    played.assert_all_sent("after odd messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_session_and_the_device_stays_connected() {
    let (_world, _, mut device) = hub_with_device(&[("TOYHUB_XIAOZHI__SILENCE_TIMEOUT_S", "1")]).await;
    for _ in 0..2 {
        device.wake().await;
        let goodbye = device.text().await;
        assert_eq!((&goodbye["type"], &goodbye["session_id"]), (&json!("goodbye"), &json!(device.session)));
    }
    device.wake().await;
    device.ask(&spoken("what is one plus one")).await.assert_all_sent("after two ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_bounded_and_the_others_go_on() {
    let world = hub_with_mqtt(&[("TOYHUB_XIAOZHI__UDP_SESSIONS_MAX", "1")]).await;
    let dad = world.user("dad").await;
    let mut devices = Vec::new();
    for number in 0..2 {
        let answer = activate_as(&world, &dad, (MAC, &uuid(number)), FIRMWARES[3]).await;
        devices.push(Device::log_in(&answer["mqtt"], FIRMWARES[3]).await);
    }
    let [first, second] = &mut devices[..] else { panic!() };
    first.wake().await;
    second.send(json!({"type": "hello", "version": 3, "transport": "udp"})).await;
    assert_eq!(second.text().await["type"], "alert");
    first.ask(&spoken("what is one plus one")).await.assert_all_sent("the first");
    first.goodbye().await;
    // The goodbye of one device and the hello of another take different ways.
    let served = async {
        loop {
            second.send(json!({"type": "hello", "version": 3, "transport": "udp"})).await;
            if second.text().await["type"] == "hello" {
                return;
            }
        }
    };
    within("the place", served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_device_has_a_line_and_it_may_subscribe_to_its_topic() {
    let world = hub_with_mqtt(&[]).await;
    let dad = world.user("dad").await;
    let section = activate_as(&world, &dad, IDS, FIRMWARES[3]).await["mqtt"].clone();
    let text = |name: &str| section[name].as_str().unwrap().to_owned();
    let own = text("subscribe_topic");
    // Clients that subscribe, as some do, and one with the same login and another name.
    for (client_id, is_device) in [(text("client_id"), true), ("something".to_owned(), false)] {
        let address = world.mqtt_addr();
        let mut options = MqttOptions::new(client_id, address.ip().to_string(), address.port());
        options.set_credentials(text("username"), text("password"));
        let (client, mut events) = AsyncClient::new(options, 4);
        for filter in [own.as_str(), "devices/p2p/00_00_00_00_00_00", "devices/p2p/+"] {
            client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        }
        let mut granted = Vec::new();
        let answers = async {
            while granted.len() < 3 {
                if let Event::Incoming(Packet::SubAck(answer)) = events.poll().await.unwrap() {
                    granted.extend(answer.return_codes.into_iter().map(|code| code != SubscribeReasonCode::Failure));
                }
            }
        };
        within("three answers", answers).await;
        assert_eq!(granted, [is_device, false, false]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_that_is_unbound_is_disconnected_in_the_middle_of_a_session() {
    let (world, dad, mut device) = hub_with_device(&[]).await;
    device.wake().await;
    let toys = world.post_as(&dad, "/toy_list", json!({"_id": dad.id})).await;
    let erased = json!({"user_id": dad.id, "toy_id": toys["data"][0]["_id"]});
    assert_eq!(world.post_as(&dad, "/unbind_toy", erased).await["code"], 0);
    assert!(device.is_ended().await);
    // It checks again, and is a device that nobody has bound.
    let (_, answer) = post_as(&world, "/xiaozhi/ota/", IDS, FIRMWARES[3], "{}").await;
    assert!(answer["activation"]["code"].is_string(), "{answer}");
}

/// 200 ms each way, 64 kbit/s, and 2 percent of the datagrams lost.
async fn log_in_over_a_slow_link(world: &World, section: &Value, firmware: crate::stock_device::Firmware) -> Device {
    let delay = Duration::from_millis(200);
    let mut mqtt = Mqtt::log_in(section, Some(slow_link(world.mqtt_addr(), delay, 64_000).await)).await;
    mqtt.detour = Some(slow_udp(world.addresses("udp=")[0], delay, 64_000, 50).await);
    Device::over(Link::Mqtt(Box::new(mqtt)), firmware)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_slow_link_that_loses_packets_an_answer_is_understood_and_played() {
    let world = hub_with_mqtt(&[]).await;
    let dad = world.user("dad").await;
    let answer = activate_as(&world, &dad, IDS, FIRMWARES[3]).await;
    let mut device = log_in_over_a_slow_link(&world, &answer["mqtt"], FIRMWARES[3]).await;
    device.wake().await;
    let played = device.ask(&spoken("what is two plus three")).await;
    assert!(played.sentences.concat().contains('5'), "{:?}", played.sentences);
    assert_eq!((played.early, played.overflow, played.cut), (0, 0, 0));
    // What the link has lost is missing, and nothing else: two percent of the packets.
    let lost = device.mqtt().udp().lost;
    assert!(lost <= 3, "{lost} of {} lost", played.packets);
}

/// Nothing is played by a device that does not speak.
#[tokio::test(flavor = "multi_thread")]
async fn an_abort_silences_at_once_over_udp() {
    let (world, _, mut device) = hub_with_device(&[]).await;
    world.songs(["The Long Song"]).await;
    device.wake().await;
    device.listen("start", "manual").await;
    device.speak(&spoken("play a song")).await;
    device.listen("stop", "manual").await;
    within("the song", async { while !matches!(device.link.next().await, Heard::Sound(_)) {} }).await;
    device.abort().await;
    assert_silent_after_abort(&mut device).await;
    let played = device.ask(&spoken("what is one plus one")).await;
    assert!(played.sentences.concat().contains('2'), "{:?}", played.sentences);
    // Packets of the song may still have been on their way, which the device drops.
    assert_eq!((played.overflow, played.cut), (0, 0));
}

/// 100 turns of two devices, one of them over a slow link that loses 2 percent of the datagrams: nothing but those is
/// missing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes some minutes"]
async fn nothing_but_lost_packets_is_missing_in_a_hundred_turns() {
    const TURNS: usize = 50;
    let world = hub_with_mqtt(&[("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000")]).await;
    let dad = world.user("dad").await;
    let near = activate_as(&world, &dad, (MAC, &uuid(0)), FIRMWARES[3]).await;
    let far = activate_as(&world, &dad, (MAC, &uuid(1)), FIRMWARES[3]).await;
    let devices = [
        (Device::log_in(&near["mqtt"], FIRMWARES[3]).await, false),
        (log_in_over_a_slow_link(&world, &far["mqtt"], FIRMWARES[3]).await, true),
    ];
    let turns = devices.map(|(mut device, is_far)| async move {
        device.wake().await;
        let (mut packets, mut underruns, mut right) = (0, 0, 0);
        for turn in 0..TURNS {
            let (one, other) = (turn % 9 + 1, turn / 9 % 9 + 1);
            let played = device.ask(&spoken(&format!("can you tell me what {one} plus {other} is"))).await;
            assert_eq!((played.early, played.overflow, played.cut), (0, 0, 0), "turn {turn}");
            if !is_far {
                played.assert_whole(&format!("turn {turn}"));
            }
            packets += played.packets;
            underruns += played.underruns;
            right += usize::from(played.sentences.concat().contains(&(one + other).to_string()));
        }
        let lost = device.mqtt().udp().lost;
        println!("far: {is_far}; {TURNS} turns, {right} right, {packets} packets, {lost} lost, {underruns} pauses");
        assert_eq!(lost > 0, is_far);
    });
    futures_util::future::join_all(turns).await;
}
