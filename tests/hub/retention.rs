//! Retention, by the clock of a running hub.

use serde_json::json;

use crate::chats::fake_clock;
use crate::sound;
use crate::world::{World, within};

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_deleted_after_their_days() {
    let settings = [
        ("TOYHUB_AUTH__MODE", "open"),
        ("TOYHUB_RETENTION__MESSAGES_DAYS", "30"),
        ("TOYHUB_CHATS__SWEEP_INTERVAL_S", "1"),
        ("TOYHUB_SERVER__CLOCK_DOUBT_H", "0"),
    ];
    let mut world = World::start_with(&settings).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let send = async |world: &World, number: u32| {
        let fields = [("user_id", mia.id.as_str()), ("to_user", &toy.id)];
        let sent = world.upload("/app_uploader", "reco_file", sound::tone(number), &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
    };
    send(&world, 1).await;
    let recordings = |world: &World| {
        let entries = std::fs::read_dir(world.data_dir().join("files/chat")).unwrap();
        entries.filter(|entry| !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("say-")).count()
    };
    let library: &'static str = fake_clock().leak();
    world.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    world.set("LD_PRELOAD", library);
    world.stop().await;
    world.set("FAKETIME", "+29d");
    world.start_hub().await;
    send(&world, 2).await;
    assert_eq!((recordings(&world), world.unread_of(&toy).await), (2, 2));
    world.stop().await;
    world.set("FAKETIME", "+31d");
    world.start_hub().await;
    let swept = async {
        while world.unread_of(&toy).await != 1 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    within("the older message to go", swept).await;
    assert_eq!(recordings(&world), 1);
    let examined = world.run(&["doctor"]).await;
    assert!(!examined.contains("lost") && !examined.contains("WRONG    data"), "{examined}");
    let friends = world.ok("/friend_list", json!({"_id": toy.id})).await;
    assert_eq!(friends["data"][0]["unread"], 1);
}
