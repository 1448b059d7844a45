//! `examples/client.rs` on a connection that breaks.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use crate::client::{Client, Told, Trouble};
use crate::relay::Relay;
use crate::sound;
use crate::world::{Toy, User, World, within};

async fn say(world: &World, toy: &Toy, to: &User) {
    let fields = [("user_id", toy.id.as_str()), ("to_user", &to.id), ("friend_type", "app")];
    assert_eq!(world.upload("/toy_uploader", "reco", sound::beep(), &fields).await["code"], 0);
}

/// The ids of the next messages, each acknowledged; after every third the connection breaks.
async fn messages(client: &mut Client, relay: &Relay, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let Told::Event(event) = within("a message", client.next()).await.unwrap() else {
            panic!("everything is kept, so nothing is to be loaded again");
        };
        if event["type"] != "message" {
            continue;
        }
        ids.push(event["_id"].as_str().unwrap().to_owned());
        if ids.len().is_multiple_of(3) {
            relay.shake();
        }
        match client.ask("delivered", json!({"message": event["_id"]})).await {
            Ok(_) | Err(Trouble::Lost) => {}
            Err(trouble) => panic!("{trouble}"),
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_client_misses_nothing_and_repeats_nothing() {
    let mut world = World::start_with(&[("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "10000")]).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let relay = Relay::to(world.http_addr()).await;
    assert!(matches!(Client::log_in(&relay.http(), "parent", "wrong").await, Err(Trouble::Refused { code: 1, .. })));
    let mut client = Client::log_in(&relay.http(), "parent", "correct horse").await.unwrap();
    client.first_wait = Duration::from_millis(10);

    // Earlier messages are loaded.
    say(&world, &toy, &parent).await;
    assert_eq!(within("the beginning", client.next()).await.unwrap(), Told::LoadAll);
    let unread = client.ask("unread", json!({})).await.unwrap();
    client.loaded();
    let mut ids = vec![unread["messages"][0]["_id"].as_str().unwrap().to_owned()];
    let Told::Event(event) = within("what nobody has heard", client.next()).await.unwrap() else { panic!() };
    assert_eq!((event["_id"].as_str(), event.get("seq")), (Some(ids[0].as_str()), None));

    let sending = async {
        for _ in 0..30 {
            say(&world, &toy, &parent).await;
        }
    };
    let ((), heard) = tokio::join!(sending, messages(&mut client, &relay, 30));
    ids.extend(heard);

    relay.cut();
    for _ in 0..5 {
        say(&world, &toy, &parent).await;
    }
    world.kill().await;
    world.start_hub().await;
    relay.mend(world.http_addr());
    ids.extend(messages(&mut client, &relay, 5).await);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 36, "each once");
    let unread = world.unread(&parent).await;
    assert_eq!(unread["count"], 36, "none is missing");

    client.ask("mark_read", json!({"from_user": toy.id, "message": ids[35]})).await.unwrap();
    assert_eq!(world.unread(&parent).await["count"], 0, "the last is the last");

    // A recording is sent once, although the connection breaks in the middle of it.
    let (recording, chunks) = (sound::wav(), world.data_dir().join("chunks"));
    let breaking = async {
        while std::fs::read_dir(&chunks).unwrap().next().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        relay.shake();
    };
    let (sent, ()) =
        within("the recording", async { tokio::join!(client.send_recording(&toy.id, &recording), breaking) }).await;
    let sent = sent.unwrap();
    let (_, received) = world.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
    assert_eq!((received.as_array().unwrap().len(), &received[0]["_id"]), (1, &sent["_id"]));
    let url = format!("{}/get_chat/{}", world.http(), received[0]["message"].as_str().unwrap());
    let heard = world.client().get(url).send().await.unwrap().bytes().await.unwrap();
    sound::assert_same_length(world.folder(), &heard);
    let heard = async {
        loop {
            if let Told::Event(event) = client.next().await.unwrap()
                && event["state"] == "heard"
            {
                return event["_id"].clone();
            }
        }
    };
    assert_eq!(within("the receipt", heard).await, sent["_id"]);

    world.run(&["user", "log-out", "parent"]).await;
    let end = within("the end", async {
        loop {
            if let Err(trouble) = client.next().await {
                return trouble;
            }
        }
    })
    .await;
    assert!(matches!(end, Trouble::Ended { code: 4501, .. }), "{end}");
}
