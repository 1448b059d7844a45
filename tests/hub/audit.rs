//! The audit log, and the consent of guardians.

use serde_json::{Value, json};

use crate::sound;
use crate::world::{Toy, User, World};

async fn record(world: &World, user: &User, toy: Option<&Toy>) -> Vec<Value> {
    let mut asked = json!({"_id": user.id});
    if let Some(toy) = toy {
        asked["toy_id"] = json!(toy.id);
    }
    let answer = world.post_as(user, "/audit", asked).await;
    answer["data"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

/// The entries of the audit log: action, actor and other party, newest first.
fn acts(record: &[Value]) -> Vec<(&str, Option<&str>, Option<&str>)> {
    record.iter().map(act).collect()
}

fn act(entry: &Value) -> (&str, Option<&str>, Option<&str>) {
    (entry["action"].as_str().unwrap(), entry["by"].as_str(), entry["about"].as_str())
}

async fn upload(world: &World, path: &str, from: &str, to: &str, number: u32) {
    let field = if path == "/app_uploader" { "reco_file" } else { "reco" };
    let sent = world.upload(path, field, sound::tone(number), &[("user_id", from), ("to_user", to)]).await;
    assert_eq!(sent["code"], 0, "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guardian_reads_the_audit_log_of_the_toy() {
    let world = World::start().await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    assert_eq!(acts(&record(&world, &mia, Some(&toy)).await), [("bound", Some(mia.id.as_str()), None)]);
    assert_eq!(world.post_as(&tom, "/add_req", json!({"req_user": tom.id, "add_user": toy.id})).await["code"], 0);
    world.accept(&mia, "Uncle").await;

    // A friend reads the child's messages: one entry an hour, however often; own messages are not recorded.
    upload(&world, "/app_uploader", &tom.id, &toy.id, 1).await;
    let friends = world.post_as(&tom, "/friend_list", json!({"_id": tom.id})).await;
    let chat = friends["data"][0]["friend_chat"].clone();
    let list = json!({"chat_id": chat, "to_user": tom.id});
    world.post_as(&tom, "/chat_list", list.clone()).await;
    let befriended = ("befriended", Some(mia.id.as_str()), Some(tom.id.as_str()));
    assert_eq!(acts(&record(&world, &mia, Some(&toy)).await)[0], befriended);
    upload(&world, "/toy_uploader", &toy.id, &tom.id, 2).await;
    for _ in 0..3 {
        world.post_as(&tom, "/chat_list", list.clone()).await;
        world.post_as(&tom, "/recv_msg", json!({"from_user": toy.id, "to_user": tom.id})).await;
    }
    let read = ("read", Some(tom.id.as_str()), None);
    assert_eq!(acts(&record(&world, &mia, Some(&toy)).await)[..2], [read, befriended]);

    // A download of a sound by its name is recorded, too.
    upload(&world, "/toy_uploader", &toy.id, &mia.id, 3).await;
    let mut app = world.app(&mia).await;
    let name = app.ask(json!({"do": "unread"})).await["data"]["messages"][0]["message"].clone();
    let address = format!("{}/get_chat/{}", world.http(), name.as_str().unwrap());
    assert_eq!(world.client().get(address).bearer_auth(&mia.token).send().await.unwrap().status(), 200);
    assert_eq!(acts(&record(&world, &mia, Some(&toy)).await)[0], ("read", Some(mia.id.as_str()), None));

    // Exports, erasures and changes by the operator.
    let password = json!({"_id": mia.id, "password": "correct horse"});
    assert_eq!(world.post_as(&mia, "/export", password).await["code"], 0);
    assert_eq!(acts(&record(&world, &mia, None).await)[0], ("exported", Some(mia.id.as_str()), None));
    let of_toy = record(&world, &mia, Some(&toy)).await;
    let exported = ("exported", Some(mia.id.as_str()), Some(mia.id.as_str()));
    assert_eq!(act(&of_toy[0]), exported, "in the log of each toy whose data was exported");
    assert!(of_toy[0].get("setting").is_none());
    world.run(&["toy", "let-in", &toy.id]).await;
    let operated = record(&world, &mia, Some(&toy)).await.swap_remove(0);
    assert_eq!((act(&operated), &operated["setting"]), (("operated", None, None), &json!("let_in")));
    assert_eq!(world.post_as(&mia, "/erase_chat", json!({"_id": mia.id, "chat_id": chat})).await["code"], 0);
    let all = record(&world, &mia, Some(&toy)).await;
    assert_eq!(acts(&all)[0], ("erased_chat", Some(mia.id.as_str()), Some(tom.id.as_str())));

    // In pages, and for no other user.
    let page = json!({"_id": mia.id, "toy_id": toy.id, "limit": 2, "before": all[1]["at"]});
    let page = world.post_as(&mia, "/audit", page).await;
    assert_eq!(page["data"], json!(all[2..4]));
    assert_eq!(world.post_as(&tom, "/audit", json!({"_id": tom.id, "toy_id": toy.id})).await["code"], 1);
    assert_eq!(world.post_as(&tom, "/audit", json!({"_id": mia.id})).await["code"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_records_consent_and_its_withdrawal_erases() {
    let mut world = World::start().await;
    let mia = world.user("mia").await;
    let text = world.ok("/consent_text", json!({})).await["data"].clone();
    assert!(text["text"].as_str().unwrap().contains("until they are erased"), "{text}");
    // A documented client agrees to the present text.
    let toy = world.toy(&mia, "Fluffy").await;
    let agreed = world.post_as(&mia, "/consent", json!({"user_id": mia.id, "toy_id": toy.id})).await["data"].clone();
    assert_eq!((&agreed["version"], &agreed["text"]), (&text["version"], &text["text"]));
    assert!(agreed["at"].as_f64().unwrap() > 1.7e9);
    let printed = world.run(&["toy", "consent", &toy.id]).await;
    let (head, words) = printed.split_once('\n').unwrap();
    assert_eq!(head.split('\t').next(), text["version"].as_str());
    assert_eq!(Some(words.trim()), text["text"].as_str());
    assert!(words.contains("the guardians of a toy in it"), "who can hear the child: {words}");
    // The binding of a client that has shown another text is refused.
    let (key, _) = world.device().await;
    let mut binding = json!({
        "toy_name": "Rex", "baby_name": "Ben", "remark": "Mum", "user_id": mia.id, "device_key": key, "consent": "old",
    });
    assert_eq!(world.post_as(&mia, "/bind_toy", binding.clone()).await["code"], 1);
    binding["consent"] = text["version"].clone();
    assert_eq!(world.post_as(&mia, "/bind_toy", binding).await["code"], 0);

    // It exists in the languages of the app, and the one that was agreed to is recorded.
    for (language, words, name) in [("de", "bis sie gelöscht werden", "Bär"), ("zh", "到被删除为止", "小熊")]
    {
        let text = world.ok("/consent_text", json!({"language": language})).await["data"].clone();
        assert!(text["text"].as_str().unwrap().contains(words) && text["language"] == language, "{text}");
        assert!(!text["text"].as_str().unwrap().contains('{'), "{text}");
        let (key, _) = world.device().await;
        let binding = json!({
            "toy_name": name, "baby_name": "Ben", "remark": "Mum", "user_id": mia.id, "device_key": key,
            "consent": text["version"],
        });
        assert_eq!(world.post_as(&mia, "/bind_toy", binding).await["code"], 0);
        let toys = world.post_as(&mia, "/toy_list", json!({"_id": mia.id})).await["data"].clone();
        let toy = toys.as_array().unwrap().iter().find(|toy| toy["toy_name"] == name).unwrap()["_id"].clone();
        let found = world.post_as(&mia, "/consent", json!({"user_id": mia.id, "toy_id": toy})).await["data"].clone();
        assert_eq!(
            ["version", "language", "text"].map(|name| &found[name]),
            ["version", "language", "text"].map(|name| &text[name])
        );
        let printed = world.run(&["toy", "consent", toy.as_str().unwrap()]).await;
        assert!(printed.lines().next().unwrap().ends_with(&format!("\t{language}")), "{printed}");
    }
    let region = world.ok("/consent_text", json!({"language": "de-DE"})).await["data"].clone();
    assert_eq!(region["language"], "de", "a browser names the region, too");
    let other = world.ok("/consent_text", json!({"language": "fr"})).await["data"].clone();
    assert_eq!((&other["version"], &other["language"]), (&text["version"], &json!("en")));

    // Other settings cause another text; the stored consent is unchanged.
    world.stop().await;
    world.set("TOYHUB_RETENTION__MESSAGES_DAYS", "30");
    world.start_hub().await;
    let now = world.ok("/consent_text", json!({})).await["data"].clone();
    assert!(now["text"].as_str().unwrap().contains("for 30 days") && now["version"] != text["version"], "{now}");
    let again = world.post_as(&mia, "/consent", json!({"user_id": mia.id, "toy_id": toy.id})).await["data"].clone();
    assert_eq!(again, agreed);

    upload(&world, "/app_uploader", &mia.id, &toy.id, 1).await;
    let mut withdrawal = json!({"user_id": mia.id, "toy_id": toy.id, "password": "no"});
    assert_eq!(world.post_as(&mia, "/withdraw_consent", withdrawal.clone()).await["code"], 1);
    withdrawal["password"] = json!("correct horse");
    assert_eq!(world.post_as(&mia, "/withdraw_consent", withdrawal).await["code"], 0);
    world.run(&["erase", "--finish"]).await;
    let left = std::fs::read_dir(world.data_dir().join("files/chat")).unwrap().count();
    assert_eq!(left, 0, "nothing of the toy is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn guardians_blocks_and_acts_of_the_operator_are_audited() {
    let world = World::start().await;
    let (mia, papa, tom) = (world.user("mia").await, world.user("papa").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    let (by_mia, by_papa, with_tom) = (Some(mia.id.as_str()), Some(papa.id.as_str()), Some(tom.id.as_str()));
    let with_toy = Some(toy.id.as_str());
    assert_eq!(world.post_as(&tom, "/add_req", json!({"req_user": tom.id, "add_user": toy.id})).await["code"], 0);
    world.accept(&mia, "Uncle").await;
    let done = async |user: &User, path: &str, mut body: Value| {
        body["user_id"] = json!(user.id);
        let answer = world.post_as(user, path, body).await;
        assert_eq!(answer["code"], 0, "{path}: {answer}");
        answer["data"].clone()
    };
    let newest = async |user: &User, toy: Option<&Toy>| record(&world, user, toy).await.swap_remove(0);

    let invited = done(&mia, "/invite", json!({"toy_id": toy.id})).await;
    done(&papa, "/join", json!({"invite": invited["invite"]})).await;
    assert_eq!(act(&newest(&mia, Some(&toy)).await), ("guardian_added", by_mia, by_papa));
    assert_eq!(act(&newest(&papa, None).await), ("guardian_added", by_mia, with_toy));
    // A guardian acts in the toy's name: the entries of both sides name the guardian.
    done(&papa, "/unfriend", json!({"toy_id": toy.id, "friend_id": tom.id})).await;
    assert_eq!(act(&newest(&papa, Some(&toy)).await), ("parted", by_papa, with_tom), "for each guardian");
    assert_eq!(act(&newest(&mia, Some(&toy)).await), ("parted", by_papa, with_tom));
    assert_eq!(act(&newest(&tom, None).await), ("parted", by_papa, with_toy));
    let blocking = json!({"toy_id": toy.id, "friend_id": tom.id});
    done(&mia, "/block", blocking.clone()).await;
    assert_eq!(act(&newest(&mia, Some(&toy)).await), ("blocked", by_mia, with_tom));
    assert_eq!(act(&newest(&tom, None).await), ("parted", by_papa, with_toy), "who is blocked does not learn of it");
    done(&papa, "/unblock", blocking.clone()).await;
    done(&papa, "/unblock", blocking).await;
    let all = record(&world, &mia, Some(&toy)).await;
    assert_eq!(acts(&all)[..2], [("unblocked", by_papa, with_tom), ("blocked", by_mia, with_tom)], "once");
    done(&mia, "/remove_guardian", json!({"toy_id": toy.id, "guardian_id": papa.id})).await;
    assert_eq!(act(&newest(&mia, Some(&toy)).await), ("guardian_removed", by_mia, by_papa));
    assert_eq!(act(&newest(&papa, None).await), ("guardian_removed", by_mia, with_toy));

    // Reading of another guardian's chat, and of a friend's, names the other party.
    let invited = done(&mia, "/invite", json!({"toy_id": toy.id})).await;
    done(&papa, "/join", json!({"invite": invited["invite"]})).await;
    let friends = world.post_as(&mia, "/friend_list", json!({"_id": mia.id})).await;
    let chat = friends["data"][0]["friend_chat"].clone();
    let list = json!({"chat_id": chat, "to_user": papa.id});
    upload(&world, "/app_uploader", &mia.id, &toy.id, 1).await;
    for number in 0..2 {
        assert_eq!(world.post_as(&papa, "/chat_list", list.clone()).await["data"].as_array().unwrap().len(), 1);
        let all = record(&world, &mia, Some(&toy)).await;
        let read = acts(&all).iter().filter(|act| act.0 == "read").count();
        assert_eq!((act(&all[0]), read), (("read", by_papa, by_mia), 1), "{number}: what was said to the child, too");
    }
    // One's own chat has no other party.
    upload(&world, "/toy_uploader", &toy.id, &mia.id, 2).await;
    world.post_as(&mia, "/chat_list", json!({"chat_id": chat, "to_user": mia.id})).await;
    assert_eq!(act(&newest(&mia, Some(&toy)).await), ("read", by_mia, None));

    // The operator of the hub.
    world.run(&["device", "renew", &toy.device_key]).await;
    assert_eq!(act(&newest(&mia, Some(&toy)).await), ("secret_renewed", None, None));
    world.run(&["toy", "quiet", &toy.id, "20:00", "07:00", "--zone", "Etc/UTC"]).await;
    for (setting, arguments) in [
        ("daily_minutes", &["minutes", toy.id.as_str(), "45", "--zone", "Etc/UTC"][..]),
        ("content", &["content", &toy.id, "approved"]),
        ("only_token", &["only-token", &toy.id]),
        ("quiet_hours", &["quiet", &toy.id, "--off"]),
    ] {
        world.run(&[&["toy"], arguments].concat()).await;
        let newest = newest(&mia, Some(&toy)).await;
        assert_eq!((act(&newest), &newest["setting"]), (("operated", None, None), &json!(setting)));
    }
    let archive = world.folder().join("mia.zip");
    world.run(&["user", "export", "mia", "--out", archive.to_str().unwrap()]).await;
    assert_eq!(act(&newest(&mia, None).await), ("exported", None, None));
    assert_eq!(act(&newest(&mia, Some(&toy)).await), ("exported", None, by_mia));
    let password = world.run(&["user", "password", "mia"]).await;
    let login = json!({"username": "mia", "password": password.trim()});
    let login = world.ok("/login", login).await;
    let mia = User { token: login["data"]["token"].as_str().unwrap().to_owned(), ..mia.clone() };
    assert_eq!(act(&newest(&mia, None).await), ("password_changed", None, None));
    let changed = json!({"password": password.trim(), "new_password": "a longer one"});
    let changed = done(&mia, "/change_password", changed).await;
    let mia = User { token: changed["token"].as_str().unwrap().to_owned(), ..mia };
    assert_eq!(act(&newest(&mia, None).await), ("password_changed", Some(mia.id.as_str()), None));
    // By the command line: the same entries, in the same order.
    for (printed, entries) in [
        (world.run(&["toy", "audit", &toy.id]).await, record(&world, &mia, Some(&toy)).await),
        (world.run(&["user", "audit", "mia"]).await, record(&world, &mia, None).await),
    ] {
        let lines: Vec<Vec<&str>> = printed.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(lines.len(), entries.len(), "{printed}");
        for (line, entry) in lines.iter().zip(&entries) {
            let detail = entry["setting"].as_str().or(entry["place"].as_str()).unwrap_or("-");
            let (action, by, about) = act(entry);
            assert_eq!(line[1..], [action, by.unwrap_or("operator"), about.unwrap_or("-"), detail]);
            assert!(line[0].starts_with("20") && line[0].ends_with('Z'), "{}", line[0]);
        }
    }
    world.run(&["toy", "erase", &toy.id]).await;
    assert_eq!(act(&newest(&mia, None).await), ("unbound", None, None));
}
