//! Settings of a toy and of an account in the family's app, in headless Chromium.

use serde_json::json;

use crate::browser::Script;
use crate::sound;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_family_sets_everything_by_clicks_alone() {
    let world = World::start().await;
    let (mia, tom, anna) = (world.user("mia").await, world.user("tom").await, world.user("anna").await);
    let toy = world.toy(&mia, "Fluffy").await;
    for (friend, remark) in [(&anna, "Anna"), (&world.user("ben").await, "Ben")] {
        let wish = json!({"req_user": friend.id, "add_user": mia.id, "type": "app", "req_info": "", "remark": "Mia"});
        assert_eq!(world.post_as(friend, "/add_req", wish).await["code"], 0);
        world.accept(&mia, remark).await;
    }
    let (song, cover) = (world.folder().join("song.wav"), world.folder().join("cover.png"));
    std::fs::write(&song, sound::wav()).unwrap();
    std::fs::copy(world.data_dir().join(format!("files/qr/{}.png", toy.device_key)), &cover).unwrap();
    let [song, cover] = [&song, &cover].map(|path| path.to_str().unwrap());
    world.run(&["content", "add", song, "--title", "Ode to Joy", "--cover", cover]).await;
    let guardians = async || world.run(&["toy", "guardians", &toy.id]).await;
    let limits = async || {
        let settings = world.run(&["toy", "settings", &toy.id]).await;
        ["45 a day", "content\tapproved", "approved\t"].map(|limit| settings.contains(limit))
    };

    let mut script = Script::start("household.mjs", [&world.http()]);
    script.step("joined").await;
    assert!(guardians().await.contains(&tom.id));
    script.step("limited").await;
    assert_eq!(limits().await, [true; 3]);
    script.step("unlimited").await;
    assert_eq!(limits().await, [false, true, false]);
    script.step("removed").await;
    assert!(!guardians().await.contains(&tom.id));
    script.step("parted").await;
    script.step("blocked and unblocked").await;
    let list = world.post_as(&mia, "/friend_list", json!({"_id": mia.id})).await["data"].clone();
    assert_eq!(list.as_array().unwrap().len(), 1, "the friendship is gone: {list}");
    script.step("wants to be notified").await;
    let message = [("user_id", toy.id.as_str()), ("to_user", mia.id.as_str())];
    assert_eq!(world.upload("/toy_uploader", "reco", sound::beep(), &message).await["code"], 0);
    script.step("notified").await;
    script.step("another password").await;
    let (_, answer) = world.post("/login", json!({"username": "mia", "password": "correct horse"})).await;
    assert_eq!(answer["code"], 1);
}
