//! A page with the habits of those that were published for this API, in headless Chromium, as an app and as a toy. The
//! hub serves it in the dialect `field`.

use serde_json::{Value, json};

use crate::browser::{Pages, Script};
use crate::sound;
use crate::world::{Toy, User, World};

async fn answer(world: &World, toy: &Toy, to: &User, tone: u32) {
    let names = [("user_id", toy.id.as_str()), ("to_user", to.id.as_str())];
    assert_eq!(world.upload("/toy_uploader", "reco", sound::tone(tone), &names).await["code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_page_counts_plays_and_answers() {
    let pages = Pages::serve(&["tests", "clients", "legacy"]).await;
    let world = World::start_with(&[
        ("TOYHUB_HTTP__DIALECT", "field"),
        ("TOYHUB_WS__REFUSED_HOLD_S", "1"),
        ("TOYHUB_RATES__CONNECTS_PER_ADDRESS_PER_MINUTE", "60"),
        ("TOYHUB_RATES__REFUSED_CONNECTS_PER_PARTY_PER_MINUTE", "5"),
    ])
    .await;
    let parent = world.user("parent").await;
    let (fluffy, rex) = (world.toy(&parent, "Fluffy").await, world.toy(&parent, "Rex").await);
    answer(&world, &fluffy, &parent, 0).await;
    let recording = world.folder().join("recording.wav");
    std::fs::write(&recording, sound::tone(9)).unwrap();

    let (address, recording) = (world.http(), recording.to_str().unwrap());
    let arguments = [pages.origin(), &address, "parent", "correct horse", &fluffy.device_key, recording];
    let mut script = Script::start("legacy.mjs", arguments);

    // The login counts the message, and the socket does not bring it again.
    let counts = |total: &str, of_fluffy: &str, of_rex: &str| json!({"total": total, "friends": {fluffy.id.as_str(): of_fluffy, rex.id.as_str(): of_rex}});
    let shown = |mut seen: Value| {
        seen.as_object_mut().unwrap().remove("step");
        seen
    };
    assert_eq!(shown(script.step("counted").await), counts("1", "1", "0"));
    answer(&world, &rex, &parent, 1).await;
    assert_eq!(shown(script.step("one more").await), counts("2", "1", "1"));
    assert_eq!(shown(script.step("reloaded").await), counts("2", "1", "1"));

    // The toy plays the notice, and on its button the notice and the messages from oldest to newest.
    let opened = script.step("opened").await;
    let mut notices = Vec::new();
    assert_eq!((&opened["played"], &opened["failed"]), (&json!(["/get_music/Success.mp3"]), &json!([])));
    for tone in [2, 3] {
        let names = [("user_id", parent.id.as_str()), ("to_user", fluffy.id.as_str())];
        let sent = world.upload("/app_uploader", "reco_file", sound::tone(tone), &names).await;
        notices.push(format!("/get_chat/{}", sent["data"]["filename"].as_str().unwrap()));
    }
    let told = script.step("told").await;
    assert_eq!(told["played"].as_array().unwrap()[1..], [json!(notices[0]), json!(notices[1])]);
    assert_eq!((&told["from_user"], &told["friend_type"]), (&json!(parent.id), &json!("app")));
    let heard = script.step("heard").await;
    let chat = world.ok("/friend_list", json!({"_id": parent.id})).await["data"][0]["friend_chat"].clone();
    let asked = json!({"chat_id": chat, "to_user": parent.id, "from_user": fluffy.id});
    let list = world.ok("/chat_list", asked).await["data"].clone();
    let own = list.as_array().unwrap().iter().filter(|entry| entry["from_user"] == *parent.id);
    let expected: Vec<String> = own.map(|entry| format!("/get_chat/{}", entry["message"].as_str().unwrap())).collect();
    let played = heard["played"].as_array().unwrap();
    assert_eq!((expected.len(), &heard["failed"]), (2, &json!([])));
    assert!(played.ends_with(&[json!(expected[0]), json!(expected[1])]), "{heard}");
    assert_eq!((&heard["from_user"], &heard["friend_type"]), (&json!(parent.id), &json!("app")));

    let answered = script.step("answered").await;
    assert_eq!(answered["played"].as_array().unwrap().last().unwrap(), "/get_music/SendOK.mp3");
    assert_eq!(answered["failed"], json!([]));

    world.run(&["toy", "unbind", &fluffy.id]).await;
    assert!(script.step("unbound").await["closes"].as_u64().unwrap() >= 4);
}
