//! `scripts/bench cluster`: two hubs beside one, which are printed and not compared.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::time::{Instant, interval, timeout};

use super::broker::Broker;
use super::{StoreServer, hub};
use crate::engines::Nats;
use crate::s3::S3;
use crate::sound;
use crate::world::{Toy, User, World};

/// The time for which voice messages are sent.
const VOICE_TIME: Duration = Duration::from_secs(10);
/// Toys that send them at once.
const SENDERS: usize = 16;
/// Commands of one measurement, and how many of them are not acknowledged yet.
const COMMANDS: usize = 20_000;
const WINDOW: u16 = 200;
/// Commands whose delay is measured, and the pause between two of them.
const TIMED: usize = 1000;
const PAUSE: Duration = Duration::from_millis(5);
/// Sounds that are stored and fetched one after the other.
const SOUNDS: u32 = 200;

type Settings = Vec<(&'static str, &'static str)>;

fn settings() -> Settings {
    vec![
        ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "1000000"),
        ("TOYHUB_MQTT__QUEUE_MESSAGES_MAX", "1000000"),
        ("TOYHUB_CLUSTER__QUEUE_MESSAGES_MAX", "1000000"),
    ]
}

fn leaked(text: String) -> &'static str {
    text.leak()
}

/// Two hubs over a database server, with this bus.
async fn hubs_of(store: &StoreServer, bus: [String; 2]) -> [World; 2] {
    let mut hubs = Vec::new();
    for (name, bus) in ["a", "b"].into_iter().zip(bus) {
        let own = [("TOYHUB_CLUSTER__HUB", name), ("TOYHUB_CLUSTER__BUS", leaked(bus))];
        let hub = hub(store, &[settings(), own.to_vec()].concat()).await;
        super::bus::bus_is(&hub, "ok").await;
        hubs.push(hub);
    }
    hubs.try_into().unwrap_or_else(|_| unreachable!())
}

/// Voice messages a second, of toys that are spread over the hubs.
async fn voice_messages(hubs: &[&World]) -> f64 {
    let mut families = Vec::new();
    for number in 0..SENDERS {
        let parent = hubs[0].user(&format!("parent{number}")).await;
        let toy = hubs[0].toy(&parent, "bear").await;
        families.push((parent, toy));
    }
    let end = Instant::now() + VOICE_TIME;
    let send = async |number: usize, (parent, toy): &(User, Toy)| {
        let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
        let mut sent = 0;
        while Instant::now() < end {
            let hub = hubs[number % hubs.len()];
            let answer = hub.upload("/toy_uploader", "reco", sound::tone(sent), &fields).await;
            assert_eq!(answer["code"], 0, "{answer}");
            sent += 1;
        }
        sent
    };
    let sending = families.iter().enumerate().map(|(number, family)| send(number, family));
    let sent = futures_util::future::join_all(sending).await;
    f64::from(sent.into_iter().sum::<u32>()) / VOICE_TIME.as_secs_f64()
}

/// A client of MQTT.
async fn client(world: &World, (name, secret): (&str, &str)) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new("figures", "127.0.0.1", world.mqtt_addr().port());
    options.set_credentials(name, secret).set_inflight(WINDOW);
    AsyncClient::new(options, COMMANDS)
}

