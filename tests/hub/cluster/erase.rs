//! An export and an erasure of a family whose messages went through two hubs, over one server, one bucket and a bus.

use serde_json::json;

use super::broker::Broker;
use super::{StoreServer, hub};
use crate::erasure::Needles;
use crate::export;
use crate::mqtt::{Raw, V4, connect_with, publish, subscribe};
use crate::s3::S3;
use crate::sound;
use crate::world::{Toy, User, World, within};

const LOG: (&str, &str) = ("TOYHUB_SERVER__LOG", "info");

/// Two hubs with everything in common.
struct Cluster {
    store: StoreServer,
    s3: S3,
    _broker: Broker,
    hubs: [World; 2],
}

async fn cluster(more: &[(&'static str, &'static str)]) -> Cluster {
    let (store, s3, broker) = (StoreServer::start().await, S3::start().await, Broker::start().await);
    let bus: &'static str = broker.url().leak();
    let settings = |name: &'static str| {
        [&s3.settings()[..], more, &[("TOYHUB_CLUSTER__HUB", name), ("TOYHUB_CLUSTER__BUS", bus), LOG]].concat()
    };
    let hubs = [hub(&store, &settings("a")).await, hub(&store, &settings("b")).await];
    for world in &hubs {
        within("the bus", async {
            while world.watch("/readyz").await.1["parts"]["bus"]["state"] != "ok" {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    Cluster { store, s3, _broker: broker, hubs }
}

/// A message; gives its id and the name of the sound in its answer.
async fn send(world: &World, path: &str, from: &str, to: &str, number: u32) -> (String, String) {
    let field = if path == "/app_uploader" { "reco_file" } else { "reco" };
    let sent = world.upload(path, field, sound::tone(number), &[("user_id", from), ("to_user", to)]).await;
    assert_eq!(sent["code"], 0, "{sent}");
    let text = |name: &str| sent["data"][name].as_str().unwrap().to_owned();
    (text("_id"), text("filename"))
}

/// What a user is answered who asks for a sound: a stranger does not learn whether it exists.
async fn status(world: &World, sound: &str, user: &User) -> u16 {
    let asked = world.client().get(format!("{}/get_chat/{sound}", world.http())).bearer_auth(&user.token).send();
    within(sound, asked).await.unwrap().status().as_u16()
}

/// The offline session of a party at a hub, which gets the party's messages.
async fn away(world: &World, party: &str, name: &str, password: &str, filter: &str) -> Raw {
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect_with(V4, 0xc0, 60, &[], party, &[], name, password)).await;
    raw.expect(0x20, &[0, 0]).await;
    raw.send(&subscribe(V4, 1, &[(filter, 1)])).await;
    raw.expect(0x90, &[0, 1, 1]).await;
    raw
}

/// A family with messages through both hubs.
struct Family {
    mia: User,
    toy: Toy,
    needles: Needles,
    /// The id of the first message.
    first: String,
    sounds: Vec<String>,
}

async fn family([a, b]: &[World; 2]) -> Family {
    let mia = a.user("zoraphine").await;
    let toy = a.toy(&mia, "Blubberduck").await;
    let mut needles = Needles::default();
    needles.text("name", "oraphine");
    needles.text("toy's name", "lubberduck");
    needles.id("user", &mia.id);
    needles.id("toy", &toy.id);
    // Their sessions, with messages that they do not acknowledge.
    let mut phone = away(a, "phone", &mia.id, &mia.token, &format!("app/{}/in", mia.id)).await;
    let mut of_toy = away(b, "toy", &toy.device_key, &toy.secret, &format!("toy/{}/in", toy.id)).await;
    of_toy.send(&publish(V4, 0x33, &format!("toy/{}/state/mood", toy.id), 2, b"sleepy-blubb")).await;
    of_toy.expect(0x40, &[0, 2]).await;
    needles.text("retained state", "sleepy-blubb");
    for raw in [&mut phone, &mut of_toy] {
        raw.send(&[0xe0, 0]).await;
        raw.expect_end().await;
    }
    let (mut ids, mut sounds) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let world = [a, b][number as usize % 2];
        let (id, sound) = match number % 4 < 2 {
            true => send(world, "/toy_uploader", &toy.id, &mia.id, number).await,
            // The name in its answer is that of the notice, which all of them have.
            false => send(world, "/app_uploader", &mia.id, &toy.id, number).await,
        };
        needles.id(&format!("message {number}"), &id);
        needles.text(&format!("sound {number}"), &sound);
        ids.push(id);
        sounds.push(sound);
    }
    // A recording that stopped halfway, at each hub.
    for (number, world) in [a, b].into_iter().enumerate() {
        let raw = sound::tone(300 + number as u32);
        let mut app = world.app(&world.login(&mia).await).await;
        app.ask(json!({"do": "voice", "upload": "half", "n": 0, "data": base64(&raw)})).await;
        needles.sound(&format!("raw waveform {number}"), &raw);
    }
    Family { mia, toy, needles, first: ids.swap_remove(0), sounds }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn bytes_of_base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD_NO_PAD.decode(text).unwrap()
}

impl Cluster {
    /// All rows of the database, as text.
    async fn rows(&self) -> String {
        let tables = self.store.sql("RETURN object::keys((INFO FOR DB).tables)").await;
        let mut rows = String::new();
        for table in tables[0]["result"].as_array().unwrap() {
            rows += &self.store.sql(&format!("SELECT * FROM {}", table.as_str().unwrap())).await.to_string();
        }
        // Their payloads are in base64.
        let retained = self.store.sql("SELECT VALUE payload FROM retained").await;
        for payload in retained[0]["result"].as_array().into_iter().flatten() {
            let payload = bytes_of_base64(payload.as_str().unwrap());
            rows += &String::from_utf8_lossy(&payload);
        }
        rows
    }

    /// The places where the needles are found: folders, database, bucket.
    async fn found(&self, needles: &Needles) -> Vec<String> {
        let mut found: Vec<String> = self.hubs.iter().flat_map(|world| needles.found(world)).collect();
        found.extend(needles.found_in(&self.rows().await).map(|what| format!("{what} in the database")));
        found.extend(needles.found_in(&self.s3.list("").await.join("\n")).map(|what| format!("{what} in the bucket")));
        found
    }

    /// Waits until none of them is found: the other hub learns of an erasure by the bus.
    async fn wait_for_none(&self, needles: &Needles) {
        let began = std::time::Instant::now();
        loop {
            let found = self.found(needles).await;
            if found.is_empty() {
                return;
            }
            assert!(began.elapsed() < crate::world::DEADLINE, "{found:?}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    async fn assert_gone(&self, sounds: &[String]) {
        let name = format!("witness{}", rand::random::<u32>());
        let witness = self.hubs[0].user(&name).await;
        for world in &self.hubs {
            for sound in sounds {
                assert_eq!(status(world, sound, &witness).await, 404, "{sound}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_family_of_two_hubs_is_exported_and_erased_through_either() {
    let cluster = cluster(&[]).await;
    let Family { mia, toy, needles, first, sounds } = family(&cluster.hubs).await;
    let [a, b] = &cluster.hubs;
    for world in [a, b] {
        let asked = json!({"_id": mia.id, "password": "correct horse"});
        let allowed = world.post_as(&mia, "/export", asked).await;
        let (status, archive) = export::fetch(world, &allowed["data"]["ticket"]).await;
        assert_eq!(status, 200, "{allowed}");
        let entries = export::entries(&archive);
        for sound in &sounds {
            assert!(entries.get(&format!("sounds/{sound}")).is_some_and(|bytes| bytes.len() > 300), "{sound}");
        }
    }
    let everywhere = cluster.found(&needles).await;
    for what in
        ["message 0 in the database", "sound 1 in the bucket", "retained state in the database", "raw waveform 0 in "]
    {
        assert!(everywhere.iter().any(|found| found.starts_with(what)), "{what}: {everywhere:?}");
    }

    // One message, through the hub that it did not go through.
    let erased = json!({"_id": mia.id, "message": first, "for": "both"});
    let answer = b.post_as(&mia, "/erase_message", erased).await;
    assert_eq!(answer["code"], 0, "{answer}");
    b.run(&["erase", "--finish"]).await;
    cluster.wait_for_none(&needles.only(&["message 0", "sound 0"])).await;
    cluster.assert_gone(&sounds[..1]).await;
    assert_eq!(status(a, &sounds[1], &mia).await, 200);

    // The toy, through the other one.
    let erased = json!({"user_id": mia.id, "toy_id": toy.id, "password": "correct horse"});
    assert_eq!(b.post_as(&mia, "/erase_toy", erased).await["code"], 0);
    b.run(&["erase", "--finish"]).await;
    let of_toy: Vec<String> = (0..8).flat_map(|n| [format!("message {n}"), format!("sound {n}")]).collect();
    let of_toy = of_toy.iter().map(String::as_str).chain(["toy", "toy's name", "retained state"]);
    cluster.wait_for_none(&needles.only(&of_toy.collect::<Vec<_>>())).await;
    cluster.assert_gone(&sounds).await;

    // The account.
    let erased = json!({"_id": mia.id, "password": "correct horse"});
    assert_eq!(b.post_as(&mia, "/erase_account", erased).await["code"], 0);
    b.run(&["erase", "--finish"]).await;
    cluster.wait_for_none(&needles).await;
    for world in [a, b] {
        let answer = world.post("/login", json!({"username": "zoraphine", "password": "correct horse"})).await.1;
        assert_eq!(answer["code"], 1, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn an_erasure_of_a_killed_hub_is_finished_by_the_other_one() {
    let mut cluster = cluster(&[("TOYHUB_CLUSTER__ERASURE_TAKEOVER_S", "1")]).await;
    let Family { mia, toy, mut needles, mut sounds, .. } = family(&cluster.hubs).await;
    for number in 0..60 {
        let (id, sound) =
            send(&cluster.hubs[number % 2], "/toy_uploader", &toy.id, &mia.id, 1000 + number as u32).await;
        needles.id(&format!("message 1{number}"), &id);
        needles.text(&format!("sound 1{number}"), &sound);
        sounds.push(sound);
    }
    let before = cluster.s3.list("").await.len();
    let erased = json!({"_id": mia.id, "password": "correct horse"});
    assert_eq!(cluster.hubs[1].post_as(&mia, "/erase_account", erased).await["code"], 0);
    within("some objects to be deleted", async {
        while cluster.s3.list("").await.len() >= before {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
    cluster.hubs[1].kill().await;
    let listed = cluster.s3.list("").await.join("\n");
    assert!(needles.found_in(&listed).count() > 0, "the hub was faster than the kill");
    let shared = async || {
        let found =
            [cluster.rows().await, cluster.s3.list("").await.join("\n")].map(|text| needles.found_in(&text).count());
        found.iter().sum::<usize>()
    };
    within("the other hub to finish", async {
        while shared().await > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    // The files of the killed one lie where they lay, until it starts.
    cluster.hubs[1].start_hub().await;
    cluster.wait_for_none(&needles).await;
    cluster.assert_gone(&sounds).await;
}
