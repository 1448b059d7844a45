//! A hub that has lost its store: it says so at once, accepts no client, closes its connections, and comes back.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::Error as SocketError;

use super::{StoreServer, hub};
use crate::mqtt::{Raw, V4, V5, connect};
use crate::sound;
use crate::world::{World, within};

const QUICK: [(&str, &str); 2] = [("TOYHUB_STORE__ANSWER_TIMEOUT_S", "4"), ("TOYHUB_CLUSTER__STORE_LOST_CLOSE_S", "3")];

/// The answer to a CONNECT.
async fn connack(world: &World, level: u8, user: &str, password: &str) -> Vec<u8> {
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect(level, "another", user, password)).await;
    let (kind, body) = within("CONNACK", raw.read_packet()).await.expect("closed");
    assert_eq!(kind, 0x20);
    body
}

/// The HTTP status of a refused socket.
async fn refused_socket(world: &World, path: &str) -> u16 {
    let stream = tokio::net::TcpStream::connect(world.http_addr()).await.unwrap();
    let opened = tokio_tungstenite::client_async(format!("ws://{}{path}", world.http_addr()), stream);
    match within("the handshake", opened).await {
        Err(SocketError::Http(response)) => response.status().as_u16(),
        other => panic!("not refused: {:?}", other.map(|(_, response)| response.status())),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_hub_without_its_store_fences_itself_and_comes_back() {
    let store = StoreServer::start().await;
    let world = hub(&store, &QUICK).await;
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "bear").await;
    let mut app = world.app(&parent).await;
    let mut client = Raw::connected(world.mqtt_addr(), V5, "bear", &toy.device_key, &toy.secret).await;
    let mut older = Raw::connected(world.mqtt_addr(), V4, "bear-4", &toy.device_key, &toy.secret).await;

    store.pause().await;
    let began = Instant::now();
    let (_, answer) = world.post("/login", json!({"username": "mia", "password": "correct horse"})).await;
    assert_eq!(answer["code"], 17, "{answer}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    // The failed call is enough.
    let (status, health) = world.watch("/readyz").await;
    assert_eq!((status, &health["parts"]["store"]["state"]), (503, &json!("failed")), "{health}");
    assert_eq!(world.watch("/healthz").await.0, 200);
    assert_eq!(connack(&world, V5, &toy.device_key, &toy.secret).await[..2], [0, 0x88]);
    assert_eq!(connack(&world, V4, &toy.device_key, &toy.secret).await, [0, 3]);
    for path in ["/ws", "/mqtt"] {
        assert_eq!(refused_socket(&world, path).await, 503, "{path}");
    }
    // A call is answered at once now.
    let began = Instant::now();
    let (_, answer) = world.post("/login", json!({"username": "mia", "password": "correct horse"})).await;
    assert_eq!(answer["code"], 17, "{answer}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());

    assert_eq!(within("DISCONNECT", client.read_packet()).await, Some((0xe0, vec![0x89, 0])));
    assert_eq!(within("the end", older.read_packet()).await, None);
    assert_eq!(app.close_code().await, 4003);

    store.resume().await;
    world.wait_ready(true).await;
    assert_eq!(connack(&world, V5, &toy.device_key, &toy.secret).await[..2], [0, 0]);
    let app = world.app(&parent).await;
    assert!(app.close_is_answered().await);
    let told = world.login(&parent).await;
    assert_eq!(told.id, parent.id);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn connections_stay_if_the_store_answers_in_time() {
    let mut store = StoreServer::start().await;
    let settings = [("TOYHUB_STORE__ANSWER_TIMEOUT_S", "4"), ("TOYHUB_CLUSTER__STORE_LOST_CLOSE_S", "600")];
    let world = hub(&store, &settings).await;
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "bear").await;
    let mut app = world.app(&parent).await;
    // It has read what was unread.
    app.is_read().await;
    store.kill().await;
    world.wait_ready(false).await;
    store.start_again().await;
    world.wait_ready(true).await;
    let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    assert_eq!(world.upload("/toy_uploader", "reco", sound::tone(1), &fields).await["code"], 0);
    assert_eq!(app.frame().await["type"], "message");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_message_that_was_sent_again_after_an_unknown_outcome_is_there_once() {
    let store = StoreServer::start().await;
    let settings = [("TOYHUB_STORE__ANSWER_TIMEOUT_S", "3"), ("TOYHUB_CHATS__RETRY_WINDOW_S", "600")];
    let world = hub(&store, &settings).await;
    let parent = world.user("mia").await;
    let toy = world.toy(&parent, "bear").await;
    let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    let mut unsure = 0;
    for number in 1..=6 {
        let recording = sound::tone(number);
        // At another moment of the upload each time.
        let sending = world.upload("/toy_uploader", "reco", recording.clone(), &fields);
        let pausing = async {
            tokio::time::sleep(Duration::from_millis(15 * u64::from(number))).await;
            store.pause().await;
            tokio::time::sleep(Duration::from_millis(4500)).await;
            store.resume().await;
        };
        let (mut sent, ()) = tokio::join!(sending, pausing);
        while sent["code"] != 0 {
            unsure += 1;
            assert!([17, 19, 33].contains(&sent["code"].as_u64().unwrap()), "{sent}");
            world.wait_ready(true).await;
            sent = world.upload("/toy_uploader", "reco", recording.clone(), &fields).await;
        }
        world.wait_ready(true).await;
        assert_eq!(world.unread(&world.login(&parent).await).await["count"], number, "after {unsure} repeats");
        // Its sound is there.
        let path = format!("/get_chat/{}", sent["data"]["filename"].as_str().unwrap());
        let answer = world.client().get(format!("{}{path}", world.http())).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}
