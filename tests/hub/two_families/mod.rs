//! The matrix: the data that another family, or a stranger with a picture of the toy's QR code, can read or change with
//! any call, any id of the first family in any field, and any kind of token.
//!
//! The calls are those of the registry, their fields are filled by their schemas: a new call is in the matrix without a
//! line here, and one that forgets to check its caller fails it. [`hub`] runs the registry over a real hub and its
//! database; [`outside`] does it again through the sockets of the program, with topics, files and older clients.

mod assignments;
mod hub;
pub mod outside;

use std::collections::BTreeMap;

use serde_json::Value;

/// The data of the first family: each value has a name for the report.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    pub fn add(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        assert!(value.len() > 5, "{name} {value} may stand anywhere");
        self.0.push((name, value));
    }

    /// The same without these values, which a friend may know.
    pub fn without(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(name, _)| !names.contains(name)).cloned().collect())
    }

    /// The values that are in an answer, and not in the request.
    pub fn found(&self, answer: &str, request: &str) -> Vec<&'static str> {
        let told = |value: &String| answer.contains(value.as_str()) && !request.contains(value.as_str());
        self.0.iter().filter(|(_, value)| told(value)).map(|(name, _)| *name).collect()
    }
}

/// The ids that a caller fills in.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Ids of the caller's own.
    pub own: Vec<String>,
    /// Ids of the first family: users, toys, chats, messages, requests.
    pub ids: Vec<String>,
    pub device_key: String,
    pub sounds: Vec<String>,
    pub upload: String,
}

/// The attempts and their outcomes.
#[derive(Debug, Default)]
pub struct Tally {
    /// The ids of the caller.
    own: Vec<String>,
    pub tried: usize,
    /// Disclosed or changed data, with the call.
    pub leaks: BTreeMap<String, usize>,
    /// Data that the documented calls disclose on purpose.
    pub granted: BTreeMap<String, usize>,
}

impl Tally {
    /// For a caller with these ids.
    pub fn of(pool: &Pool) -> Self {
        Self { own: pool.own.clone(), ..Self::default() }
    }

    /// An answer without the ids that the caller has given in its earlier requests and blocks. The names of these parties
    /// stay in it: the caller has to learn none by a request and a list.
    fn without_given_ids(&self, what: &str, answer: &str) -> String {
        let given = match what {
            "req_list" => "add_user",
            "block_list" => "friend_id",
            _ => return answer.to_owned(),
        };
        let parsed = serde_json::from_str::<Value>(answer).map(|answer| answer["data"].clone());
        let Ok(Value::Array(mut entries)) = parsed else { return answer.to_owned() };
        for entry in &mut entries {
            if what == "block_list" || self.own.iter().any(|id| entry["req_user"] == id.as_str()) {
                entry[given].take();
            }
        }
        entries.iter().map(Value::to_string).collect()
    }

    /// Records an answer to `who`, who requested `what`.
    pub fn note(&mut self, secrets: &Secrets, who: &str, what: &str, request: &str, answer: &str) {
        self.tried += 1;
        for name in secrets.found(&self.without_given_ids(what, answer), request) {
            let line = format!("{what}, {who}: {name}");
            // The QR code discloses the toy to every permitted caller: a toy is befriended by scanning (code 2).
            let is_by_picture = name == "the toy's id" && ["scan_qr", "bind_toy"].contains(&what);
            let code = serde_json::from_str::<Value>(answer).map(|answer| answer["code"].clone()).unwrap_or_default();
            let table = if is_by_picture && code == 2 { &mut self.granted } else { &mut self.leaks };
            *table.entry(line).or_default() += 1;
        }
    }

    pub fn leak(&mut self, line: String) {
        *self.leaks.entry(line).or_default() += 1;
    }

    pub fn count(&self) -> usize {
        self.leaks.values().sum()
    }

    /// A line for the report.
    pub fn print(&self, what: &str) {
        let (tried, leaks) = (self.tried, self.count());
        println!(
            "{what}: {tried} tried, {leaks} leaks, {} granted by the QR code",
            self.granted.values().sum::<usize>()
        );
    }

    pub fn assert_tight(&self) {
        assert!(self.leaks.is_empty(), "{:#?}", self.leaks);
    }
}
