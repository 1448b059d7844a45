//! `[store]`

use serde::{Deserialize, Serialize};

use super::settings::settings;

settings! {
    /// The database.
    pub struct Store {
        /// "embedded": a database in data_dir. "memory": all data is lost when the hub stops. "ws://host:port": a
        /// SurrealDB server.
        url: String = "embedded".into();
        /// Namespace of the tables.
        namespace: String = "toyhub".into();
        /// Database in the namespace.
        database: String = "toyhub".into();
        /// User of a SurrealDB server; unused otherwise.
        username: String = String::new();
        /// Password of that user. Set it as TOYHUB_STORE__PASSWORD rather than in this file.
        password: Password = Password::default();
        /// Bytes of the embedded database's block cache.
        block_cache_bytes: u64 = 128 * 1024 * 1024;
        /// Bytes of the embedded database's write buffer.
        memtable_bytes: u64 = 32 * 1024 * 1024;
        /// Seconds that a query may take.
        query_timeout_s: u64 = 15;
    }
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
    pub(super) fn faults(&self) -> Vec<&'static str> {
        let remote = ["ws://", "wss://"].iter().any(|scheme| self.url.starts_with(scheme));
        let known = remote || self.url == "embedded" || self.url == "memory";
        let fault = (!known).then_some("store.url is unknown; set \"embedded\", \"memory\" or a ws:// address");
        fault.into_iter().collect()
    }
}
