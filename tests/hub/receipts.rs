//! The states of messages, published and stored: over HTTP, MQTT and the app socket, and after a `kill -9`.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::sound;
use crate::world::{App, Toy, User, World, within};

/// Gives the message's id.
async fn say(world: &World, user: &User, to: &str) -> Value {
    let fields = [("user_id", user.id.as_str()), ("to_user", to), ("token", &user.token)];
    let sent = world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await;
    assert_eq!(sent["code"], 0);
    sent["data"]["_id"].clone()
}

async fn answer(world: &World, toy: &Toy, to: &str) {
    let fields = [("user_id", toy.id.as_str()), ("to_user", to), ("friend_type", "app")];
    assert_eq!(world.upload("/toy_uploader", "reco", sound::wav(), &fields).await["code"], 0);
}

async fn chat_list(world: &World, user: &User, chat: &Value) -> Vec<Value> {
    let list = world.post_as(user, "/chat_list", json!({"chat_id": chat, "to_user": user.id})).await;
    list["data"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
}

/// The next event of the app, which is of this type and number.
async fn event(app: &mut App, kind: &str, seq: u64) -> Value {
    let event = app.frame().await;
    assert_eq!((&event["type"], &event["seq"]), (&json!(kind), &json!(seq)), "{event}");
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_gets_receipts_and_all_devices_get_read_events() {
    let mut world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let mut ears = world.mosquitto_sub(&toy, "mqttv5");
    world.wait_online(&parent, &toy.id, "1").await;
    let (mut phone, mut tablet) = (world.app(&parent).await, world.app(&parent).await);

    let sent = say(&world, &parent, &toy.id).await;
    let message = ears.event().await;
    assert_eq!(message["_id"], sent, "the sender knows which message its receipts are about");
    assert_eq!((&message["type"], message.get("seq")), (&json!("message"), None), "a toy has no stream");
    let chat = &message["chat_id"];
    let receipt = |seq: u64, state: &str| {
        json!({
            "type": "receipt", "seq": seq, "state": state, "_id": message["_id"], "chat_id": chat, "by": toy.id,
            "friend_type": "toy",
        })
    };
    for app in [&mut phone, &mut tablet] {
        assert_eq!(event(app, "receipt", 1).await, receipt(1, "delivered"), "the toy's client acknowledged it");
    }
    assert_eq!(chat_list(&world, &parent, chat).await[0]["state"], "delivered");
    let recv = json!({"from_user": parent.id, "to_user": toy.id});
    assert_eq!(world.post("/recv_msg", recv.clone()).await.1[0]["_id"], message["_id"]);
    for app in [&mut phone, &mut tablet] {
        assert_eq!(event(app, "receipt", 2).await, receipt(2, "heard"));
    }
    assert_eq!(world.post("/recv_msg", recv).await.1, json!([]));

    answer(&world, &toy, &parent.id).await;
    for app in [&mut phone, &mut tablet] {
        event(app, "message", 3).await;
    }
    let list = chat_list(&world, &parent, chat).await;
    assert_eq!(list.iter().map(|entry| &entry["state"]).collect::<Vec<_>>(), ["heard", "heard"]);
    for app in [&mut phone, &mut tablet] {
        let read = json!({"type": "read", "seq": 4, "friend_id": toy.id, "chat_id": chat, "unread": 0});
        assert_eq!(event(app, "read", 4).await, read, "one event for all that was read");
    }
    let receipt = json!({
        "type": "receipt", "state": "heard", "_id": list[1]["_id"], "chat_id": chat, "by": parent.id,
        "friend_type": "app",
    });
    assert_eq!(ears.event().await, receipt);

    world.kill().await;
    world.start_hub().await;
    let mut phone = world.app(&parent).await;
    answer(&world, &toy, &parent.id).await;
    event(&mut phone, "message", 5).await;
    let list = chat_list(&world, &parent, chat).await;
    assert_eq!(list.iter().map(|entry| &entry["state"]).collect::<Vec<_>>(), ["heard", "heard", "heard"]);
    event(&mut phone, "read", 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_new_friends_are_numbered_with_the_rest() {
    let world = World::start().await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let (mut of_mia, mut of_tom) = (world.app(&mia).await, world.app(&tom).await);
    let request = json!({"req_user": mia.id, "add_user": tom.id, "type": "app", "req_info": "hi", "remark": "T"});
    assert_eq!(world.post_as(&mia, "/add_req", request).await["code"], 0);
    let asked = event(&mut of_tom, "friend_request", 1).await;
    let accepted = world.post_as(&tom, "/acc_req", json!({"req_id": asked["_id"], "remark": "M"})).await;
    assert_eq!(accepted["code"], 0);
    event(&mut of_mia, "friend_added", 1).await;
    let added = event(&mut of_tom, "friend_added", 2).await;
    let sent = say(&world, &mia, &tom.id).await;
    let message = event(&mut of_tom, "message", 3).await;
    assert_eq!((&message["chat_id"], &message["_id"]), (&added["chat_id"], &sent));
    let recv = json!({"from_user": mia.id, "to_user": tom.id});
    assert_eq!(world.post_as(&tom, "/recv_msg", recv).await.as_array().unwrap().len(), 1);
    event(&mut of_tom, "read", 4).await;
    assert_eq!(event(&mut of_mia, "receipt", 2).await["_id"], message["_id"]);
}

/// A request for the messages to a toy, over a connection of its own.
async fn request_messages(world: &World, toy: &Toy, connection: &str) -> TcpStream {
    let body = json!({"from_user": "", "to_user": toy.id}).to_string();
    let head = format!(
        "POST /recv_msg HTTP/1.1\r\nhost: hub\r\nconnection: {connection}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(world.http_addr()).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

async fn is_unread_again(world: &World, toy: &Toy) {
    within("the message to be unread", async {
        while world.unread_of(toy).await != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_with_its_connection_loses_no_message() {
    let world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let message = say(&world, &parent, &toy.id).await;
    let recv = json!({"from_user": parent.id, "to_user": toy.id});
    for number in 0..20 {
        // The connection is closed before the answer.
        let connection = ["keep-alive", "close"][number % 2];
        drop(request_messages(&world, &toy, connection).await);
        // A fast hub may have answered before: then it takes the mark back.
        is_unread_again(&world, &toy).await;
    }
    for number in 0..10 {
        // The answer arrives, and is not read: the connection is reset.
        let stream = request_messages(&world, &toy, ["keep-alive", "close"][number % 2]).await;
        within("the answer", stream.peek(&mut [0])).await.unwrap();
        drop(stream);
        is_unread_again(&world, &toy).await;
    }
    assert_eq!(world.post("/recv_msg", recv.clone()).await.1[0]["_id"], message);
    assert_eq!(world.post("/recv_msg", recv.clone()).await.1, json!([]), "the answer has been received");
    assert_eq!(world.unread_of(&toy).await, 0);
    // A further message is not marked by the answer with the first one.
    let second = say(&world, &parent, &toy.id).await;
    let list = world.post("/recv_msg", recv.clone()).await.1;
    assert_eq!((&list[0]["_id"], list.as_array().unwrap().len()), (&second, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_calls_do_not_return_the_same_messages() {
    let world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let recv = json!({"from_user": parent.id, "to_user": toy.id});
    for _ in 0..5 {
        let sent = say(&world, &parent, &toy.id).await;
        let answers = join_all((0..6).map(|_| world.post("/recv_msg", recv.clone()))).await;
        let lists = answers.iter().filter_map(|(_, list)| list.as_array());
        let received: Vec<&Value> = lists.flatten().map(|message| &message["_id"]).collect();
        assert_eq!(received, [&sent], "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_sent_ahead_does_not_prove_that_an_answer_arrived() {
    let world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let mut app = world.app(&parent).await;
    let message = say(&world, &parent, &toy.id).await;
    let body = json!({"from_user": "", "to_user": toy.id}).to_string();
    let length = body.len();
    let request = format!(
        "POST /recv_msg HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    for cut in [request.len() / 2, request.len() - 2, request.len()] {
        let mut stream = TcpStream::connect(world.http_addr()).await.unwrap();
        let (begin, end) = request.split_at(cut);
        stream.write_all(format!("{request}{begin}").as_bytes()).await.unwrap();
        within("the first answer", stream.peek(&mut [0])).await.unwrap();
        within("the mark", async {
            while world.unread_of(&toy).await != 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        stream.write_all(end.as_bytes()).await.unwrap();
        let mut answers = [0; 4096];
        within("the second answer", async {
            loop {
                let length = stream.peek(&mut answers).await.unwrap();
                if answers[..length].ends_with(b"[]") {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        // Both answers are unread: the connection is reset.
        drop(stream);
        within("the message to be unread", async {
            while world.unread_of(&toy).await != 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    let recv = json!({"from_user": parent.id, "to_user": toy.id});
    assert_eq!(world.post("/recv_msg", recv.clone()).await.1[0]["_id"], message);
    // The sender was notified once.
    assert_eq!(event(&mut app, "receipt", 1).await["_id"], message);
    let second = say(&world, &parent, &toy.id).await;
    assert_eq!(world.post("/recv_msg", recv).await.1[0]["_id"], second);
    assert_eq!(event(&mut app, "receipt", 2).await["_id"], second);
}

/// Waits until a connection has a number of unread answers.
async fn await_answers(stream: &TcpStream, count: usize) {
    let mut bytes = vec![0; 64 << 10];
    within("the answers", async {
        loop {
            let length = stream.peek(&mut bytes).await.unwrap();
            if String::from_utf8_lossy(&bytes[..length]).matches("HTTP/1.1 200").count() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_client_that_does_not_wait_for_answers_does_not_prove_that_one_arrived() {
    let world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let message = say(&world, &parent, &toy.id).await;
    let body = json!({"from_user": "", "to_user": toy.id}).to_string();
    let length = body.len();
    let request = format!(
        "POST /recv_msg HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let send_ahead = async || {
        let mut stream = TcpStream::connect(world.http_addr()).await.unwrap();
        stream.write_all(format!("{request}{request}").as_bytes()).await.unwrap();
        await_answers(&stream, 2).await;
        // Sent when both answers were written, of which the client has read none.
        stream.write_all(request.as_bytes()).await.unwrap();
        await_answers(&stream, 3).await;
        stream
    };
    for _ in 0..3 {
        // The answers are unread: the connection is reset.
        drop(send_ahead().await);
        is_unread_again(&world, &toy).await;
    }
    // One that reads its answers and ends the connection in order has the message.
    let mut stream = send_ahead().await;
    stream.shutdown().await.unwrap();
    let mut answers = String::new();
    within("the end", stream.read_to_string(&mut answers)).await.unwrap();
    assert!(answers.contains(message.as_str().unwrap()), "{answers}");
    drop(stream);
    let recv = json!({"from_user": parent.id, "to_user": toy.id});
    assert_eq!(world.post("/recv_msg", recv.clone()).await.1, json!([]));
    // One that waits for each answer proves it by its next request.
    say(&world, &parent, &toy.id).await;
    let mut stream = TcpStream::connect(world.http_addr()).await.unwrap();
    for answers in 1..=2 {
        stream.write_all(request.as_bytes()).await.unwrap();
        await_answers(&stream, answers).await;
    }
    drop(stream);
    assert_eq!(world.post("/recv_msg", recv).await.1, json!([]));
}
