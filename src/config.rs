//! Reads `broker.toml` and the `TOYHUB_SECTION__KEY` variables into one [`Config`].
//!
//! Each section defines its keys in a file of its own: name, type, default, and the text for `broker.toml` and
//! `docs/configuration.md`. An unknown key or a wrong value stops the start. All faults are reported together, one line
//! each, with file, key and remedy.

mod accounts;
mod audio;
mod auth;
mod backup;
mod chats;
mod chunks;
mod cluster;
mod console;
mod discovery;
mod files;
mod http;
mod limits;
mod mqtt;
mod net;
mod print;
mod push;
mod rates;
mod reminders;
mod retention;
mod server;
mod settings;
mod speech;
mod store;
#[cfg(test)]
mod tests;
mod ws;
mod xiaozhi;

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

pub use accounts::Accounts;
pub use audio::Audio;
pub use auth::{AllowedFrom, Auth, AuthMode};
pub use backup::Backup;
pub use chats::Chats;
pub use chunks::Chunks;
pub use cluster::{BusAddress, Cluster};
pub use console::Console;
pub use discovery::Discovery;
pub use files::Files;
pub use http::{ContentListForm, Dialect, Http, HttpListen};
pub use limits::Limits;
pub use mqtt::{ClientCertificates, Mqtt, SessionOverflow};
pub use net::{ForwardedHeader, Net};
pub use print::{default_file, reference};
pub use push::Push;
pub use rates::Rates;
pub use reminders::Reminders;
pub use retention::Retention;
pub use server::Server;
pub use settings::{Key, Mark, Section};
#[cfg(test)]
pub(crate) use speech::LANGUAGES;
pub use speech::{Speech, SpokenFormat};
pub use store::{Password, Store, UserLevel};
pub use ws::Ws;
pub use xiaozhi::{StockTransport, Xiaozhi, host_and_port};

const ENVIRONMENT_PREFIX: &str = "TOYHUB_";
const HTTP_AUTH_IS_GONE: &str = "http.auth was replaced by auth.mode, and \"sticky\" was removed; remove the key, and set \
                                 [auth] mode = \"place\" (the default), \"token\" or \"open\"";

/// The permitted range of `tls_record_max_bytes`. The upper end is the limit of TLS itself.
const RECORD_BYTES: std::ops::RangeInclusive<usize> = 512..=16 * 1024;

/// Why a configuration cannot be used: one line for each fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

settings::sections! {
    /// All settings.
    pub struct Config {
        server: Server,
        net: Net,
        http: Http,
        auth: Auth,
        ws: Ws,
        xiaozhi: Xiaozhi,
        mqtt: Mqtt,
        console: Console,
        discovery: Discovery,
        store: Store,
        cluster: Cluster,
        files: Files,
        backup: Backup,
        audio: Audio,
        chats: Chats,
        retention: Retention,
        chunks: Chunks,
        speech: Speech,
        reminders: Reminders,
        push: Push,
        accounts: Accounts,
        rates: Rates,
        limits: Limits,
    }
}

