//! Erasures: no byte of the data is left in any file of the data folder, also if the hub is killed meanwhile.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::mqtt::{Raw, V4, connect_with, publish, subscribe};
use crate::sound;
use crate::world::{Toy, User, World, within};

const UPLOADS: (&str, &str) = ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "100000");
const LOG: (&str, &str) = ("TOYHUB_SERVER__LOG", "info");

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// A text whose characters are the bytes, in which the standard library searches fast.
pub fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The texts that must not be found: whole names; of ids the last digits, since a table stores the common prefix of keys
/// only once.
#[derive(Default)]
pub struct Needles(Vec<(String, String)>);

impl Needles {
    /// A whole name.
    pub fn text(&mut self, what: &str, text: &str) {
        self.0.push((what.into(), latin(text.as_bytes())));
    }

    /// The last digits of an id.
    pub fn id(&mut self, what: &str, id: &str) {
        self.text(what, &id[id.len() - 16..]);
    }

    /// Some bytes of a sound's middle.
    pub fn sound(&mut self, what: &str, sound: &[u8]) {
        let middle = sound.len() / 2;
        self.0.push((what.into(), latin(&sound[middle..middle + 48])));
    }

    /// The places where each of them is found: in names and bytes of the data folder, and in the log.
    pub fn found(&self, world: &World) -> Vec<String> {
        let mut found = Vec::new();
        let mut paths = files(&world.data_dir());
        paths.push(world.log());
        for path in paths {
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let text = latin(path.to_string_lossy().as_bytes()) + "\0" + &latin(&bytes);
            let here = self.0.iter().filter(|(_, needle)| text.contains(needle.as_str()));
            found.extend(here.map(|(what, _)| format!("{what} in {}", path.display())));
        }
        found
    }

    /// Those of them that are in a text.
    pub fn found_in(&self, text: &str) -> impl Iterator<Item = &str> {
        let here = self.0.iter().filter(move |(_, needle)| text.contains(needle.as_str()));
        here.map(|(what, _)| what.as_str())
    }

    /// Those with these names.
    pub fn only(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(what, _)| names.contains(&what.as_str())).cloned().collect())
    }

    /// The number of them that are found anywhere.
    fn kinds_found(&self, world: &World) -> usize {
        let found = self.found(world);
        self.0.iter().filter(|(what, _)| found.iter().any(|line| line.starts_with(&format!("{what} in ")))).count()
    }
}

async fn send(world: &World, path: &str, from: &str, to: &str, token: Option<&str>, sound: Vec<u8>) -> Value {
    let mut fields = vec![("user_id", from), ("to_user", to)];
    fields.extend(token.map(|token| ("token", token)));
    let field = if path == "/app_uploader" { "reco_file" } else { "reco" };
    world.upload(path, field, sound, &fields).await
}

