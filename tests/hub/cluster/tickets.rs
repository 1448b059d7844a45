//! A ticket of one hub opens a socket of another, once.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{StoreServer, hubs};
use crate::world::{User, World};

async fn ask(world: &World, user: &User) -> Value {
    world.post_as(user, "/ticket", json!({})).await
}

async fn ticket(world: &World, user: &User) -> String {
    ask(world, user).await["data"]["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_ticket_is_valid_once_at_any_hub() {
    let store = StoreServer::start().await;
    let settings = [("TOYHUB_WS__TICKET_TTL_S", "8"), ("TOYHUB_WS__CONNECTIONS_PER_USER_MAX", "3")];
    let [a, b] = hubs(&store, &settings).await;
    let parent = a.user("mia").await;
    let of_a = ticket(&a, &parent).await;
    let mut opened = b.socket(&format!("/ws?ticket={of_a}")).await;
    assert_eq!(opened.frame().await["type"], "welcome");
    for hub in [&a, &b] {
        assert_eq!(hub.socket(&format!("/ws?ticket={of_a}")).await.close_code().await, 4500, "it was used");
    }

    // Both hubs count.
    for hub in [&a, &b, &a] {
        ticket(hub, &parent).await;
    }
    let refused = ask(&b, &parent).await;
    assert_eq!(refused["code"], 12, "{refused}");
    assert_eq!(store.sql("SELECT VALUE party FROM ticket").await[0]["result"].as_array().unwrap().len(), 3);

    // Until they expire.
    let late = loop {
        let answer = ask(&b, &parent).await;
        if answer["code"] == 0 {
            break answer["data"]["ticket"].as_str().unwrap().to_owned();
        }
        assert_eq!(answer["code"], 12, "{answer}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(a.socket(&format!("/ws?ticket={late}")).await.frame().await["type"], "welcome");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn more_transactions_than_the_server_accepts_at_once_wait() {
    let store = StoreServer::start().await;
    let [a] = hubs(&store, &[("TOYHUB_WS__CONNECTIONS_PER_USER_MAX", "1000")]).await;
    let parent = a.user("mia").await;
    let asked = (0..200).map(|_| ask(&a, &parent));
    for answer in join_all(asked).await {
        assert_eq!(answer["code"], 0, "{answer}");
    }
    assert_eq!(a.watch("/readyz").await.0, 200);
}
