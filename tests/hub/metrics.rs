//! The figures of the console's listener, fetched by `curl` and read by Prometheus' own parser.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::clients::{installed, script};
use crate::mqtt::{Raw, V4, connect, connect_with, publish, subscribe};
use crate::sound;
use crate::world::{World, within};

async fn curl(arguments: &[&str], url: &str) -> String {
    let mut command = Command::new("curl");
    let output = within("curl", command.args(["-sS"]).args(arguments).arg(url).output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub async fn metrics(world: &World) -> String {
    curl(&["--fail"], &format!("{}/metrics", world.console())).await
}

/// The value of a line that begins like this.
pub fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

/// Whether Prometheus' own parser accepts a text, and its complaint.
async fn parsed(text: &str) -> (bool, String) {
    let mut command = Command::new(installed("venv/bin/python"));
    command.arg(script("metrics.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the parser starts");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).await.unwrap();
    drop(stdin);
    let output = within("the parser", child.wait_with_output()).await.unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_count_what_happens_and_name_nobody() {
    let world = World::start().await;
    let before = metrics(&world).await;
    for series in ["toyhub_connections{protocol=\"mqtt\"}", "toyhub_published_total", "toyhub_decode_seconds_count"] {
        value(&before, series);
    }
    let parent = world.user("brunhilde").await;
    let toy = world.toy(&parent, "Griselda").await;
    let _app = world.app(&parent).await;
    let mut client = Raw::connected(world.mqtt_addr(), V4, "griselda-board", &toy.device_key, &toy.secret).await;
    client.send(&subscribe(V4, 9, &[(&format!("toy/{}/in", toy.id), 1)])).await;
    client.expect(0x90, &[0, 9, 1]).await;
    let topic = format!("toy/{}/state/battery", toy.id);
    for id in 1..=3 {
        client.send(&publish(V4, 0x33, &topic, id, b"50")).await;
        client.expect(0x40, &id.to_be_bytes()).await;
    }
    client.send(&publish(V4, 0x30, &topic, 0, b"49")).await;
    let fields = [("user_id", parent.id.as_str()), ("to_user", &toy.id), ("token", &parent.token)];
    assert_eq!(world.upload("/app_uploader", "reco_file", sound::wav(), &fields).await["code"], 0);
    assert_eq!(client.packet().await.0, 0x32, "the event of the message");
    assert_eq!(world.upload("/app_uploader", "reco_file", b"no sound".to_vec(), &fields).await["code"], 13);
    let mut stranger = Raw::open(world.mqtt_addr()).await;
    stranger.send(&connect(V4, "stranger", &toy.device_key, "wrong")).await;
    let (kind, answer) = stranger.packet().await;
    assert!(kind == 0x20 && answer[1] != 0, "{answer:?}");

    // Packets of QoS 0 are not acknowledged.
    let text = within("the figures", async {
        loop {
            let text = metrics(&world).await;
            if value(&text, "toyhub_messages_received_total{protocol=\"mqtt\",qos=\"0\"}") == 1.0 {
                return text;
            }
        }
    });
    let text = text.await;
    for (series, expected) in [
        ("toyhub_messages_received_total{protocol=\"mqtt\",qos=\"1\"}", 3.0),
        ("toyhub_messages_received_total{protocol=\"mqtt\",qos=\"2\"}", 0.0),
        ("toyhub_messages_sent_total{protocol=\"mqtt\",qos=\"1\"}", 1.0),
        ("toyhub_connections{protocol=\"app\"}", 1.0),
        ("toyhub_connections{protocol=\"legacy\"}", 0.0),
        ("toyhub_connections_accepted_total{protocol=\"mqtt\"}", 2.0),
        ("toyhub_connections_refused_total{protocol=\"mqtt\",reason=\"login\"}", 1.0),
        ("toyhub_refusals_total{code=\"13\"}", 1.0),
        ("toyhub_decode_seconds_count", 2.0),
        ("toyhub_recognise_seconds_count", 0.0),
        ("toyhub_part_up{part=\"store\"}", 1.0),
        ("toyhub_queued_messages", 0.0),
        ("toyhub_dropped_total{queue=\"memory\"}", 0.0),
        ("toyhub_sessions{state=\"away\"}", 0.0),
    ] {
        assert_eq!(value(&text, series), expected, "{series} in {text}");
    }
    for series in [
        "toyhub_store_commit_seconds_count",
        "toyhub_store_statement_seconds_count",
        "toyhub_sessions_commit_seconds_count",
        "toyhub_file_write_seconds_count",
        "toyhub_disk_free_bytes",
        "toyhub_calls_total",
        "toyhub_delivered_total",
        "toyhub_retained_messages",
    ] {
        assert!(value(&text, series) >= 1.0, "{series} in {text}");
    }
    let (is_good, said) = parsed(&text).await;
    assert!(is_good && said.is_empty(), "{said}");
    let (is_good, _) = parsed("toyhub_x{ 1\n").await;
    assert!(!is_good, "the parser finds faults");
    let private = [&parent.id, &toy.id, &toy.device_key, "brunhilde", "Griselda", "griselda", "battery", "127.0.0.1"];
    for word in private {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_counted_with_and_without_their_connection() {
    let world = World::start().await;
    let toy = world.bound_toy("fluffy").await;
    let mut client = Raw::open(world.mqtt_addr()).await;
    client.send(&connect_with(V4, 0xc0, 60, &[], "board", &[], &toy.device_key, &toy.secret)).await;
    client.expect(0x20, &[0, 0]).await;
    assert_eq!(value(&metrics(&world).await, "toyhub_sessions{state=\"connected\"}"), 1.0);
    drop(client);
    let left = async { while value(&metrics(&world).await, "toyhub_sessions{state=\"away\"}") != 1.0 {} };
    within("the end of the connection", left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_serves_only_its_own_paths_under_its_own_names() {
    let world = World::start_with(&[("TOYHUB_CONSOLE__HOSTS", "toys.example")]).await;
    let status = async |arguments: &[&str], path: &str| {
        let shown = ["-o", "/dev/null", "-w", "%{http_code}"];
        curl(&[&shown, arguments].concat(), &format!("{}{path}", world.console())).await
    };
    assert_eq!(status(&[], "/metrics").await, "200");
    assert_eq!(status(&["-I"], "/metrics").await, "200");
    assert_eq!(status(&["-d", "x=1"], "/metrics").await, "405");
    assert_eq!(status(&[], "/").await, "303", "to the console");
    for path in ["/user_list", "/healthz", "/metrics/", "/get_chat/x"] {
        assert_eq!(status(&[], path).await, "404", "{path}");
    }
    assert_eq!(status(&["-H", "Host: toys.example:9529"], "/metrics").await, "200");
    for host in ["evil.example", "127.0.0.1.evil.example", ""] {
        assert_eq!(status(&["-H", &format!("Host: {host}")], "/metrics").await, "421", "{host}");
    }
    // The families' listeners have no such path.
    assert_eq!(world.watch("/metrics").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_names_existing_figures() {
    let world = World::start().await;
    // One refusal, as codes without any are not listed.
    assert_eq!(world.post("/nothing", serde_json::json!({})).await.0, 404);
    let text = metrics(&world).await;
    let known: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let mut used = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            let named: Vec<&str> = words.filter(|word| word.starts_with("toyhub_")).collect();
            assert!(!named.is_empty(), "{query}");
            for name in named {
                assert!(known.contains(name), "{name} of {query} is none of {known:?}");
                used.insert(name.to_owned());
            }
        }
    }
    assert!(used.len() > 15, "{used:?}");
    // Every figure is described for the operator.
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operation.md")).unwrap();
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/operation.md");
    }
}
