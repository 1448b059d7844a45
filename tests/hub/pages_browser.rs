//! The pages of the hub in headless Chromium: a family registers, binds a toy and talks with it, by clicks alone.

use std::path::Path;

use serde_json::json;
use tokio::process::Command;

use crate::browser::{Script, microphone};
use crate::clients::{installed, succeeds};
use crate::mqtt::{Raw, V4, publish};
use crate::relay::Relay;
use crate::sound;
use crate::spoken_model;
use crate::world::World;

/// The libraries of the pages, of whose types only the names are known.
const LIBRARIES: [(&str, &str); 3] = [
    (
        "preact",
        "export const html: any, render: any, useEffect: any, useReducer: any, useRef: any;\n\
         export function useState<T>(first: T): [any, (next: any) => void];",
    ),
    ("mqtt", "declare const mqtt: any;\nexport default mqtt;"),
    ("jsqr", "export {};"),
];

/// Copies the modules of a folder of pages, without the libraries.
fn copy_modules(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() && name != "vendor" {
            copy_modules(&path, &to.join(name));
        } else if path.extension().is_some_and(|extension| extension == "js") {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn the_types_of_all_modules_fit() {
    let folder = tempfile::tempdir().unwrap();
    copy_modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pages"), folder.path());
    let vendor = folder.path().join("vendor");
    std::fs::create_dir(&vendor).unwrap();
    for (name, types) in LIBRARIES {
        std::fs::write(vendor.join(format!("{name}.d.ts")), types).unwrap();
    }
    let options = json!({
        "compilerOptions": {
            "allowJs": true, "checkJs": true, "noEmit": true, "types": [], "target": "esnext", "module": "esnext",
            "moduleResolution": "bundler", "lib": ["esnext", "dom", "dom.iterable"],
        },
    });
    std::fs::write(folder.path().join("tsconfig.json"), options.to_string()).unwrap();
    let compiler = || {
        let mut command = Command::new("node");
        command.arg(installed("node_modules/typescript/bin/tsc")).arg("--project").arg(folder.path());
        command
    };
    assert_eq!(succeeds(compiler()).await, "");
    std::fs::write(folder.path().join("wrong.js"), "document.title = 5;\n").unwrap();
    assert!(!compiler().output().await.unwrap().status.success(), "the compiler finds faults");
}

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
async fn the_app_opens_without_a_connection_and_continues() {
    let world = World::start().await;
    let relay = Relay::to(world.http_addr()).await;
    let mut script = Script::start("offline.mjs", [&relay.http()]);
    script.step("kept").await;
    relay.cut();
    script.step("opened without the hub").await;
    relay.mend(world.http_addr());
    script.step("back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_fits_every_screen_and_is_used_by_keyboard() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.bin"), spoken_model::saying("what time is it")).unwrap();
    let world = World::start_in(folder, &[("TOYHUB_SPEECH__MODEL", "model.bin")]).await;
    let (mia, tom) = (world.user("mia").await, world.user("tom").await);
    let toy = world.toy(&mia, "Fluffy").await;
    let to = |path, field, from: &str, to: &str, tone| {
        let (fields, sound) = ([("user_id", from.to_owned()), ("to_user", to.to_owned())], sound::tone(tone));
        let world = &world;
        async move {
            let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
            assert_eq!(world.upload(path, field, sound, &fields).await["code"], 0);
        }
    };
    for tone in 0..2 {
        to("/app_uploader", "reco_file", &mia.id, &toy.id, tone).await;
    }
    // The toy has heard these.
    let (status, _) = world.post("/recv_msg", json!({"from_user": mia.id, "to_user": toy.id})).await;
    assert_eq!(status, 200);
    for tone in 2..4 {
        to("/toy_uploader", "reco", &toy.id, &mia.id, tone).await;
    }
    let wish = json!({
        "req_user": tom.id, "add_user": mia.id, "type": "app", "req_info": "We met at the playground", "remark": "Mia",
    });
    assert_eq!(world.post_as(&tom, "/add_req", wish).await["code"], 0);
    let (song, cover) = (world.folder().join("song.wav"), world.folder().join("cover.png"));
    std::fs::write(&song, sound::wav()).unwrap();
    std::fs::copy(world.data_dir().join(format!("files/qr/{}.png", toy.device_key)), &cover).unwrap();
    let [song, cover] = [&song, &cover].map(|path| path.to_str().unwrap());
    world.run(&["content", "add", song, "--title", "The Bear's Lullaby", "--cover", cover]).await;
    world.run(&["toy", "content", &toy.id, "approved"]).await;
    let mut board = Raw::connected(world.mqtt_addr(), V4, "board", &toy.device_key, &toy.secret).await;
    for (id, key, value) in [(1, "battery", "83"), (2, "volume", "40")] {
        board.send(&publish(V4, 0x33, &format!("toy/{}/state/{key}", toy.id), id, value.as_bytes())).await;
        board.expect(0x40, &id.to_be_bytes()).await;
    }
    let (key, secret) = world.device().await;
    let (microphone, _) = microphone(world.folder());
    // What a camera sees that is held before the code.
    let (code, camera) = (world.data_dir().join(format!("files/qr/{key}.png")), world.folder().join("camera.y4m"));
    let mut film = Command::new("ffmpeg");
    film.args(["-nostdin", "-loglevel", "error", "-loop", "1", "-i"]).arg(code);
    film.args(["-t", "1", "-r", "5", "-vf", "scale=480:480,pad=640:480:80:0:white", "-pix_fmt", "yuv420p"])
        .arg(&camera);
    succeeds(film).await;
    let [microphone, camera] = [&microphone, &camera].map(|path| path.to_str().unwrap());
    let http = world.http();
    let arguments = [&http, "correct horse", &toy.device_key, &toy.secret, &key, &secret, microphone, camera];
    let mut script = Script::start("looks.mjs", arguments);
    let mut looks = 0;
    while script.next("the next look").await["step"] != "keyboard" {
        looks += 1;
    }
    assert!(looks > 20, "{looks}");
}

/// `scripts/bench pages`
#[tokio::test]
#[ignore = "figures"]
async fn figures() {
    let world = World::start().await;
    let mut script = Script::start("interactive.mjs", [&world.http()]);
    for path in ["/", "/toy"] {
        let seen = script.step("interactive").await;
        let (seconds, slowest) = (seen["seconds"].as_f64().unwrap(), seen["slowest"].as_f64().unwrap());
        println!("{path}: usable after {seconds:.2} s, at most {slowest:.2} s; {} bytes", seen["bytes"]);
        assert_eq!(seen["path"], path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_uses_the_pages_alone() {
    let world = World::start().await;
    let ((key, secret), (other_key, other_secret)) = (world.device().await, world.device().await);
    let relay = Relay::to(world.http_addr()).await;
    let (microphone, _) = microphone(world.folder());
    let (hub, microphone) = (relay.http(), microphone.to_str().unwrap());
    let arguments = [hub.as_str(), &key, &secret, &other_key, &other_secret, microphone];
    let mut script = Script::start("pages.mjs", arguments);
    for path in ["/", "/toy"] {
        let loaded = script.step("loaded").await;
        assert_eq!(loaded["path"], path);
        println!("first load of {path}: {} bytes", loaded["bytes"]);
    }
    let first = script.step("first message").await;
    println!("first message {} s after the page was opened", first["seconds"]);
    for name in ["answered", "viewed", "toys talked", "befriended", "recording"] {
        script.step(name).await;
    }
    relay.cut();
    script.step("kept").await;
    relay.mend(world.http_addr());
    for name in ["sent later", "logged out", "refused in words"] {
        script.step(name).await;
    }
}
