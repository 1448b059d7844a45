//! Two guardians of one toy: invitation, permissions and removal of the second one.

use serde_json::{Value, json};

use crate::calls::Edges;
use crate::one_connection::Line;
use crate::sound;
use crate::world::{Toy, User, World};

/// The code of an invitation that `guardian` creates for its toy.
async fn invite(world: &World, guardian: &User, toy: &Toy, remark: &str) -> String {
    let wanted = json!({"user_id": guardian.id, "toy_id": toy.id, "remark": remark});
    let made = world.post_as(guardian, "/invite", wanted).await;
    assert_eq!(made["code"], 0, "{made}");
    made["data"]["invite"].as_str().unwrap().to_owned()
}

async fn join(world: &World, user: &User, code: &str) -> Value {
    world.post_as(user, "/join", json!({"user_id": user.id, "invite": code})).await
}

async fn toys(world: &World, user: &User) -> Vec<Value> {
    let list = world.post_as(user, "/toy_list", json!({"_id": user.id})).await;
    list["data"].as_array().unwrap().clone()
}

async fn look(world: &World, user: &User, chat: &str) -> Value {
    world.post_as(user, "/chat_list", json!({"chat_id": chat, "to_user": user.id})).await
}

async fn download(world: &World, user: &User, name: &str) -> u16 {
    let sound = world.client().get(format!("{}/get_chat/{name}", world.http())).bearer_auth(&user.token);
    sound.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_guardian_joins_by_a_code_and_loses_access_when_removed() {
    let world = World::start().await;
    let (mia, papa, eve) = (world.user("mia").await, world.user("papa").await, world.user("eve").await);
    let toy = world.toy(&mia, "Fluffy").await;
    let fields = [("user_id", mia.id.as_str()), ("to_user", &toy.id), ("token", &mia.token)];
    assert_eq!(world.upload("/app_uploader", "reco_file", sound::beep(), &fields).await["code"], 0);
    let fields = [("user_id", toy.id.as_str()), ("to_user", &mia.id)];
    let said = world.upload("/toy_uploader", "reco", sound::beep(), &fields).await;
    let said = said["data"]["filename"].as_str().unwrap().to_owned();
    assert_eq!(download(&world, &papa, &said).await, 404);
    let list = world.post_as(&mia, "/friend_list", json!({"_id": mia.id})).await;
    let chat = list["data"][0]["friend_chat"].as_str().unwrap().to_owned();

    assert_eq!(world.post_as(&eve, "/invite", json!({"user_id": eve.id, "toy_id": toy.id})).await["code"], 1);
    assert_eq!(world.post_as(&eve, "/invite", json!({"user_id": eve.id})).await["code"], 18, "she is no guardian");
    let code = invite(&world, &mia, &toy, "Papa").await;
    assert_eq!(join(&world, &papa, &code.to_lowercase()).await["data"]["toy_id"], toy.id.as_str());
    assert_eq!(join(&world, &eve, &code).await["code"], 1, "good once");
    let again = invite(&world, &mia, &toy, "").await;
    assert!(join(&world, &papa, &again).await["msg"].as_str().unwrap().contains("already"));

    // He sees the toy, its friends and its chats; the messages stay unread for their receivers.
    let seen = toys(&world, &papa).await;
    assert_eq!((seen.len(), &seen[0]["_id"], &seen[0]["bind_user"]), (1, &json!(toy.id), &json!(mia.id)));
    let friends: Vec<&Value> = seen[0]["friend_list"].as_array().unwrap().iter().collect();
    assert!(friends.iter().any(|friend| friend["friend_remark"] == "Papa"), "{friends:?}");
    let page = look(&world, &papa, &chat).await;
    assert_eq!(page["data"].as_array().unwrap().len(), 2, "{page}");
    assert_eq!((world.unread_of(&toy).await, world.unread(&mia).await["count"].clone()), (1, json!(1)));
    assert_eq!(download(&world, &papa, &said).await, 200);
    assert_eq!(look(&world, &eve, &chat).await["code"], 1);
    let mut edges = Edges::open_app(&world, &papa).await;
    let guardians = edges.ok("guardian_list", json!({"user_id": papa.id}), json!({"toy_id": toy.id})).await;
    assert_eq!(guardians[0]["_id"], mia.id.as_str());
    assert_eq!((&guardians[1]["_id"], &guardians[1]["is_first"]), (&json!(papa.id), &json!(false)));

    // He answers for the toy, and is notified.
    let mut app = world.app(&papa).await;
    let asked = json!({"req_user": eve.id, "add_user": toy.id, "type": "app", "req_info": "", "remark": "F"});
    assert_eq!(world.post_as(&eve, "/add_req", asked).await["code"], 0);
    let request = app.frame().await;
    assert_eq!(request["type"], "friend_request");
    let accepted = json!({"req_id": request["_id"], "remark": "Eve"});
    assert_eq!(world.post_as(&papa, "/acc_req", accepted.clone()).await["code"], 0);
    assert_eq!(world.post_as(&mia, "/acc_req", accepted).await["msg"], "this friend request has already been answered");
    let state = format!("toy/{}/state/battery", toy.id);
    let mut line = Line::open(&world, &toy).await;
    let mut other = Line::open_app(&world, &papa).await;
    other.subscribe(&format!("toy/{}/state/#", toy.id)).await;
    let subscribed = app.ask(json!({"do": "subscribe", "topic": format!("toy/{}/state/#", toy.id)})).await;
    assert_eq!(subscribed["code"], 0);
    line.publish(&state, br#"{"type":"battery"}"#).await;
    other.event("battery").await;
    let order = json!({"do": "publish", "topic": format!("toy/{}/cmd/volume", toy.id), "payload": "5"});
    assert_eq!(app.ask(order.clone()).await["code"], 0);

    // No guardian ends the friendship of the toy and one of its guardians, with or without the chat.
    let ending = |whose: &User| json!({"_id": papa.id, "user_id": papa.id, "toy_id": toy.id, "friend_id": whose.id});
    for path in ["/erase_friend", "/unfriend", "/block"] {
        for whose in [&mia, &papa] {
            let ended = world.post_as(&papa, path, ending(whose)).await;
            assert!(ended["msg"].as_str().unwrap().contains("stay friends"), "{path}: {ended}");
        }
    }

    // Only the first guardian unbinds the toy and removes others.
    let unbinding = app.ask(json!({"do": "unbind", "toy": toy.id})).await;
    assert_eq!(unbinding["code"], 1, "{unbinding}");
    let removal = |by: &User, whom: &User| json!({"user_id": by.id, "toy_id": toy.id, "guardian_id": whom.id});
    assert_ne!(world.post_as(&papa, "/remove_guardian", removal(&papa, &mia)).await["code"], 0);
    assert_ne!(world.post_as(&eve, "/remove_guardian", removal(&eve, &papa)).await["code"], 0);
    assert_ne!(
        world.post_as(&mia, "/remove_guardian", removal(&mia, &mia)).await["code"],
        0,
        "the toy is bound to her"
    );

    let his = world.post_as(&papa, "/friend_list", json!({"_id": papa.id})).await;
    let his = his["data"][0]["friend_chat"].as_str().unwrap().to_owned();
    assert_eq!(world.post_as(&mia, "/remove_guardian", removal(&mia, &papa)).await["code"], 0);
    other.event("friend_removed").await;
    line.publish(&state, br#"{"type":"battery"}"#).await;
    assert_eq!(app.ask(order).await["code"], 18);
    let subscribed = app.ask(json!({"do": "subscribe", "topic": format!("toy/{}/state/#", toy.id)})).await;
    assert_eq!(subscribed["code"], 18);
    assert!(toys(&world, &papa).await.is_empty());
    assert_eq!(look(&world, &papa, &chat).await["code"], 1);
    assert_eq!(look(&world, &papa, &his).await["code"], 1, "not even his own chat with the child");
    assert_eq!(download(&world, &papa, &said).await, 404);
    assert_eq!(look(&world, &mia, &his).await["code"], 0, "the toy's guardian sees it");
    // A publication of the toy after his removal does not reach him: the next frame is another one.
    let asked = json!({"req_user": mia.id, "add_user": papa.id, "type": "app", "req_info": "", "remark": "P"});
    assert_eq!(world.post_as(&mia, "/add_req", asked).await["code"], 0);
    assert_eq!(other.next_event().await["type"], "friend_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn required_invitations_are_enforced() {
    let settings = [("TOYHUB_AUTH__REGISTRATION", "invite"), ("TOYHUB_AUTH__BINDING", "invite")];
    let world = World::start_with(&settings).await;
    let new = |name: &str, invite: &str| json!({"username": name, "password": "correct horse", "nickname": name, "gender": "2", "invite": invite});
    let code = async || world.run(&["invite"]).await.split('\t').next().unwrap().to_owned();
    assert_eq!(world.post("/reg", new("mia", "")).await.1["code"], 34);
    assert_eq!(world.post("/reg", new("mia", "ABCD-EFGH-JKLM")).await.1["code"], 1);
    let first = code().await;
    world.ok("/reg", new("mia", &first)).await;
    assert_eq!(world.post("/reg", new("tom", &first)).await.1["code"], 1, "good once");
    let login = world.ok("/login", json!({"username": "mia", "password": "correct horse"})).await["data"].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mia = User { id: text(&login["_id"]), username: "mia".into(), token: text(&login["token"]) };

    let (device_key, secret) = world.device().await;
    let binding = |invite: &str| {
        json!({
            "toy_name": "F", "baby_name": "B", "remark": "M", "user_id": mia.id, "device_key": device_key,
            "invite": invite,
        })
    };
    assert_eq!(world.post_as(&mia, "/bind_toy", binding("")).await["code"], 34);
    assert_eq!(world.post_as(&mia, "/bind_toy", binding(&first)).await["code"], 1);
    assert_eq!(world.post_as(&mia, "/bind_toy", binding(&code().await)).await["code"], 0);
    let id = text(&toys(&world, &mia).await[0]["_id"]);
    let toy = Toy { id, device_key: device_key.clone(), secret };

    // A guardian's code for a toy creates an account that is a guardian at once, and permits no other binding.
    let of_toy = invite(&world, &mia, &toy, "Papa").await;
    assert_eq!(world.post_as(&mia, "/bind_toy", binding(&of_toy)).await["code"], 2, "that device is bound");
    world.ok("/reg", new("papa", &of_toy)).await;
    assert_eq!(world.post("/reg", new("eve", &of_toy)).await.1["code"], 1);
    let login = world.ok("/login", json!({"username": "papa", "password": "correct horse"})).await["data"].clone();
    assert_eq!(login["bind_toy"], json!([toy.id]));
    assert!(world.run(&["toy", "guardians", &toy.id]).await.contains("papa"));
    world.run(&["toy", "remove-guardian", &toy.id, "papa"]).await;
    assert_eq!(world.run(&["toy", "guardians", &toy.id]).await.lines().count(), 1);
    assert_eq!(world.post("/auto_login", json!({"_id": login["_id"]})).await.1["data"]["bind_toy"], json!([]));
}
