//! The rooms keep their direction: who may name whom in a `use` or a path, and what a room may not do.

use std::path::{Path, PathBuf};

/// What no file below a path may name: a path of the crate or of another crate, or a part of one.
const BANS: &[(&str, &[&str])] = &[
    ("model.rs", &["crate::config", "crate::ports", "crate::domain", "crate::api", "crate::edge", "crate::server"]),
    ("model.rs", &["tokio", "serde", "hyper", "surrealdb"]),
    ("ports", &["crate::domain", "crate::api", "crate::edge", "crate::server", "crate::config", "crate::command"]),
    ("domain", &["crate::api", "crate::edge", "crate::server", "crate::command", "hyper", "surrealdb", "rumqttd"]),
    ("domain", &["serde", "serde_json", "whisper_rs"]),
    ("api", &["crate::edge", "crate::server", "crate::command", "crate::ports", "crate::config"]),
    ("api", &["tokio", "hyper", "rumqttd", "tokio_tungstenite", "surrealdb"]),
    ("edge", &["crate::server", "crate::command", "surrealdb", "whisper_rs"]),
    // All clients come in by `net`, which knows none of their protocols.
    ("edge/net", &["edge::http", "edge::mqtt", "edge::ws", "crate::api", "crate::domain", "hyper", "rumqttd"]),
    ("edge/mqtt", &["edge::http", "edge::ws", "hyper", "tokio_tungstenite", "rustls", "socket2"]),
    ("edge/http", &["edge::mqtt", "edge::ws", "rumqttd", "rustls", "tokio_tungstenite", "TcpListener", "socket2"]),
    ("edge/ws", &["edge::http", "edge::mqtt", "rumqttd", "rustls", "hyper", "TcpListener"]),
    ("edge/http", &["edge::spec"]),
    ("edge/mqtt", &["edge::spec"]),
    ("edge/ws", &["edge::spec"]),
    ("server.rs", &["edge::spec"]),
    ("edge/spec", &["crate::config", "crate::ports", "hyper", "tokio_tungstenite", "rumqttd", "tokio"]),
    ("config.rs", &["crate::domain", "crate::edge", "crate::ports"]),
    ("config", &["crate::domain", "crate::edge", "crate::ports"]),
    // The domain reads no clock: edges pass the time in. Limits of rate and the timer of the sweep count time that
    // passes, which is none of the day.
    ("domain", &["SystemTime::now"]),
    // An event is a type until an edge encodes it: JSON text is read where it comes from a client, a file or a program.
    ("edge/mqtt", &["serde_json::from_slice", "serde_json::from_str"]),
    ("edge/ws", &["serde_json::from_slice", "serde_json::from_str"]),
    ("ports/router", &["serde_json"]),
];

/// Of a room, what an edge may name. Everything else of the room is closed to it.
const OPEN: &[(&str, &str, &[&str])] = &[
    // The mailbox that `Hub::connect` gives, with what comes out of it.
    ("edge", "crate::ports", &["crate::ports::router"]),
    ("edge/net", "crate::ports", &["crate::ports::pem"]),
];

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

/// The path of the module that a file is: `edge/http/mod.rs` and `edge/http.rs` are `crate::edge::http`.
fn module_of(file: &Path) -> Vec<String> {
    let mut module = vec!["crate".to_owned()];
    module.extend(file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()));
    if module.last().is_some_and(|last| last == "mod" || last == "lib" || last == "main") {
        module.pop();
    }
    module
}

/// The code of a file, statement by statement as far as `use` is concerned, with `self::` and `super::` written out.
fn statements(text: &str, module: &[String]) -> Vec<String> {
    let (mut found, mut using, mut inline) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        let code = line.trim();
        if code.starts_with("//") {
            continue;
        }
        // A module within the file stands at the left, and ends there.
        inline = if line.starts_with("mod ") && line.ends_with('{') { true } else { inline && line != "}" };
        let mut module = module.to_vec();
        if inline {
            module.push("tests".to_owned());
        }
        let is_use =
            code.trim_start_matches("pub ").trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
        if !using.is_empty() || is_use.starts_with("use ") {
            using.push_str(if using.is_empty() { is_use.trim_start_matches("use ") } else { code });
            if let Some(whole) = using.strip_suffix(';') {
                found.extend(expanded(whole).iter().map(|path| absolute(path, &module)));
                using.clear();
            }
        } else {
            found.push(absolute(code, &module));
        }
    }
    found
}

