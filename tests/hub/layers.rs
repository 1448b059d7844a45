//! The direction of imports: the permitted imports of each module, and forbidden operations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The names that files below a path may not contain: a path of the crate or of another crate, or a part of one.
const BANS: &[(&str, &[&str])] = &[
    ("model", &["crate::config", "crate::ports", "crate::domain", "crate::api", "crate::edge", "crate::server"]),
    ("model", &["tokio", "serde", "hyper", "surrealdb"]),
    ("ports", &["crate::domain", "crate::api", "crate::edge", "crate::server", "crate::config", "crate::command"]),
    ("domain", &["crate::api", "crate::edge", "crate::server", "crate::command", "hyper", "surrealdb", "rumqttd"]),
    ("domain", &["serde", "serde_json", "whisper_rs"]),
    ("api", &["crate::edge", "crate::server", "crate::command", "crate::ports", "crate::config"]),
    ("api", &["tokio", "hyper", "rumqttd", "tokio_tungstenite", "surrealdb"]),
    ("edge", &["crate::server", "crate::command", "surrealdb", "whisper_rs"]),
    // `net` accepts all clients, and imports none of their protocols.
    (
        "edge/net",
        &["edge::http", "edge::mqtt", "edge::ws", "edge::xiaozhi", "crate::api", "crate::domain", "hyper", "rumqttd"],
    ),
    ("edge/mqtt", &["edge::http", "edge::ws", "hyper", "tokio_tungstenite", "rustls", "socket2"]),
    ("edge/http", &["edge::mqtt", "edge::ws", "rumqttd", "rustls", "tokio_tungstenite", "TcpListener", "socket2"]),
    ("edge/ws", &["edge::http", "edge::mqtt", "rumqttd", "rustls", "hyper", "TcpListener"]),
    (
        "edge/xiaozhi",
        &["edge::http", "edge::mqtt", "edge::ws", "edge::spec", "rumqttd", "rustls", "hyper", "TcpListener"],
    ),
    ("edge/http", &["edge::spec", "edge::xiaozhi"]),
    ("edge/console", &["edge::http", "edge::mqtt", "edge::ws", "edge::spec", "crate::api"]),
    ("edge/mqtt", &["edge::spec"]),
    ("edge/ws", &["edge::spec"]),
    ("server.rs", &["edge::spec"]),
    ("edge/spec", &["crate::config", "crate::ports", "hyper", "tokio_tungstenite", "rumqttd", "tokio"]),
    ("config.rs", &["crate::domain", "crate::edge", "crate::ports"]),
    ("config", &["crate::domain", "crate::edge", "crate::ports"]),
    // The domain reads no clock: edges pass the time of day in, and `ports/clock` measures elapsed time. Tests set both.
    ("domain", &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now", "DefaultClock", ".elapsed()"]),
    ("api", &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now", ".elapsed()"]),
    ("ports/router", &["serde_json"]),
];

/// Names that only the files of the second list may contain.
const HOMES: &[(&[&str], &[&str])] = &[
    // JSON text comes from outside: from a client, an operator's program, a chat endpoint, a file. Data of this process is
    // a type, and is never parsed back.
    (
        &["serde_json::from_slice", "serde_json::from_str", "serde_json::from_reader", "serde_json::from_value"],
        &["edge/body.rs", "edge/control.rs", "ports/reply/chat.rs", "ports/chunks/outcome_row.rs"],
    ),
    // Each task has an owner that can await and cancel it; the one of the second signal ends with the process.
    (&["libmdns"], &["edge/discovery.rs"]),
    (&["indicatif"], &["command/progress.rs"]),
    (
        &["ring::aead", "ring::agreement", "ring::hkdf", "ring::signature"],
        &["ports/push/mod.rs", "ports/push/encrypt.rs", "ports/push/vapid.rs"],
    ),
    (&["opusic_c"], &["ports/audio/opus.rs"]),
    (&["rumqttc"], &["ports/bus/mod.rs", "ports/bus/link.rs", "ports/bus/probe.rs"]),
    (&["rmp_serde"], &["ports/bus/notice.rs"]),
    (&["earshot"], &["ports/speech/listen.rs"]),
    (&["aes", "ctr"], &["edge/xiaozhi/udp.rs"]),
    (&["tokio::spawn", "TaskTracker"], &["edge/tasks.rs", "service.rs"]),
];

/// The names of a module that edges may use, and no others.
const OPEN: &[(&str, &str, &[&str])] = &[
    // The mailbox that `Hub::connect` returns, and the types of its deliveries.
    ("edge", "crate::ports", &["crate::ports::router"]),
    // Counters, which each part of the hub increments where it works.
    ("edge", "crate::ports", &["crate::ports::metrics"]),
    ("edge/net", "crate::ports", &["crate::ports::pem", "crate::ports::metrics"]),
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

/// A statement, or a line of one.
#[derive(Debug)]
struct Statement {
    code: String,
    is_use: bool,
    /// Whether it is in a module of tests within the file.
    is_test: bool,
}

/// The code of a file, statement by statement as far as `use` is concerned, with `self::` and `super::` written out.
fn statements(text: &str, module: &[String]) -> Vec<Statement> {
    let (mut found, mut using, mut inline) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        let code = line.trim();
        if code.starts_with("//") {
            continue;
        }
        // A module within the file starts and ends at the left margin.
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
                let statement =
                    |path: &String| Statement { code: absolute(path, &module), is_use: true, is_test: inline };
                found.extend(expanded(whole).iter().map(statement));
                using.clear();
            }
        } else {
            found.push(Statement { code: absolute(code, &module), is_use: false, is_test: inline });
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

/// Whether `code` contains the path `name`, as whole words.
fn names(code: &str, name: &str) -> bool {
    let is_word = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        // A single word is a crate or a type only before or after `::`; otherwise it may be a method.
        let is_method = name.starts_with('.');
        let is_path = name.contains("::") || after.starts_with("::") || after.is_empty() || before.ends_with("::");
        (is_method || is_path && !is_word(before.chars().last())) && !is_word(after.chars().next())
    })
}

/// The forbidden name in a statement of a file.
fn fault(file: &Path, code: &str) -> Option<String> {
    let banned = BANS.iter().filter(|(room, _)| file.starts_with(room)).flat_map(|(_, banned)| *banned);
    if let Some(name) = banned.into_iter().find(|name| names(code, name)) {
        return Some((*name).to_owned());
    }
    let elsewhere = HOMES.iter().filter(|(_, homes)| !homes.iter().any(|home| file.starts_with(home)));
    if let Some(name) = elsewhere.flat_map(|(kept, _)| *kept).find(|name| names(code, name)) {
        return Some((*name).to_owned());
    }
    let rules: Vec<_> = OPEN.iter().filter(|(room, ..)| file.starts_with(room)).collect();
    let closed = rules.iter().find(|(_, room, _)| names(code, room))?;
    let is_open = rules.iter().any(|(_, _, open)| open.iter().any(|name| names(code, name)));
    (!is_open).then(|| closed.1.to_owned())
}

/// Whether a file is one of tests.
fn is_of_tests(file: &Path) -> bool {
    file.iter().any(|part| ["tests", "tests.rs"].iter().any(|name| part == *name))
}

fn all_sources() -> (PathBuf, Vec<PathBuf>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let files = files.iter().map(|file| file.strip_prefix(&root).unwrap().to_owned()).collect();
    (root, files)
}

#[test]
fn no_layer_imports_a_higher_one() {
    let (root, files) = all_sources();
    let mut checked = 0;
    for file in &files {
        for Statement { code, is_test, .. } in
            statements(&std::fs::read_to_string(root.join(file)).unwrap(), &module_of(file))
        {
            // Tests use real parts, clocks and clients, and inspect the written data.
            let may = ["SystemTime::now", "crate::ports"].iter().chain(HOMES.iter().flat_map(|(kept, _)| *kept));
            if (is_of_tests(file) || is_test) && may.into_iter().any(|name| names(&code, name)) {
                continue;
            }
            checked += 1;
            let found = fault(file, &code);
            assert!(found.is_none(), "{} names {}: {code}", file.display(), found.unwrap());
        }
    }
    assert!(checked > 10_000, "the rules met only {checked} statements");
    // A rule about a file that was moved would have no effect.
    let homes = HOMES.iter().flat_map(|(_, homes)| *homes);
    let rooms = BANS.iter().map(|(room, _)| room).chain(OPEN.iter().map(|(room, ..)| room)).chain(homes);
    for room in rooms {
        assert!(files.iter().any(|file| file.starts_with(room)), "there is no {room} any more");
    }
}

/// The file of a path: its longest prefix that is one.
fn target<'a>(path: &str, modules: &'a BTreeMap<String, PathBuf>) -> Option<&'a str> {
    let mut path = path.split(" as ").next()?.trim();
    loop {
        if let Some((module, _)) = modules.get_key_value(path) {
            return Some(module);
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// The files that each file imports from. Imports of a folder's own file from the files in it are not counted.
fn imports(files: &[(PathBuf, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeMap<String, PathBuf> =
        files.iter().map(|(file, _)| (module_of(file).join("::"), file.clone())).collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in files {
        let own = module_of(file);
        let module = own.join("::");
        for Statement { code, is_use, is_test } in statements(text, &own) {
            if !is_use || is_test {
                continue;
            }
            // A path without `crate` is of another crate or of a file in this folder.
            let path = if code.starts_with("crate::") { code } else { format!("{module}::{code}") };
            if let Some(target) = target(&path, &modules)
                && target != module
                && !target.starts_with(&format!("{module}::"))
            {
                found.entry(module.clone()).or_default().insert(target.to_owned());
            }
        }
    }
    found
}

/// A circular path from `module` back to itself.
fn way_back(imports: &BTreeMap<String, BTreeSet<String>>, module: &str) -> Option<Vec<String>> {
    let (mut ways, mut seen) = (vec![vec![module.to_owned()]], BTreeSet::new());
    while let Some(way) = ways.pop() {
        for next in way.last().and_then(|last| imports.get(last)).into_iter().flatten() {
            let mut way = way.clone();
            way.push(next.clone());
            if next == module {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                ways.push(way);
            }
        }
    }
    None
}

#[test]
fn no_imports_are_circular() {
    let (root, files) = all_sources();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(root.join(&file)).unwrap();
        (file, text)
    };
    let files: Vec<_> = files.into_iter().filter(|file| !is_of_tests(file)).map(read).collect();
    let imports = imports(&files);
    assert!(imports.len() > 150, "the imports of only {} files were found", imports.len());
    for module in imports.keys() {
        assert_eq!(way_back(&imports, module), None);
    }
}

#[test]
fn a_circular_import_of_any_length_is_found() {
    let files = |texts: &[(&str, &str)]| -> Vec<(PathBuf, String)> {
        texts.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned())).collect()
    };
    let found = |texts: &[(&str, &str)]| way_back(&imports(&files(texts)), "crate::a::b").map(|way| way.len() - 1);
    let three = [
        ("a/mod.rs", "mod b;\nuse b::B;"),
        ("a/b.rs", "use super::c::C;"),
        ("a/c.rs", "use crate::{d::D, e};"),
        ("d.rs", "use super::a::b::{self, B};"),
        ("e.rs", ""),
    ];
    assert_eq!(found(&three), Some(3));
    assert_eq!(
        found(&[three[0], three[1], ("a/c.rs", "#[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}")]),
        None
    );
    assert_eq!(found(&[three[0], ("a/b.rs", "use super::A;\nuse std::fmt;")]), None, "a folder is made of its files");
}

#[test]
fn an_import_is_found_in_every_notation() {
    for (file, text) in [
        ("edge/mqtt/session.rs", "use super::super::http::Socket;"),
        ("edge/mqtt/session.rs", "use crate::{edge::{http, net}, model};"),
        ("edge/mqtt/session.rs", "use crate::{\n    model,\n    edge::{net, ws::{Apps, Handshake}},\n};"),
        ("edge/ws/legacy.rs", "let told = serde_json::from_slice::<Value>(&payload);"),
        ("edge/request.rs", "let data = serde_json::from_slice::<Value>(&answer).map_err(DomainError::internal)?;"),
        ("edge/ws/mod.rs", "use tokio_util::task::TaskTracker;"),
        ("domain/voice.rs", "tokio::spawn(async move {"),
        ("api/voice.rs", "let answer: Sent = serde_json::from_value(data)?;"),
        ("edge/http/files.rs", "use crate::ports::files::Files;"),
        ("edge/spec/mod.rs", "let store = crate::ports::store::open();"),
        ("edge/net/tls.rs", "use super::super::super::domain::Hub;"),
        ("domain/chats.rs", "let now = std::time::SystemTime::now();"),
        ("domain/rates.rs", "use governor::clock::{Clock, DefaultClock};"),
        ("domain/stored.rs", "Some(usage) if usage.counted_at.elapsed() < COUNT_LASTS => usage,"),
        ("domain/housekeeping.rs", "let mut timer = interval_at(Instant::now() + period, period);"),
        ("ports/files.rs", "use super::super::domain;"),
        ("model/event.rs", "use crate::config::Config;"),
    ] {
        let file = Path::new(file);
        let found = statements(text, &module_of(file));
        assert!(found.iter().any(|found| fault(file, &found.code).is_some()), "{text}: {found:?}");
    }
    for (file, text) in [
        ("edge/mqtt/session/packets.rs", "use super::super::codec::{self, Publish};"),
        ("edge/mqtt/session.rs", "use crate::ports::router::{CloseReason, Mailbox};"),
        ("edge/net/tls.rs", "use crate::ports::pem;"),
        ("edge/body.rs", "match serde_json::from_slice(bytes) {"),
        ("domain/rates.rs", "let now = self.clock.now();"),
        ("model/mod.rs", "mod tests {\n    use super::*;\n}"),
    ] {
        let file = Path::new(file);
        for Statement { code, .. } in statements(text, &module_of(file)) {
            assert_eq!(fault(file, &code), None, "{code}");
        }
    }
}
