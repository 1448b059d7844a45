//! Exports: an archive with all data of a family, and none of others.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use serde_json::{Value, json};

use crate::sound;
use crate::world::{User, World, within};

/// The entries of an archive.
pub fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut entries = BTreeMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut bytes = Vec::new();
        // Reading to the end compares the checksum.
        entry.read_to_end(&mut bytes).unwrap();
        entries.insert(entry.name().unwrap().into_owned(), bytes);
    }
    entries
}

/// The status and the bytes of an archive.
pub async fn fetch(world: &World, ticket: &Value) -> (u16, Vec<u8>) {
    let address = format!("{}/get_export/{}", world.http(), ticket.as_str().unwrap());
    let response = within("the archive", world.client().get(address).send()).await.unwrap();
    (response.status().as_u16(), within("the archive", response.bytes()).await.unwrap().to_vec())
}

async fn send(world: &World, path: &str, from: &str, to: &str, sound: Vec<u8>) -> String {
    let field = if path == "/app_uploader" { "reco_file" } else { "reco" };
    let sent = world.upload(path, field, sound, &[("user_id", from), ("to_user", to)]).await;
    assert_eq!(sent["code"], 0, "{sent}");
    sent["data"]["_id"].as_str().unwrap().to_owned()
}

async fn ask(world: &World, as_user: &User, user: &str, password: &str) -> Value {
    world.post_as(as_user, "/export", json!({"_id": user, "password": password})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_has_all_of_a_family_and_nothing_of_others() {
    let world = World::start().await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let (fluffy, rex) = (world.toy(&mia, "Fluffy").await, world.toy(&tom, "Rex").await);
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(send(&world, "/app_uploader", &mia.id, &fluffy.id, sound::tone(number)).await);
        ids.push(send(&world, "/toy_uploader", &fluffy.id, &mia.id, sound::tone(10 + number)).await);
    }
    let of_others = send(&world, "/app_uploader", &tom.id, &rex.id, sound::tone(99)).await;

    assert_eq!(ask(&world, &mia, &mia.id, "guess").await["code"], 1, "not without the password");
    assert_eq!(ask(&world, &tom, &mia.id, "correct horse").await["code"], 10, "nobody else's");
    let allowed = ask(&world, &mia, &mia.id, "correct horse").await;
    let (status, archive) = fetch(&world, &allowed["data"]["ticket"]).await;
    assert_eq!(status, 200);
    assert_eq!(fetch(&world, &allowed["data"]["ticket"]).await.0, 401, "a ticket is good once");
    assert_eq!(fetch(&world, &json!("guess")).await.0, 401);

    let entries = entries(&archive);
    let family: Value = serde_json::from_slice(&entries["family.json"]).unwrap();
    assert_eq!((&family["user"]["username"], &family["toys"][0]["name"]), (&json!("mia"), &json!("Fluffy")));
    assert!(entries.contains_key("pictures/toy.jpg") && entries.contains_key("pictures/baba.jpg"));
    let chat = family["user"]["friends"][0]["chat"].as_str().unwrap();
    let lines = String::from_utf8(entries[&format!("chats/{chat}.jsonl")].clone()).unwrap();
    let messages: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(messages.iter().map(|message| message["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    for message in &messages {
        let name = message["sound"].as_str().unwrap();
        let stored = std::fs::read(world.data_dir().join("files/chat").join(name)).unwrap();
        assert!(entries[&format!("sounds/{name}")] == stored, "{name}");
    }
    let text = String::from_utf8_lossy(&archive);
    for foreign in [&of_others, &tom.id, &rex.id] {
        assert!(!text.contains(foreign.as_str()), "{foreign}");
    }
    assert_eq!(world.unread(&mia).await["count"], 3, "what is copied is not heard");

    // By the command line, into a new file of its owner.
    let file = world.folder().join("mia.zip");
    world.run(&["user", "export", "mia", "--out", file.to_str().unwrap()]).await;
    assert_eq!(
        self::entries(&std::fs::read(&file).unwrap()).keys().collect::<Vec<_>>(),
        entries.keys().collect::<Vec<_>>()
    );

    // Data that is being erased is not exported.
    let body = json!({"_id": mia.id, "password": "correct horse"});
    let allowed = ask(&world, &mia, &mia.id, "correct horse").await;
    assert_eq!(world.post_as(&mia, "/erase_account", body).await["code"], 0);
    assert_eq!(ask(&world, &mia, &mia.id, "correct horse").await["code"], 36);
    let (status, answer) = fetch(&world, &allowed["data"]["ticket"]).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &answer["code"]), (401, &json!(10)), "the ticket has ended with the logins: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_ends_with_the_logins_of_its_user() {
    let world = World::start().await;
    for (name, ending) in [("mia", "log-out"), ("tom", "password"), ("eve", "only-token")] {
        let user = world.user(name).await;
        let ticket = ask(&world, &user, &user.id, "correct horse").await["data"]["ticket"].clone();
        world.run(&["user", ending, name]).await;
        assert_eq!(fetch(&world, &ticket).await.0, 401, "after user {ending}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_archives_are_written_at_once_and_an_unread_one_ends() {
    let world = World::start().await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    for number in 0..2 {
        send(&world, "/app_uploader", &mia.id, &toy.id, sound::tone(number)).await;
    }
    // Larger than all buffers on the way.
    for entry in std::fs::read_dir(world.data_dir().join("files/chat")).unwrap() {
        std::fs::OpenOptions::new().write(true).open(entry.unwrap().path()).unwrap().set_len(64 << 20).unwrap();
    }
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let ticket = ask(&world, &mia, &mia.id, "correct horse").await["data"]["ticket"].clone();
        let address = format!("{}/get_export/{}", world.http(), ticket.as_str().unwrap());
        let response = within("an archive", world.client().get(address).send()).await.unwrap();
        assert_eq!(response.status(), 200);
        waiting.push(response);
    }
    let next = async || {
        let ticket = ask(&world, &mia, &mia.id, "correct horse").await["data"]["ticket"].clone();
        let address = format!("{}/get_export/{}", world.http(), ticket.as_str().unwrap());
        world.client().get(address).send().await.unwrap().status().as_u16()
    };
    assert_eq!(next().await, 503, "both places are taken");
    drop(waiting);
    let free = async {
        while next().await != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    within("a place", free).await;
}
