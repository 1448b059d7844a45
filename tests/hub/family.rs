//! Consent to the friendships of a toy, and their end.

use serde_json::{Value, json};

use crate::calls::Edges;
use crate::matrix::befriend;
use crate::one_connection::Line;
use crate::sound;
use crate::world::{Toy, User, World};

/// The entries of a user's list of requests.
async fn requests(world: &World, user: &User) -> Vec<Value> {
    let list = world.post_as(user, "/req_list", json!({"_id": user.id})).await;
    assert_eq!(list["code"], 0, "{list}");
    list["data"].as_array().unwrap().clone()
}

async fn answer(world: &World, user: &User, path: &str, request: &Value, remark: &str) -> Value {
    world.post_as(user, path, json!({"req_id": request["_id"], "remark": remark})).await
}

/// The friends of a toy, with its remarks for them, as its guardian sees them.
async fn friends_of(world: &World, guardian: &User, toy: &Toy) -> Vec<(String, String)> {
    let list = world.post_as(guardian, "/toy_list", json!({"_id": guardian.id})).await;
    let toys = list["data"].as_array().unwrap();
    let toy = toys.iter().find(|entry| entry["_id"] == toy.id.as_str()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let friends = toy["friend_list"].as_array().unwrap().iter();
    friends.map(|friend| (text(&friend["friend_id"]), text(&friend["friend_remark"]))).collect()
}

fn friend_request(from: &str, to: &str, remark: &str) -> Value {
    json!({"req_user": from, "add_user": to, "type": "toy", "req_info": "", "remark": remark})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_by_a_toy_needs_the_consent_of_its_guardian_first() {
    let world = World::start().await;
    let (mia, eve) = (world.user("mia").await, world.user("eve").await);
    let toy = world.toy(&mia, "Fluffy").await;
    let mut app = world.app(&mia).await;

    // Without a token, from where both the toy and its guardian have proved themselves: it may be the toy.
    world.ok("/add_req", friend_request(&toy.id, &eve.id, "Mama")).await;
    let event = app.frame().await;
    assert_eq!((&event["type"], &event["req_user"]), (&json!("friend_request"), &json!(toy.id)));
    assert!(requests(&world, &eve).await.is_empty(), "the stranger is not asked yet");
    let own = requests(&world, &mia).await;
    assert_eq!((own.len(), &own[0]["status"], &own[0]["remark"]), (1, &json!(0), &json!("Mama")));
    let stolen = answer(&world, &eve, "/acc_req", &own[0], "x").await;
    assert_eq!((&stolen["code"], &stolen["msg"]), (&json!(1), &json!("no such friend request")), "not hers to answer");

    assert_eq!(answer(&world, &mia, "/acc_req", &own[0], "Aunt Eve").await["code"], 0);
    assert!(friends_of(&world, &mia, &toy).await.iter().all(|(id, _)| *id != eve.id), "not yet");
    assert_eq!(
        answer(&world, &mia, "/acc_req", &own[0], "Eve").await["msg"],
        "this friend request is already waiting for an answer",
        "that of the other side"
    );
    let asked = requests(&world, &eve).await;
    assert_eq!(asked[0]["_id"], own[0]["_id"]);
    assert_eq!(answer(&world, &eve, "/acc_req", &asked[0], "Fluff").await["code"], 0);
    let late = answer(&world, &mia, "/ref_req", &asked[0], "").await;
    assert_eq!(late["msg"], "this friend request has already been answered");
    let friends = friends_of(&world, &mia, &toy).await;
    assert!(friends.contains(&(eve.id.clone(), "Aunt Eve".into())), "{friends:?}");

    // By the toy's own connection it is always the toy; its guardian may refuse.
    let tom = world.user("tom").await;
    let mut line = Line::open(&world, &toy).await;
    line.ok(json!({"do": "add_req", "add_user": tom.id, "remark": "Mama"})).await;
    assert!(requests(&world, &tom).await.is_empty());
    let own = requests(&world, &mia).await;
    assert_eq!(answer(&world, &mia, "/ref_req", &own[0], "").await["code"], 0);
    assert!(requests(&world, &tom).await.is_empty());
    let again = line.answer(json!({"do": "add_req", "add_user": tom.id, "remark": "Mama"})).await;
    assert_eq!(again["code"], 11, "{again}");
    // The guardian itself is not asked first.
    assert_eq!(world.post_as(&mia, "/add_req", friend_request(&toy.id, &tom.id, "Tom")).await["code"], 0);
    assert_eq!(requests(&world, &tom).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_by_a_guardian_for_its_toy_is_its_consent_and_others_may_not_make_it() {
    let world = World::start().await;
    let (mia, tom, eve) = (world.user("mia").await, world.user("tom").await, world.user("eve").await);
    let (fluffy, rex) = (world.toy(&mia, "Fluffy").await, world.toy(&tom, "Rex").await);
    let stolen = world.post_as(&eve, "/add_req", friend_request(&fluffy.id, &eve.id, "Mama")).await;
    assert_eq!(stolen["code"], 10, "{stolen}");
    let mut of_eve = world.app(&eve).await;
    let stolen = of_eve.ask(json!({"do": "add_req", "req_user": fluffy.id, "add_user": eve.id})).await;
    assert_eq!(stolen["code"], 1, "{stolen}");
    assert!(requests(&world, &eve).await.is_empty() && requests(&world, &mia).await.is_empty());

    assert_eq!(world.post_as(&mia, "/add_req", friend_request(&fluffy.id, &rex.id, "Rexy")).await["code"], 0);
    assert!(requests(&world, &mia).await.is_empty(), "she has agreed by asking");
    let asked = requests(&world, &tom).await;
    assert_eq!(answer(&world, &mia, "/acc_req", &asked[0], "x").await["code"], 1, "her part is done");
    assert_eq!(answer(&world, &tom, "/acc_req", &asked[0], "Fluffs").await["code"], 0);
    assert!(friends_of(&world, &mia, &fluffy).await.contains(&(rex.id.clone(), "Rexy".into())));
    assert!(friends_of(&world, &tom, &rex).await.contains(&(fluffy.id.clone(), "Fluffs".into())));

    // Over the app socket too; and where both toys are one guardian's, the toy's request needs one answer.
    let puffy = world.toy(&mia, "Puffy").await;
    let mut app = world.app(&mia).await;
    let asked = app.ask(json!({"do": "add_req", "req_user": puffy.id, "add_user": rex.id, "remark": "R"})).await;
    assert_eq!(asked["code"], 0, "{asked}");
    assert_eq!(requests(&world, &tom).await[0]["req_user"], puffy.id.as_str());
    world.ok("/add_req", friend_request(&puffy.id, &fluffy.id, "Fluffy")).await;
    let own = requests(&world, &mia).await;
    assert_eq!(answer(&world, &mia, "/acc_req", &own[0], "Puff").await["code"], 0);
    assert!(friends_of(&world, &mia, &puffy).await.contains(&(fluffy.id.clone(), "Fluffy".into())));
    assert!(friends_of(&world, &mia, &fluffy).await.contains(&(puffy.id.clone(), "Puff".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_binds_all_members_of_both_families() {
    let world = World::start().await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let (papa, aunt) = (world.user("papa").await, world.user("aunt").await);
    let (fluffy, puffy) = (world.toy(&mia, "Fluffy").await, world.toy(&mia, "Puffy").await);
    let (rex, max) = (world.toy(&tom, "Rex").await, world.toy(&tom, "Max").await);
    for (owner, toy, guardian) in [(&mia, &fluffy, &papa), (&tom, &max, &aunt)] {
        let invite = world.post_as(owner, "/invite", json!({"user_id": owner.id, "toy_id": toy.id})).await;
        let joined = json!({"user_id": guardian.id, "invite": invite["data"]["invite"]});
        assert_eq!(world.post_as(guardian, "/join", joined).await["code"], 0);
    }
    let ask = async |by: &User, from: &str, to: &str| {
        world.post_as(by, "/add_req", friend_request(from, to, "x")).await["code"].clone()
    };
    assert_eq!(ask(&mia, &fluffy.id, &rex.id).await, 0);
    let request = requests(&world, &tom).await.remove(0);
    assert_eq!(answer(&world, &tom, "/ref_req", &request, "").await["code"], 0);
    for (by, from) in [(&mia, &fluffy.id), (&mia, &puffy.id), (&mia, &mia.id), (&papa, &papa.id), (&papa, &fluffy.id)] {
        for to in [&rex.id, &max.id, &tom.id] {
            assert_eq!(ask(by, from, to).await, 11, "{from} {to}");
        }
    }
    assert_eq!(requests(&world, &tom).await.len(), 1, "nothing new stands in the list");
    // Whoever leaves one of the two families stays bound.
    for (by, toy) in [(&papa, &fluffy), (&aunt, &max)] {
        let left = json!({"user_id": by.id, "toy_id": toy.id, "guardian_id": by.id});
        assert_eq!(world.post_as(by, "/remove_guardian", left).await["code"], 0);
    }
    for to in [&rex.id, &max.id, &tom.id, &aunt.id] {
        assert_eq!(ask(&papa, &papa.id, to).await, 11, "{to}");
        assert_eq!(ask(&mia, &fluffy.id, to).await, 11, "{to}");
    }
    // The other family may ask, and others may ask both.
    let eve = world.user("eve").await;
    assert_eq!(ask(&tom, &rex.id, &fluffy.id).await, 0);
    assert_eq!(ask(&eve, &eve.id, &rex.id).await, 0);
    assert_eq!(ask(&mia, &puffy.id, &eve.id).await, 0);
    // The pause ends when the toy whose guardian has refused makes friends with one of them.
    world.accept(&mia, "Rexy").await;
    assert_eq!(ask(&papa, &papa.id, &aunt.id).await, 0);
    assert_eq!(ask(&mia, &mia.id, &tom.id).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_refused_is_not_made_again_for_a_while() {
    let world = World::start_with(&[("TOYHUB_ACCOUNTS__REFUSED_REQUEST_PAUSE_H", "2")]).await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let asked = friend_request(&mia.id, &tom.id, "T");
    assert_eq!(world.post_as(&mia, "/add_req", asked.clone()).await["code"], 0);
    let request = requests(&world, &tom).await.remove(0);
    assert_eq!(answer(&world, &tom, "/ref_req", &request, "").await["code"], 0);
    let again = world.post_as(&mia, "/add_req", asked).await;
    assert_eq!(again["code"], 11, "{again}");
    let words: Vec<&str> = again["msg"].as_str().unwrap().split(' ').collect();
    let seconds: u64 = words.iter().find_map(|word| word.parse().ok()).unwrap();
    assert!((7000..=7200).contains(&seconds), "{again}");
    assert_eq!(requests(&world, &tom).await.len(), 1, "the refused one alone");
    // The family that refused may ask.
    assert_eq!(world.post_as(&tom, "/add_req", friend_request(&tom.id, &mia.id, "M")).await["code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_simultaneous_answers_have_one_outcome() {
    let settings = [("TOYHUB_ACCOUNTS__REFUSED_REQUEST_PAUSE_H", "0")];
    let world = World::start_with(&settings).await;
    let mia = world.user("mia").await;
    for round in 0..4 {
        let other = world.user(&format!("other-{round}")).await;
        assert_eq!(world.post_as(&other, "/add_req", friend_request(&other.id, &mia.id, "M")).await["code"], 0);
        let request = requests(&world, &mia).await.remove(0);
        let (accepted, refused, again) = tokio::join!(
            answer(&world, &mia, "/acc_req", &request, "O"),
            answer(&world, &mia, "/ref_req", &request, "O"),
            answer(&world, &mia, "/acc_req", &request, "O"),
        );
        let done: Vec<bool> = [&accepted, &refused, &again].iter().map(|answer| answer["code"] == 0).collect();
        assert_eq!(done.iter().filter(|is_done| **is_done).count(), 1, "{accepted} {refused} {again}");
        let friends = world.post_as(&other, "/friend_list", json!({"_id": other.id})).await;
        assert_eq!(friends["data"].as_array().unwrap().len(), usize::from(!done[1]), "{friends}");
        let status = requests(&world, &mia).await[0]["status"].clone();
        assert_eq!(status, if done[1] { json!(2) } else { json!(1) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_friendship_ends_its_topics_at_once() {
    let world = World::start().await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    befriend(&world, &tom, &toy.id, &mia).await;
    let list = world.post_as(&tom, "/friend_list", json!({"_id": tom.id})).await;
    let chat = format!("chat/{}", list["data"][0]["friend_chat"].as_str().unwrap());
    let mut app = world.app(&tom).await;
    let mut other = Line::open_app(&world, &tom).await;
    for topic in [chat.clone(), format!("online/{}", toy.id)] {
        assert_eq!(app.ask(json!({"do": "subscribe", "topic": topic})).await["code"], 0);
        other.subscribe(&topic).await;
    }
    let mut line = Line::open(&world, &toy).await;
    let text = json!({"type": "typing"}).to_string();
    let publish = json!({"do": "publish", "topic": chat, "payload": text});
    let mut witness = world.app(&mia).await;
    line.publish(&chat, text.as_bytes()).await;
    other.event("typing").await;

    let refused =
        world.post_as(&tom, "/unfriend", json!({"user_id": tom.id, "friend_id": toy.id, "toy_id": toy.id})).await;
    assert_eq!(refused["code"], 1, "not his toy: {refused}");
    let removal = json!({"user_id": mia.id, "toy_id": toy.id, "friend_id": tom.id});
    assert_eq!(world.post_as(&mia, "/unfriend", removal.clone()).await["code"], 0);
    assert_eq!(world.post_as(&mia, "/unfriend", removal).await["code"], 1, "no friends any more");
    let (event, told) = (other.event("friend_removed").await, line.event("friend_removed").await);
    assert_eq!((&event["friend_id"], &told["friend_id"]), (&json!(toy.id), &json!(tom.id)));

    // The toy may not publish there any more: the next delivery is another publication.
    line.publish(&chat, text.as_bytes()).await;
    drop(line);
    world.wait_online(&mia, &toy.id, "0").await;
    assert_eq!(world.post_as(&mia, "/add_req", friend_request(&mia.id, &tom.id, "T")).await["code"], 0);
    assert_eq!(other.next_event().await["type"], "friend_request", "neither the chat nor the presence of the toy");
    let mut kinds = Vec::new();
    while kinds.last() != Some(&json!("friend_request")) {
        kinds.push(app.frame().await["type"].clone());
    }
    kinds.retain(|kind| kind != "publish");
    assert_eq!(kinds, ["friend_removed", "friend_request"]);
    for topic in [chat.clone(), format!("online/{}", toy.id)] {
        assert_eq!(app.ask(json!({"do": "subscribe", "topic": topic})).await["code"], 18, "{topic}");
    }
    assert_eq!(app.ask(publish).await["code"], 18);
    let names = [("user_id", tom.id.as_str()), ("to_user", &toy.id), ("token", &tom.token)];
    assert_eq!(world.upload("/app_uploader", "reco_file", sound::beep(), &names).await["code"], 1);

    // A toy and its guardian belong together.
    let own = json!({"user_id": mia.id, "friend_id": toy.id});
    for (path, body) in [("/unfriend", own.clone()), ("/block", own)] {
        let refused = world.post_as(&mia, path, body).await;
        assert!(refused["msg"].as_str().unwrap().contains("guardian"), "{refused}");
    }
    assert_eq!(witness.ask(json!({"do": "friend_list"})).await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_blocked_user_notify_nobody() {
    let world = World::start().await;
    let (mia, eve) = (world.user("mia").await, world.user("eve").await);
    let (toy, of_eve) = (world.toy(&mia, "Fluffy").await, world.toy(&eve, "Rex").await);
    befriend(&world, &eve, &toy.id, &mia).await;
    let mut edges = Edges::open_app(&world, &mia).await;
    let (me, whom) = (json!({"user_id": mia.id}), json!({"toy_id": toy.id, "friend_id": eve.id}));
    edges.ok("block", me.clone(), whom.clone()).await;
    let blocked = edges.ok("block_list", me.clone(), json!({"toy_id": toy.id})).await;
    assert_eq!((blocked.as_array().unwrap().len(), &blocked[0]["friend_id"]), (1, &json!(eve.id)));
    let names = [("user_id", eve.id.as_str()), ("to_user", &toy.id), ("token", &eve.token)];
    assert_eq!(world.upload("/app_uploader", "reco_file", sound::beep(), &names).await["code"], 1);

    // Her requests, also those in her toy's name, look like requests that nobody answers.
    let before = requests(&world, &mia).await.len();
    for from in [&eve.id, &of_eve.id] {
        let asked = friend_request(from, &toy.id, "F");
        assert_eq!(world.post_as(&eve, "/add_req", asked.clone()).await["msg"], "Successful Added Friends Request");
        let again = world.post_as(&eve, "/add_req", asked).await;
        assert_eq!(again["msg"], "this friend request is already waiting for an answer");
    }
    assert_eq!(requests(&world, &mia).await.len(), before);
    let own = world.post_as(&mia, "/add_req", friend_request(&toy.id, &eve.id, "E")).await;
    assert!(own["code"] == 1 && own["msg"].as_str().unwrap().contains("unblock"), "{own}");
    // Mia herself has blocked no one.
    assert_eq!(world.post_as(&eve, "/add_req", friend_request(&eve.id, &mia.id, "M")).await["code"], 0);
    assert_eq!(requests(&world, &mia).await.len(), before + 1);
    // A block withdraws a request in the list.
    let herself = json!({"user_id": mia.id, "friend_id": eve.id});
    assert_eq!(world.post_as(&mia, "/block", herself.clone()).await["code"], 0);
    assert_eq!(requests(&world, &mia).await.len(), before);

    edges.ok("unblock", me.clone(), whom).await;
    // The block of Mia herself also holds for her toy.
    assert_eq!(world.post_as(&mia, "/unblock", herself).await["code"], 0);
    assert_eq!(edges.ok("block_list", me, json!({"toy_id": toy.id})).await, json!([]));
    assert_eq!(world.post_as(&eve, "/add_req", friend_request(&eve.id, &toy.id, "F")).await["code"], 0);
    assert_eq!(requests(&world, &mia).await.len(), before + 1);
    // Users cannot block for a toy of others.
    let others = json!({"user_id": eve.id, "friend_id": mia.id, "toy_id": toy.id});
    for path in ["/block", "/unblock", "/block_list", "/unfriend"] {
        assert_eq!(world.post_as(&eve, path, others.clone()).await["code"], 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_binds_who_joins_one_of_the_families_and_leaves_again() {
    let world = World::start().await;
    let (mia, tom, eve) = (world.user("mia").await, world.user("tom").await, world.user("eve").await);
    let (uncle, aunt) = (world.user("uncle").await, world.user("aunt").await);
    let (fluffy, rex) = (world.toy(&mia, "Fluffy").await, world.toy(&tom, "Rex").await);
    let of_uncle = world.toy(&uncle, "Puffy").await;
    let ask = async |by: &User, from: &str, to: &str| {
        world.post_as(by, "/add_req", friend_request(from, to, "x")).await["code"].clone()
    };
    assert_eq!(ask(&mia, &mia.id, &rex.id).await, 0);
    let request = requests(&world, &tom).await.remove(0);
    assert_eq!(answer(&world, &tom, "/ref_req", &request, "").await["code"], 0);
    // A refusal by a guardian of a request of its own toy binds nobody else.
    world.ok("/add_req", friend_request(&fluffy.id, &eve.id, "E")).await;
    let request = requests(&world, &mia).await.remove(0);
    assert_eq!(answer(&world, &mia, "/ref_req", &request, "").await["code"], 0);

    for (owner, toy, guardian) in [(&mia, &fluffy, &uncle), (&tom, &rex, &aunt)] {
        let invite = world.post_as(owner, "/invite", json!({"user_id": owner.id, "toy_id": toy.id})).await;
        let joined = json!({"user_id": guardian.id, "invite": invite["data"]["invite"]});
        assert_eq!(world.post_as(guardian, "/join", joined).await["code"], 0);
        let left = json!({"user_id": guardian.id, "toy_id": toy.id, "guardian_id": guardian.id});
        assert_eq!(world.post_as(guardian, "/remove_guardian", left).await["code"], 0);
    }
    for from in [&uncle.id, &of_uncle.id] {
        for to in [&rex.id, &tom.id] {
            assert_eq!(ask(&uncle, from, to).await, 11, "{from} {to}");
        }
    }
    assert_eq!(ask(&mia, &mia.id, &aunt.id).await, 11);
    for from in [&uncle.id, &of_uncle.id] {
        assert_eq!(ask(&uncle, from, &eve.id).await, 0, "{from}");
    }
    assert_eq!(ask(&aunt, &aunt.id, &uncle.id).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_does_not_change_the_answers_to_the_blocked_user() {
    let world = World::start().await;
    let mia = world.user("mia").await;
    let fluffy = world.toy(&mia, "Fluffy").await;
    let (eve, ada) = (world.user("eve").await, world.user("ada").await);
    let (rex, max) = (world.toy(&eve, "Rex").await, world.toy(&ada, "Max").await);
    let ask =
        async |by: &User, from: &str, to: &str| world.post_as(by, "/add_req", friend_request(from, to, "x")).await;
    for (by, toy) in [(&eve, &rex), (&ada, &max)] {
        for from in [&by.id, &toy.id] {
            for to in [&mia.id, &fluffy.id] {
                assert_eq!(ask(by, from, to).await["code"], 0);
            }
        }
    }
    for owner in [json!({}), json!({"toy_id": fluffy.id})] {
        let mut block = json!({"user_id": mia.id, "friend_id": eve.id});
        block.as_object_mut().unwrap().extend(owner.as_object().unwrap().clone());
        assert_eq!(world.post_as(&mia, "/block", block).await["code"], 0);
    }
    // The older requests are gone from the list, and the requester does not notice.
    let listed = requests(&world, &mia).await;
    assert_eq!(listed.len(), 4, "{listed:?}");
    assert!(listed.iter().all(|request| [&ada.id, &max.id].iter().any(|id| request["req_user"] == id.as_str())));
    for to in [&mia.id, &fluffy.id] {
        let (blocked, other) = (ask(&eve, &eve.id, to).await, ask(&ada, &ada.id, to).await);
        assert_eq!((&blocked, &blocked["code"]), (&other, &json!(1)), "{to}");
        assert_eq!(ask(&eve, &rex.id, to).await, ask(&ada, &max.id, to).await, "{to}");
    }
    // A refusal is answered as one, also after a block.
    let kim = world.user("kim").await;
    assert_eq!(ask(&kim, &kim.id, &mia.id).await["code"], 0);
    let request = requests(&world, &mia).await.into_iter().find(|request| request["req_user"] == kim.id.as_str());
    assert_eq!(answer(&world, &mia, "/ref_req", &request.unwrap(), "").await["code"], 0);
    assert_eq!(ask(&kim, &kim.id, &mia.id).await["code"], 11);
    assert_eq!(world.post_as(&mia, "/block", json!({"user_id": mia.id, "friend_id": kim.id})).await["code"], 0);
    assert_eq!(ask(&kim, &kim.id, &mia.id).await["code"], 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_or_a_block_discloses_no_name_to_who_makes_it() {
    let world = World::start().await;
    let (mia, eve) = (world.user("mia").await, world.user("eve").await);
    let (fluffy, rex) = (world.toy(&mia, "Fluffy").await, world.toy(&eve, "Rex").await);
    let texts = |entry: &Value, names: &[&str]| -> Vec<String> {
        names.iter().map(|name| entry[*name].as_str().unwrap().to_owned()).collect()
    };
    // Eve's toy asks for a toy of which she knows the QR code, and for its guardian.
    for other in [&fluffy.id, &mia.id] {
        world.ok("/add_req", json!({"req_user": rex.id, "add_user": other, "type": "toy"})).await;
    }
    let own = requests(&world, &eve).await;
    assert_eq!(own.len(), 2);
    for request in &own {
        assert_eq!(texts(request, &["remark", "toy_name", "nickname"]), ["", "", "Rex's child"], "{request}");
    }
    let block = async |by: &User, other: &str| {
        assert_eq!(world.post_as(by, "/block", json!({"user_id": by.id, "friend_id": other})).await["code"], 0);
        let list = world.post_as(by, "/block_list", json!({"user_id": by.id})).await;
        let entries = list["data"].as_array().unwrap();
        entries.iter().find(|entry| entry["friend_id"] == other).unwrap().clone()
    };
    for (other, picture) in [(&fluffy.id, "toy.jpg"), (&mia.id, "mama.jpg")] {
        assert_eq!(texts(&block(&eve, other).await, &["friend_nick", "friend_avatar"]), ["", picture]);
    }

    // The recipient sees the names, and both see them after it has accepted.
    let tom = world.user("tom").await;
    let asked = json!({"req_user": tom.id, "add_user": fluffy.id, "type": "app"});
    assert_eq!(world.post_as(&tom, "/add_req", asked).await["code"], 0);
    let request = requests(&world, &mia).await.remove(0);
    assert_eq!(texts(&request, &["nickname", "toy_name", "remark"]), ["tom's nick", "Fluffy", ""]);
    assert_eq!(answer(&world, &mia, "/acc_req", &request, "Uncle").await["code"], 0);
    let friends = world.post_as(&tom, "/friend_list", json!({"_id": tom.id})).await;
    assert_eq!(texts(&friends["data"][0], &["friend_nick", "friend_remark"]), ["Fluffy's child", "Fluffy's child"]);
    // A friend and a requester are known by name, also in the list of a second block.
    assert_eq!(texts(&block(&tom, &fluffy.id).await, &["friend_nick"]), ["Fluffy's child"]);
    assert_eq!(texts(&block(&tom, &fluffy.id).await, &["friend_nick"]), ["Fluffy's child"]);
    let kim = world.user("kim").await;
    assert_eq!(world.post_as(&kim, "/add_req", friend_request(&kim.id, &fluffy.id, "F")).await["code"], 0);
    assert_eq!(texts(&block(&mia, &kim.id).await, &["friend_nick"]), ["kim's nick"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_of_a_guardian_holds_for_requests_to_its_toys() {
    let world = World::start().await;
    let (mia, eve) = (world.user("mia").await, world.user("eve").await);
    let (fluffy, rex) = (world.toy(&mia, "Fluffy").await, world.toy(&eve, "Rex").await);
    let ask = async |from: &str, to: &str| {
        world.post_as(&eve, "/add_req", friend_request(from, to, "x")).await["msg"].as_str().unwrap().to_owned()
    };
    let (done, waiting) = ("Successful Added Friends Request", "this friend request is already waiting for an answer");
    assert_eq!(ask(&eve.id, &fluffy.id).await, done);
    let block = json!({"user_id": mia.id, "friend_id": eve.id});
    assert_eq!(world.post_as(&mia, "/block", block.clone()).await["code"], 0);
    assert!(requests(&world, &mia).await.is_empty(), "the block withdraws the request to the toy");
    let mut app = world.app(&mia).await;
    assert_eq!(ask(&eve.id, &fluffy.id).await, waiting);
    for (from, to) in [(&rex.id, &fluffy.id), (&eve.id, &mia.id), (&rex.id, &mia.id)] {
        assert_eq!((ask(from, to).await.as_str(), ask(from, to).await.as_str()), (done, waiting), "{from} {to}");
    }
    // A toy bound later is covered, and so is a request of the toy itself, to which its guardian agrees.
    let puffy = world.toy(&mia, "Puffy").await;
    assert_eq!(ask(&eve.id, &puffy.id).await, done);
    world.ok("/add_req", friend_request(&rex.id, &puffy.id, "P")).await;
    world.accept(&eve, "P").await;
    assert!(requests(&world, &mia).await.is_empty());
    // The next event of the guardian is that of another user's request.
    let tom = world.user("tom").await;
    assert_eq!(world.post_as(&tom, "/add_req", friend_request(&tom.id, &puffy.id, "P")).await["code"], 0);
    let mut event = app.frame().await;
    while event["type"] != "friend_request" {
        event = app.frame().await;
    }
    assert_eq!(event["req_user"], tom.id.as_str());

    assert_eq!(world.post_as(&mia, "/unblock", block).await["code"], 0);
    for to in [&fluffy.id, &puffy.id, &mia.id] {
        assert_eq!(ask(&eve.id, to).await, done, "{to}");
    }
    assert_eq!(requests(&world, &mia).await.len(), 4);
}
