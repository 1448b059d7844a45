//! A data folder that an older version wrote opens with everything in it.
//!
//! `folders/before-0.2.tar.xz` was written by version 0.1.0 (SurrealDB 3.3.5, surrealkv 0.21.4) with a memtable of
//! 64 KiB and ended by `kill -9`: two users, a toy, 12 messages to it and 5 from it, unread; a persistent MQTT session
//! of the toy with its subscriptions, away; a command to it that was acknowledged. That engine lost the message whose
//! write filled the memtable, so that the chat has a hole, which must harm no call.

use serde_json::json;
use tempfile::TempDir;

use crate::world::{World, within};

const MIA: &str = "50a4f26a4502427ae93942ff";
const FLUFFY: &str = "a60dd4a63cace1eae32adc60";
const KEY: &str = "3874f1dbbde303900d6489abaa927839";
const SECRET: &str = "9b987cfde62a7ac1f6ebde35e5d182f20ad71529719aa509e61995f947953f25";

/// Messages that the older engine lost.
const LOST: usize = 1;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_version_0_1_opens_with_all_its_data() {
    let folder = TempDir::new().unwrap();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hub/folders/before-0.2.tar.xz");
    let unpack = tokio::process::Command::new("tar").args(["-xJf", archive, "-C"]).arg(folder.path()).status();
    assert!(within("the archive", unpack).await.unwrap().success());
    let mut world = World::start_in(folder, &[("TOYHUB_SERVER__LOG", "warn")]).await;
    let copy = world.data_dir().join("db.before-0.2");
    assert!(copy.join("manifest").is_dir(), "a copy is kept");
    let said = std::fs::read_to_string(world.log()).unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix("keeping a copy of the database: ")).expect(&said);
    let (done, total) = line.split_once(" of ").unwrap();
    assert!(done == total && said.contains("migrating the tables: "), "{said}");

    let mia = world.ok("/login", json!({"username": "mia", "password": "secret-mia"})).await["data"].clone();
    assert_eq!((&mia["_id"], &mia["friend_list"][0]["unread"]), (&json!(MIA), &json!(5)));
    let chat = mia["friend_list"][0]["friend_chat"].clone();
    let asked = json!({"chat_id": chat, "to_user": MIA, "from_user": FLUFFY});
    let messages = world.ok("/chat_list", asked).await["data"].as_array().unwrap().clone();
    assert_eq!(messages.len(), 17 - LOST, "{messages:?}");
    for message in &messages {
        let sound = format!("{}/get_chat/{}", world.http(), message["message"].as_str().unwrap());
        let answer = world.client().get(sound).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(!answer.bytes().await.unwrap().is_empty());
    }
    world.ok("/open_toy", json!({"device_key": KEY})).await;
    let (status, unread) = world.post("/recv_msg", json!({"from_user": MIA, "to_user": FLUFFY})).await;
    assert_eq!((status, unread.as_array().unwrap().len()), (200, 12 - LOST), "{unread}");
    assert_eq!(world.post("/recv_msg", json!({"from_user": MIA, "to_user": FLUFFY})).await, (200, json!([])));

    // The toy resumes its session and gets the command, without a new subscription.
    let address = world.mqtt_addr();
    let subscriber = tokio::process::Command::new("mosquitto_sub")
        .args(["-p", &address.port().to_string(), "-i", "fluffy", "-c", "-q", "1", "-u", KEY, "-P", SECRET])
        .args(["-t", &format!("toy/{FLUFFY}/cmd/volume"), "-v", "-C", "1"])
        .output();
    let heard = String::from_utf8(within("the command", subscriber).await.unwrap().stdout).unwrap();
    assert_eq!(heard.trim(), format!("toy/{FLUFFY}/cmd/volume 7"));

    // The next start finds a folder of its own format.
    std::fs::remove_dir_all(&copy).unwrap();
    assert_eq!(world.stop().await, Some(0));
    world.start_hub().await;
    assert!(!copy.exists());
    assert_eq!(world.run(&["user", "list"]).await.lines().count(), 2);
}