/// Commands a second of a parent at one hub to a toy at another, and their delay at a small load: p50 and p99.
async fn commands(from: &World, to: &World) -> (f64, Duration, Duration) {
    let parent = from.user("mia").await;
    let toy = from.toy(&parent, "bear").await;
    let (toy_client, mut toy_events) = client(to, (&toy.device_key, &toy.secret)).await;
    toy_client.subscribe(format!("toy/{}/cmd/#", toy.id), QoS::AtLeastOnce).await.unwrap();
    while !matches!(toy_events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let receiving = tokio::spawn(async move {
        while let Ok(event) = toy_events.poll().await {
            if matches!(event, Event::Incoming(Packet::Publish(_))) && arrived.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    let (app, mut app_events) = client(from, (&parent.id, &parent.token)).await;
    let polling = tokio::spawn(async move { while app_events.poll().await.is_ok() {} });
    let publish = || app.publish(format!("toy/{}/cmd/volume", toy.id), QoS::AtLeastOnce, false, [b'5'; 300]);
    let mut arrival = async || timeout(Duration::from_secs(60), arrivals.recv()).await.expect("a command").unwrap();

    let (mut delays, mut ticks) = (Vec::new(), interval(PAUSE));
    for _ in 0..TIMED {
        ticks.tick().await;
        let sent = Instant::now();
        publish().await.unwrap();
        delays.push(arrival().await - sent);
    }
    delays.sort();
    let begun = Instant::now();
    for _ in 0..COMMANDS {
        publish().await.unwrap();
    }
    let mut last = begun;
    for _ in 0..COMMANDS {
        last = arrival().await;
    }
    polling.abort();
    receiving.abort();
    (COMMANDS as f64 / (last - begun).as_secs_f64(), delays[TIMED / 2], delays[TIMED * 99 / 100])
}

fn print_commands(place: &str, (rate, p50, p99): (f64, Duration, Duration)) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("| {place} | {rate:.0} | {:.1} | {:.1} |", ms(p50), ms(p99));
}

/// The median times to store a voice message and to fetch its sound, in milliseconds.
async fn put_and_get(world: &World) -> [f64; 2] {
    let parent = world.user("sounds").await;
    let toy = world.toy(&parent, "bear").await;
    let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for number in 0..SOUNDS {
        let begun = Instant::now();
        let sent = world.upload("/toy_uploader", "reco", sound::tone(number), &fields).await;
        puts.push(begun.elapsed());
        let url = format!("{}/get_chat/{}", world.http(), sent["data"]["filename"].as_str().unwrap());
        let begun = Instant::now();
        let fetched = world.client().get(url).send().await.unwrap();
        assert_eq!(fetched.status(), 200);
        fetched.bytes().await.unwrap();
        gets.push(begun.elapsed());
    }
    [puts, gets].map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1000.0
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, not a test"]
async fn figures() {
    println!("all engines, hubs and clients on this machine; the engines keep their data on its disk\n");
    println!("| voice messages of 0.1 s by {SENDERS} toys at once | a second |\n| --- | ---: |");
    println!("| one hub, embedded database | {:.0} |", voice_messages(&[&World::start_with(&settings()).await]).await);
    let store = StoreServer::start().await;
    println!("| one hub, database server | {:.0} |", voice_messages(&[&hub(&store, &settings()).await]).await);
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let [a, b] = hubs_of(&store, [broker.url(), broker.url()]).await;
    println!("| two hubs, database server, mosquitto | {:.0} |", voice_messages(&[&a, &b]).await);
    drop((a, b));

    println!("\n| commands of 300 bytes, QoS 1 | a second, {WINDOW} in flight | delay p50, ms | p99, ms |");
    println!("| --- | ---: | ---: | ---: |");
    let world = World::start_with(&settings()).await;
    print_commands("one hub, no bus", commands(&world, &world).await);
    drop(world);
    for through in ["mosquitto", "NATS, three servers"] {
        let (store, broker, nats) = (StoreServer::start().await, Broker::start().await, Nats::start().await);
        let bus = if through == "mosquitto" { [broker.url(), broker.url()] } else { [nats.urls(0), nats.urls(1)] };
        let [a, b] = hubs_of(&store, bus).await;
        print_commands(&format!("two hubs, {through}: sender and toy at one of them"), commands(&a, &a).await);
        drop((a, b));
        let store = StoreServer::start().await;
        let bus = if through == "mosquitto" { [broker.url(), broker.url()] } else { [nats.urls(0), nats.urls(1)] };
        let [a, b] = hubs_of(&store, bus).await;
        print_commands(&format!("two hubs, {through}: from one to the other"), commands(&a, &b).await);
    }

    println!("\n| a sound, one after the other | stored, ms | fetched, ms |\n| --- | ---: | ---: |");
    let [put, get] = put_and_get(&World::start_with(&settings()).await).await;
    println!("| folder | {put:.1} | {get:.1} |");
    let s3 = S3::start().await;
    let bucket = World::start_with(&[settings(), s3.settings()].concat()).await;
    let [put, get] = put_and_get(&bucket).await;
    println!("| S3 server (moto) | {put:.1} | {get:.1} |");
}
