//! A toy with only its MQTT connection: requests on `out`, answers and events on `in`, recordings and sounds in chunks.

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};

use crate::mqtt::{Raw, V4, V5, publish, subscribe, text, with_reason};
use crate::sound;
use crate::spoken_model;
use crate::world::{Toy, User, World, within};

/// A toy with `rumqttc`, MQTT 3.1.1.
pub struct Line {
    pub client: AsyncClient,
    events: EventLoop,
    topics: String,
    number: u64,
}

impl Line {
    /// Connects, and subscribes to its answers and its sounds.
    pub async fn open(world: &World, toy: &Toy) -> Self {
        Self::open_as(world, (&toy.device_key, &toy.secret), format!("toy/{}", toy.id)).await
    }

    /// The same for an app.
    pub async fn open_app(world: &World, user: &User) -> Self {
        Self::open_as(world, (&user.id, &user.token), format!("app/{}", user.id)).await
    }

    async fn open_as(world: &World, (name, secret): (&str, &str), topics: String) -> Self {
        let mut options = MqttOptions::new("line", "127.0.0.1", world.mqtt_addr().port());
        options.set_credentials(name, secret).set_inflight(20);
        let (client, events) = AsyncClient::new(options, 200);
        client.subscribe(format!("{topics}/in"), QoS::AtLeastOnce).await.unwrap();
        client.subscribe(format!("{topics}/file/#"), QoS::AtLeastOnce).await.unwrap();
        let mut line = Self { client, events, topics, number: 0 };
        for _ in 0..2 {
            line.until("SUBACK", |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
        }
        line
    }

    async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.expect("the connection")
                    && let Some(found) = wanted(packet)
                {
                    return found;
                }
            }
        };
        within(what, found).await
    }

    /// Waits until the hub has ended the connection.
    pub async fn is_cut(&mut self) {
        while self.events.poll().await.is_ok() {}
    }

    /// Sends chunks of a recording, and waits for the acknowledgement of each.
    pub async fn chunks(&mut self, upload: &str, chunks: &[(usize, &[u8])]) {
        for (number, chunk) in chunks {
            let topic = format!("{}/voice/{upload}/{number}", self.topics);
            self.client.publish(topic, QoS::AtLeastOnce, false, *chunk).await.unwrap();
        }
        for _ in chunks {
            self.until("PUBACK", |packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
        }
    }

    async fn ask(&mut self, mut request: Value) -> u64 {
        self.number += 1;
        request["id"] = json!(self.number);
        let topic = format!("{}/out", self.topics);
        self.client.publish(topic, QoS::AtLeastOnce, false, request.to_string()).await.unwrap();
        self.number
    }

    /// Sends a request, and returns the answer and the chunks of sounds that preceded it.
    pub async fn answer_with_pieces(&mut self, request: Value) -> (Value, Vec<(String, Vec<u8>)>) {
        let id = self.ask(request).await;
        let mut pieces = Vec::new();
        let answer = self
            .until("an answer", |packet| {
                let Packet::Publish(publish) = packet else { return None };
                if publish.topic.contains("/file/") {
                    pieces.push((publish.topic, publish.payload.to_vec()));
                    return None;
                }
                let value: Value = serde_json::from_slice(&publish.payload).unwrap();
                (value["id"] == id).then_some(value)
            })
            .await;
        (answer, pieces)
    }

    pub async fn answer(&mut self, request: Value) -> Value {
        self.answer_with_pieces(request).await.0
    }

    /// The answer to a malformed request.
    pub async fn answer_to_nothing(&mut self) -> Value {
        self.until("an answer", |packet| {
            let Packet::Publish(publish) = packet else { return None };
            let value: Value = serde_json::from_slice(&publish.payload).ok()?;
            (value["id"] == 0).then_some(value)
        })
        .await
    }

    pub async fn ok(&mut self, request: Value) -> Value {
        let answer = self.answer(request.clone()).await;
        assert_eq!(answer["code"], 0, "{request}: {answer}");
        answer["data"].clone()
    }

    /// Subscribes to one more topic.
    pub async fn subscribe(&mut self, topic: &str) {
        self.client.subscribe(topic, QoS::AtLeastOnce).await.unwrap();
        self.until("SUBACK", |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    /// Publishes, and returns when the hub has acknowledged it.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        self.until("PUBACK", |packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    }

    /// The next publication, of any topic.
    pub async fn next_event(&mut self) -> Value {
        self.until("a publication", |packet| {
            let Packet::Publish(publish) = packet else { return None };
            Some(serde_json::from_slice(&publish.payload).unwrap_or_default())
        })
        .await
    }

    pub async fn event(&mut self, kind: &str) -> Value {
        self.until(kind, |packet| {
            let Packet::Publish(publish) = packet else { return None };
            let value: Value = serde_json::from_slice(&publish.payload).ok()?;
            (value["type"] == kind).then_some(value)
        })
        .await
    }
}

pub fn pieces(recording: &[u8]) -> Vec<(usize, &[u8])> {
    recording.chunks(1000).enumerate().collect()
}

/// An answer without its link, which differs when the call is repeated.
pub fn lasting(mut answer: Value) -> Value {
    answer.as_object_mut().unwrap().remove("url");
    answer
}

async fn unread_of_user(world: &World, user: &User) -> Vec<Value> {
    let list = world.post_as(user, "/recv_msg", json!({"to_user": user.id, "from_user": ""})).await;
    list.as_array().unwrap_or_else(|| panic!("{list}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_makes_all_its_calls_over_one_connection() {
    let world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let mut line = Line::open(&world, &toy).await;

    let opened = line.ok(json!({"do": "open_toy"})).await;
    assert_eq!((&opened["code"], &opened["toy_id"], &opened["name"]), (&json!(0), &json!(toy.id), &json!("Fluffy")));
    assert_eq!(opened["music"], "Success.mp3");
    let friends = line.ok(json!({"do": "friend_list"})).await;
    assert_eq!((&friends[0]["friend_id"], &friends[0]["friend_remark"]), (&json!(parent.id), &json!("Dad")));
    assert_eq!(line.ok(json!({"do": "content_list"})).await, json!([]));

    // A recording in any order, some of it twice.
    let recording = sound::amr(world.folder());
    let mut chunks = pieces(&recording);
    let count = chunks.len();
    chunks.rotate_left(count / 2);
    chunks.push(chunks[0]);
    line.chunks("rec-1", &chunks).await;
    let state = line.ok(json!({"do": "upload_state", "upload": "rec-1"})).await;
    assert_eq!(state, json!({"received": count, "first_missing": count, "finished": false}));
    let sent = json!({"do": "toy_uploader", "to_user": parent.id, "upload": "rec-1", "chunks": count});
    let data = line.ok(sent).await;
    assert_eq!(data["friend_type"], "app");
    let heard = unread_of_user(&world, &parent).await;
    assert_eq!((heard.len(), &heard[0]["message"]), (1, &data["filename"]));

    // The parent answers; the toy is notified, requests its unread messages, and gets the sound in chunks.
    let fields = [("user_id", parent.id.as_str()), ("to_user", &toy.id), ("token", &parent.token)];
    let reply = world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await;
    assert_eq!(reply["code"], 0, "{reply}");
    let event = line.event("message").await;
    let name = event["chat"].as_str().unwrap().to_owned();
    let unread = line.ok(json!({"do": "recv_msg", "from_user": parent.id})).await;
    assert_eq!((unread.as_array().unwrap().len(), &unread[0]["message"]), (1, &json!(name)));
    let size = line.ok(json!({"do": "get_file", "name": name, "chunk_bytes": 512, "count": 0})).await;
    let mut received = Vec::new();
    let mut first = 0;
    while first < size["chunks"].as_u64().unwrap() {
        let wanted = json!({"do": "get_file", "name": name, "chunk_bytes": 512, "first": first, "count": 7});
        let (answer, pieces) = line.answer_with_pieces(wanted).await;
        assert_eq!(answer["data"]["sent"].as_u64(), Some(pieces.len() as u64), "{answer}");
        for (topic, piece) in pieces {
            assert_eq!(topic, format!("toy/{}/file/{name}/{first}", toy.id));
            received.extend(piece);
            first += 1;
        }
    }
    let whole = world.client().get(format!("{}/get_chat/{name}", world.http())).send().await.unwrap();
    assert_eq!(received, whole.bytes().await.unwrap().to_vec());
    assert_eq!(received.len() as u64, size["size"].as_u64().unwrap());
    sound::assert_same_length(world.folder(), &received);

    // A friend's toy.
    let other = world.bound_toy("rex").await;
    line.ok(json!({"do": "add_req", "add_user": other.id, "type": "toy", "req_info": "hi", "remark": "Rexy"})).await;
    let again = json!({"do": "add_req", "add_user": other.id, "type": "toy", "req_info": "hi", "remark": "Rexy"});
    assert_eq!(line.answer(again).await["code"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_continues_after_a_kill_and_is_sent_once() {
    let mut world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let recording = sound::amr(world.folder());
    let chunks = pieces(&recording);
    let count = chunks.len();
    let sent = json!({"do": "toy_uploader", "to_user": parent.id, "upload": "1", "chunks": count});

    let mut line = Line::open(&world, &toy).await;
    line.chunks("1", &chunks[..2]).await;
    line.chunks("1", &chunks[3..4]).await;
    drop(line);
    world.kill().await;
    world.start_hub().await;

    let mut line = Line::open(&world, &toy).await;
    let answer = line.answer(sent.clone()).await;
    assert_eq!((&answer["code"], &answer["data"]), (&json!(30), &json!({"first_missing": 2})), "{answer}");
    assert_eq!(line.ok(json!({"do": "upload_state", "upload": "1"})).await["first_missing"], 2);
    line.chunks("1", &chunks[2..]).await;
    // The answer is lost: the connection breaks after the request was sent.
    line.ask(sent.clone()).await;
    line.until("PUBACK", |packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    drop(line);

    let mut line = Line::open(&world, &toy).await;
    let first = lasting(line.ok(sent.clone()).await);
    assert_eq!(lasting(line.ok(sent.clone()).await), first);
    world.kill().await;
    world.start_hub().await;
    let mut line = Line::open(&world, &toy).await;
    assert_eq!(lasting(line.ok(sent.clone()).await), first, "after a kill too");
    // A toy without any memory of it sends everything again: the same recording is the same message.
    line.chunks("1", &chunks).await;
    assert_eq!(lasting(line.ok(sent.clone()).await), first);
    let heard = unread_of_user(&world, &parent).await;
    assert_eq!((heard.len(), &heard[0]["message"]), (1, &first["filename"]));
    // Another recording under the old name is another message.
    let other = sound::converted(world.folder(), "mp3", &[]);
    let chunks = pieces(&other);
    line.chunks("1", &chunks).await;
    let second = json!({"do": "toy_uploader", "to_user": parent.id, "upload": "1", "chunks": chunks.len()});
    assert_ne!(line.ok(second).await, first);
    assert_eq!(unread_of_user(&world, &parent).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_input_is_answered_and_does_no_harm() {
    let settings = [("TOYHUB_CHUNKS__UPLOADS_PER_PARTY_MAX", "1"), ("TOYHUB_CHUNKS__UPLOAD_CHUNKS_MAX", "5")];
    let world = World::start_with(&settings).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let stranger = world.bound_toy("rex").await;
    let secret = {
        let fields = [("user_id", parent.id.as_str()), ("to_user", &toy.id), ("token", &parent.token)];
        world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await;
        let (_, unread) = world.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
        unread[0]["message"].as_str().unwrap().to_owned()
    };

    let mut line = Line::open(&world, &stranger).await;
    for (request, code) in [
        (json!({"do": "fly"}), 1),
        (json!({}), 1),
        (json!({"do": "get_file", "name": secret}), 24),
        (json!({"do": "get_file", "name": "../../etc/passwd"}), 24),
        (json!({"do": "get_file", "name": "none.mp3", "kind": "music"}), 24),
        (json!({"do": "get_file", "name": "Success.mp3", "kind": "music", "chunk_bytes": 0}), 1),
        (json!({"do": "get_file", "name": "Success.mp3", "kind": "music", "chunk_bytes": 100_000_000}), 1),
        (json!({"do": "get_file", "name": "Success.mp3", "kind": "music", "first": 18446744073709551615u64}), 0),
        (json!({"do": "toy_uploader", "to_user": parent.id, "upload": "x", "chunks": 1}), 30),
        (json!({"do": "toy_uploader", "to_user": parent.id, "upload": "x/y", "chunks": 1}), 1),
        (json!({"do": "toy_uploader", "to_user": parent.id, "upload": "x", "chunks": 6}), 1),
        (json!({"do": "toy_uploader", "to_user": parent.id, "upload": "x", "chunks": "many"}), 1),
        (json!({"do": "ai_uploader", "upload": "x", "chunks": 0}), 14),
        (json!({"do": "toy_uploader", "to_user": parent.id}), 1),
        (json!({"do": "friend_list", "_id": toy.id}), 1),
        (json!({"do": "recv_msg", "to_user": toy.id}), 1),
        (json!({"do": "toy_list"}), 18),
        (json!({"do": "upload_state", "upload": "x"}), 0),
        (json!({"do": "drop_upload", "upload": "x"}), 0),
    ] {
        let answer = line.answer(request.clone()).await;
        assert_eq!(answer["code"], code, "{request}: {answer}");
    }
    line.chunks("a", &[(0, b"noise")]).await;
    let noise = json!({"do": "toy_uploader", "to_user": toy.id, "upload": "a", "chunks": 1});
    assert_eq!(line.answer(noise).await["code"], 1, "they are no friends");
    line.ok(json!({"do": "drop_upload", "upload": "a"})).await;
    drop(line);

    let door = |id: &str, rest: &str| format!("toy/{id}/{rest}");
    let mut raw = Raw::connected(world.mqtt_addr(), V5, "raw", &toy.device_key, &toy.secret).await;
    for (id, topic, qos, answer) in [
        (1, door(&stranger.id, "out"), 1, with_reason(&[0, 1, 0x87], "not permitted")),
        (2, door(&stranger.id, "voice/a/0"), 1, with_reason(&[0, 2, 0x87], "not permitted")),
        (3, door(&toy.id, "voice/a/5"), 1, with_reason(&[0, 3, 0x99], "field chunks: must be at most 5")),
        (4, door(&toy.id, "voice/a/0"), 1, vec![0, 4]),
        (
            5,
            door(&toy.id, "voice/b"),
            1,
            with_reason(&[0, 5, 0x99], "field topic: is voice/<upload>/<number of the chunk>"),
        ),
    ] {
        raw.send(&publish(V5, 0x30 | qos << 1, &topic, id, b"x")).await;
        let (kind, body) = raw.packet().await;
        assert_eq!((kind, &body), (0x40, &answer), "{topic}: {}", String::from_utf8_lossy(&body));
    }
    // Once only, at QoS 2, and also without any acknowledgement.
    raw.send(&subscribe(V5, 6, &[(&door(&toy.id, "in"), 0)])).await;
    assert_eq!(raw.packet().await.0, 0x90);
    for (id, qos) in [(7u8, 2u8), (8, 0)] {
        raw.send(&publish(V5, 0x30 | qos << 1, &door(&toy.id, "out"), id.into(), b"no json")).await;
        let (mut answered, mut completed) = (false, qos == 0);
        while !(answered && completed) {
            let (kind, body) = raw.packet().await;
            match kind {
                0x30 => {
                    let topic = text(&door(&toy.id, "in")).len();
                    let value: Value = serde_json::from_slice(&body[topic + 1..]).unwrap();
                    assert_eq!((&value["id"], &value["code"]), (&json!(0), &json!(20)));
                    answered = true;
                }
                0x50 => raw.send(&[0x62, 2, 0, id]).await,
                0x70 => completed = body == [0, id],
                _ => panic!("{kind:x} {body:?}"),
            }
        }
    }
    raw.expect_silence().await;

    // A will cannot be a request.
    let mut raw = Raw::open(world.mqtt_addr()).await;
    let will = [text(&door(&toy.id, "out")), text(r#"{"id":1,"do":"open_toy"}"#)].concat();
    let (key, secret) = (&*toy.device_key, &*toy.secret);
    raw.send(&crate::mqtt::connect_with(V4, 0xc6, 60, &[], "w", &will, key, secret)).await;
    raw.expect(0x20, &[0, 5]).await;
    raw.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_recording_is_deleted() {
    let world = World::start_with(&[("TOYHUB_CHUNKS__UPLOAD_AGE_MAX_S", "1")]).await;
    let toy = world.bound_toy("Fluffy").await;
    let mut line = Line::open(&world, &toy).await;
    line.chunks("a", &[(0, b"x")]).await;
    let folder = world.data_dir().join("chunks");
    let kept = || std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(kept(), 1);
    let swept = async {
        while kept() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    within("the sweep", swept).await;
    let state = line.ok(json!({"do": "upload_state", "upload": "a"})).await;
    assert_eq!(state["received"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_uses_voice_commands_over_its_one_connection() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), spoken_model::saying("louder")).unwrap();
    let world = World::start_in(folder, &[("TOYHUB_SPEECH__MODEL", "model.bin")]).await;
    let toy = world.bound_toy("Fluffy").await;
    let mut line = Line::open(&world, &toy).await;

    let recording = sound::wav();
    let chunks = pieces(&recording);
    line.chunks("ask-1", &chunks).await;
    let request = json!({"do": "ai_uploader", "upload": "ask-1", "chunks": chunks.len()});
    let id = line.ask(request.clone()).await;
    assert_eq!(line.event("command").await, json!({"type": "command", "command": "louder"}));
    let answer = line
        .until("the answer", |packet| {
            let Packet::Publish(publish) = packet else { return None };
            let value: Value = serde_json::from_slice(&publish.payload).ok()?;
            (value["id"] == id).then_some(value)
        })
        .await;
    assert_eq!((&answer["code"], &answer["data"]["from_user"]), (&json!(0), &json!("ai")));

    // A request repeated after a lost answer gets the same answer, and the volume is raised once.
    let again = line.ok(request).await;
    assert_eq!(lasting(again.clone()), lasting(answer["data"].clone()));
    let name = again["chat"].as_str().unwrap();
    let (file, sound) = line.answer_with_pieces(json!({"do": "get_file", "name": name, "chunk_bytes": 1024})).await;
    let size: usize = sound.iter().map(|(_, piece)| piece.len()).sum();
    assert_eq!(file["data"]["size"], size);
    assert!(size > 2000);
}
