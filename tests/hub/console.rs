//! The calls of the operator's console: its password, its sessions, and requests of others.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::clients::succeeds;
use crate::transport::{TLS, tls_folder};
use crate::world::{World, within};

/// An answer of the console.
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

/// Calls the console; a body makes it a change.
async fn call(
    world: &World,
    name: &str,
    headers: &[(reqwest::header::HeaderName, &str)],
    body: Option<Value>,
) -> Answer {
    let url = format!("{}/console/api/{name}", world.console());
    let mut request = match body {
        Some(body) => world.client().post(url).json(&body),
        None => world.client().get(url),
    };
    for (header, value) in headers {
        request = request.header(header, *value);
    }
    let response = within(name, request.send()).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: response.json().await.unwrap_or_default() }
}

async fn login(world: &World, password: &str) -> Answer {
    call(world, "login", &[], Some(json!({"password": password}))).await
}

async fn session(world: &World, password: &str) -> String {
    let answer = login(world, password).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    format!("Bearer {}", answer.body["token"].as_str().unwrap())
}

async fn status(world: &World, name: &str, session: &str, body: Option<Value>) -> u16 {
    call(world, name, &[(AUTHORIZATION, session)], body).await.status
}

#[tokio::test]
async fn without_a_session_the_console_answers_nothing() {
    let world = World::start().await;
    for name in
        ["overview", "history", "connections", "topics", "devices", "users", "content", "speech", "refusals", "log"]
    {
        for token in ["", "Bearer ", "Bearer 0123", "Basic 0123"] {
            let answer = call(&world, name, &[(AUTHORIZATION, token)], None).await;
            assert_eq!((answer.status, &answer.body["code"]), (401, &json!(10)), "{name}");
        }
    }
    for name in ["backup", "password", "devices/add", "users/password", "users/erase", "content", "hear", "logout"] {
        assert_eq!(call(&world, name, &[], Some(json!({"username": "x"}))).await.status, 401, "{name}");
    }
    // A token of a family is none of the operator.
    let user = world.user("parent").await;
    assert_eq!(status(&world, "overview", &format!("Bearer {}", user.token), None).await, 401);
    assert_eq!(login(&world, "").await.status, 400);
    let token = session(&world, world.operator_password()).await;
    for (name, body, expected) in [
        ("overview", None, 200),
        ("nothing", None, 404),
        ("nothing", Some(json!({})), 404),
        ("login", None, 405),
        ("devices/add", Some(json!({"count": 0})), 400),
        ("devices/add", Some(json!({"count": 1001})), 400),
        ("devices/add", Some(json!({"count": "many"})), 400),
        ("devices/sheet", Some(json!({"keys": []})), 400),
        ("devices/sheet", Some(json!({"keys": ["0123"]})), 400),
        ("devices/renew", Some(json!({"key": "x"})), 409),
        ("users/erase", Some(json!({"username": "nobody"})), 409),
        ("users/erase", Some(json!({})), 400),
        ("backup", Some(json!({})), 409),
        ("content/sound?name=../hub.toml", None, 404),
        ("content/sound?name=none.mp3", None, 404),
        ("connections?search=%00", None, 200),
        ("log?from=x", None, 400),
    ] {
        assert_eq!(status(&world, name, &token, body).await, expected, "{name}");
    }
    let plain = [(AUTHORIZATION, token.as_str()), (CONTENT_TYPE, "text/plain")];
    let url = format!("{}/console/api/devices/add", world.console());
    let mut request = world.client().post(url).body("{\"count\":1}");
    for (header, value) in plain {
        request = request.header(header, value);
    }
    assert_eq!(request.send().await.unwrap().status(), 415, "a form of another page has this type");
    assert_eq!(status(&world, "logout", &token, Some(json!({}))).await, 200);
    assert_eq!(status(&world, "overview", &token, None).await, 401);
}

#[tokio::test]
async fn after_too_many_wrong_passwords_the_right_one_is_refused_too() {
    let world = World::start_with(&[("TOYHUB_CONSOLE__FAILED_LOGINS_PER_MINUTE", "3")]).await;
    let token = session(&world, world.operator_password()).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let answer = login(&world, "wrong horse").await;
        statuses.push(answer.status);
        if answer.status == 403 {
            assert_eq!(answer.body["msg"], "wrong password");
        }
    }
    assert_eq!(statuses, [403, 403, 403, 403, 429]);
    let answer = login(&world, world.operator_password()).await;
    assert_eq!(answer.status, 429);
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 61);
    assert_eq!(status(&world, "overview", &token, None).await, 200, "the session of before continues");
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let mut world = World::start().await;
    let first = world.operator_password().to_owned();
    let [one, other] = [session(&world, &first).await, session(&world, &first).await];
    let change = |old: &str, new: &str| Some(json!({"old": old, "new": new}));
    assert_eq!(status(&world, "password", &one, change("wrong horse", "a better password")).await, 403);
    for bad in ["short", "operator", "password1", "          "] {
        assert_eq!(status(&world, "password", &one, change(&first, bad)).await, 400, "{bad}");
    }
    assert_eq!(status(&world, "password", &one, change(&first, "a better password")).await, 200);
    assert_eq!(status(&world, "overview", &one, None).await, 200);
    assert_eq!(status(&world, "overview", &other, None).await, 401);
    assert_eq!(login(&world, &first).await.status, 403);

    // The command line needs no password. It ends all sessions.
    let second = world.run(&["console-password"]).await.trim().to_owned();
    assert_eq!(status(&world, "overview", &one, None).await, 401);
    assert_eq!(login(&world, "a better password").await.status, 403);
    let token = session(&world, &second).await;
    // Sessions end with the process. The password is not made and printed again.
    world.stop().await;
    world.start_hub().await;
    assert_eq!(world.operator_password(), first, "none was printed");
    assert_eq!(status(&world, "overview", &token, None).await, 401);
    session(&world, &second).await;
    // Without the hub, too.
    world.stop().await;
    let third = world.run(&["console-password"]).await.trim().to_owned();
    world.start_hub().await;
    session(&world, &third).await;
}

