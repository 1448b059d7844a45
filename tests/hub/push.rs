//! Push messages: the hub against a push service on this machine, which decrypts them by another implementation
//! (`tests/clients/push_service.mjs`), and the service worker that shows them.

use serde_json::{Value, json};

use crate::browser::Script;
use crate::erasure::{files, latin};
use crate::export::entries;
use crate::sound;
use crate::world::{Toy, User, World, within};

const LOCAL: (&str, &str) = ("TOYHUB_PUSH__LOCAL_SERVICES", "true");
const SOON: [(&str, &str); 4] =
    [LOCAL, ("TOYHUB_PUSH__WAIT_S", "1"), ("TOYHUB_PUSH__RETRY_S", "1"), ("TOYHUB_PUSH__TIMEOUT_S", "2")];

/// A push service, with the subscriptions of browsers by name.
struct Service {
    script: Script,
    subscriptions: Vec<Value>,
}

impl Service {
    async fn start(names: &[&str]) -> Self {
        let mut script = Script::start("push_service.mjs", names);
        let mut subscriptions = Vec::new();
        for _ in names {
            subscriptions.push(script.step("subscription").await);
        }
        Self { script, subscriptions }
    }

    /// The next push message, which is valid.
    async fn pushed(&mut self) -> Value {
        let seen = self.script.step("push").await;
        assert_eq!(seen.get("fault"), None, "{seen}");
        seen
    }
}

async fn subscribe(world: &World, user: &User, subscription: &Value) -> Value {
    let mut fields = subscription.clone();
    fields["user_id"] = json!(user.id);
    world.post_as(user, "/set_push", fields).await
}

