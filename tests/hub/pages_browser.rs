//! The pages of the hub in headless Chromium: a family registers, binds a toy and talks with it, by clicks alone.

use crate::browser::{Script, microphone};
use crate::relay::Relay;
use crate::world::World;

#[tokio::test]
async fn pages_have_a_strict_policy_and_can_be_turned_off() {
    let world = World::start().await;
    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("http://{}{path}", world.http_addr()));
    for path in ["/", "/toy", "/demo"] {
        let answer = get(path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let headers = answer.headers().clone();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(headers["permissions-policy"].to_str().unwrap().contains("microphone=(self)"));
        let again = get(path).header("If-None-Match", &headers["etag"]).send().await.unwrap();
        assert_eq!(again.status(), 304, "{path}");
        // A script of the page, compressed for a client that accepts it.
        let text = answer.text().await.unwrap();
        let script = text.split("src=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let script = get(&script).header("Accept-Encoding", "gzip").send().await.unwrap();
        assert_eq!((script.status().as_u16(), &script.headers()["content-encoding"]), (200, &"gzip".parse().unwrap()));
        assert!(script.headers()["cache-control"].to_str().unwrap().contains("immutable"));
        // A client of the API that posts to a page has the wrong path.
        let (status, answer) = world.post(path, serde_json::json!({})).await;
        assert_eq!((status, &answer["code"]), (404, &serde_json::json!(24)), "{path}");
    }
    assert_eq!(get("/web/0123456789abcdef/app.js").send().await.unwrap().status(), 404);

    let without = World::start_with(&[("TOYHUB_HTTP__PAGES", "false")]).await;
    for path in ["/", "/toy", "/demo"] {
        let answer = client.get(format!("http://{}{path}", without.http_addr())).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_uses_the_pages_alone() {
    let world = World::start().await;
    let (key, secret) = world.device().await;
    let relay = Relay::to(world.http_addr()).await;
    let (microphone, _) = microphone(world.folder());
    let mut script = Script::start("pages.mjs", [&relay.http(), &key, &secret, microphone.to_str().unwrap()]);
    for path in ["/", "/toy"] {
        let loaded = script.step("loaded").await;
        assert_eq!(loaded["path"], path);
        println!("first load of {path}: {} bytes", loaded["bytes"]);
    }
    let first = script.step("first message").await;
    println!("first message {} s after the page was opened", first["seconds"]);
    for name in ["answered", "viewed", "befriended", "recording"] {
        script.step(name).await;
    }
    relay.cut();
    script.step("kept").await;
    relay.mend(world.http_addr());
    for name in ["sent later", "logged out", "refused in words"] {
        script.step(name).await;
    }
}
