//! What guardians set at one hub is kept by the other.

use std::time::Duration;

use serde_json::{Value, json};

use super::{StoreServer, hubs};
use crate::rest::around_now;
use crate::sound;
use crate::world::{Toy, User, World, within};

async fn settings(world: &World, guardian: &User, toy: &Toy) -> Value {
    let asked = json!({"user_id": guardian.id, "toy_id": toy.id});
    world.post_as(guardian, "/toy_settings", asked).await["data"].clone()
}

async fn wait_for(world: &World, guardian: &User, toy: &Toy, expected: impl Fn(&Value) -> bool) {
    let turned = async {
        while !expected(&settings(world, guardian, toy).await) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("the settings at the other hub", turned).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn rules_that_are_set_at_one_hub_hold_at_the_other() {
    let store = StoreServer::start().await;
    let [a, b] = hubs(&store, &[("TOYHUB_CLUSTER__RULES_INTERVAL_S", "1")]).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let mut line = b.mosquitto_sub(&toy, "5");
    b.wait_online(&parent, &toy.id, "1").await;

    let (from, until) = around_now();
    let quiet = json!({"user_id": parent.id, "toy_id": toy.id, "from": from, "until": until, "zone": "Etc/UTC"});
    assert_eq!(a.post_as(&parent, "/set_quiet_hours", quiet).await["code"], 0);
    wait_for(&b, &parent, &toy, |found| found["from"] == from.as_str() && found["zone"] == "Etc/UTC").await;
    let send = async |number: u32| {
        let fields = [("user_id", parent.id.as_str()), ("to_user", &toy.id), ("token", &parent.token)];
        let sent = b.upload("/app_uploader", "reco_file", sound::tone(number), &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
        sent["data"]["_id"].clone()
    };
    let waiting = send(1).await;
    let (_, received) = b.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
    assert_eq!(received, json!([]), "the toy rests at the other hub, too");

    let awake = json!({"user_id": parent.id, "toy_id": toy.id, "from": "", "until": "", "zone": "Etc/UTC"});
    assert_eq!(a.post_as(&parent, "/set_quiet_hours", awake).await["code"], 0);
    wait_for(&b, &parent, &toy, |found| found.get("from").is_none()).await;
    assert_eq!(line.event().await["_id"], waiting, "announced at the end of the rest");

    let minutes = json!({"user_id": parent.id, "toy_id": toy.id, "minutes": 45, "zone": "Etc/UTC"});
    assert_eq!(a.post_as(&parent, "/set_daily_minutes", minutes).await["code"], 0);
    wait_for(&b, &parent, &toy, |found| found["minutes"] == 45).await;
}
