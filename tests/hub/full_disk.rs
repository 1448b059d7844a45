//! A full disk: calls that add data are refused with a code of their own, other calls work, and all work again once
//! there is space.

use std::path::{Path, PathBuf};
use std::process::Command as Program;

use serde_json::{Value, json};

use crate::mqtt::{Raw, V4, V5, connect_with, publish, subscribe, with_reason};
use crate::one_connection::Line;
use crate::sound;
use crate::world::{Toy, User, World, within};

/// The code of refused calls.
const DISK_FULL: u64 = 32;
const REASON: &str = "the hub's disk is full, try again later";

async fn send(world: &World, parent: &User, toy: &Toy) -> Value {
    let fields = [("user_id", parent.id.as_str()), ("to_user", toy.id.as_str())];
    world.upload("/app_uploader", "reco_file", sound::beep(), &fields).await
}

async fn log_in(world: &World, user: &User) -> Value {
    world.post("/login", json!({"username": user.username, "password": "correct horse"})).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_only_calls_that_add_data_are_refused() {
    let mut world = World::start().await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let (key, _) = world.device().await;
    let sent = send(&world, &parent, &toy).await;
    assert_eq!(sent["code"], 0);
    let mut raw = Raw::connected(world.mqtt_addr(), V5, "raw", &toy.device_key, &toy.secret).await;
    let state = format!("toy/{}/state/battery", toy.id);
    raw.send(&publish(V5, 0x33, &state, 1, b"90")).await;
    raw.expect(0x40, &[0, 1]).await;
    assert_eq!(world.stop().await, Some(0));

    // More than any disk has.
    world.set("TOYHUB_SERVER__FREE_BYTES_MIN", "1000000000000000");
    world.start_hub().await;
    let (status, health) = world.watch("/readyz").await;
    assert_eq!((status, &health["ready"], &health["parts"]["store"]["state"]), (503, &json!(false), &json!("ok")));
    assert_eq!(health["parts"]["disk"]["state"], "failed");
    assert!(health["parts"]["disk"]["reason"].as_str().unwrap().contains("server.free_bytes_min"), "{health}");
    assert_eq!(world.watch("/healthz").await.0, 200);
    assert_eq!(world.watch("/livez").await.0, 200);

    // Over HTTP.
    let refused = send(&world, &parent, &toy).await;
    assert_eq!((&refused["code"], &refused["msg"]), (&json!(DISK_FULL), &json!(REASON)));
    let new = json!({"username": "tom", "password": "correct horse", "nickname": "t", "gender": "1"});
    assert_eq!(world.post("/reg", new).await.1["code"], DISK_FULL);
    let binding = json!({"toy_name": "t", "baby_name": "b", "remark": "r", "user_id": parent.id, "device_key": key});
    assert_eq!(world.post("/bind_toy", binding).await.1["code"], DISK_FULL);
    // On the command line.
    let added = world.command(&["device", "add"]).output().await.unwrap();
    assert!(!added.status.success() && String::from_utf8_lossy(&added.stderr).contains(REASON));
    // Logins and reads work, and messages are marked as read.
    assert_eq!(log_in(&world, &parent).await["code"], 0);
    assert_eq!(world.unread_of(&toy).await, 1);
    let (_, unheard) = world.post("/recv_msg", json!({"from_user": parent.id, "to_user": toy.id})).await;
    assert_eq!(unheard.as_array().unwrap().len(), 1);
    assert_eq!(world.unread_of(&toy).await, 0);
    let sound = format!("{}/get_chat/{}", world.http(), unheard[0]["message"].as_str().unwrap());
    assert_eq!(world.client().get(sound).send().await.unwrap().status(), 200);

    // Over MQTT: chunks of a recording and a new retained message are refused, a new state of an old one is not.
    let mut raw = Raw::connected(world.mqtt_addr(), V5, "raw", &toy.device_key, &toy.secret).await;
    raw.send(&publish(V5, 0x32, &format!("toy/{}/voice/a/0", toy.id), 2, b"chunk")).await;
    raw.expect(0x40, &with_reason(&[0, 2, 0x97], REASON)).await;
    raw.send(&publish(V5, 0x33, &format!("toy/{}/state/volume", toy.id), 3, b"5")).await;
    raw.expect(0x40, &with_reason(&[0, 3, 0x97], REASON)).await;
    raw.send(&publish(V5, 0x33, &state, 4, b"89")).await;
    raw.expect(0x40, &[0, 4]).await;
    raw.send(&publish(V5, 0x32, &state, 5, b"88")).await;
    raw.expect(0x40, &[0, 5]).await;
    let mut old = Raw::connected(world.mqtt_addr(), V4, "old", &toy.device_key, &toy.secret).await;
    old.send(&publish(V4, 0x32, &format!("toy/{}/voice/a/0", toy.id), 2, b"chunk")).await;
    old.expect_end().await;

    // Over the app socket.
    let mut app = world.app(&parent).await;
    let chunk = app.ask(json!({"do": "voice", "upload": "a", "n": 0, "data": "AAAA"})).await;
    assert_eq!(chunk["code"], DISK_FULL, "{chunk}");
    assert_eq!(world.stop().await, Some(0));
}

/// A small disk of its own for the data folder, unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where the tests may not mount one.
    fn mount(at: PathBuf, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let options = format!("size={mebibytes}m");
        let mount = Program::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        eprintln!("not tried on a small disk: only root may mount one");
        None
    }

    fn free_bytes(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.0).unwrap();
        space.f_bavail * space.f_frsize
    }

    /// Fills the disk up to this number of free bytes.
    fn fill(&self, rest: u64) {
        let filler = vec![0; usize::try_from(self.free_bytes() - rest).unwrap()];
        // The last bytes may not fit.
        let _ = std::fs::write(self.filler(), filler);
        assert!(self.free_bytes() <= rest, "{} bytes are free", self.free_bytes());
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Program::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn files_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn freed_space_is_noticed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("data"), 64) else { return };
    let world = World::start_in(folder, &[("TOYHUB_SERVER__FREE_BYTES_MIN", "16777216")]).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    assert_eq!(send(&world, &parent, &toy).await["code"], 0);
    disk.fill(12 << 20);
    assert_eq!(world.wait_ready(false).await["parts"]["disk"]["state"], "failed");
    assert_eq!(send(&world, &parent, &toy).await["code"], DISK_FULL);
    assert_eq!(log_in(&world, &parent).await["code"], 0);
    disk.empty();
    world.wait_ready(true).await;
    assert_eq!(send(&world, &parent, &toy).await["code"], 0);
    assert_eq!(world.unread_of(&toy).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_stored_is_answered_though_its_answer_cannot_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    // Only the chunks do not fit.
    let Some(disk) = SmallDisk::mount(folder.path().join("data/chunks"), 4) else { return };
    let world = World::start_in(folder, &[]).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    let mut line = Line::open(&world, &toy).await;
    line.chunks("a", &[(0, sound::beep().as_slice())]).await;
    disk.fill(0);
    let send = json!({"do": "toy_uploader", "to_user": parent.id, "upload": "a", "chunks": 1});
    let sent = line.ok(send.clone()).await;
    assert_eq!(line.ok(send).await["_id"], sent["_id"], "a repeated request is the same message");
    assert_eq!(world.unread(&parent).await["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_on_a_full_disk_asks_for_space() {
    let folder = tempfile::tempdir().unwrap();
    let backups = folder.path().join("backups");
    let Some(disk) = SmallDisk::mount(backups.clone(), 4) else { return };
    let world = World::start_in(folder, &[]).await;
    world.user("parent").await;
    for rest in [0, 128 << 10] {
        disk.fill(rest);
        let output =
            within("the backup", world.command(&["backup", backups.to_str().unwrap()]).output()).await.unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{rest}: {printed}");
        // The fault comes after the progress.
        assert!(printed.lines().last().is_some_and(|line| line.contains("free space")), "{rest}: {printed}");
        disk.empty();
    }
    world.run(&["backup", backups.to_str().unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_full_disk_asks_for_space() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("data"), 64) else { return };
    let mut world = World::start_in(folder, &[("TOYHUB_SERVER__FREE_BYTES_MIN", "0")]).await;
    let parent = world.user("parent").await;
    world.kill().await;
    disk.fill(0);
    let output = within("the program", world.command(&["serve"]).output()).await.unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
    assert!(line.starts_with(world.data_dir().to_str().unwrap()), "{line}");
    assert!(line.contains("the disk is full") && line.contains("free space"), "{line}");
    disk.empty();
    world.start_hub().await;
    assert_eq!(log_in(&world, &parent).await["code"], 0);
    assert_eq!(world.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completely_full_disk_causes_no_lasting_damage() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("data"), 64) else { return };
    // No reserve: writes of the database, the files and the sessions fail.
    let mut world = World::start_in(folder, &[("TOYHUB_SERVER__FREE_BYTES_MIN", "0")]).await;
    let parent = world.user("parent").await;
    let toy = world.toy(&parent, "Fluffy").await;
    assert_eq!(send(&world, &parent, &toy).await["code"], 0);
    // The toy is offline, and its session is kept.
    let cmd = format!("toy/{}/cmd/volume", toy.id);
    let mut away = Raw::open(world.mqtt_addr()).await;
    away.send(&connect_with(V4, 0xc0, 60, &[], "away", &[], &toy.device_key, &toy.secret)).await;
    away.expect(0x20, &[0, 0]).await;
    away.send(&subscribe(V4, 1, &[(&cmd, 1)])).await;
    away.expect(0x90, &[0, 1, 1]).await;
    drop(away);
    let (files, spool) = (world.data_dir().join("files/chat"), world.data_dir().join("spool"));
    let kept = files_in(&files);
    disk.fill(0);
    for _ in 0..20 {
        let answer = send(&world, &parent, &toy).await;
        assert_eq!(answer["code"], DISK_FULL, "{answer}");
        let answer = log_in(&world, &parent).await;
        assert!(answer["code"] == DISK_FULL || answer["code"] == 0, "{answer}");
    }
    assert_eq!((files_in(&files), files_in(&spool)), (kept, 0), "nothing half-written stays");
    let (mut owner, mut stored) = (Raw::connected(world.mqtt_addr(), V5, "o", &parent.id, &parent.token).await, 0);
    let refusal = loop {
        owner.send(&publish(V5, 0x32, &cmd, 1, &[b'x'; 4000])).await;
        match owner.packet().await {
            (0x40, acknowledged) => assert_eq!((acknowledged, stored < 100), (vec![0, 1], true)),
            (kind, body) => break (kind, body[0]),
        }
        stored += 1;
    };
    assert_eq!(refusal, (0xe0, 0x97), "DISCONNECT, quota exceeded");
    let (_, list) = world.post("/friend_list", json!({"_id": toy.id})).await;
    assert_eq!(list["data"][0]["unread"], 1, "reads go on: {list}");
    disk.empty();
    // The engine retries at its own intervals.
    let recovered = async {
        while send(&world, &parent, &toy).await["code"] != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    within("the hub to take a message again", recovered).await;
    assert_eq!(log_in(&world, &parent).await["code"], 0);
    assert_eq!(world.wait_ready(true).await["parts"]["sessions"]["state"], "ok");
    let mut owner = Raw::connected(world.mqtt_addr(), V5, "o", &parent.id, &parent.token).await;
    owner.send(&publish(V5, 0x32, &cmd, 1, b"at last")).await;
    owner.expect(0x40, &[0, 1]).await;
    assert_eq!(world.stop().await, Some(0));
    world.start_hub().await;
    assert_eq!(world.unread_of(&toy).await, 2, "both messages that were accepted, and no other");
}
