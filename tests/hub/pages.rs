//! Pages and phones that were published for this API, by their habits: form posts without a token, the older sockets,
//! and arithmetic of their own on the answers.

use std::net::SocketAddr;
use std::path::Path;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::places::Stranger;
use crate::sound;
use crate::world::{App, Toy, User, World, within};

const FIELD: (&str, &str) = ("TOYHUB_HTTP__DIALECT", "field");

/// How loud the loudest sample of a sound is, in decibels below the maximum.
fn loudest(folder: &Path, sound: &[u8]) -> f64 {
    let path = folder.join("measured");
    std::fs::write(&path, sound).unwrap();
    let output = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-i"])
        .arg(&path)
        .args(["-af", "volumedetect", "-f", "null", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let (_, found) = text.split_once("max_volume: ").expect("ffmpeg decodes it");
    found.split(' ').next().unwrap().parse().unwrap()
}

async fn music(world: &World, name: &str) -> Option<Vec<u8>> {
    let answer = within(name, world.client().get(format!("{}/get_music/{name}", world.http())).send()).await.unwrap();
    if answer.status() != 200 {
        return None;
    }
    assert_eq!(answer.headers()["content-type"], "audio/mpeg");
    Some(answer.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn own_sounds_play_in_each_language_and_follow_the_settings() {
    let names = ["Success", "Nolic", "Nobind", "SendOK"];
    let mut world = World::start_with(&[("TOYHUB_SPEECH__LANGUAGES", "de,en,zh")]).await;
    for name in names {
        let mut heard = Vec::new();
        for language in ["de", "en", "zh"] {
            let sound = music(&world, &format!("{name}.{language}.mp3")).await.expect(name);
            let (seconds, volume) = (sound::seconds(world.folder(), &sound), loudest(world.folder(), &sound));
            assert!(seconds > 0.8 && volume > -12.0, "{name} in {language}: {seconds} s, {volume} dB");
            assert!(!heard.contains(&sound), "{name} in {language} is another language's");
            heard.push(sound);
        }
        assert_eq!(
            music(&world, &format!("{name}.mp3")).await.as_ref(),
            heard.first(),
            "{name}: the family's language"
        );
    }
    // The operator has put a sound of the family's own there.
    let own = world.data_dir().join("files/music/SendOK.mp3");
    world.stop().await;
    std::fs::write(&own, b"a sound of the family").unwrap();
    world.set("TOYHUB_SPEECH__LANGUAGES", "en");
    world.start_hub().await;
    for name in ["Success", "Nolic", "Nobind"] {
        let expected = music(&world, &format!("{name}.en.mp3")).await;
        assert_eq!(music(&world, &format!("{name}.mp3")).await, expected, "{name} follows the setting");
    }
    assert_eq!(music(&world, "SendOK.mp3").await.unwrap(), b"a sound of the family");
}

/// A family whose toy sends messages to its parent.
struct Family {
    world: World,
    parent: User,
    toys: Vec<Toy>,
}

impl Family {
    async fn new(settings: &[(&'static str, &'static str)]) -> Self {
        let often = ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "10000");
        let world = World::start_with(&[settings, &[often]].concat()).await;
        let parent = world.user("parent").await;
        let toys = vec![world.toy(&parent, "Fluffy").await, world.toy(&parent, "Rex").await];
        Self { world, parent, toys }
    }

    /// A toy sends messages.
    async fn send(&self, toy: usize, tones: std::ops::Range<u32>) {
        for tone in tones {
            let names = [("user_id", self.toys[toy].id.as_str()), ("to_user", self.parent.id.as_str())];
            let sent = self.world.upload("/toy_uploader", "reco", sound::tone(tone), &names).await;
            assert_eq!(sent["code"], 0, "{sent}");
        }
    }

    /// The counts that a page shows after its login.
    async fn counts(&self) -> Value {
        let text = self.world.form(self.world.http_addr(), "/auto_login", &[("_id", &self.parent.id)]).await;
        serde_json::from_str::<Value>(&text).unwrap()["data"]["chat"].clone()
    }

    /// The socket of a page.
    async fn socket(&self) -> App {
        self.world.legacy_socket(&format!("/app/{}", self.parent.id), None).await
    }

    /// The sounds that a page is told of next.
    async fn told(&self, socket: &mut App, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..count {
            let frame = socket.frame().await;
            assert_eq!(frame["to_user"], self.parent.id.as_str());
            told.push(frame["chat"].as_str().unwrap().to_owned());
        }
        told
    }

    /// The sounds of all messages of a toy, oldest first, and how many were unread.
    async fn messages(&self, toy: usize) -> (Vec<String>, u64) {
        let list = self.world.ok("/friend_list", json!({"_id": self.parent.id})).await["data"].clone();
        let entry = list.as_array().unwrap().iter().find(|entry| entry["friend_id"] == *self.toys[toy].id).unwrap();
        let asked = json!({
            "chat_id": entry["friend_chat"], "to_user": self.parent.id, "from_user": self.toys[toy].id, "limit": 500,
        });
        let messages = self.world.ok("/chat_list", asked).await["data"].clone();
        let sounds = messages.as_array().unwrap().iter().map(|message| message["message"].as_str().unwrap().to_owned());
        (sounds.collect(), entry["unread"].as_u64().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_login_has_counted_is_not_pushed_again() {
    for settings in [&[][..], &[FIELD]] {
        let family = Family::new(settings).await;
        family.send(0, 0..2).await;
        family.send(1, 2..3).await;
        // The restart forgets the logins of before: then everything is pushed.
        let Family { mut world, parent, toys } = family;
        world.kill().await;
        world.start_hub().await;
        let family = Family { world, parent, toys };
        let mut socket = family.socket().await;
        let all = family.told(&mut socket, 3).await;
        drop(socket);

        let counts = family.counts().await;
        assert_eq!(
            (&counts["count"], &counts[&family.toys[0].id], &counts[&family.toys[1].id]),
            (&json!(3), &json!(2), &json!(1))
        );
        // One more arrives between the login and the socket, and one on the open socket.
        family.send(1, 3..4).await;
        let mut socket = family.socket().await;
        let new = family.told(&mut socket, 1).await;
        family.send(0, 4..5).await;
        let newer = family.told(&mut socket, 1).await;
        drop(socket);
        // It is so for every socket after the login, until the next one has counted them.
        let mut socket = family.socket().await;
        assert_eq!(family.told(&mut socket, 2).await, [new.clone(), newer.clone()].concat());
        assert_eq!(family.counts().await["count"], 5);
        let mut last = family.socket().await;
        family.send(0, 5..6).await;
        let newest = family.told(&mut last, 1).await;
        assert_eq!(family.told(&mut socket, 1).await, newest, "every open socket gets it");

        // Nothing is lost by it.
        let (of_fluffy, unread) = family.messages(0).await;
        assert_eq!((of_fluffy.len(), unread), (4, 4));
        let (of_rex, unread) = family.messages(1).await;
        assert_eq!((of_rex.len(), unread), (2, 2));
        for sound in all.iter().chain(&new).chain(&newer).chain(&newest) {
            assert!(of_fluffy.contains(sound) || of_rex.contains(sound), "{sound}");
        }
        assert_eq!(family.counts().await["count"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_address_has_counted_is_pushed_here() {
    let family = Family::new(&[FIELD]).await;
    family.send(0, 0..1).await;
    // A phone elsewhere logs in with the password, and counts it.
    let stranger = Stranger::new(&family.world);
    let answer = stranger.post("/login", json!({"username": "parent", "password": "correct horse"})).await;
    assert_eq!(answer["data"]["chat"]["count"], 1);
    let mut socket = family.socket().await;
    assert_eq!(family.told(&mut socket, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_messages_is_counted_once() {
    // Small queues, so that there are many pages.
    let family =
        Family::new(&[FIELD, ("TOYHUB_WS__QUEUE_MESSAGES_MAX", "128"), ("TOYHUB_MQTT__QUEUE_MESSAGES_MAX", "16")])
            .await;
    family.send(0, 0..40).await;
    assert_eq!(family.counts().await["count"], 40);
    family.send(0, 40..60).await;
    family.send(1, 60..80).await;
    // The socket opens while further messages arrive from both.
    let (mut socket, (), ()) = tokio::join!(family.socket(), family.send(0, 80..100), family.send(1, 100..120));
    let told = family.told(&mut socket, 80).await;
    family.send(0, 120..121).await;
    let last = family.told(&mut socket, 1).await;
    let different: std::collections::HashSet<&String> = told.iter().collect();
    assert_eq!(different.len(), 80, "each once");
    let (of_fluffy, unread) = family.messages(0).await;
    assert_eq!((of_fluffy.len(), unread), (81, 81));
    let (of_rex, unread) = family.messages(1).await;
    assert_eq!((of_rex.len(), unread), (40, 40));
    assert_eq!(of_fluffy.last(), last.first());
    let pushed: Vec<&String> = told.iter().filter(|sound| of_fluffy.contains(sound)).collect();
    assert_eq!(pushed, of_fluffy[40..80].iter().collect::<Vec<_>>(), "in their order");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_friend_stands_in_the_counts_of_a_page() {
    let family = Family::new(&[FIELD]).await;
    family.send(1, 0..1).await;
    let [fluffy, rex] = [&family.toys[0].id, &family.toys[1].id];
    let expected = json!({"count": 1, fluffy: 0, rex: 1});
    assert_eq!(family.counts().await, expected);
    let form = [("username", "parent"), ("password", "correct horse")];
    let answer: Value =
        serde_json::from_str(&family.world.form(family.world.http_addr(), "/login", &form).await).unwrap();
    assert_eq!(answer["data"]["chat"], expected);
    assert_eq!(
        (&answer["DATA"]["nickName"], &answer["data"]["nickName"]),
        (&json!("parent's nick"), &json!("parent's nick"))
    );
    let list = family.world.ok("/friend_list", json!({"_id": family.parent.id})).await;
    let unread = |id: &str| {
        let rows = list["data"].as_array().unwrap();
        rows.iter().find(|row| row["friend_id"] == id).unwrap()["unread"].clone()
    };
    assert_eq!((unread(fluffy), unread(rex)), (json!(0), json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_messages_come_in_the_shape_that_the_caller_reads() {
    let world = World::start_with(&[("TOYHUB_HTTP__LISTEN", "127.0.0.1:0,127.0.0.1:0 field")]).await;
    let [documented, field] = world.addresses("http=")[..] else { panic!("two listeners") };
    let parent = world.user("parent").await;
    let (fluffy, rex) = (world.toy(&parent, "Fluffy").await, world.toy(&parent, "Rex").await);
    befriend(&world, &parent, &fluffy, &rex).await;
    let say = async |from: &str, to: &str, path: &str, part: &'static str, tone: u32| {
        let sent = world.upload(path, part, sound::tone(tone), &[("user_id", from), ("to_user", to)]).await;
        assert_eq!(sent["code"], 0, "{sent}");
    };
    let receive = async |at: SocketAddr, fields: &[(&str, &str)]| -> Value {
        let text = world.form(at, "/recv_msg", &[fields, &[("to_user", &fluffy.id)]].concat()).await;
        serde_json::from_str(&text).unwrap()
    };
    let mut number = 0;
    for (more, kind) in [("friend_type", "app"), ("from_user_type", "undefined"), ("friend_type", "")] {
        for (sender, path, part, expected) in
            [(&parent.id, "/app_uploader", "reco_file", "app"), (&rex.id, "/toy_uploader", "reco", "toy")]
        {
            say(sender, &fluffy.id, path, part, number).await;
            say(sender, &fluffy.id, path, part, number + 1).await;
            number += 2;
            let answer = receive(field, &[("from_user", sender), (more, kind)]).await;
            assert_eq!((&answer["from_user"], &answer["friend_type"]), (&json!(sender), &json!(expected)), "{answer}");
            let list = answer["chat_list"].as_array().unwrap();
            assert_eq!(list.len(), 3, "two messages and the spoken item: {answer}");
            assert!(list.iter().all(|entry| entry["chat"].is_string() && entry["from_user"] == **sender), "{answer}");
            assert!(list[2]["chat"].as_str().unwrap().starts_with("say-"), "{answer}");
            assert!(list[0]["create_time"].as_f64() > list[1]["create_time"].as_f64(), "newest first: {answer}");
        }
        // None are left, and none are lost: the page gets the same object, with the spoken item.
        let answer = receive(field, &[("from_user", &rex.id), (more, kind)]).await;
        assert_eq!((&answer["from_user"], answer["chat_list"].as_array().unwrap().len()), (&json!(rex.id), 1));
        let answer = receive(field, &[("from_user", "undefined"), (more, "toy")]).await;
        assert_eq!((&answer["from_user"], &answer["friend_type"]), (&json!("ai"), &json!("toy")), "{answer}");
    }
    // Others read a list; and so does everybody in the documented dialect.
    say(&parent.id, &fluffy.id, "/app_uploader", "reco_file", 90).await;
    assert_eq!(receive(field, &[("from_user", &parent.id)]).await.as_array().unwrap().len(), 2);
    say(&parent.id, &fluffy.id, "/app_uploader", "reco_file", 91).await;
    let answer = receive(documented, &[("from_user", &parent.id), ("friend_type", "app")]).await;
    assert_eq!(answer.as_array().unwrap().len(), 1);

    // A hundred at once: each message is in one answer.
    join_all((0..20).map(|n| say(&parent.id, &fluffy.id, "/app_uploader", "reco_file", 100 + n))).await;
    let fields = [("from_user", parent.id.as_str()), ("friend_type", "app")];
    let answers = join_all((0..100).map(|_| receive(field, &fields))).await;
    let mut sounds: Vec<&str> = answers
        .iter()
        .flat_map(|answer| answer["chat_list"].as_array().unwrap())
        .filter_map(|entry| entry["chat"].as_str().filter(|name| !name.starts_with("say-")))
        .collect();
    sounds.sort_unstable();
    sounds.dedup();
    assert_eq!(sounds.len(), 20);
}

/// Makes two toys of a family friends.
async fn befriend(world: &World, parent: &User, one: &Toy, other: &Toy) {
    let wish = json!({"req_user": one.id, "add_user": other.id, "type": "toy", "req_info": "play?", "remark": "Rex"});
    assert_eq!(world.post_as(parent, "/add_req", wish).await["code"], 0);
    world.accept(parent, "Fluffy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_registers_with_its_own_names() {
    let world = World::start_with(&[("TOYHUB_HTTP__LISTEN", "127.0.0.1:0,127.0.0.1:0 field")]).await;
    let [documented, field] = world.addresses("http=")[..] else { panic!("two listeners") };
    let form = async |at: SocketAddr, path: &str, fields: &[(&str, &str)]| -> Value {
        serde_json::from_str(&world.form(at, path, fields).await).unwrap()
    };
    for (name, more, expected) in [
        ("ann", &[("nickName", "Annie")][..], "Annie"),
        ("ben", &[], "ben"),
        ("cat", &[("nickName", " "), ("gender", "2")], "cat"),
        ("dan", &[("nickname", "Danny"), ("nickName", "other")], "Danny"),
    ] {
        let new = [&[("username", name), ("password", "correct horse")], more].concat();
        if !new.iter().any(|(name, _)| *name == "nickname") {
            let refused = form(documented, "/reg", &new).await;
            assert_eq!(
                (&refused["code"], &refused["msg"]),
                (&json!(1), &json!("field nickname: is missing")),
                "{name}"
            );
        }
        let made = form(field, "/reg", &new).await;
        assert_eq!((&made["CODE"], &made["MSG"]), (&json!(0), &json!("login was successful")), "{name}: {made}");
        let login = [("username", name), ("password", "correct horse")];
        let data = form(field, "/login", &login).await["DATA"].clone();
        assert_eq!((&data["nickname"], &data["nickName"]), (&json!(expected), &json!(expected)), "{data}");
        let data = form(documented, "/login", &login).await["data"].clone();
        assert_eq!((&data["nickname"], data.get("nickName"), data.get("chat")), (&json!(expected), None, None));
    }
    for fields in [&[][..], &[("nickName", "x")], &[("username", ""), ("password", "correct horse")]] {
        assert_eq!(form(field, "/reg", fields).await["CODE"], 1, "{fields:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_serves_its_dialect() {
    let mut world = World::start_with(&[
        ("TOYHUB_HTTP__LISTEN", "127.0.0.1:0 documented,127.0.0.1:0 field"),
        ("TOYHUB_HTTP__LEGACY_LISTEN", "127.0.0.1:0"),
        ("TOYHUB_CONSOLE__LISTEN", ""),
        FIELD,
    ])
    .await;
    let parent = world.user("parent").await;
    let (song, cover) = (world.folder().join("song.wav"), world.folder().join("cover.png"));
    std::fs::write(&song, sound::wav()).unwrap();
    let (key, _) = world.device().await;
    std::fs::copy(world.data_dir().join(format!("files/qr/{key}.png")), &cover).unwrap();
    let (song, cover) = (song.to_str().unwrap(), cover.to_str().unwrap());
    world.run(&["content", "add", song, "--title", "A Pug", "--cover", cover]).await;
    for form in ["bare", "data"] {
        let [documented, field] = world.addresses("http=")[..] else { panic!("two listeners") };
        let legacy = world.addresses("legacy=")[0];
        let text = world.form(documented, "/content_list", &[]).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        let song = &answer["data"][0];
        assert!(text.starts_with(r#"{"code":0,"msg":"Get a list of content resources","data":[{"_id":"#), "{text}");
        assert_eq!(song.as_object().unwrap().len(), 4, "{text}");
        for at in [field, legacy] {
            let answer: Value = serde_json::from_str(&world.form(at, "/content_list", &[]).await).unwrap();
            let list = if form == "bare" { &answer } else { &answer["data"] };
            assert_eq!(list.as_array().unwrap().len(), 1, "{answer}");
            for (name, twin) in [("title", "track_title"), ("music", "track_name"), ("cover", "track_cover_name")] {
                assert_eq!((&list[0][name], &list[0][twin]), (&song[name], &song[name]), "{answer}");
            }
            if form == "data" {
                assert_eq!((&answer["code"], &answer["CODE"], &answer["DATA"]), (&json!(0), &json!(0), list));
            }
        }
        let cover = song["cover"].as_str().unwrap();
        let expected = [(documented, 404), (field, 200), (legacy, 200)];
        for (at, status) in expected {
            let url = format!("http://{at}/get_cover/{cover}");
            assert_eq!(world.client().get(url).send().await.unwrap().status(), status);
        }
        // A failure, and the sockets, are at every listener.
        assert!(!world.form(documented, "/nowhere", &[]).await.contains("CODE"));
        assert!(world.form(field, "/nowhere", &[]).await.contains("CODE"));
        for at in [documented, field, legacy] {
            drop(world.open_socket(at, &format!("/app/{}", parent.id), None).await);
        }
        world.stop().await;
        world.set("TOYHUB_HTTP__FIELD_CONTENT_LIST", "data");
        world.start_hub().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_other_dialect_is_reported_once() {
    let settings = [("TOYHUB_HTTP__LISTEN", "127.0.0.1:0,127.0.0.1:0 field"), ("TOYHUB_SERVER__LOG", "info")];
    let world = World::start_with(&settings).await;
    let [documented, field] = world.addresses("http=")[..] else { panic!("two listeners") };
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let doctor = async || {
        let output = within("the doctor", world.command(&["doctor"]).output()).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| line.starts_with("hint ")).map(str::to_owned).collect::<Vec<_>>()
    };
    // Clients that may be of either dialect are none.
    let both = [("from_user", parent.id.as_str()), ("to_user", toy.id.as_str())];
    for at in [documented, field] {
        world.form(at, "/recv_msg", &both).await;
        world.form(at, "/req_list", &[("_id", &parent.id)]).await;
    }
    assert_eq!(doctor().await, Vec::<String>::new());

    let signed = [&both[..], &[("friend_type", "app")]].concat();
    join_all((0..200).map(|_| world.form(documented, "/recv_msg", &signed))).await;
    world.form(documented, "/req_list", &[("user_id", &parent.id)]).await;
    world.client().get(format!("http://{documented}/get_cover/a.jpg")).send().await.unwrap();
    let expected = r#"hint     dialect: a client at 127.0.0.* reads the dialect "field" (/recv_msg: friend_type), and its listener serves "documented"; write "field" behind its address in http.listen or http.legacy_listen, or set http.dialect = "field""#;
    assert_eq!(doctor().await, [expected]);
    let wish = [("req_user", parent.id.as_str()), ("add_user", toy.id.as_str()), ("type", "app")];
    world.form(field, "/add_req", &wish).await;
    let hints = doctor().await;
    assert!(hints.len() == 2 && hints.iter().any(|hint| hint.contains("\"documented\" (/add_req: type)")), "{hints:?}");

    let log = std::fs::read_to_string(world.log()).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("reads the dialect")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        let names = ["parent", "Fluffy", &parent.id, &toy.id, "127.0.0.1"];
        assert!(names.iter().all(|name| !line.contains(name)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_page_is_held_before_it_is_closed() {
    let settings = [
        ("TOYHUB_WS__REFUSED_HOLD_S", "600"),
        ("TOYHUB_WS__REFUSED_HELD_PER_ADDRESS_MAX", "2"),
        ("TOYHUB_WS__REQUESTS_PER_SECOND", "50"),
    ];
    let mut world = World::start_with(&settings).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    world.run(&["toy", "unbind", &toy.id]).await;
    let mut held = world.legacy_socket(&format!("/toy/{}", toy.id), None).await;
    held.is_read().await;
    let mut flood = world.legacy_socket("/toy/undefined", None).await;
    // Nothing that they send has an effect, and too much ends them.
    let frame = json!({"to_user": parent.id, "music": "Success.mp3"});
    held.send(frame.clone()).await;
    flood.send_at_once(&frame, 51).await;
    assert_eq!(flood.close_code().await, 4002);
    let mut left = world.legacy_socket("/app/null", None).await;
    left.is_read().await;
    // There is no more room: the next one is closed at once, and the other two are still held.
    for path in ["/toy/undefined", "/app/5c8f582f268d7942f44c6703"] {
        assert_eq!(world.legacy_socket(path, None).await.close_code().await, 4500, "{path}");
    }
    assert!(left.close_is_answered().await, "who leaves is not held");
    left = world.legacy_socket("/toy/undefined", None).await;
    left.is_read().await;
    // A stop does not wait for them.
    world.signal("TERM").await;
    assert_eq!((held.close_code().await, left.close_code().await), (4000, 4000));
    assert_eq!(world.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_reconnects_in_a_loop_takes_nothing_from_others() {
    let settings = [
        ("TOYHUB_RATES__CONNECTS_PER_ADDRESS_PER_MINUTE", "60"),
        ("TOYHUB_RATES__REFUSED_CONNECTS_PER_PARTY_PER_MINUTE", "5"),
        ("TOYHUB_SERVER__LOG", "info"),
    ];
    let world = World::start_with(&settings).await;
    let parent = world.user("parent").await;
    let (gone, toy) = (world.toy(&parent, "Fluffy").await, world.toy(&parent, "Rex").await);
    world.run(&["toy", "unbind", &gone.id]).await;
    let mut codes = Vec::new();
    for n in 0..200 {
        let path = if n % 2 == 0 { format!("/toy/{}", gone.id) } else { "/toy/undefined".to_owned() };
        codes.push(world.legacy_socket(&path, None).await.close_code().await);
    }
    let refused = |code: u16| codes.iter().filter(|found| **found == code).count();
    assert_eq!(refused(4500) + refused(4002), 200, "{codes:?}");
    assert!((10..=20).contains(&refused(4500)), "after a few they are not looked up: {}", refused(4500));
    // The others at this address connect.
    let mut ears = world.legacy_socket(&format!("/toy/{}", toy.id), None).await;
    let mut app = world.legacy_socket(&format!("/app/{}", parent.id), None).await;
    app.send(json!({"to_user": toy.id, "music": "Success.mp3"})).await;
    assert_eq!(ears.frame().await["music"], "Success.mp3");
    let _app = world.app(&parent).await;

    let log = std::fs::read_to_string(world.log()).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("refused")).collect();
    assert!((2..=8).contains(&lines.len()), "the repeats are summed up: {lines:?}");
    assert!(lines.iter().all(|line| !line.contains(&gone.id) && !line.contains("127.0.0.1")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_that_is_told_success_is_served() {
    for mode in ["place", "token", "open"] {
        let world = World::start_with(&[("TOYHUB_AUTH__MODE", mode)]).await;
        let owner = world.user("mia").await;
        let stranger = Stranger::new(&world);
        let (key, _) = world.device().await;
        let binding = json!({"toy_name": "F", "baby_name": "B", "remark": "M", "user_id": owner.id, "device_key": key});
        let id = |answer: &Value| answer["toy_id"].as_str().map(str::to_owned);
        assert_eq!(
            world.post("/open_toy", json!({"device_key": key})).await.1,
            json!({"code": 2, "music": "Nolic.mp3"})
        );
        assert_eq!(world.post_as(&owner, "/bind_toy", binding).await["code"], 0);
        let toys = world.post_as(&owner, "/toy_list", json!({"_id": owner.id})).await;
        let toy = toys["data"][0]["_id"].as_str().unwrap().to_owned();
        let mut seen = Vec::new();
        // At home, elsewhere, after the guardian has let it in elsewhere, and when its calls need a token.
        for step in ["bound", "let in", "only token", "unbound"] {
            match step {
                "bound" => {}
                "let in" => drop(world.run(&["toy", "let-in", &toy]).await),
                "only token" => drop(world.run(&["toy", "only-token", &toy]).await),
                _ => drop(world.run(&["toy", "unbind", &toy]).await),
            }
            let order = if step == "let in" { [false, true] } else { [true, false] };
            for is_private in order {
                let post = async |path: &str, body: Value| match is_private {
                    true => world.post(path, body).await.1,
                    false => stranger.post(path, body).await,
                };
                let opened = post("/open_toy", json!({"device_key": key})).await;
                let served = [
                    post("/friend_list", json!({"_id": toy})).await["code"] == 0,
                    post("/toy_profile", json!({"toy_id": toy})).await["code"] == 0,
                    post("/recv_msg", json!({"from_user": "", "to_user": toy})).await.is_array(),
                ];
                let is_told = opened["code"] == 0;
                assert_eq!(served, [is_told; 3], "{mode}, {step}, at home: {is_private}: {opened}");
                let expected = match (is_told, step) {
                    (true, _) => json!({"code": 0, "music": "Success.mp3", "toy_id": toy, "name": "F"}),
                    (false, "unbound") => json!({"code": 2, "music": "Nolic.mp3"}),
                    (false, _) => json!({"code": 1, "music": "Nobind.mp3"}),
                };
                assert_eq!(opened, expected, "{mode}, {step}, at home: {is_private}");
                assert_eq!(id(&opened).is_some(), is_told);
                seen.push(is_told);
            }
        }
        let expected = match mode {
            "place" => [true, false, true, true, false, false, false, false],
            "token" => [false; 8],
            _ => [true, true, true, true, true, true, false, false],
        };
        assert_eq!(seen, expected, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_upload_is_answered_with_the_same_text() {
    let settings = [("TOYHUB_HTTP__LISTEN", "127.0.0.1:0,127.0.0.1:0 field"), ("TOYHUB_CHATS__RETRY_WINDOW_S", "600")];
    let mut world = World::start_with(&settings).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    for (path, part, from, to, members) in [
        ("/app_uploader", "reco_file", &parent.id, &toy.id, ["filename", "friend_type", "_id"]),
        ("/toy_uploader", "reco", &toy.id, &parent.id, ["filename", "friend_type", "_id"]),
    ] {
        for at in [0, 1] {
            let send = async |world: &World| {
                let file = reqwest::multipart::Part::bytes(sound::tone(at)).file_name("a.wav");
                let form = reqwest::multipart::Form::new().text("user_id", from.clone()).text("to_user", to.clone());
                let url = format!("http://{}{path}", world.addresses("http=")[at as usize]);
                let request = world.client().post(url).multipart(form.part(part, file));
                within(path, request.send()).await.unwrap().text().await.unwrap()
            };
            let first = send(&world).await;
            let places: Vec<usize> = members.iter().map(|name| first.find(&format!("\"{name}\"")).unwrap()).collect();
            assert!(places.is_sorted(), "{first}");
            for answer in join_all((0..30).map(|_| send(&world))).await {
                assert_eq!(answer, first);
            }
            world.kill().await;
            world.start_hub().await;
            assert_eq!(send(&world).await, first, "after a crash too");
        }
    }
}
