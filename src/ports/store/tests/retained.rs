//! Retained messages of several hubs.

use bytes::Bytes;

use super::*;

fn message(topic: &str, payload: &'static [u8], version: f64) -> RetainedMessage {
    RetainedMessage {
        topic: topic.parse().unwrap(),
        payload: Bytes::from_static(payload),
        properties: Bytes::from_static(&[1, 0, 255]),
        qos: 2,
        version,
        expires_at: None,
    }
}

async fn topics(store: &Store, group: &str) -> Vec<String> {
    store.retained(group).await.unwrap().iter().map(|message| message.topic.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_the_later_version_stays() {
    let store = in_memory().await;
    let deleted = |topic: &str, version| RetainedChange::Deleted(topic.parse().unwrap(), version);
    let set = |message: &RetainedMessage| RetainedChange::Set(message.clone());
    let (old, new) = (message("toy/a/state/x", b"\0old\xff", 5.0), message("toy/a/state/x", b"new", 6.0));
    let other = RetainedMessage { expires_at: Some(9.5), ..message("chat/b", "你".as_bytes(), 5.0) };
    store.write_retained(&[set(&old), set(&other)]).await.unwrap();
    assert_eq!(store.retained("toy/a").await.unwrap(), std::slice::from_ref(&old));
    assert_eq!(store.retained("chat/b").await.unwrap(), [other]);
    for (change, expected) in [
        (set(&new), Some(&new)),
        (set(&old), Some(&new)),
        (deleted("toy/a/state/x", 5.5), Some(&new)),
        (deleted("toy/a/state/x", 6.0), None),
        (deleted("toy/a/state/x", 6.0), None),
    ] {
        store.write_retained(&[change]).await.unwrap();
        assert_eq!(store.retained("toy/a").await.unwrap().first(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_are_deleted_by_topic_content_and_age() {
    let store = in_memory().await;
    let all = ["toy/a/cmd/x", "toy/a/state/x", "toy/a/state/y", "toy/ab/cmd/x", "chat/a"];
    let changes: Vec<_> = all.iter().map(|topic| RetainedChange::Set(message(topic, b"mia", 1.0))).collect();
    store.write_retained(&changes).await.unwrap();
    store.delete_retained("toy/a/cmd/").await.unwrap();
    assert_eq!(topics(&store, "toy/a").await, ["toy/a/state/x", "toy/a/state/y"]);
    store.delete_retained("toy/a").await.unwrap();
    assert_eq!(topics(&store, "toy/a").await, [""; 0]);
    assert_eq!((topics(&store, "toy/ab").await.len(), topics(&store, "chat/a").await.len()), (1, 1));

    let expiring = RetainedMessage { expires_at: Some(7.0), ..message("chat/c", b"x", 1.0) };
    store.write_retained(&[RetainedChange::Set(expiring)]).await.unwrap();
    store.delete_expired_retained(6.9).await.unwrap();
    assert_eq!(topics(&store, "chat/c").await.len(), 1);
    store.delete_expired_retained(7.0).await.unwrap();
    assert_eq!((topics(&store, "chat/c").await.len(), topics(&store, "chat/a").await.len()), (0, 1));

    // Several pages.
    for thousand in 0..2 {
        let topic = |number: usize| format!("toy/c/state/{thousand}-{number}");
        let payload = |number: usize| if number.is_multiple_of(3) { &b"mia"[..] } else { b"leo" };
        let changes: Vec<_> =
            (0..600).map(|number| RetainedChange::Set(message(&topic(number), payload(number), 1.0))).collect();
        store.write_retained(&changes).await.unwrap();
    }
    store.delete_retained_that(|message| message.payload == "mia").await.unwrap();
    assert_eq!(topics(&store, "toy/c").await.len(), 800);
    assert_eq!(topics(&store, "chat/a").await.len() + topics(&store, "toy/ab").await.len(), 0);
}