impl Config {
    /// Reads `path` (which may be missing only if `optional`) and then the variables of `environment`.
    pub fn load(
        path: &Path,
        optional: bool,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                let fault = format!("{}: cannot be read ({error}); name a readable file with --config", path.display());
                return Err(ConfigError(vec![fault]));
            }
        };
        Self::parse(&text, &path.display().to_string(), environment)
    }

    /// The configuration of the `text` of a file called `file`, overridden by `environment`.
    pub fn parse(
        text: &str,
        file: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            ConfigError(vec![format!("{file}: line {line}: not TOML: {}", error.message())])
        })?;
        let known = Self::default_table()?;
        let mut faults = Vec::new();
        compare(&table, &known, "", file, &mut faults);
        override_from(environment, &mut table, &known, &mut faults);
        find_zeros(&table, file, &mut faults);
        find_long_times(&table, file, &mut faults);
        find_wrong_values(&table, &known, file, &mut faults);
        if !faults.is_empty() {
            return Err(ConfigError(faults));
        }
        let config: Self = deserialize(table).map_err(|fault| ConfigError(vec![format!("{file}: {fault}")]))?;
        let faults: Vec<String> = config.faults().iter().map(|fault| format!("{file}: {fault}")).collect();
        if faults.is_empty() { Ok(config) } else { Err(ConfigError(faults)) }
    }

    /// All keys with their defaults.
    fn default_table() -> Result<Table, ConfigError> {
        match Value::try_from(Self::default()) {
            Ok(Value::Table(table)) => Ok(table),
            _ => Err(ConfigError(vec!["the built-in defaults are not a table".into()])),
        }
    }

    /// Whether `other` differs in any key except `server.log`, the only key that is read again while the hub runs.
    pub fn differs_beside_log(&self, other: &Self) -> bool {
        let log = self.server.log.clone();
        let server = Server { log, ..other.server.clone() };
        *self != Self { server, ..other.clone() }
    }

    /// Checks keys of listeners that depend on each other.
    fn net_faults(&self) -> Vec<String> {
        let (net, http, mqtt) = (&self.net, &self.http, &self.mqtt);
        let mut faults = Vec::new();
        let listeners = [
            ("http", http.listen.is_empty(), http.tls_listen.is_empty()),
            ("mqtt", mqtt.listen.is_empty(), mqtt.tls_listen.is_empty()),
            // Whether it has a listener at all is the operator's choice.
            ("console", false, self.console.tls_listen.is_empty()),
        ];
        for (section, has_no_plain, has_no_tls) in listeners {
            if has_no_plain && has_no_tls {
                faults.push(format!(
                    "{section}.listen and {section}.tls_listen are empty; set an address for one of them"
                ));
            }
            let files = [("net.tls_certificate", &net.tls_certificate), ("net.tls_key", &net.tls_key)];
            let missing = files.iter().filter(|(_, path)| !has_no_tls && path.as_os_str().is_empty());
            faults.extend(missing.map(|(key, _)| {
                format!(
                    "{key} is empty, which {section}.tls_listen needs; name a PEM file, or make one with 'toyhub \
                     certificate'"
                )
            }));
        }
        for (section, bytes) in [("http", http.tls_record_max_bytes), ("mqtt", mqtt.tls_record_max_bytes)] {
            if !RECORD_BYTES.contains(&bytes) {
                let (min, max) = (RECORD_BYTES.start(), RECORD_BYTES.end());
                faults.push(format!("{section}.tls_record_max_bytes is {bytes}; set a number from {min} to {max}"));
            }
        }
        let trusting = [
            ("http.proxy_protocol", http.proxy_protocol),
            ("http.forwarded_header", http.forwarded_header != ForwardedHeader::Off),
            ("mqtt.proxy_protocol", mqtt.proxy_protocol),
        ];
        let trusting = trusting.into_iter().filter(|(_, is_on)| *is_on && net.proxies.is_empty());
        faults.extend(
            trusting.map(|(key, _)| format!("{key} is set, and net.proxies is empty; add the address of the proxy")),
        );
        faults
    }

    /// Reports values that have the right type and are still wrong.
    fn faults(&self) -> Vec<String> {
        let nested = self.backup.is_on() && are_nested(&self.backup.dir, &self.server.data_dir);
        let nested = nested.then_some(
            "backup.dir and server.data_dir contain each other; set a backup.dir outside of the data folder, best on another disk",
        );
        let xiaozhi = &self.xiaozhi;
        let has_no_address = xiaozhi.enabled
            && xiaozhi.transport.has_mqtt()
            && xiaozhi.mqtt_endpoint.is_empty()
            && self.mqtt.listen.is_empty();
        let has_no_address = has_no_address.then_some(
            "xiaozhi.transport offers MQTT, and mqtt.listen is empty; set xiaozhi.mqtt_endpoint, such as hub.example:8883",
        );
        [
            self.server.faults(),
            self.accounts.faults(),
            self.mqtt.faults(),
            self.push.faults(),
            self.store.faults(),
            self.xiaozhi.faults(),
            self.files.faults(),
        ]
        .into_iter()
        .flatten()
        .chain(nested)
        .chain(has_no_address)
        .map(str::to_owned)
        .chain(self.speech.faults())
        .chain(self.net_faults())
        .chain(self.cluster.faults(self.mqtt.packet_max_bytes))
        .collect()
    }
}

/// Whether one of two paths contains the other, or they are equal. Compares the texts only.
fn are_nested(a: &Path, b: &Path) -> bool {
    let plain = |path: &Path| {
        let mut plain = PathBuf::new();
        for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
            match part {
                Component::ParentDir => drop(plain.pop()),
                part => plain.push(part),
            }
        }
        plain
    };
    let (a, b) = (plain(a), plain(b));
    a.starts_with(&b) || b.starts_with(&a)
}

/// A duration from a field that counts seconds.
pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reports keys of `table` that `known` lacks, and values of another type.
fn compare(table: &Table, known: &Table, section: &str, file: &str, faults: &mut Vec<String>) {
    for (key, value) in table {
        let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        match (known.get(key), value) {
            (None, _) if path == "http.auth" => faults.push(format!("{file}: {HTTP_AUTH_IS_GONE}")),
            (None, _) => faults.push(format!("{file}: {path} is not a known key; remove it or correct its spelling")),
            (Some(Value::Table(known)), Value::Table(table)) => compare(table, known, &path, file, faults),
            (Some(expected), value) if !has_type_of(key, value, expected) => faults.push(format!(
                "{file}: {path} has the type {}; it must be {}",
                value.type_str(),
                expected.type_str()
            )),
            _ => {}
        }
    }
}

