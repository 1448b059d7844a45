//! The words of children: nothing is kept without the operator and a guardian, and nothing is left of what was kept.

use std::io::{Cursor, Read as _};

use serde_json::{Value, json};

use crate::calls::Edges;
use crate::speech::{FOR_DAD, files_with, hearing_with};
use crate::world::{Toy, User, World};

const PERMITTED: (&str, &str) = ("TOYHUB_SPEECH__KEEP_WORDS", "true");

async fn finish_erasures(world: &World) {
    world.run(&["erase", "--finish"]).await;
}

fn places_of_words(world: &World) -> Vec<String> {
    ["purple", "elephant"].iter().flat_map(|word| files_with(&world.data_dir(), word)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_kept_only_if_the_operator_and_a_guardian_wish_it() {
    let world = hearing_with("hello purple elephant", &[]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let refused = world.post_as(&mia, "/keep_words", json!({"user_id": mia.id, "toy_id": toy.id, "keep": true})).await;
    assert_eq!(refused["code"], 1, "{refused}");
    world.ask(&toy).await;
    let list = json!({"user_id": mia.id, "toy_id": toy.id});
    assert_eq!(world.post_as(&mia, "/kept_words", list.clone()).await["data"], json!([]));
    assert_eq!(places_of_words(&world), Vec::<String>::new());

    let world = hearing_with("hello purple elephant", &[PERMITTED, ("TOYHUB_SERVER__LOG", "debug")]).await;
    let (mia, eve) = (world.user("mia").await, world.user("eve").await);
    let (toy, other) = (world.toy(&mia, "Fluffy").await, world.toy(&eve, "Rex").await);
    world.ask(&toy).await;
    assert_eq!(places_of_words(&world), Vec::<String>::new(), "no guardian has turned it on");
    let wanted = |user: &str| json!({"user_id": user, "toy_id": toy.id, "keep": "true"});
    assert_ne!(world.post_as(&eve, "/keep_words", wanted(&eve.id)).await["code"], 0, "of her own toys only");
    assert_eq!(world.post_as(&mia, "/keep_words", wanted(&mia.id)).await["code"], 0);
    world.ask(&other).await;
    let list = |user: &str, toy: &str| json!({"user_id": user, "toy_id": toy});
    assert_eq!(world.post_as(&eve, "/kept_words", list(&eve.id, &other.id)).await["data"], json!([]));
    world.ask(&toy).await;
    let kept = world.post_as(&mia, "/kept_words", list(&mia.id, &toy.id)).await["data"].clone();
    assert_eq!(kept.as_array().unwrap().len(), 1, "{kept}");
    assert_eq!((&kept[0]["words"], &kept[0]["action"]), (&json!("hello purple elephant"), &json!("answered")));
    assert_ne!(world.post_as(&eve, "/kept_words", list(&eve.id, &toy.id)).await["code"], 0);
    // Others at the guardian's address, where a call needs no token, neither read them nor turn them on or off.
    for (call, fields) in [("/kept_words", list(&mia.id, &toy.id)), ("/keep_words", wanted(&mia.id))] {
        assert_eq!(world.post(call, fields).await.1["code"], 10, "{call}");
    }
    let log = std::fs::read_to_string(world.log()).unwrap().to_lowercase();
    assert!(!log.contains("purple"), "words are never logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_words_are_the_same_at_every_edge_and_in_the_export() {
    let world = hearing_with(FOR_DAD, &[PERMITTED]).await;
    let dad = world.user("dad").await;
    let toy = world.toy(&dad, "Fluffy").await;
    let (me, which) = (json!({"user_id": dad.id}), json!({"toy_id": toy.id}));
    let mut edges = Edges::open_app(&world, &dad).await;
    edges.ok("keep_words", me.clone(), json!({"toy_id": toy.id, "keep": true})).await;
    assert_eq!(edges.ok("toy_settings", me.clone(), which.clone()).await["keep_words"], true);
    for _ in 0..3 {
        assert_eq!(world.ask(&toy).await["friend_type"], "app");
    }
    let kept = edges.ok("kept_words", me.clone(), which.clone()).await;
    let kept = kept.as_array().unwrap();
    assert_eq!(kept.len(), 3);
    assert!(kept.windows(2).all(|pair| pair[0]["at"].as_f64() > pair[1]["at"].as_f64()), "newest first: {kept:?}");
    let newest = json!({"at": kept[0]["at"], "words": FOR_DAD, "action": "message", "about": "Dad"});
    assert_eq!(kept[0], newest);
    let page = json!({"toy_id": toy.id, "limit": 1, "before": kept[0]["at"]});
    assert_eq!(edges.ok("kept_words", me.clone(), page).await, json!([kept[1]]));

    let file = world.folder().join("dad.zip");
    world.run(&["user", "export", "dad", "--out", file.to_str().unwrap()]).await;
    let mut archive = zip::ZipArchive::new(Cursor::new(std::fs::read(&file).unwrap())).unwrap();
    let mut lines = String::new();
    archive.by_name(&format!("words/{}.jsonl", toy.id)).unwrap().read_to_string(&mut lines).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["words"], &lines[0]["action"]), (&newest["words"], &newest["action"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_kept_words_that_are_turned_off_or_erased_with_their_toy() {
    let world = hearing_with("hello purple elephant", &[PERMITTED]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let set = async |keep: &str| {
        let wanted = json!({"user_id": mia.id, "toy_id": toy.id, "keep": keep});
        assert_eq!(world.post_as(&mia, "/keep_words", wanted).await["code"], 0);
    };
    set("true").await;
    world.ask(&toy).await;
    assert_ne!(places_of_words(&world), Vec::<String>::new());
    set("false").await;
    let list = json!({"user_id": mia.id, "toy_id": toy.id});
    assert_eq!(world.post_as(&mia, "/kept_words", list).await["data"], json!([]));
    finish_erasures(&world).await;
    assert_eq!(places_of_words(&world), Vec::<String>::new());
    world.ask(&toy).await;
    assert_eq!(places_of_words(&world), Vec::<String>::new(), "it is off");

    set("true").await;
    world.ask(&toy).await;
    assert_ne!(places_of_words(&world), Vec::<String>::new());
    assert_eq!(world.post_as(&mia, "/unbind_toy", json!({"user_id": mia.id, "toy_id": toy.id})).await["code"], 0);
    finish_erasures(&world).await;
    assert_eq!(places_of_words(&world), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_words_end_when_the_operator_no_longer_permits_them() {
    let mut world = hearing_with("hello purple elephant", &[PERMITTED]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let about = json!({"user_id": mia.id, "toy_id": toy.id});
    let keep = json!({"user_id": mia.id, "toy_id": toy.id, "keep": true});
    assert_eq!(world.post_as(&mia, "/keep_words", keep).await["code"], 0);
    world.ask(&toy).await;
    assert_ne!(places_of_words(&world), Vec::<String>::new());

    world.stop().await;
    world.set(PERMITTED.0, "false");
    world.start_hub().await;
    assert_eq!(world.post_as(&mia, "/kept_words", about.clone()).await["data"], json!([]));
    finish_erasures(&world).await;
    assert_eq!(places_of_words(&world), Vec::<String>::new(), "they were deleted at the start");

    // Permitted again, it is off until a guardian turns it on.
    world.stop().await;
    world.set(PERMITTED.0, "true");
    world.start_hub().await;
    assert_eq!(world.post_as(&mia, "/kept_words", about.clone()).await["data"], json!([]));
    assert!(world.post_as(&mia, "/toy_settings", about.clone()).await["data"].get("keep_words").is_none());
    world.wait_ready(true).await;
    world.ask(&toy).await;
    assert_eq!(places_of_words(&world), Vec::<String>::new());
    let off = json!({"action": "words_turned_off", "by": null, "about": null});
    assert_eq!(acts(&world, &mia, &toy).await[0], off, "by the operator");
}

/// The entries of the toy's audit log without their times, newest first.
async fn acts(world: &World, guardian: &User, toy: &Toy) -> Vec<Value> {
    let log = world.post_as(guardian, "/audit", json!({"_id": guardian.id, "toy_id": toy.id})).await;
    let mut entries = log["data"].as_array().unwrap().clone();
    entries.iter_mut().for_each(|entry| drop(entry.as_object_mut().unwrap().remove("at")));
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_has_who_keeps_and_who_reads_words() {
    let world = hearing_with("hello purple elephant", &[PERMITTED]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let set = async |keep: bool| {
        let wanted = json!({"user_id": mia.id, "toy_id": toy.id, "keep": keep});
        assert_eq!(world.post_as(&mia, "/keep_words", wanted).await["code"], 0);
    };
    // What changes nothing is not recorded.
    for keep in [false, true, true] {
        set(keep).await;
    }
    let list = json!({"user_id": mia.id, "toy_id": toy.id});
    assert_eq!(world.post_as(&mia, "/kept_words", list.clone()).await["data"], json!([]));
    let act = |action: &str| json!({"action": action, "by": mia.id, "about": null});
    let mut expected = vec![act("words_turned_on"), act("bound")];
    assert_eq!(acts(&world, &mia, &toy).await, expected, "nothing was read");
    world.ask(&toy).await;
    for _ in 0..3 {
        assert_eq!(world.post_as(&mia, "/kept_words", list.clone()).await["data"].as_array().unwrap().len(), 1);
    }
    expected.insert(0, act("words_read"));
    assert_eq!(acts(&world, &mia, &toy).await, expected, "once within an hour");
    for keep in [false, false] {
        set(keep).await;
    }
    expected.insert(0, act("words_turned_off"));
    assert_eq!(acts(&world, &mia, &toy).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_above_the_maximum_counts_as_the_maximum_in_every_list() {
    let world = hearing_with("hello", &[PERMITTED]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    for (limit, code) in [("500", 0), ("501", 0), ("99999999999999999999", 0), ("0", 1), ("-1", 1)] {
        let of_words = json!({"user_id": mia.id, "toy_id": toy.id, "limit": limit});
        let of_audit = json!({"_id": mia.id, "toy_id": toy.id, "limit": limit});
        assert_eq!(world.post_as(&mia, "/kept_words", of_words).await["code"], code, "{limit}");
        assert_eq!(world.post_as(&mia, "/audit", of_audit).await["code"], code, "{limit}");
    }
}