#[tokio::test]
async fn an_unused_session_ends_although_its_page_looks_from_time_to_time() {
    let world = World::start_with(&[("TOYHUB_CONSOLE__SESSIONS_MAX", "2")]).await;
    let tokens = [session(&world, world.operator_password()).await, session(&world, world.operator_password()).await];
    let background = reqwest::header::HeaderName::from_static("x-toyhub-background");
    let looks = [(AUTHORIZATION, tokens[0].as_str()), (background, "1")];
    assert_eq!(call(&world, "overview", &looks, None).await.status, 200);
    // It was not used since, so it is the one that makes room.
    assert_eq!(status(&world, "overview", &tokens[1], None).await, 200);
    session(&world, world.operator_password()).await;
    assert_eq!(status(&world, "overview", &tokens[0], None).await, 401);
    assert_eq!(status(&world, "overview", &tokens[1], None).await, 200);
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let world = World::start().await;
    let token = session(&world, world.operator_password()).await;
    let site = reqwest::header::HeaderName::from_static("sec-fetch-site");
    let evil = [
        (HOST, "evil.example"),
        (ORIGIN, "http://evil.example"),
        (ORIGIN, "null"),
        (site.clone(), "cross-site"),
        (site, "same-site"),
    ];
    for (header, value) in evil {
        let headers = [(AUTHORIZATION, token.as_str()), (header.clone(), value)];
        let expected = if header == HOST { 421 } else { 403 };
        assert_eq!(call(&world, "overview", &headers, None).await.status, expected, "{header}: {value}");
        let right = Some(json!({"password": world.operator_password()}));
        assert_eq!(call(&world, "login", &headers, right).await.status, expected, "{header}: {value}");
        let answer = call(&world, "devices/add", &headers, Some(json!({"count": 1}))).await;
        assert_eq!(answer.status, expected, "{header}: {value}");
        assert!(answer.headers.get("access-control-allow-origin").is_none());
    }
    assert_eq!(world.run(&["device", "list"]).await, "");
    for path in ["/console", "/console/api/overview", "/metrics", "/nothing"] {
        let answer = world.client().get(format!("{}{path}", world.console())).send().await.unwrap();
        let headers = answer.headers();
        assert_eq!(
            (&headers["x-frame-options"], &headers["x-content-type-options"]),
            (&"DENY".parse().unwrap(), &"nosniff".parse().unwrap())
        );
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
    }
    // The console is nowhere else.
    for path in ["/console", "/console/api/overview"] {
        let answer = world.client().get(format!("{}{path}", world.http())).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn no_secret_is_in_the_log_that_the_console_shows() {
    let world = World::start_with(&[("TOYHUB_SERVER__LOG", "debug,surrealdb=off")]).await;
    let token = session(&world, world.operator_password()).await;
    login(&world, "wrong horse").await;
    let user = world.user("brunhilde").await;
    let toy = world.toy(&user, "Griselda").await;
    let batch = call(&world, "devices/add", &[(AUTHORIZATION, &token)], Some(json!({"count": 2}))).await.body;
    let secrets = batch["devices"].as_array().unwrap().iter().map(|device| device["secret"].as_str().unwrap());
    let code = call(&world, "users/password", &[(AUTHORIZATION, &token)], Some(json!({"username": "brunhilde"}))).await;
    let code = code.body["lines"][0].as_str().unwrap().to_owned();
    let log = call(&world, "log", &[(AUTHORIZATION, &token)], None).await.body.to_string();
    assert!(log.contains("the operator has logged in to the console"), "{log}");
    let own = [world.operator_password(), "wrong horse", &token["Bearer ".len()..], &user.token, &toy.secret, &code];
    for secret in own.into_iter().chain(secrets).chain(["Griselda", "correct horse"]) {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_console_is_served_over_tls() {
    let settings = [("TOYHUB_CONSOLE__LISTEN", ""), ("TOYHUB_CONSOLE__TLS_LISTEN", "127.0.0.1:0")];
    let world = World::start_in(tls_folder(), &[TLS, &settings].concat()).await;
    let port = world.addresses("consoles=")[0].port();
    for (path, expected) in [("/console", "200"), ("/console/api/overview", "401"), ("/metrics", "200")] {
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]).arg(world.folder().join("ca.pem"));
        command.arg(format!("https://localhost:{port}{path}"));
        assert_eq!(succeeds(command).await, expected, "{path}");
    }
    world.operator_password();
}

#[tokio::test]
async fn a_console_without_a_listener_has_no_password() {
    let mut world = World::start_with(&[("TOYHUB_CONSOLE__LISTEN", "")]).await;
    assert!(world.addresses("console=").is_empty());
    world.stop().await;
    world.set("TOYHUB_CONSOLE__LISTEN", "127.0.0.1:0");
    world.start_hub().await;
    session(&world, world.operator_password()).await;
}
