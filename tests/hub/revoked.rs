//! Whoever loses a right loses the connections that stand on it, within five seconds.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::mqtt::{Raw, V4, V5, connect, publish};
use crate::world::World;

const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_unbound_toy_is_cut_off_and_forgotten() {
    let world = World::start().await;
    let owner = world.user("papa").await;
    let toy = world.toy(&owner, "fluffy").await;
    let mut app = world.app(&owner).await;
    let mut raw = Raw::connected(world.mqtt_addr(), V5, "a", &toy.device_key, &toy.secret).await;
    raw.send(&publish(V5, 0x33, &format!("toy/{}/state/battery", toy.id), 7, b"80")).await;
    raw.expect(0x40, &[0, 7]).await;

    let stranger = world.user("stranger").await;
    let mut other = world.app(&stranger).await;
    other.send(json!({"id": 1, "do": "unbind", "toy": toy.id})).await;
    assert_ne!(other.frame().await["code"], 0, "somebody else's toy");

    app.send(json!({"id": 1, "do": "unbind", "toy": toy.id})).await;
    timeout(AT_ONCE, raw.expect(0xe0, &[0x98, 0])).await.expect("cut off in time");
    raw.expect_end().await;
    assert_eq!(app.frame().await["code"], 0);
    for level in [V4, V5] {
        let mut raw = Raw::open(world.mqtt_addr()).await;
        raw.send(&connect(level, "a", &toy.device_key, &toy.secret)).await;
        raw.expect(0x20, if level == V4 { &[0, 4] } else { &[0, 0x86, 0] }).await;
    }
    app.send(json!({"id": 2, "do": "subscribe", "topic": format!("toy/{}/state/#", toy.id)})).await;
    assert_ne!(app.frame().await["code"], 0, "nobody owns it");
    assert!(world.run(&["device", "list"]).await.contains("unbound"));
    let friends = world.post_as(&owner, "/friend_list", json!({"_id": owner.id})).await;
    assert!(!friends.to_string().contains(&toy.id), "{friends}");
}

#[tokio::test]
async fn who_is_logged_out_everywhere_is_cut_off() {
    let world = World::start().await;
    let user = world.user("papa").await;
    let mut app = world.app(&user).await;
    let mut raw = Raw::connected(world.mqtt_addr(), V5, "a", &user.id, &user.token).await;
    world.run(&["user", "log-out", &user.username]).await;
    timeout(AT_ONCE, raw.expect(0xe0, &[0x98, 0])).await.expect("cut off in time");
    assert_eq!(timeout(AT_ONCE, app.close_code()).await.expect("cut off in time"), 4501);
    let mut raw = Raw::open(world.mqtt_addr()).await;
    raw.send(&connect(V4, "a", &user.id, &user.token)).await;
    raw.expect(0x20, &[0, 4]).await;
}
