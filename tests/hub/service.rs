//! The hub as a service: signals, exit codes, notifications of systemd, and monitoring.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixDatagram};

use crate::transport;
use crate::world::{World, within};

/// The notification socket of systemd.
struct Systemd(UnixDatagram);

impl Systemd {
    /// A world whose hub is a service; `files` are in its folder.
    async fn start(files: &[(&str, &str)], settings: &[(&'static str, &'static str)]) -> (World, Self) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self::start_in(folder, settings).await
    }

    async fn start_in(folder: TempDir, settings: &[(&'static str, &'static str)]) -> (World, Self) {
        let path = folder.path().join("notify.sock");
        let systemd = Self(UnixDatagram::bind(&path).unwrap());
        let socket = [("NOTIFY_SOCKET", &*String::leak(path.to_str().unwrap().to_owned()))];
        let world = World::start_in(folder, &[&socket, settings].concat()).await;
        assert_eq!(systemd.told().await, "READY=1\n");
        (world, systemd)
    }

    /// The next notification.
    async fn told(&self) -> String {
        let mut buffer = [0; 4096];
        let length = within("a notification", self.0.recv(&mut buffer)).await.unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_changes_the_log_and_a_wrong_filter_changes_nothing() {
    let log = |filter: &str| format!("[server]\nlog = \"{filter}\"\n");
    let (mut world, systemd) = Systemd::start(&[("broker.toml", &log("warn"))], &[]).await;
    let reload = async |text: &str| {
        std::fs::write(world.config_file(), text).unwrap();
        world.signal("HUP").await;
        let began = systemd.told().await;
        assert!(began.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{began}");
        assert_eq!(systemd.told().await, "READY=1\n");
    };
    // Each request is logged at level info, with its path.
    assert_eq!(world.watch("/healthz").await, (200, json!({"ok": true})));
    reload(&log("info")).await;
    assert_eq!(world.watch("/livez").await, (200, json!({"ok": true})));
    reload(&log("toyhub=loud")).await;
    reload("[server]\nlog = \"off\"\nlogg = 1\n").await;
    assert_eq!(world.watch("/readyz").await.0, 200);
    assert_eq!(world.stop().await, Some(0));
    assert_eq!(systemd.told().await, "STOPPING=1\n");

    let written = std::fs::read_to_string(world.log()).unwrap();
    let has = |text: &str| written.contains(text);
    assert!(!has("/healthz") && has("/livez") && has("/readyz"), "{written}");
    assert!(
        has("the log filter was not changed") && has("server.log: ") && has("server.logg is not a known key"),
        "{written}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_the_certificate() {
    let seldom = [("TOYHUB_NET__TLS_RELOAD_INTERVAL_S", "86400")];
    let (world, systemd) = Systemd::start_in(transport::tls_folder(), &[transport::TLS, &seldom].concat()).await;
    let (old, new) = (world.folder().join("ca.pem"), world.folder().join("next.pem"));
    assert!(transport::open_tls(world.mqtts_addr(), &old).await.is_ok());
    transport::make_ca(world.folder(), "next");
    transport::make_certificate(world.folder(), "next", "hub");
    world.signal("HUP").await;
    assert!(systemd.told().await.starts_with("RELOADING=1\n"));
    assert_eq!(systemd.told().await, "READY=1\n");
    assert!(transport::open_tls(world.mqtts_addr(), &new).await.is_ok());
    assert!(transport::open_tls(world.mqtts_addr(), &old).await.is_err(), "the old one is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_stop_that_takes_too_long() {
    let patient = [
        ("TOYHUB_SERVER__SHUTDOWN_TIMEOUT_S", "3600"),
        ("TOYHUB_HTTP__BODY_PAUSE_TIMEOUT_S", "3600"),
        ("TOYHUB_HTTP__REQUEST_TIMEOUT_S", "3600"),
    ];
    let (mut world, systemd) = Systemd::start(&[], &patient).await;
    // A request whose body never ends. The hub has sent `100 Continue`, and waits for it.
    let mut request = TcpStream::connect(world.http_addr()).await.unwrap();
    let head = "POST /login HTTP/1.1\r\nHost: hub\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n";
    request.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within("100 Continue", request.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    world.signal("TERM").await;
    assert_eq!(systemd.told().await, "STOPPING=1\n");
    // Simultaneous signals count once; so this is repeated until one counts.
    let ended = async {
        while world.is_running() {
            world.signal("TERM").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the hub to end", ended).await;
    assert_eq!(world.ended().await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_is_sent_twice_at_once_counts_once() {
    let (mut world, systemd) = Systemd::start(&[], &[]).await;
    let mut request = TcpStream::connect(world.http_addr()).await.unwrap();
    let head = "POST /content_list HTTP/1.1\r\nHost: hub\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    request.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within("100 Continue", request.read_exact(&mut answer)).await.unwrap();
    let id = world.id().to_string();
    let kill = tokio::process::Command::new("kill").args(["-s", "TERM", &id, &id]).status();
    assert!(kill.await.unwrap().success());
    assert_eq!(systemd.told().await, "STOPPING=1\n");
    // It still ends cleanly: running calls are answered.
    request.write_all(b"{}").await.unwrap();
    let mut rest = String::new();
    within("the answer", request.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.contains("HTTP/1.1 200") && rest.contains("\"code\":0"), "{rest}");
    assert_eq!(world.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_notified_while_the_hub_works() {
    let (mut world, systemd) = Systemd::start(&[], &[("WATCHDOG_USEC", "100000")]).await;
    for _ in 0..5 {
        assert_eq!(systemd.told().await, "WATCHDOG=1\n");
    }
    world.signal("TERM").await;
    while systemd.told().await != "STOPPING=1\n" {}
    assert_eq!(world.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_distinguishes_wrong_arguments_from_a_failed_start() {
    let world = World::start().await;
    let run = async |arguments: &[&str]| within("the program", world.command(arguments).output()).await.unwrap();
    assert_eq!(run(&["serv"]).await.status.code(), Some(2));
    assert_eq!(run(&["serve"]).await.status.code(), Some(1), "another hub runs on this data");
    let help = String::from_utf8(run(&["--help"]).await.stdout).unwrap();
    for line in [
        "  0  done",
        "  1  the command failed",
        "  2  wrong",
        "  3  the hub was stopped at once",
        "  4  the hub",
        "  5  ",
    ] {
        assert!(help.contains(line), "{help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_part_is_named_and_the_process_stays_alive() {
    let mut world = World::start().await;
    let (status, health) = world.watch("/readyz").await;
    let parts = &health["parts"];
    assert_eq!((status, &health["ready"]), (200, &json!(true)));
    for part in ["store", "disk", "sessions"] {
        assert_eq!(parts[part], json!({"state": "ok"}), "{part}");
    }
    assert_eq!(parts["speech"], json!({"state": "off"}), "no model in this folder");
    assert_eq!(world.stop().await, Some(0));

    std::fs::write(world.folder().join("model.bin"), "not a model").unwrap();
    world.set("TOYHUB_SPEECH__MODEL", "model.bin");
    world.start_hub().await;
    // The hub serves while it loads the model.
    let health = world.wait_ready(false).await;
    assert_eq!(world.watch("/readyz").await.0, 503);
    assert_eq!(health["parts"]["speech"]["state"], "failed");
    assert!(health["parts"]["speech"]["reason"].as_str().unwrap().contains("speech model"));
    for path in ["/healthz", "/livez"] {
        assert_eq!(world.watch(path).await, (200, json!({"ok": true})));
    }
}
