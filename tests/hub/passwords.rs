//! Passwords: requirements, changes and resets, and that guessing does not lock out the owner.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::one_connection::Line;
use crate::world::{User, World, within};

fn new(name: &str, password: &str) -> Value {
    json!({"username": name, "password": password, "nickname": name, "gender": "1"})
}

async fn log_in(world: &World, name: &str, password: &str) -> Value {
    world.post("/login", json!({"username": name, "password": password})).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn short_and_common_passwords_and_user_names_are_refused() {
    let world = World::start().await;
    let long = "x".repeat(1025);
    let (blank, same) = ("\u{a0}         ", "qqqqqqqqqqqq");
    let common = ["Password1", "12345678", "e10adc3949ba59abbe56e057f20f883e", "MiaMiaMia"];
    for password in ["", "seven77", blank, same, &long].into_iter().chain(common) {
        let (status, answer) = world.post("/reg", new("miamiamia", password)).await;
        assert_eq!((status, &answer["code"]), (200, &json!(1)), "{password}: {answer}");
        assert!(answer["msg"].as_str().unwrap().contains("password"), "{answer}");
    }
    for (name, password) in [("one", "7 fluffy"), ("two", "8ad7b8e4dbb3c3dbd1c2d0c0c7b4a111"), ("three", "öäüßöäüß")]
    {
        world.ok("/reg", new(name, password)).await;
        assert_eq!(log_in(&world, name, password).await["code"], 0, "{password}");
    }
    // The same letters from another keyboard.
    world.ok("/reg", new("four", "gru\u{308}ne Wiese")).await;
    assert_eq!(log_in(&world, "four", "gr\u{fc}ne Wiese").await["code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn look_alike_and_invisible_user_names_are_refused() {
    let mut world = World::start().await;
    world.ok("/reg", new("Ira Paul", "correct horse")).await;
    for name in ["Ira Paul", "ira paul", "lra Paul", "Ira  Pau1", "Іra Paul", "Ｉｒａ Ｐａｕｌ", "Ira\u{a0}Paul"]
    {
        let answer = world.post("/reg", new(name, "correct horse")).await.1;
        let expected = (&json!(1), &json!("this username is taken, choose another one"));
        assert_eq!((&answer["code"], &answer["msg"]), expected, "{name}");
    }
    let unseen =
        ["\u{200b}", "\u{2060}", "\u{ad}", "\u{202e}", "\u{2800}", "\u{1d159}", "\u{16fe4}", "\u{fffc}", "\u{e000}"];
    for name in unseen.iter().chain(&["\u{600}"]).flat_map(|unseen| [format!("Ira{unseen} Paul"), (*unseen).into()]) {
        let name = name.as_str();
        let answer = world.post("/reg", new(name, "correct horse")).await.1;
        assert_eq!(answer["code"], 1, "{name:?}: {answer}");
        assert!(answer["msg"].as_str().unwrap().contains("username"), "{answer}");
    }
    for name in ["Ira Paula", "Jörg", "Jorg", "小明", "mia🎈"] {
        world.ok("/reg", new(name, "correct horse")).await;
        assert_eq!(log_in(&world, name, "correct horse").await["code"], 0, "{name}");
    }
    // A login still distinguishes names by every character, and an erasure makes a name available again.
    assert_eq!(log_in(&world, "ira paul", "correct horse").await["code"], 1);
    world.run(&["user", "erase", "Ira Paul"]).await;
    world.ok("/reg", new("ira paul", "correct horse")).await;
    // Who had such a name before it was refused still logs in with it.
    let id = log_in(&world, "Jörg", "correct horse").await["data"]["_id"].as_str().unwrap().to_owned();
    world.stop().await;
    let sql = format!("CREATE type::record('user_name', 'J\u{2800}rg') SET user = '{id}'");
    crate::tables::run(world.data_dir(), sql).await;
    world.start_hub().await;
    assert_eq!(log_in(&world, "J\u{2800}rg", "correct horse").await["code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_revokes_all_logins_of_the_old_one() {
    let world = World::start().await;
    let mia = world.user("mia").await;
    let phone = world.login(&mia).await;
    let mut tablet = world.app(&phone).await;
    let change = |old: &str, new: &str| json!({"user_id": mia.id, "password": old, "new_password": new});
    for (old, new, part) in [("wrong password", "better horse", "wrong"), ("correct horse", "short", "new_password")] {
        let refused = world.post_as(&mia, "/change_password", change(old, new)).await;
        assert!(refused["code"] == 1 && refused["msg"].as_str().unwrap().contains(part), "{refused}");
    }
    let changed = world.post_as(&mia, "/change_password", change("correct horse", "better horse")).await;
    assert_eq!(changed["code"], 0, "{changed}");
    assert_eq!(tablet.close_code().await, 4501);
    let list = json!({"_id": mia.id});
    assert_eq!(world.post_as(&phone, "/friend_list", list.clone()).await["code"], 10, "another device's token");
    let renewed = User { token: changed["data"]["token"].as_str().unwrap().into(), ..mia.clone() };
    for user in [&mia, &renewed] {
        assert_eq!(world.post_as(user, "/friend_list", list.clone()).await["code"], 0);
    }
    assert_eq!(world.post("/friend_list", list).await.1["code"], 0, "the place of the change is proven");
    assert_eq!(log_in(&world, "mia", "correct horse").await["code"], 1);
    assert_eq!(log_in(&world, "mia", "better horse").await["code"], 0);

    // Over the connections, whose end may precede the answer.
    let mut app = world.app(&renewed).await;
    let request = json!({"id": 1, "do": "change_password", "password": "better horse", "new_password": "third horse"});
    app.send(request).await;
    assert_eq!(app.close_code().await, 4501);
    assert_eq!(log_in(&world, "mia", "third horse").await["code"], 0);
    let mut line = Line::open_app(&world, &world.user("tom").await).await;
    let wrong = json!({"do": "change_password", "password": "wrong", "new_password": "third horse"});
    assert_eq!(line.answer(wrong).await["msg"], "wrong username or password");
    // Users cannot change the password of others.
    let eve = world.user("eve").await;
    assert_eq!(world.post_as(&eve, "/change_password", change("third horse", "fourth horse")).await["code"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_resets_a_password() {
    let world = World::start().await;
    let mia = world.user("mia").await;
    let mut app = world.app(&mia).await;
    let printed = world.run(&["user", "password", "mia"]).await;
    assert_eq!(app.close_code().await, 4501);
    assert_eq!(log_in(&world, "mia", "correct horse").await["code"], 1);
    assert_eq!(log_in(&world, "mia", printed.trim()).await["code"], 0, "{printed}");
    assert_eq!(world.post_as(&mia, "/friend_list", json!({"_id": mia.id})).await["code"], 10);

    for (given, is_taken) in [("short\n", false), ("chosen by hand\n", true)] {
        let mut command = world.command(&["user", "password", "mia", "--stdin"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(given.as_bytes()).await.unwrap();
        let output = within("the command", child.wait_with_output()).await.unwrap();
        assert_eq!(output.status.success(), is_taken, "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("chosen"), "it is not shown");
    }
    assert_eq!(log_in(&world, "mia", "chosen by hand").await["code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_guesses_does_not_lock_out_the_owner() {
    let world = World::start_with(&[("TOYHUB_RATES__FAILED_LOGINS_PER_ACCOUNT_PER_MINUTE", "3")]).await;
    world.user("mia").await;
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let stranger = reqwest::Client::builder().local_address(elsewhere).build().unwrap();
    let try_there = async |password: &str| -> Value {
        let body = json!({"username": "mia", "password": password});
        let request = stranger.post(format!("{}/login", world.http())).json(&body);
        within("an answer", request.send()).await.unwrap().json().await.unwrap()
    };
    let mut code = json!(1);
    for _ in 0..5 {
        code = try_there("wrong guess").await["code"].clone();
    }
    assert_eq!(code, 11);
    assert_eq!(try_there("correct horse").await["code"], 11, "nor is the right one tried there");
    assert_eq!(log_in(&world, "mia", "correct horse").await["code"], 0, "from home");
    // Her own failed logins count at her own place.
    for _ in 0..5 {
        code = log_in(&world, "mia", "wrong guess").await["code"].clone();
    }
    assert_eq!(code, 11);
}