/// The paths of `a::{b, c::{d, e}}`.
fn expanded(path: &str) -> Vec<String> {
    let Some((head, rest)) = path.split_once('{') else { return vec![path.trim().to_owned()] };
    let (mut found, mut depth, mut item) = (Vec::new(), 0, String::new());
    for letter in rest.chars() {
        match letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => found.extend(expanded(&std::mem::take(&mut item))),
            _ => {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                item.push(letter);
            }
        }
    }
    found.extend(expanded(&item));
    let whole = found.into_iter().filter(|item| !item.is_empty()).map(|item| format!("{}{item}", head.trim()));
    whole.collect()
}

/// Writes `super::` and `self::` out, each run of them as a path from the root of the crate.
fn absolute(code: &str, module: &[String]) -> String {
    let (mut found, mut rest) = (String::new(), code);
    while let Some(at) = ["super::", "self::"].iter().filter_map(|word| rest.find(word)).min() {
        let (before, mut after) = rest.split_at(at);
        let mut base = module;
        loop {
            if let Some(more) = after.strip_prefix("super::") {
                (base, after) = (&base[..base.len().saturating_sub(1)], more);
            } else if let Some(more) = after.strip_prefix("self::") {
                after = more;
            } else {
                break;
            }
        }
        found.push_str(before);
        if before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_') {
            // A longer word, such as `itself::`.
            found.push_str(&rest[at..rest.len() - after.len()]);
        } else {
            found.push_str(&format!("{}::", base.join("::")));
        }
        rest = after;
    }
    found + rest
}

/// Whether a path `name` stands in `code`, whole words only.
fn names(code: &str, name: &str) -> bool {
    let is_word = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        // One word alone is a crate or a type only where a path follows or ends.
        let is_path = name.contains("::") || after.starts_with("::") || after.is_empty() || before.ends_with("::");
        is_path && !is_word(before.chars().last()) && !is_word(after.chars().next())
    })
}

/// What a statement of a file names that it may not.
fn fault(file: &Path, code: &str) -> Option<String> {
    let banned = BANS.iter().filter(|(room, _)| file.starts_with(room)).flat_map(|(_, banned)| *banned);
    if let Some(name) = banned.into_iter().find(|name| names(code, name)) {
        return Some((*name).to_owned());
    }
    let rules: Vec<_> = OPEN.iter().filter(|(room, ..)| file.starts_with(room)).collect();
    let closed = rules.iter().find(|(_, room, _)| names(code, room))?;
    let is_open = rules.iter().any(|(_, _, open)| open.iter().any(|name| names(code, name)));
    (!is_open).then(|| closed.1.to_owned())
}

#[test]
fn no_room_knows_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut checked = 0;
    for path in &files {
        let file = path.strip_prefix(&root).unwrap();
        for code in statements(&std::fs::read_to_string(path).unwrap(), &module_of(file)) {
            // Tests build what they test of real parts, and play its clock.
            let is_test = file.iter().any(|part| ["tests", "tests.rs"].iter().any(|name| part == *name));
            if is_test && (names(&code, "SystemTime::now") || names(&code, "crate::ports")) {
                continue;
            }
            checked += 1;
            let found = fault(file, &code);
            assert!(found.is_none(), "{} names {}: {code}", file.display(), found.unwrap());
        }
    }
    assert!(checked > 10_000, "the rules met only {checked} statements");
}

#[test]
fn a_path_that_is_written_in_another_way_is_found_all_the_same() {
    for (file, text) in [
        ("edge/mqtt/session.rs", "use super::super::http::Socket;"),
        ("edge/mqtt/session.rs", "use crate::{edge::{http, net}, model};"),
        ("edge/mqtt/session.rs", "use crate::{\n    model,\n    edge::{net, ws::{Apps, Handshake}},\n};"),
        ("edge/ws/legacy.rs", "let told = serde_json::from_slice::<Value>(&payload);"),
        ("edge/http/files.rs", "use crate::ports::files::Files;"),
        ("edge/spec/mod.rs", "let store = crate::ports::store::open();"),
        ("edge/net/tls.rs", "use super::super::super::domain::Hub;"),
        ("domain/chats.rs", "let now = std::time::SystemTime::now();"),
        ("ports/files.rs", "use super::super::domain;"),
        ("model.rs", "use crate::config::Config;"),
    ] {
        let file = Path::new(file);
        let found = statements(text, &module_of(file));
        assert!(found.iter().any(|code| fault(file, code).is_some()), "{text}: {found:?}");
    }
    for (file, text) in [
        ("edge/mqtt/session/packets.rs", "use super::super::codec::{self, Publish};"),
        ("edge/mqtt/session.rs", "use crate::ports::router::{CloseReason, Mailbox};"),
        ("edge/net/tls.rs", "use crate::ports::pem;"),
        ("model.rs", "mod tests {\n    use super::*;\n}"),
    ] {
        let file = Path::new(file);
        for code in statements(text, &module_of(file)) {
            assert_eq!(fault(file, &code), None, "{code}");
        }
    }
}