/// The messages of a chat as one of its parties sees them.
async fn chat_list(world: &World, reader: &User, chat: &str, other: &str) -> Vec<Value> {
    let asked = json!({"chat_id": chat, "to_user": reader.id, "from_user": other, "limit": 500});
    let list = world.post_as(reader, "/chat_list", asked).await;
    list["data"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
}

async fn chat_of(world: &World, user: &User, friend: &str) -> String {
    let friends = world.post_as(user, "/friend_list", json!({"_id": user.id})).await;
    let entry = friends["data"].as_array().unwrap().iter().find(|entry| entry["friend_id"] == friend);
    entry.unwrap_or_else(|| panic!("{friends}"))["friend_chat"].as_str().unwrap().to_owned()
}

async fn bytes_of(world: &World, name: &str) -> Vec<u8> {
    let answer = within(name, world.client().get(format!("{}/get_chat/{name}", world.http())).send()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{name}");
    answer.bytes().await.unwrap().to_vec()
}

async fn befriend(world: &World, asker: &User, asked: &User) {
    let request = json!({"req_user": asker.id, "add_user": asked.id, "remark": asked.username});
    assert_eq!(world.post_as(asker, "/add_req", request).await["code"], 0);
    world.accept(asked, &asker.username).await;
}

/// The names of all recordings and notices.
fn sounds(world: &World) -> Vec<String> {
    let mut names: Vec<_> = files(&world.data_dir().join("files/chat"));
    names.sort();
    names.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbound_toy_leaves_no_recording_and_its_old_secret_opens_nothing() {
    let world = World::start_with(&[UPLOADS]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    for number in 0..4 {
        assert_eq!(send(&world, "/app_uploader", &mia.id, &toy.id, None, sound::tone(number)).await["code"], 0);
        assert_eq!(send(&world, "/toy_uploader", &toy.id, &mia.id, None, sound::tone(9 + number)).await["code"], 0);
    }
    assert!(sounds(&world).len() >= 8, "{:?}", sounds(&world));
    let unbound = world.post_as(&mia, "/unbind_toy", json!({"user_id": mia.id, "toy_id": toy.id})).await;
    assert_eq!((&unbound["code"], &unbound["data"]["device_key"]), (&json!(0), &json!(toy.device_key)), "{unbound}");
    world.run(&["erase", "--finish"]).await;
    assert_eq!(sounds(&world), [""; 0], "nobody is left who could hear them");

    // The device becomes the toy of another family, and the old secret is refused.
    let eva = world.user("eva").await;
    let binding = json!({
        "toy_name": "Rex", "baby_name": "Ben", "remark": "Mum", "user_id": eva.id, "device_key": toy.device_key,
    });
    world.ok("/bind_toy", binding).await;
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect_with(V4, 0xc2, 60, &[], "toy", &[], &toy.device_key, &toy.secret)).await;
    raw.expect(0x20, &[0, 4]).await;
    // The operator renews the secret of the device.
    let printed = world.run(&["device", "renew", &toy.device_key]).await;
    let (key, secret) = printed.trim().split_once('\t').unwrap();
    assert_eq!(key, toy.device_key);
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect_with(V4, 0xc2, 60, &[], "toy", &[], key, secret)).await;
    raw.expect(0x20, &[0, 0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbound_device_gets_a_new_key_on_request() {
    let world = World::start().await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let printed = world.run(&["toy", "unbind", &toy.id, "--new-key"]).await;
    let (key, secret) = printed.trim().split_once('\t').unwrap();
    assert!(key != toy.device_key && secret != toy.secret && key.len() == 32, "{printed}");
    assert_eq!(world.post("/scan_qr", json!({"device_key": toy.device_key})).await.1["code"], 1, "no such device");
    assert_eq!(world.post("/scan_qr", json!({"device_key": key})).await.1["code"], 0);
    let pictures: Vec<_> = files(&world.data_dir().join("files/qr"));
    assert!(pictures.iter().all(|path| path.to_string_lossy().contains(key)) && pictures.len() == 2, "{pictures:?}");
}

/// A family with data of every kind, and friends outside of it.
struct Family {
    zora: User,
    toy: Toy,
    tom: User,
    needles: Needles,
}

async fn family(world: &World) -> Family {
    let (zora, tom) = (world.user("zoraphine").await, world.user("tom").await);
    let toy = world.toy(&zora, "Blubberduck").await;
    befriend(world, &tom, &zora).await;
    let asked = json!({"req_user": tom.id, "add_user": toy.id, "remark": "Zoraphines kid"});
    assert_eq!(world.post_as(&tom, "/add_req", asked).await["code"], 0);
    world.accept(&zora, "Uncle Tom").await;
    let mut needles = Needles(Vec::new());
    for (what, text) in [("name", "oraphine"), ("toy's name", "lubberduck"), ("remark", "Zoraphines kid")] {
        needles.text(what, text);
    }
    needles.id("user", &zora.id);
    needles.id("toy", &toy.id);
    needles.id("device key", &toy.device_key);
    needles.id("chat of user and toy", &chat_of(world, &zora, &toy.id).await);
    needles.id("chat of user and friend", &chat_of(world, &zora, &tom.id).await);
    needles.id("chat of toy and friend", &chat_of(world, &tom, &toy.id).await);

    // The offline sessions of a friend's phone and toy, with messages that name the family.
    let mut phone = Raw::open(world.mqtt_addr()).await;
    phone.send(&connect_with(V4, 0xc0, 60, &[], "phone", &[], &tom.id, &tom.token)).await;
    phone.expect(0x20, &[0, 0]).await;
    let filters = [format!("app/{}/in", tom.id), format!("online/{}", zora.id)];
    phone.send(&subscribe(V4, 1, &[(&filters[0], 1), (&filters[1], 1)])).await;
    phone.expect(0x90, &[0, 1, 1, 1]).await;
    phone.send(&[0xe0, 0]).await;
    phone.expect_end().await;
    let mut of_toy = Raw::open(world.mqtt_addr()).await;
    of_toy.send(&connect_with(V4, 0xc0, 60, &[], "toy", &[], &toy.device_key, &toy.secret)).await;
    of_toy.expect(0x20, &[0, 0]).await;
    of_toy.send(&subscribe(V4, 1, &[(&format!("toy/{}/in", toy.id), 1)])).await;
    of_toy.expect(0x90, &[0, 1, 1]).await;
    of_toy.send(&publish(V4, 0x33, &format!("toy/{}/state/mood", toy.id), 2, b"sleepy-blubb")).await;
    of_toy.expect(0x40, &[0, 2]).await;
    of_toy.send(&[0xe0, 0]).await;
    of_toy.expect_end().await;
    needles.text("retained state", "sleepy-blubb");

    for (number, (path, from, to)) in [
        ("/app_uploader", &zora.id, &toy.id),
        ("/toy_uploader", &toy.id, &zora.id),
        ("/app_uploader", &zora.id, &tom.id),
        ("/app_uploader", &tom.id, &zora.id),
        ("/app_uploader", &tom.id, &toy.id),
        ("/toy_uploader", &toy.id, &tom.id),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = send(world, path, from, to, None, sound::tone(40 + 17 * number as u32)).await;
        assert_eq!(sent["code"], 0, "{sent}");
        needles.id(&format!("message {number}"), sent["data"]["_id"].as_str().unwrap());
    }
    let recordings = sounds(world);
    for (number, name) in recordings.iter().enumerate() {
        if !name.starts_with("say-") {
            needles.sound(
                &format!("waveform {number}"),
                &std::fs::read(world.data_dir().join("files/chat").join(name)).unwrap(),
            );
        }
        needles.text(&format!("sound {number}"), name);
    }
    // A recording that stopped halfway, and one whose answer is kept at the friend's.
    let mut app = world.app(&zora).await;
    let raw = sound::tone(333);
    let data = base64(&raw);
    app.ask(json!({"do": "voice", "upload": "half", "n": 0, "data": data})).await;
    needles.sound("raw waveform", &raw);
    let mut app = world.app(&tom).await;
    app.ask(json!({"do": "voice", "upload": "whole", "n": 0, "data": base64(&sound::tone(555))})).await;
    let sent = app.ask(json!({"do": "app_uploader", "to_user": toy.id, "upload": "whole", "chunks": 1})).await;
    assert_eq!(sent["code"], 0, "{sent}");
    needles.id("message in chunks", sent["data"]["_id"].as_str().unwrap());
    // A user with an unanswered request.
    let eva = world.user("eva").await;
    let asked = json!({"req_user": eva.id, "add_user": zora.id, "remark": "Zoraphine of the park"});
    assert_eq!(world.post_as(&eva, "/add_req", asked).await["code"], 0);
    needles.text("words of a request", "oraphine of the park");
    Family { zora, toy, tom, needles }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_account_leaves_no_byte() {
    let mut world = World::start_with(&[UPLOADS, LOG]).await;
    let Family { zora, toy, tom, mut needles } = family(&world).await;
    // The device stays in the equipment library.
    needles.0.retain(|(what, _)| what != "device key");
    assert_eq!(
        needles.kinds_found(&world),
        needles.0.len(),
        "the search finds what is there: {:?}",
        needles.found(&world)
    );

    // Without the password it is refused.
    let mut wrong = json!({"_id": zora.id, "password": "guess"});
    assert_eq!(world.post_as(&zora, "/erase_account", wrong.clone()).await["code"], 1);
    assert_eq!(
        world.post_as(&tom, "/erase_account", json!({"_id": zora.id, "password": "correct horse"})).await["code"],
        10
    );
    wrong["password"] = json!("correct horse");
    assert_eq!(world.post_as(&zora, "/erase_account", wrong).await["code"], 0);
    // From now on its data cannot be reached.
    assert_eq!(world.post_as(&zora, "/friend_list", json!({"_id": zora.id})).await["code"], 36);
    assert_eq!(world.post("/login", json!({"username": "zoraphine", "password": "correct horse"})).await.1["code"], 1);
    let finished = world.run(&["erase", "--finish"]).await;
    assert_eq!(finished.trim(), "erased");
    assert_eq!(needles.found(&world), [""; 0], "while the hub runs");
    // Senders get the reason why their messages do not arrive.
    let refused = send(&world, "/app_uploader", &tom.id, &toy.id, None, sound::beep()).await;
    assert_eq!(refused["code"], 36, "{refused}");
    let friends = world.post_as(&tom, "/friend_list", json!({"_id": tom.id})).await;
    assert_eq!(friends["data"], json!([]));
    // The friend's devices load everything again, and miss no later event.
    let (_, welcome) = world.app_after(&tom, 1).await;
    assert!(welcome.to_string().contains("seq"), "{welcome}");
    // The device is free for another family.
    assert!(!world.run(&["device", "list"]).await.contains("toy "));
    world.stop().await;
    assert_eq!(needles.found(&world), [""; 0], "after the stop");
    world.start_hub().await;
    assert_eq!(needles.found(&world), [""; 0], "after the next start");
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_a_toy_removes_its_device_and_nothing_else() {
    let world = World::start_with(&[UPLOADS, LOG]).await;
    let Family { zora, toy, tom, mut needles } = family(&world).await;
    let of_others = ["user", "name", "chat of user and friend", "words of a request", "raw waveform"];
    let with_tom = chat_list(&world, &zora, &chat_of(&world, &zora, &tom.id).await, &tom.id).await;
    assert_eq!(with_tom.len(), 2);
    let kept: Vec<&str> = with_tom.iter().map(|message| message["message"].as_str().unwrap()).collect();
    let names: Vec<String> = needles.0.iter().map(|(_, text)| text.clone()).collect();
    let mut stays = Vec::new();
    for name in &kept {
        let at = names.iter().position(|text| text == name).expect("a known sound");
        stays.push(needles.0[at].0.replace("sound", "waveform"));
        stays.push(needles.0[at].0.clone());
    }
    for message in &with_tom {
        let id = message["_id"].as_str().unwrap();
        stays.push(needles.0.iter().find(|(_, text)| *text == id[8..]).expect("a known message").0.clone());
    }
    // The notice with a friend's spoken remark is deleted with the last message that has it.
    needles.0.retain(|(what, text)| {
        !of_others.contains(&what.as_str()) && !stays.contains(what) && !text.starts_with("say-")
    });
    let body = json!({"user_id": zora.id, "toy_id": toy.id, "password": "no"});
    assert_eq!(world.post_as(&zora, "/erase_toy", body).await["code"], 1);
    let body = json!({"user_id": tom.id, "toy_id": toy.id, "password": "correct horse"});
    assert_eq!(world.post_as(&tom, "/erase_toy", body).await["code"], 1, "a toy of others");
    assert!(needles.kinds_found(&world) > 10);
    let body = json!({"user_id": zora.id, "toy_id": toy.id, "password": "correct horse"});
    assert_eq!(world.post_as(&zora, "/erase_toy", body).await["code"], 0);
    world.run(&["erase", "--finish"]).await;
    assert_eq!(needles.found(&world), [""; 0]);
    assert_eq!(chat_list(&world, &zora, &chat_of(&world, &zora, &tom.id).await, &tom.id).await.len(), 2);
    for name in kept {
        bytes_of(&world, name).await;
    }
    let examined = world.run(&["doctor"]).await;
    assert!(!examined.contains("lost") && !examined.contains("WRONG    data"), "{examined}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_erased_for_both_or_for_oneself() {
    let world = World::start_with(&[UPLOADS]).await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    befriend(&world, &tom, &mia).await;
    let chat = chat_of(&world, &mia, &tom.id).await;
    let mut ids = Vec::new();
    for number in 0..4 {
        let (from, to) = if number < 2 { (&mia, &tom) } else { (&tom, &mia) };
        let sent = send(&world, "/app_uploader", &from.id, &to.id, None, sound::tone(number)).await;
        ids.push(sent["data"]["_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(world.unread(&mia).await["count"], 2);
    let stranger = world.user("eva").await;
    let erase = async |user: &User, id: &str, whom: &str| {
        world.post_as(user, "/erase_message", json!({"_id": user.id, "message": id, "for": whom})).await["code"].clone()
    };
    assert_eq!(erase(&stranger, &ids[0], "both").await, 1, "a message of others");
    assert_eq!(erase(&mia, &ids[2], "both").await, 18, "what another has sent");
    assert_eq!(erase(&mia, &ids[0], "all").await, 1, "no such word");
    assert_eq!(erase(&mia, &ids[0], "both").await, 0);
    assert_eq!(erase(&mia, &ids[0], "both").await, 1, "it is gone");
    assert_eq!(erase(&mia, &ids[2], "me").await, 0);
    let seen = async |reader: &User, other: &User| {
        let list = chat_list(&world, reader, &chat, &other.id).await;
        list.iter().map(|message| ids.iter().position(|id| *id == message["_id"]).unwrap()).collect::<Vec<_>>()
    };
    // Hidden messages are not unread either.
    let heard = world.post_as(&mia, "/recv_msg", json!({"from_user": tom.id, "to_user": mia.id})).await;
    assert_eq!(heard.as_array().unwrap().len(), 1, "{heard}");
    assert_eq!(seen(&mia, &tom).await, [1, 3]);
    assert_eq!(seen(&tom, &mia).await, [1, 2, 3]);
    assert_eq!(world.unread(&mia).await["count"], 0);
    // Once both have erased it for themselves, it is deleted.
    assert_eq!(erase(&tom, &ids[2], "me").await, 0);
    world.run(&["erase", "--finish"]).await;
    assert_eq!(seen(&tom, &mia).await, [1, 3]);
    let recordings = sounds(&world).iter().filter(|name| !name.starts_with("say-")).count();
    assert_eq!(recordings, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_erased_whole_by_a_guardian_and_half_by_others() {
    let world = World::start_with(&[UPLOADS]).await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    befriend(&world, &tom, &mia).await;
    assert_eq!(world.post_as(&tom, "/add_req", json!({"req_user": tom.id, "add_user": toy.id})).await["code"], 0);
    world.accept(&mia, "Uncle").await;
    let (of_users, of_toy) = (chat_of(&world, &mia, &tom.id).await, chat_of(&world, &tom, &toy.id).await);
    for number in 0..2 {
        send(&world, "/app_uploader", &mia.id, &tom.id, None, sound::tone(number)).await;
        send(&world, "/app_uploader", &tom.id, &mia.id, None, sound::tone(10 + number)).await;
        send(&world, "/app_uploader", &tom.id, &toy.id, None, sound::tone(20 + number)).await;
        send(&world, "/toy_uploader", &toy.id, &tom.id, None, sound::tone(30 + number)).await;
    }
    let erase = async |user: &User, chat: &str| {
        let code = world.post_as(user, "/erase_chat", json!({"_id": user.id, "chat_id": chat})).await["code"].clone();
        world.run(&["erase", "--finish"]).await;
        code
    };
    let stranger = world.user("eva").await;
    assert_eq!(erase(&stranger, &of_users).await, 1);
    // Between users: the own messages for both, and those of the other for oneself.
    assert_eq!(erase(&mia, &of_users).await, 0);
    assert_eq!(chat_list(&world, &mia, &of_users, &tom.id).await.len(), 0);
    assert_eq!(chat_list(&world, &tom, &of_users, &mia.id).await.len(), 2);
    assert_eq!(erase(&tom, &of_users).await, 0);
    assert_eq!(chat_list(&world, &tom, &of_users, &mia.id).await.len(), 0);
    // A child's chat: all of it, by its guardian.
    assert_eq!(chat_list(&world, &tom, &of_toy, &toy.id).await.len(), 4);
    assert_eq!(erase(&mia, &of_toy).await, 0);
    assert_eq!(chat_list(&world, &tom, &of_toy, &toy.id).await.len(), 0);
    assert_eq!(sounds(&world).iter().filter(|name| !name.starts_with("say-")).count(), 0);
    // They are still friends, and send new messages.
    assert_eq!(send(&world, "/app_uploader", &tom.id, &toy.id, None, sound::tone(1)).await["code"], 0);
    assert_eq!(world.unread_of(&toy).await, 1);
    let again = chat_list(&world, &tom, &of_toy, &toy.id).await;
    assert_eq!((again.len(), &again[0]["seq"]), (1, &json!(5)), "numbers go on");
    let examined = world.run(&["doctor"]).await;
    assert!(!examined.contains("lost"), "{examined}");
    // Only its guardian removes a friend of the toy; the owner of the toy remains its friend.
    let of_others = json!({"_id": tom.id, "toy_id": toy.id, "friend_id": mia.id});
    assert_eq!(world.post_as(&tom, "/erase_friend", of_others).await["code"], 1);
    let owner = json!({"_id": mia.id, "friend_id": toy.id});
    assert_eq!(world.post_as(&mia, "/erase_friend", owner).await["code"], 1);
    let friend = json!({"_id": mia.id, "toy_id": toy.id, "friend_id": tom.id});
    assert_eq!(world.post_as(&mia, "/erase_friend", friend.clone()).await["code"], 0);
    assert_eq!(world.post_as(&mia, "/erase_friend", friend).await["code"], 1, "it is none any more");
    assert_eq!(send(&world, "/app_uploader", &tom.id, &toy.id, None, sound::tone(1)).await["code"], 36);
    assert_eq!(send(&world, "/app_uploader", &stranger.id, &toy.id, None, sound::tone(1)).await["code"], 1);
}

/// The number of requests in a user's list.
async fn requests(world: &World, user: &User) -> usize {
    let list = world.post_as(user, "/req_list", json!({"_id": user.id})).await;
    list["data"].as_array().unwrap_or_else(|| panic!("{list}")).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_friend_requests_of_two_go_with_their_friendship() {
    let world = World::start_with(&[LOG, ("TOYHUB_ACCOUNTS__REFUSED_REQUEST_PAUSE_H", "0")]).await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    let ask = async |by: &User, from: &str, to: &str, info: &str, remark: &str| {
        let asked = json!({"req_user": from, "add_user": to, "req_info": info, "remark": remark});
        assert_eq!(world.post_as(by, "/add_req", asked).await["code"], 0);
    };
    let newest = async |user: &User| {
        let list = world.post_as(user, "/req_list", json!({"_id": user.id})).await;
        list["data"][0]["_id"].clone()
    };
    // One request in each direction, the first one refused; and others, of which none may go.
    ask(&mia, &toy.id, &tom.id, "Zebrafink-one", "Quokka-one").await;
    let refused = json!({"req_id": newest(&tom).await});
    assert_eq!(world.post_as(&tom, "/ref_req", refused).await["code"], 0);
    ask(&tom, &tom.id, &toy.id, "Zebrafink-two", "Quokka-two").await;
    world.accept(&mia, "Quokka-three").await;
    ask(&tom, &tom.id, &mia.id, "Wombat-info", "Wombat-remark").await;
    let mut needles = Needles(Vec::new());
    for text in ["ebrafink-one", "ebrafink-two", "uokka-one", "uokka-two", "uokka-three"] {
        needles.text(text, text);
    }
    assert_eq!(needles.kinds_found(&world), 5, "{:?}", needles.found(&world));
    assert_eq!((requests(&world, &mia).await, requests(&world, &tom).await), (2, 1));
    let ended = json!({"_id": mia.id, "toy_id": toy.id, "friend_id": tom.id});
    assert_eq!(world.post_as(&mia, "/erase_friend", ended).await["code"], 0);
    assert_eq!((requests(&world, &mia).await, requests(&world, &tom).await), (1, 0), "at once");
    world.run(&["erase", "--finish"]).await;
    assert_eq!(needles.found(&world), [""; 0]);

    // The other ends of a friendship.
    let friend = json!({"user_id": mia.id, "toy_id": toy.id, "friend_id": tom.id});
    for path in ["/unfriend", "/block"] {
        ask(&tom, &tom.id, &toy.id, "info", "remark").await;
        world.accept(&mia, "Tom").await;
        assert_eq!(requests(&world, &mia).await, 2);
        assert_eq!(world.post_as(&mia, path, friend.clone()).await["code"], 0, "{path}");
        assert_eq!(requests(&world, &mia).await, 1, "{path}: that of the other pair is left");
    }
    assert_eq!(world.post_as(&mia, "/unblock", friend).await["code"], 0);
    // A block where there is no friendship.
    let stranger = json!({"user_id": mia.id, "friend_id": tom.id});
    assert_eq!(world.post_as(&mia, "/block", stranger.clone()).await["code"], 0);
    assert_eq!(requests(&world, &mia).await, 0, "the request to the user herself");
    assert_eq!(world.post_as(&mia, "/unblock", stranger).await["code"], 0);
    ask(&tom, &tom.id, &mia.id, "info", "remark").await;
    // A guardian who was a friend of the toy before.
    ask(&tom, &tom.id, &toy.id, "info", "remark").await;
    world.accept(&mia, "Tom").await;
    let code = world.post_as(&mia, "/invite", json!({"user_id": mia.id, "toy_id": toy.id})).await;
    let joined = json!({"user_id": tom.id, "invite": code["data"]["invite"]});
    assert_eq!(world.post_as(&tom, "/join", joined).await["code"], 0);
    assert_eq!(requests(&world, &mia).await, 2);
    let removal = json!({"user_id": mia.id, "toy_id": toy.id, "guardian_id": tom.id});
    assert_eq!(world.post_as(&mia, "/remove_guardian", removal).await["code"], 0);
    assert_eq!(requests(&world, &mia).await, 1);
    // The end of the toy.
    ask(&tom, &tom.id, &toy.id, "info", "remark").await;
    world.accept(&mia, "Tom").await;
    assert_eq!(world.post_as(&mia, "/unbind_toy", json!({"user_id": mia.id, "toy_id": toy.id})).await["code"], 0);
    world.run(&["erase", "--finish"]).await;
    assert_eq!((requests(&world, &mia).await, requests(&world, &tom).await), (1, 0));
}

/// A chat of many messages, put into the tables and the folder of a stopped hub.
async fn fill(world: &mut World, chat: &str, sender: &str, count: usize) {
    world.stop().await;
    let folder = world.data_dir().join("files/chat");
    std::fs::create_dir_all(&folder).unwrap();
    let recording = sound::beep();
    for number in 1..=count {
        std::fs::write(folder.join(format!("filled{number}.mp3")), &recording).unwrap();
    }
    let sql = format!(
        "FOR $n IN 1..={count} {{
            CREATE type::record('message', ['{chat}', $n]) SET uid = string::repeat('f', 24 - string::len(<string> $n)) +
                <string> $n, chat = '{chat}', seq = $n, sender = '{sender}', kind = 'app',
                sound = 'filled' + <string> $n + '.mp3', created_at = 1.0 + $n;
        }};
        UPDATE type::record('chat', '{chat}') SET seq = {count}, last_at = 1.0 + {count};"
    );
    crate::tables::run(world.data_dir(), sql).await;
    world.start_hub().await;
}

/// A hub with two friends and `count` messages between them, and what no file may hold once the first is erased.
async fn chat_to_erase(count: usize) -> (World, [User; 2], Needles) {
    let mut world = World::start_with(&[UPLOADS, LOG]).await;
    let (mia, tom) = (world.user("mirabelle").await, world.user("tom").await);
    befriend(&world, &tom, &mia).await;
    let chat = chat_of(&world, &mia, &tom.id).await;
    let mut needles = Needles(Vec::new());
    needles.text("name", "irabelle");
    needles.id("user", &mia.id);
    needles.id("chat", &chat);
    needles.text("sound", "filled1");
    fill(&mut world, &chat, &tom.id, count).await;
    assert_eq!(needles.kinds_found(&world), 4);
    (world, [mia, tom], needles)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_continues_after_a_kill() {
    const COUNT: usize = 3000;
    let (mut world, [mia, tom], needles) = chat_to_erase(COUNT).await;
    let mia = world.login(&mia).await;
    let body = json!({"_id": mia.id, "password": "correct horse"});
    assert_eq!(world.post_as(&mia, "/erase_account", body).await["code"], 0);
    let mut kills = 0;
    for left_max in [COUNT - 1, COUNT * 2 / 3, COUNT / 3] {
        let some_are_gone = async {
            while sounds(&world).len() > left_max {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        within("some messages to be erased", some_are_gone).await;
        world.kill().await;
        kills += usize::from(!sounds(&world).is_empty());
        world.start_hub().await;
        assert_eq!(world.post_as(&mia, "/friend_list", json!({"_id": mia.id})).await["code"], 36);
    }
    assert!(kills > 0, "the hub was faster than the kills");
    world.run(&["erase", "--finish"]).await;
    assert_eq!(needles.found(&world), [""; 0]);
    let friends = world.post_as(&tom, "/friend_list", json!({"_id": tom.id})).await;
    assert_eq!(friends["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasing_command_that_is_interrupted_is_finished_by_the_next_one() {
    const COUNT: usize = 3000;
    let (mut world, [_, tom], needles) = chat_to_erase(COUNT).await;
    assert_eq!(world.stop().await, Some(0));
    let mut interrupted = 0;
    for (signal, left_max) in [("INT", COUNT - 1), ("TERM", COUNT * 2 / 3), ("KILL", COUNT / 3)] {
        let arguments: &[&str] = if signal == "INT" { &["user", "erase", "mirabelle"] } else { &["erase", "--finish"] };
        let mut erasing = world.command(arguments).kill_on_drop(true).spawn().unwrap();
        let some_are_gone = async {
            while sounds(&world).len() > left_max && erasing.try_wait().unwrap().is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        within("some messages to be erased", some_are_gone).await;
        if let Some(id) = erasing.id() {
            // It may have ended since.
            let id = id.to_string();
            tokio::process::Command::new("kill").args(["-s", signal, &id]).status().await.unwrap();
        }
        let status = within("the command", erasing.wait()).await.unwrap();
        interrupted += usize::from(!status.success());
    }
    assert!(interrupted > 0, "the commands were faster than the signals");
    world.run(&["erase", "--finish"]).await;
    assert_eq!(needles.found(&world), [""; 0]);
    world.start_hub().await;
    let friends = world.post_as(&tom, "/friend_list", json!({"_id": tom.id})).await;
    assert_eq!(friends["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_an_erasure_leaves_no_wrong_counter() {
    const COUNT: usize = 1000;
    let mut world = World::start_with(&[UPLOADS]).await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    befriend(&world, &tom, &mia).await;
    let chat = chat_of(&world, &mia, &tom.id).await;
    fill(&mut world, &chat, &tom.id, COUNT).await;
    let doctor = async |world: &World, arguments: &[&str]| {
        let output = within("the doctor", world.command(arguments).output()).await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(doctor(&world, &["doctor", "--repair"]).await.contains("counters"), "as the rows were made");
    assert_eq!(world.unread(&mia).await["count"], COUNT);
    let tom = world.login(&tom).await;
    assert_eq!(world.post_as(&tom, "/erase_chat", json!({"_id": tom.id, "chat_id": chat})).await["code"], 0);
    for left_max in [COUNT - 1, COUNT / 2] {
        let some_are_gone = async {
            while sounds(&world).len() > left_max {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        within("some messages to be erased", some_are_gone).await;
        world.kill().await;
        let examined = doctor(&world, &["doctor"]).await;
        assert!(examined.contains(" chats, ") && !examined.contains("counters"), "{examined}");
        world.start_hub().await;
    }
    world.run(&["erase", "--finish"]).await;
    assert_eq!(world.unread(&mia).await["count"], 0);
    assert!(!doctor(&world, &["doctor"]).await.contains("counters"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_under_load_is_complete_and_harms_no_other_client() {
    let world = World::start_with(&[UPLOADS, LOG]).await;
    let (zora, tom, eva) = (world.user("zoraphine").await, world.user("tom").await, world.user("eva").await);
    for friend in [&zora, &eva] {
        befriend(&world, &tom, friend).await;
    }
    let mut needles = Needles(Vec::new());
    needles.text("name", "oraphine");
    needles.id("user", &zora.id);
    needles.id("chat", &chat_of(&world, &zora, &tom.id).await);
    let load = async |to: &User, first: u32| {
        let mut codes = Vec::new();
        for number in 0..60 {
            let sent = send(&world, "/app_uploader", &tom.id, &to.id, None, sound::tone(first + number)).await;
            codes.push(sent["code"].as_u64().unwrap());
        }
        codes
    };
    let erasing = async {
        let some_are_sent = async {
            while sounds(&world).len() < 30 {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        within("some messages", some_are_sent).await;
        let body = json!({"_id": zora.id, "password": "correct horse"});
        assert_eq!(world.post_as(&zora, "/erase_account", body).await["code"], 0);
        world.run(&["erase", "--finish"]).await;
    };
    let (to_erased, to_other, ()) = tokio::join!(load(&zora, 0), load(&eva, 1000), erasing);
    assert_eq!(to_other, [0; 60], "nobody else is disturbed");
    let first = to_erased.iter().position(|code| *code != 0).expect("the erasure came before the last message");
    assert!(to_erased[..first].iter().all(|code| *code == 0) && to_erased[first..].iter().all(|code| *code == 36));
    // Nothing is left of concurrent messages either.
    world.run(&["erase", "--finish"]).await;
    let found = needles.found(&world);
    assert_eq!(found, [""; 0]);
    let recordings = sounds(&world).iter().filter(|name| !name.starts_with("say-")).count();
    assert_eq!(recordings, 60);
    assert_eq!(world.unread(&eva).await["count"], 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_data_stays_erased_when_an_older_backup_is_restored() {
    let mut world = World::start_with(&[UPLOADS, LOG]).await;
    let Family { zora, toy, tom, mut needles } = family(&world).await;
    // Others have the same remark for the friend: they share a notice.
    needles.0.retain(|(_, text)| !text.starts_with("say-"));
    let eva = world.user("evangeline").await;
    befriend(&world, &tom, &eva).await;
    for number in 0..3 {
        send(&world, "/app_uploader", &tom.id, &eva.id, None, sound::tone(700 + number)).await;
    }
    let with_eva = chat_of(&world, &tom, &eva.id).await;
    let before = chat_list(&world, &tom, &with_eva, &eva.id).await;
    let backups = world.folder().join("backups");
    let backups = backups.to_str().unwrap();
    world.run(&["backup", backups]).await;
    let own = json!({"_id": tom.id, "message": before[0]["_id"]});
    assert_eq!(world.post_as(&tom, "/erase_message", own).await["code"], 0);
    let for_me = json!({"_id": eva.id, "message": before[1]["_id"], "for": "me"});
    assert_eq!(world.post_as(&eva, "/erase_message", for_me).await["code"], 0);
    world.run(&["toy", "erase", &toy.id]).await;
    world.run(&["user", "erase", &zora.username]).await;
    world.stop().await;

    // The data folder is lost, and the backup is older; it knows the list by the data folder alone here.
    let data = world.data_dir();
    let list = data.join("erased.list");
    let kept = std::fs::read(&list).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(&list, &kept).unwrap();
    world.run(&["restore", backups]).await;
    world.start_hub().await;
    assert_eq!(needles.found(&world), [""; 0]);
    let left = chat_list(&world, &tom, &with_eva, &eva.id).await;
    assert_eq!(left.iter().map(|message| &message["_id"]).collect::<Vec<_>>(), [&before[1]["_id"], &before[2]["_id"]]);
    let eva = world.login(&eva).await;
    assert_eq!(chat_list(&world, &eva, &with_eva, &tom.id).await.len(), 1);
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect_with(V4, 0xc2, 60, &[], "toy", &[], &toy.device_key, &toy.secret)).await;
    raw.expect(0x20, &[0, 4]).await;

    // A later backup carries the list, and so an older snapshot of the same folder is enough.
    let oldest = std::fs::read_dir(backups).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let oldest = oldest.filter(|name| name.starts_with("0000")).min().unwrap();
    world.run(&["backup", backups]).await;
    world.stop().await;
    std::fs::remove_dir_all(&data).unwrap();
    world.run(&["restore", backups, "--snapshot", &oldest]).await;
    world.start_hub().await;
    assert_eq!(needles.found(&world), [""; 0]);
}

/// Figures for scripts/bench: an account with 10,000 messages is exported and erased.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, which scripts/bench runs"]
async fn figures() {
    const COUNT: usize = 10_000;
    let mut world = World::start_with(&[UPLOADS]).await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    befriend(&world, &tom, &mia).await;
    let chat = chat_of(&world, &mia, &tom.id).await;
    fill(&mut world, &chat, &tom.id, COUNT).await;
    let bytes: u64 =
        files(&world.data_dir().join("files/chat")).iter().map(|path| path.metadata().unwrap().len()).sum();
    let archive = world.folder().join("mia.zip");
    let began = std::time::Instant::now();
    world.run(&["user", "export", "mia", "--out", archive.to_str().unwrap()]).await;
    let took = began.elapsed().as_secs_f64();
    let size = archive.metadata().unwrap().len();
    assert!(size > bytes);
    println!(
        "export: {COUNT} messages, {:.1} MB in {took:.1} s, {:.1} MB/s",
        size as f64 / 1e6,
        size as f64 / 1e6 / took
    );
    let mia = world.login(&mia).await;
    let began = std::time::Instant::now();
    let body = json!({"_id": mia.id, "password": "correct horse"});
    assert_eq!(world.post_as(&mia, "/erase_account", body).await["code"], 0);
    let answered = began.elapsed().as_secs_f64();
    world.run(&["erase", "--finish"]).await;
    let took = began.elapsed().as_secs_f64();
    assert!(sounds(&world).is_empty());
    println!("erase: {COUNT} messages, answered after {answered:.2} s, done after {took:.1} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_of_two_guardians_outlives_the_account_of_the_first() {
    let world = World::start_with(&[UPLOADS]).await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    let invited = json!({"user_id": mia.id, "toy_id": toy.id, "remark": "Dad"});
    let code = world.post_as(&mia, "/invite", invited).await["data"]["invite"].clone();
    assert_eq!(world.post_as(&tom, "/join", json!({"user_id": tom.id, "invite": code})).await["code"], 0);
    assert_eq!(send(&world, "/toy_uploader", &toy.id, &tom.id, None, sound::tone(1)).await["code"], 0);
    assert_eq!(send(&world, "/toy_uploader", &toy.id, &mia.id, None, sound::tone(2)).await["code"], 0);
    let body = json!({"_id": mia.id, "password": "correct horse"});
    assert_eq!(world.post_as(&mia, "/erase_account", body).await["code"], 0);
    world.run(&["erase", "--finish"]).await;
    let toys = world.post_as(&tom, "/toy_list", json!({"_id": tom.id})).await;
    assert_eq!((&toys["data"][0]["_id"], &toys["data"][0]["bind_user"]), (&json!(toy.id), &json!(tom.id)), "{toys}");
    assert_eq!(sounds(&world).iter().filter(|name| !name.starts_with("say-")).count(), 1);
    assert_eq!(world.unread(&tom).await["count"], 1);
    // Its present owner may erase it.
    let body = json!({"user_id": tom.id, "toy_id": toy.id, "password": "correct horse"});
    assert_eq!(world.post_as(&tom, "/erase_toy", body).await["code"], 0);
}
