//! `[store]`

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::settings::settings;

/// The beginnings of the addresses of servers.
const SERVERS: [&str; 2] = ["ws://", "wss://"];

settings! {
    /// The database.
    pub struct Store {
        /// "embedded": a database in data_dir. "memory": all data is lost when the hub stops. "ws://host:port" or
        /// "wss://host:port", which is encrypted: a SurrealDB server.
        url: String = "embedded".into();
        /// Namespace of the tables.
        namespace: String = "toyhub".into();
        /// Database in the namespace.
        database: String = "toyhub".into();
        /// User of a SurrealDB server; unused otherwise. It needs the role OWNER or EDITOR.
        username: String = String::new();
        /// Password of that user. Set it as TOYHUB_STORE__PASSWORD rather than in this file.
        password: Password = Password::default();
        /// Where that user is defined: "root" (DEFINE USER … ON ROOT), "namespace" or "database".
        user_level: UserLevel = UserLevel::Root;
        /// PEM file with the authorities of the certificate of a wss:// server. "" is for a public one.
        certificates: PathBuf = PathBuf::new();
        /// Bytes of the embedded database's block cache.
        block_cache_bytes: u64 = 128 * 1024 * 1024;
        /// Bytes of the embedded database's write buffer.
        memtable_bytes: u64 = 32 * 1024 * 1024;
        /// Seconds that a query of the embedded database may take; with a SurrealDB server, one of the start or the stop.
        query_timeout_s: u64 = 15;
        /// Seconds that a SurrealDB server may take for each answer. After that it is lost: see cluster.store_lost_close_s.
        answer_timeout_s: u64 = 5;
    }
}

/// Where a user of a SurrealDB server is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserLevel {
    /// For the whole server.
    Root,
    /// In the namespace.
    Namespace,
    /// In the database.
    Database,
}

/// A password. It is never logged.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Store {
    /// Whether the database is on a SurrealDB server.
    pub fn is_on_server(&self) -> bool {
        SERVERS.iter().any(|scheme| self.url.starts_with(scheme))
    }

    pub(super) fn faults(&self) -> Vec<&'static str> {
        let url = self.url.as_str();
        let mut faults = Vec::new();
        if !(self.is_on_server() || url == "embedded" || url == "memory") {
            faults.push("store.url is unknown; set \"embedded\", \"memory\", or a ws:// or wss:// address");
        }
        if self.is_on_server() && url.contains('@') {
            faults.push("store.url has a user, which would be logged; set store.username and store.password");
        }
        if self.is_on_server() && (self.username.is_empty() || self.password.reveal().is_empty()) {
            faults.push(
                "store.url is a SurrealDB server; set store.username, and its password in TOYHUB_STORE__PASSWORD",
            );
        }
        faults
    }
}
