//! Names that people see: which characters they may have, by every call that takes one.

use serde_json::{Value, json};

use crate::one_connection::Line;
use crate::world::{User, World};

/// Characters without a glyph, also a joiner that joins nothing.
const UNSEEN: [&str; 8] = [
    "Ma\u{200b}ma",
    "\u{202e}amaM",
    "Mama\u{2800}",
    "Ma\u{ad}ma",
    "Ma\u{1f}ma",
    "Ma\nma",
    "Ma\u{200d}ma",
    "👧\u{200d}\u{200d}👦",
];

/// A request of each call that takes a name, with this name.
fn calls(name: &str, mia: &User, other: &str, toy: &str, device_key: &str) -> Vec<(&'static str, Value)> {
    let reg = json!({"username": "new", "password": "correct horse", "nickname": name, "gender": "1"});
    let bind = |field: &str| {
        let mut bind = json!({
            "toy_name": "Rex", "baby_name": "Tom", "remark": "Mama", "user_id": mia.id, "device_key": device_key,
        });
        bind[field] = json!(name);
        bind
    };
    let request = |field: &str| {
        let mut request =
            json!({"req_user": mia.id, "add_user": other, "type": "app", "req_info": "hi", "remark": "Tom"});
        request[field] = json!(name);
        request
    };
    vec![
        ("reg", reg),
        ("bind_toy", bind("toy_name")),
        ("bind_toy", bind("baby_name")),
        ("bind_toy", bind("remark")),
        ("add_req", request("remark")),
        ("add_req", request("req_info")),
        ("invite", json!({"user_id": mia.id, "toy_id": toy, "remark": name})),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_invisible_characters_are_refused_by_every_call() {
    let world = World::start_with(&[("TOYHUB_WS__REQUESTS_PER_SECOND", "1000")]).await;
    let (mia, tom, eve) = (world.user("mia").await, world.user("tom").await, world.user("eve").await);
    let toy = world.toy(&mia, "Fluffy").await;
    let (device_key, _) = world.device().await;
    let asked = json!({"req_user": eve.id, "add_user": mia.id, "type": "app", "req_info": "", "remark": "M"});
    assert_eq!(world.post_as(&eve, "/add_req", asked).await["code"], 0);
    let open = world.post_as(&mia, "/req_list", json!({"_id": mia.id})).await["data"][0]["_id"].clone();
    let mut line = Line::open_app(&world, &mia).await;
    let mut app = world.app(&mia).await;
    let requests = |name: &str| {
        let mut requests = calls(name, &mia, &tom.id, &toy.id, &device_key);
        requests.push(("acc_req", json!({"req_id": open, "remark": name})));
        requests
    };
    // The answer is that to a name that is too long.
    for (word, body) in requests(&"x".repeat(101)) {
        let refused = world.post_as(&mia, &format!("/{word}"), body).await;
        assert_eq!(refused["code"], 1, "{word}: {refused}");
    }
    for name in UNSEEN {
        for (word, body) in requests(name) {
            let refused = world.post_as(&mia, &format!("/{word}"), body.clone()).await;
            assert_eq!(refused["code"], 1, "{word} {name:?}: {refused}");
            assert!(refused["msg"].as_str().unwrap().contains("cannot be seen"), "{word} {name:?}: {refused}");
            if word == "reg" {
                continue;
            }
            let mut request = body;
            request["do"] = json!(word);
            for refused in [line.answer(request.clone()).await, app.ask(request).await] {
                let expected = (&json!(1), true);
                let msg = refused["msg"].as_str().unwrap();
                assert_eq!((&refused["code"], msg.contains("cannot be seen")), expected, "{word} {name:?}: {refused}");
            }
        }
    }
    // The toy itself, and the operator.
    let mut of_toy = Line::open(&world, &toy).await;
    let request = json!({"do": "add_req", "req_user": toy.id, "add_user": tom.id, "remark": UNSEEN[0]});
    assert_eq!(of_toy.answer(request).await["code"], 1);
    let invite = world.command(&["invite", "--toy", &toy.id, "--remark", UNSEEN[0]]).output().await.unwrap();
    assert!(!invite.status.success(), "{invite:?}");
    assert!(String::from_utf8_lossy(&invite.stderr).contains("cannot be seen"), "{invite:?}");
    assert_eq!(world.post_as(&tom, "/req_list", json!({"_id": tom.id})).await["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_every_script_and_emoji_are_accepted() {
    let world = World::start().await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    let names = [
        "👨\u{200d}👩\u{200d}👧\u{200d}👦 Müller",
        "🏳\u{fe0f}\u{200d}🌈 👩🏽\u{200d}🚀 🇩🇪",
        "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        "小明的妈妈",
        "Jörg Weiß",
        "مريم",
        "علی\u{200c}رضا",
        "नीरज",
        "ශ\u{dca}\u{200d}රී",
    ];
    for name in names {
        let new = json!({"username": name, "password": "correct horse", "nickname": name, "gender": "1"});
        world.ok("/reg", new).await;
        let login = world.ok("/login", json!({"username": name, "password": "correct horse"})).await;
        assert_eq!(login["data"]["nickname"], name);
        let (device_key, _) = world.device().await;
        let bind = json!({
            "toy_name": name, "baby_name": name, "remark": name, "user_id": mia.id, "device_key": device_key,
        });
        assert_eq!(world.post_as(&mia, "/bind_toy", bind).await["code"], 0, "{name}");
    }
    // A name without the joiner looks the same.
    let imitated = json!({"username": "👨👩👧👦 Müller", "password": "correct horse", "nickname": "", "gender": "1"});
    assert_eq!(world.post("/reg", imitated).await.1["code"], 1);
    let invite = json!({"user_id": mia.id, "toy_id": toy.id, "remark": names[0]});
    assert_eq!(world.post_as(&mia, "/invite", invite).await["code"], 0);
    // Keyboards insert narrow blanks into texts.
    let request = json!({
        "req_user": mia.id, "add_user": tom.id, "type": "app", "req_info": "Salut\u{202f}!", "remark": names[0],
    });
    assert_eq!(world.post_as(&mia, "/add_req", request).await["code"], 0);
    let list = world.post_as(&tom, "/req_list", json!({"_id": tom.id})).await;
    assert_eq!(list["data"][0]["req_info"], "Salut !", "{list}");
}
