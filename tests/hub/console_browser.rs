//! The operator's console in headless Chromium.

use serde_json::json;

use crate::browser::Script;
use crate::mqtt::{Raw, V4, publish};
use crate::sound;
use crate::spoken_model;
use crate::world::World;

/// The payload of a message, which the console must not show.
const CONTENT: &str = "tucked-in-at-half-past-seven";

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_uses_every_page_by_clicks_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), spoken_model::saying("what time is it")).unwrap();
    let (model, backups) = (folder.path().join("model.bin"), folder.path().join("backups"));
    // Settings of tests have static lifetime.
    let [model, backups] = [model, backups].map(|path| &*path.to_str().unwrap().to_owned().leak());
    let world = World::start_in(
        folder,
        &[
            ("TOYHUB_SPEECH__MODEL", model),
            ("TOYHUB_BACKUP__DIR", backups),
            ("TOYHUB_SERVER__LOG", "info"),
            // The page is loaded again and again in many sizes.
            ("TOYHUB_CONSOLE__FAILED_LOGINS_PER_MINUTE", "50"),
        ],
    )
    .await;
    let parent = world.user("parent").await;
    world.user("leaving").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let mut client = Raw::connected(world.mqtt_addr(), V4, "board", &toy.device_key, &toy.secret).await;
    assert_eq!(world.post("/nothing", json!({})).await.0, 404);
    let (song, cover) = (world.folder().join("song.wav"), world.folder().join("cover.png"));
    std::fs::write(&song, sound::wav()).unwrap();
    std::fs::copy(world.data_dir().join(format!("files/qr/{}.png", toy.device_key)), &cover).unwrap();
    let (microphone, _) = crate::browser::microphone(world.folder());

    let [microphone, song, cover] = [&microphone, &song, &cover].map(|path| path.to_str().unwrap());
    let console = world.console();
    let arguments = [console.as_str(), world.operator_password(), microphone, song, cover, toy.id.as_str(), CONTENT];
    let mut script = Script::start("console.mjs", arguments);
    script.step("logged in").await;
    script.step("looks at topics").await;
    let topic = format!("toy/{}/state/note", toy.id);
    let looked = async {
        // The page looks at topics from time to time, and sees what is published from its first look on.
        for id in 1.. {
            client.send(&publish(V4, 0x32, &topic, id, CONTENT.as_bytes())).await;
            client.expect(0x40, &id.to_be_bytes()).await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        _ = script.step("looked") => {}
        () = looked => {}
    }
    script.step("devices").await;
    let code = script.step("users").await["code"].as_str().unwrap().to_owned();
    let (_, answer) = world.post("/login", json!({"username": "parent", "password": code})).await;
    assert_eq!(answer["code"], 0, "the code is the new password");
    let (_, answer) = world.post("/login", json!({"username": "leaving", "password": "correct horse"})).await;
    assert_eq!(answer["code"], 1, "erased");
    for name in ["content", "speech"] {
        script.step(name).await;
    }
    let password = script.step("password").await["password"].as_str().unwrap().to_owned();
    script.step("ready for the end").await;
    assert_ne!(world.run(&["console-password"]).await.trim(), password);
    script.step("strangers").await;
    assert!(std::fs::read_dir(backups).unwrap().count() > 0);
}