/// Whether a value of a key has the type that is expected. One address stands for a list of one.
fn has_type_of(key: &str, value: &Value, expected: &Value) -> bool {
    let is_one_address = key.ends_with("listen") && matches!((expected, value), (Value::Array(_), Value::String(_)));
    is_one_address || value.same_type(expected)
}

/// Applies `TOYHUB_SECTION__KEY=value`, the value read as the type that the key has.
fn override_from(
    environment: impl Iterator<Item = (String, String)>,
    table: &mut Table,
    known: &Table,
    faults: &mut Vec<String>,
) {
    for (name, text) in environment {
        let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        let Some((section, key)) = path.split_once("__").map(|(s, k)| (s.to_lowercase(), k.to_lowercase())) else {
            faults.push(format!("environment: {name} has no '__'; write TOYHUB_SECTION__KEY"));
            continue;
        };
        let Some(expected) = known.get(&section).and_then(Value::as_table).and_then(|s| s.get(&key)) else {
            let is_gone = section == "http" && key == "auth";
            let fault = format!("{name} names no known key; unset it or correct its spelling");
            faults.push(format!("environment: {}", if is_gone { HTTP_AUTH_IS_GONE.to_owned() } else { fault }));
            continue;
        };
        let value = match expected {
            Value::String(_) => Some(Value::String(text)),
            Value::Array(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::Array(items.map(|item| Value::String(item.into())).collect()))
            }
            Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
            Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
            _ => None,
        };
        let Some(value) = value else {
            faults.push(format!("environment: {name} is not a {}; correct its value", expected.type_str()));
            continue;
        };
        if let Value::Table(section) = table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
            section.insert(key, value);
        }
    }
}

/// Reports each number that is 0 where 0 has no meaning.
fn find_zeros(table: &Table, file: &str, faults: &mut Vec<String>) {
    for section in Config::sections() {
        for key in section.keys.iter().filter(|key| !key.may_be_zero()) {
            let value = table.get(section.name).and_then(|values| values.get(key.name));
            if value == Some(&Value::Integer(0)) {
                faults.push(format!("{file}: {}.{} is 0; set a number of 1 or more", section.name, key.name));
            }
        }
    }
}

/// The longest time of a setting, in seconds: 1,000 years. Sums and multiples of times stay far from overflows.
const TIME_MAX_S: i64 = 1_000 * 365 * 86_400;

/// Reports each time that is longer than [`TIME_MAX_S`].
fn find_long_times(table: &Table, file: &str, faults: &mut Vec<String>) {
    let units = [("_ms", 1), ("_s", 1), ("_minutes", 60), ("_hours", 3_600), ("_days", 86_400)];
    for (section, values) in table.iter().filter_map(|(section, values)| Some((section, values.as_table()?))) {
        for (key, value) in values {
            let unit = units.iter().find_map(|(end, seconds)| key.ends_with(end).then_some(seconds));
            let is_long = |(value, unit): (i64, &i64)| value.saturating_mul(*unit) > TIME_MAX_S;
            if value.as_integer().zip(unit).is_some_and(is_long) {
                faults.push(format!("{file}: {section}.{key} is longer than 1,000 years; set a smaller number"));
            }
        }
    }
}

/// Reports each value that has the right type and cannot be parsed. It checks key by key, so as to report all of them,
/// not only the first.
fn find_wrong_values(table: &Table, known: &Table, file: &str, faults: &mut Vec<String>) {
    for (section, values) in table.iter().filter_map(|(section, values)| Some((section, values.as_table()?))) {
        let known = known.get(section).and_then(Value::as_table);
        for (key, value) in values {
            // Others are reported already.
            if known.and_then(|known| known.get(key)).is_some_and(|expected| has_type_of(key, value, expected)) {
                let alone = Table::from_iter([(key.clone(), value.clone())]);
                let alone = Table::from_iter([(section.clone(), Value::Table(alone))]);
                faults.extend(deserialize(alone).err().map(|fault| format!("{file}: {fault}")));
            }
        }
    }
}

fn deserialize(table: Table) -> Result<Config, String> {
    serde_path_to_error::deserialize(table).map_err(|error| {
        let remedy = "correct its value, see the comments of broker.toml";
        format!("{}: {}; {remedy}", error.path(), in_words(error.inner().message()))
    })
}

/// A fault that names a type of number, with the numbers of that type.
fn in_words(fault: &str) -> String {
    let types = [
        ("u8", u64::from(u8::MAX)),
        ("u16", u64::from(u16::MAX)),
        ("u32", u64::from(u32::MAX)),
        ("u64", i64::MAX as u64),
        ("usize", i64::MAX as u64),
    ];
    let found = types.iter().find_map(|(name, max)| Some((fault.strip_suffix(&format!("expected {name}"))?, max)));
    found.map_or_else(|| fault.to_owned(), |(before, max)| format!("{before}expected a number from 0 to {max}"))
}

/// An address, or `""` for none.
mod optional_address {
    use std::net::SocketAddr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(address: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&address.map(|address| address.to_string()).unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(D::Error::custom),
        }
    }
}