async fn subscribed(world: &World, user: &User) -> Vec<Value> {
    let answer = world.post_as(user, "/push_list", json!({"user_id": user.id})).await;
    answer["data"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

async fn wait_subscriptions(world: &World, user: &User, count: usize) {
    within("the subscriptions to change", async { while subscribed(world, user).await.len() != count {} }).await;
}

async fn send(world: &World, toy: &Toy, to: &User, tone: u32) -> Value {
    let fields = [("user_id", toy.id.as_str()), ("to_user", to.id.as_str())];
    let sent = world.upload("/toy_uploader", "reco", sound::tone(tone), &fields).await;
    assert_eq!(sent["code"], 0, "{sent}");
    sent["data"]["_id"].clone()
}

async fn befriend(world: &World, from: &User, to: &User) {
    let wish = json!({"req_user": from.id, "add_user": to.id, "type": "app", "req_info": "", "remark": "a friend"});
    assert_eq!(world.post_as(from, "/add_req", wish).await["code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_app_learns_that_there_is_something_new_and_not_what() {
    let contact = ("TOYHUB_PUSH__CONTACT", "mailto:operator@example.org");
    let mut world = World::start_with(&[&SOON[..], &[contact]].concat()).await;
    let mut service = Service::start(&["phone", "tablet", "other"]).await;
    let (mia, tom, anna) = (world.user("mia").await, world.user("tom").await, world.user("anna").await);
    let (fluffy, rex) = (world.toy(&mia, "Fluffy").await, world.toy(&anna, "Rex").await);
    let key = world.ok("/push_key", json!({})).await["data"]["key"].clone();
    assert_eq!(subscribe(&world, &mia, &service.subscriptions[0]).await["code"], 0);
    assert_eq!(subscribe(&world, &anna, &service.subscriptions[2]).await["code"], 0);

    send(&world, &fluffy, &mia, 1).await;
    let message = service.pushed().await;
    let said = |pushed: &Value| ["name", "text"].map(|name| pushed[name].as_str().unwrap().to_owned());
    assert_eq!(said(&message), ["phone", "message"], "{message}");
    assert_eq!((&message["key"], &message["sub"]), (&key, &json!("mailto:operator@example.org")));
    befriend(&world, &tom, &mia).await;
    let request = service.pushed().await;
    assert_eq!(said(&request), ["phone", "request"], "{request}");
    assert_eq!(request["bytes"], message["bytes"], "the size tells nothing");

    // All browsers of a user get it, each of them once.
    let second = world.login(&mia).await;
    assert_eq!(subscribe(&world, &second, &service.subscriptions[1]).await["code"], 0);
    send(&world, &fluffy, &mia, 2).await;
    let mut names = [service.pushed().await, service.pushed().await].map(|pushed| said(&pushed)[0].clone());
    names.sort();
    assert_eq!(names, ["phone", "tablet"]);
    assert_eq!(subscribe(&world, &second, &service.subscriptions[0]).await["code"], 0);
    assert_eq!(subscribed(&world, &mia).await.len(), 1, "a browser with another login is one browser still");
    send(&world, &fluffy, &mia, 3).await;
    assert_eq!(said(&service.pushed().await), ["phone", "message"]);

    // An open app has the message, and news of another user follows.
    let mut app = world.app(&mia).await;
    let id = send(&world, &fluffy, &mia, 4).await;
    app.ask(json!({"do": "delivered", "message": id})).await;
    send(&world, &rex, &anna, 5).await;
    assert_eq!(said(&service.pushed().await), ["other", "message"]);
    drop(app);

    // The key and the subscriptions stay over a restart.
    world.stop().await;
    world.start_hub().await;
    assert_eq!(world.ok("/push_key", json!({})).await["data"]["key"], key);
    send(&world, &rex, &anna, 6).await;
    let pushed = service.pushed().await;
    assert_eq!((said(&pushed), &pushed["key"]), (["other", "message"].map(str::to_owned), &key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_with_its_login_and_its_user() {
    let world =
        World::start_with(&[LOCAL, ("TOYHUB_SERVER__LOG", "debug"), ("TOYHUB_ACCOUNTS__TOKENS_MAX", "3")]).await;
    let mia = world.user("mia").await;
    let subscription = |name: &str| {
        let key = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
        let endpoint = format!("http://127.0.0.1:9/purple-{name}");
        json!({"endpoint": endpoint, "p256dh": key, "auth": "BTBZMqHH6r4Tts7J_aSIgg"})
    };
    // One for each login.
    for name in ["one", "two"] {
        assert_eq!(subscribe(&world, &mia, &subscription(name)).await["code"], 0);
    }
    let second = world.login(&mia).await;
    assert_eq!(subscribe(&world, &second, &subscription("three")).await["code"], 0);
    assert_eq!(subscribed(&world, &mia).await.len(), 2);
    assert_eq!(world.post_as(&second, "/erase_push", json!({"user_id": mia.id})).await["code"], 0);
    let left = subscribed(&world, &mia).await;
    assert_eq!((left.len(), &left[0]["service"]), (1, &json!("127.0.0.1:9")));

    // The oldest logins end when there are too many.
    let mut newest = second;
    for _ in 0..2 {
        newest = world.login(&mia).await;
    }
    assert_eq!(subscribed(&world, &newest).await, Vec::<Value>::new());
    assert_eq!(subscribe(&world, &newest, &subscription("four")).await["code"], 0);
    let passwords = json!({"user_id": mia.id, "password": "correct horse", "new_password": "a better password"});
    let other = world.login(&mia).await;
    assert_eq!(subscribe(&world, &other, &subscription("five")).await["code"], 0);
    assert_eq!(world.post_as(&newest, "/change_password", passwords).await["code"], 0);
    assert_eq!(subscribed(&world, &newest).await.len(), 1, "that of the login that has changed the password");

    // It is in the export, and nobody else's call has an effect.
    let archive = json!({"_id": mia.id, "password": "a better password"});
    let ticket = world.post_as(&newest, "/export", archive.clone()).await["data"]["ticket"].clone();
    let url = format!("{}/get_export/{}", world.http(), ticket.as_str().unwrap());
    let bytes = within("the archive", world.client().get(url).send()).await.unwrap().bytes().await.unwrap();
    let family: Value = serde_json::from_slice(&entries(&bytes)["family.json"]).unwrap();
    assert_eq!(family["user"]["push"][0]["endpoint"], "http://127.0.0.1:9/purple-four");
    let tom = world.user("tom").await;
    assert_eq!(world.post_as(&tom, "/push_list", json!({"user_id": mia.id})).await["code"], 10);
    assert_eq!(world.post_as(&tom, "/erase_push", json!({"user_id": mia.id})).await["code"], 10);
    let mut foreign = subscription("six");
    foreign["user_id"] = json!(mia.id);
    assert_eq!(world.post_as(&tom, "/set_push", foreign.clone()).await["code"], 10);
    // An address at which the user has logged in is not enough: a subscription belongs to a token.
    assert_eq!(world.post("/set_push", foreign).await.1["code"], 10);

    world.run(&["user", "log-out", "mia"]).await;
    let again = world.ok("/login", json!({"username": "mia", "password": "a better password"})).await;
    let again = User { token: again["data"]["token"].as_str().unwrap().to_owned(), ..mia };
    assert_eq!(subscribed(&world, &again).await, Vec::<Value>::new());
    assert_eq!(subscribe(&world, &again, &subscription("seven")).await["code"], 0);
    assert_eq!(world.post_as(&again, "/erase_account", archive).await["code"], 0);
    world.run(&["erase", "--finish"]).await;
    for path in files(&world.data_dir()) {
        assert!(!latin(&std::fs::read(&path).unwrap_or_default()).contains("purple-"), "{}", path.display());
    }
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(!log.contains("purple-"), "endpoints are never logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_push_service_is_asked_again_and_an_ended_subscription_is_deleted() {
    let world = World::start_with(&SOON).await;
    let names = ["gone", "busy", "failing", "slow", "refusing", "moved"];
    let mut service = Service::start(&names).await;
    for (n, name) in names.into_iter().enumerate() {
        let user = world.user(name).await;
        let toy = world.toy(&user, "Fluffy").await;
        assert_eq!(subscribe(&world, &user, &service.subscriptions[n]).await["code"], 0);
        send(&world, &toy, &user, n as u32).await;
        assert_eq!(service.pushed().await["name"], name);
        match name {
            "gone" => wait_subscriptions(&world, &user, 0).await,
            "busy" | "failing" | "slow" => {
                let pushed = service.pushed().await;
                assert_eq!((&pushed["name"], &pushed["messages"]), (&json!(name), &json!(2)));
                assert_eq!(subscribed(&world, &user).await.len(), 1);
            }
            // Neither is tried again, nor is a redirection followed; the next message of the service is another one's.
            _ => assert_eq!(subscribed(&world, &user).await.len(), 1),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_service_that_never_answers_delays_no_other_user() {
    let world = World::start_with(&[&SOON[..], &[("TOYHUB_PUSH__PARALLEL_MAX", "1")]].concat()).await;
    let mut service = Service::start(&["hanging", "other"]).await;
    let (mia, anna) = (world.user("mia").await, world.user("anna").await);
    let (fluffy, rex) = (world.toy(&mia, "Fluffy").await, world.toy(&anna, "Rex").await);
    for (user, subscription) in [&mia, &anna].into_iter().zip(&service.subscriptions) {
        assert_eq!(subscribe(&world, user, subscription).await["code"], 0);
    }
    for tone in 0..3 {
        send(&world, &fluffy, &mia, tone).await;
        // The first attempt, or a further one.
        assert_eq!(service.pushed().await["name"], "hanging");
        send(&world, &rex, &anna, 10 + tone).await;
        let mut attempts = 0;
        while service.pushed().await["name"] != "other" {
            attempts += 1;
            assert!(attempts < 3, "all attempts were made before the news of another user was sent");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn push_messages_reach_no_address_of_the_hubs_network() {
    let world = World::start_with(&[("TOYHUB_PUSH__WAIT_S", "0")]).await;
    let mia = world.user("mia").await;
    let toy = world.toy(&mia, "Fluffy").await;
    let with = |endpoint: &str| {
        let key = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
        json!({"endpoint": endpoint, "p256dh": key, "auth": "BTBZMqHH6r4Tts7J_aSIgg"})
    };
    let mut off_curve = with("https://push.example/1");
    off_curve["p256dh"] = json!(format!("BAEB{}AQE", "AQEB".repeat(20)));
    let answer = subscribe(&world, &mia, &off_curve).await;
    assert_eq!(answer["code"], 1, "{answer}");
    assert!(answer["msg"].as_str().unwrap().contains("p256dh"), "{answer}");
    for endpoint in [
        "http://push.example/1",
        "https://push.example:8443/1",
        "https://127.0.0.1/1",
        "https://[::1]/1",
        "https://[::ffff:10.0.0.1]/1",
        "https://169.254.169.254/latest/meta-data",
        "https://192.168.1.1/1",
        "https:///1",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "",
    ] {
        let answer = subscribe(&world, &mia, &with(endpoint)).await;
        assert_eq!(answer["code"], 1, "{endpoint}: {answer}");
        assert!(answer["msg"].as_str().unwrap().contains("endpoint"), "{answer}");
    }
    for (field, value) in [("p256dh", "AAAA"), ("auth", ""), ("auth", "a b")] {
        let mut wrong = with("https://push.example/1");
        wrong[field] = json!(value);
        assert_eq!(subscribe(&world, &mia, &wrong).await["code"], 1, "{field}");
    }
    // A name is looked up when a message is sent.
    assert_eq!(subscribe(&world, &mia, &with("https://localhost/1")).await["code"], 0);
    send(&world, &toy, &mia, 1).await;
    wait_subscriptions(&world, &mia, 0).await;

    let off = World::start_with(&[("TOYHUB_PUSH__ENABLED", "false")]).await;
    let tom = off.user("tom").await;
    assert_eq!(off.ok("/push_key", json!({})).await["data"], json!({}));
    assert_eq!(subscribe(&off, &tom, &with("https://push.example/1")).await["code"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_worker_shows_push_messages_in_the_language_of_the_user() {
    let world = World::start_with(&SOON).await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    let mut script = Script::start("push_page.mjs", [&world.http(), "correct horse"]);
    script.step("closed").await;
    send(&world, &toy, &mia, 1).await;
    script.step("message").await;
    befriend(&world, &tom, &mia).await;
    script.step("request").await;
    script.step("logged out").await;
    assert_eq!(subscribed(&world, &mia).await, Vec::<Value>::new());
}
