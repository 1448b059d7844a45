//! The rooms keep their direction: who may name whom in a `use` or a path.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_room_knows_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let rules: &[(&str, &[&str])] = &[
        ("model.rs", &["crate::", "tokio", "serde", "hyper", "surrealdb"]),
        ("ports", &["crate::domain", "crate::api", "crate::edge", "crate::server", "crate::config", "crate::command"]),
        (
            "domain",
            &["crate::api", "crate::edge", "crate::server", "crate::command", "hyper", "surrealdb", "rumqttd", "serde"],
        ),
        ("domain", &["whisper_rs"]),
        ("api", &["crate::edge", "crate::server", "crate::command", "crate::ports", "crate::config"]),
        ("api", &["tokio", "hyper", "rumqttd", "tungstenite", "surrealdb"]),
        ("edge", &["crate::server", "crate::command", "surrealdb", "crate::ports::store", "crate::ports::files"]),
        ("edge", &["whisper_rs"]),
        // All clients come in by `net`, which knows none of their protocols.
        ("edge/net", &["edge::http", "edge::mqtt", "edge::ws", "crate::api", "crate::domain", "hyper", "rumqttd"]),
        ("edge/mqtt", &["edge::http", "edge::ws", "hyper", "tungstenite", "rustls", "socket2"]),
        ("edge/http", &["edge::mqtt", "edge::ws", "rumqttd", "rustls", "tungstenite", "TcpListener", "socket2"]),
        ("edge/ws", &["edge::http", "edge::mqtt", "rumqttd", "rustls", "hyper", "TcpListener"]),
        ("edge/http", &["edge::spec"]),
        ("edge/mqtt", &["edge::spec"]),
        ("edge/ws", &["edge::spec"]),
        ("server.rs", &["edge::spec"]),
        ("edge/spec", &["crate::config", "crate::ports", "hyper", "tungstenite", "rumqttd", "tokio"]),
        ("config.rs", &["crate::domain", "crate::edge", "crate::ports"]),
        ("config", &["crate::domain", "crate::edge", "crate::ports"]),
    ];
    let mut checked = 0;
    for file in &files {
        let path = file.strip_prefix(&root).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (number, line) in code.enumerate() {
            for (room, banned) in rules {
                if path.starts_with(room) {
                    checked += 1;
                    let named = banned.iter().find(|name| {
                        line.contains(&format!("{name}::"))
                            || line.contains(&format!("{name};"))
                            || (name.ends_with("::") && line.contains(**name))
                    });
                    assert!(named.is_none(), "{} (code line {number}) names {named:?}: {line}", path.display());
                }
            }
        }
    }
    assert!(checked > 1000, "the rules met only {checked} lines");
}
