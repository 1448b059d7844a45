//! A child answers a question of one hub at another one, over HTTP.

use serde_json::json;

use super::StoreServer;
use crate::speech::hearing_with;
use crate::world::World;

/// Two hubs over the store that hear these words in every recording.
async fn hearing(store: &StoreServer, text: &str) -> [World; 2] {
    let settings = [&store.settings()[..], &[("TOYHUB_SPEECH__QUESTION_TIMEOUT_S", "3600")]].concat();
    [hearing_with(text, &settings).await, hearing_with(text, &settings).await]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_question_of_one_hub_is_answered_at_another() {
    let store = StoreServer::start().await;
    let [a, b] = hearing(&store, "the other one").await;
    let (toy, other) = (a.bound_toy("Fluffy").await, a.bound_toy("Bruno").await);
    let songs = a.songs(["The Other Won", "The Other Wan"]).await;
    let question = a.ask(&toy).await;
    assert!(question["chat"].is_string(), "{question}");
    assert_eq!(b.ask(&other).await["music"], json!(null), "no question is open for another toy");
    let answer = b.ask(&toy).await;
    assert!(songs.iter().any(|song| answer == json!({"from_user": "ai", "music": song})), "{answer}");
    // It is answered once: at either hub, it is asked again.
    assert_eq!(a.ask(&toy).await, question);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn another_song_differs_from_the_last_one_at_the_other_hub() {
    let store = StoreServer::start().await;
    let [a, b] = hearing(&store, "another one").await;
    let toy = a.bound_toy("Fluffy").await;
    a.songs(["The Bear", "The Bus"]).await;
    let mut played = Vec::new();
    for _ in 0..4 {
        for hub in [&a, &b] {
            let answer = hub.ask(&toy).await;
            played.push(answer["music"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned());
        }
    }
    assert!(played.windows(2).all(|pair| pair[0] != pair[1]), "{played:?}");
}
