//! `broker.toml` and the `TOYHUB_SECTION__KEY` variables become one [`Config`].
//!
//! Every key has a default. An unknown key or a value of the wrong type ends the
//! start; all faults are reported together, one line each, naming file, key and remedy.

mod net;

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use net::{ForwardedHeader, Net};

const ENVIRONMENT_PREFIX: &str = "TOYHUB_";

/// How large a TLS record may be at most. The upper end is the largest that TLS has room for.
const RECORD_BYTES: std::ops::RangeInclusive<usize> = 512..=16 * 1024;

/// Why a configuration cannot be used: one line for each fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// Everything that can be set. The fields' meanings stand in `broker.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process.
    pub server: Server,
    /// What all listeners share: TLS and proxies.
    pub net: Net,
    /// The HTTP listener, which the WebSocket shares.
    pub http: Http,
    /// The app socket.
    pub ws: Ws,
    /// The MQTT listener.
    pub mqtt: Mqtt,
    /// The database.
    pub store: Store,
    /// Backups by the clock.
    pub backup: Backup,
    /// Recordings that come in and sounds that go out.
    pub audio: Audio,
    /// Voice messages.
    pub chats: Chats,
    /// Recordings and sounds in chunks, over MQTT and the app socket.
    pub chunks: Chunks,
    /// What the hub hears, answers and says.
    pub speech: Speech,
    /// Accounts, friends and tokens.
    pub accounts: Accounts,
    /// How often a client may do what is costly.
    pub rates: Rates,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The folder of everything that the hub keeps.
    pub data_dir: PathBuf,
    /// How long connections get to end when the hub stops.
    pub shutdown_timeout_s: u64,
    /// What is logged, as `RUST_LOG` writes it.
    pub log: String,
    /// Free space below which nothing is taken that adds data.
    pub free_bytes_min: u64,
    /// How often the hub checks what it stands on.
    pub check_interval_s: u64,
    /// How long such a check may take.
    pub check_timeout_s: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            shutdown_timeout_s: 10,
            log: "info,surrealdb=warn,surrealkv=warn".into(),
            free_bytes_min: 256 * 1024 * 1024,
            check_interval_s: 1,
            check_timeout_s: 5,
        }
    }
}

impl Server {
    /// The folder of the embedded database.
    pub fn database_dir(&self) -> PathBuf {
        self.data_dir.join("db")
    }

    /// The file of MQTT sessions and retained messages.
    pub fn sessions_file(&self) -> PathBuf {
        self.data_dir.join("sessions.redb")
    }

    /// The folder of stored sounds and pictures.
    pub fn files_dir(&self) -> PathBuf {
        self.data_dir.join("files")
    }

    /// The folder of uploads that are being received.
    pub fn spool_dir(&self) -> PathBuf {
        self.data_dir.join("spool")
    }

    /// The folder of recordings that come in chunks.
    pub fn chunks_dir(&self) -> PathBuf {
        self.data_dir.join("chunks")
    }

    /// The folder of recordings to the hub, where they are kept.
    pub fn ai_recordings_dir(&self) -> PathBuf {
        self.data_dir.join("ai-recordings")
    }

    /// The Unix socket on which the command line talks to the running hub.
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }
}

/// When the documented HTTP calls need a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpAuth {
    /// Never.
    Open,
    /// Once the account or toy has presented one, from then on.
    Sticky,
    /// Always.
    Token,
}

/// Which answers the documented routes give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The document alone.
    Documented,
    /// Additions for the pages and phones of the field.
    Field,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where to listen.
    #[serde(with = "net::list")]
    pub listen: Vec<SocketAddr>,
    /// Where to listen besides, for older clients that look for their socket there.
    #[serde(with = "net::list")]
    pub legacy_listen: Vec<SocketAddr>,
    /// Where to listen for TLS.
    #[serde(with = "net::list")]
    pub tls_listen: Vec<SocketAddr>,
    /// How large a TLS record to a client may be.
    pub tls_record_max_bytes: usize,
    /// Whether connections of trusted proxies begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Which header of trusted proxies names the client of a request.
    pub forwarded_header: ForwardedHeader,
    /// When calls need a token.
    pub auth: HttpAuth,
    /// Which answers are given.
    pub dialect: Dialect,
    /// Origins of pages that may call the routes; `"*"` for any.
    pub allowed_origins: Vec<String>,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// How long a request's head may take.
    pub header_timeout_s: u64,
    /// How long a body may pause.
    pub body_pause_timeout_s: u64,
    /// How long a whole request may take, its upload included.
    pub request_timeout_s: u64,
    /// How large a JSON or form body may be.
    pub body_max_bytes: u64,
    /// How large an uploaded recording may be.
    pub upload_max_bytes: u64,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 9527))],
            legacy_listen: vec![SocketAddr::from(([0, 0, 0, 0], 9528))],
            tls_listen: Vec::new(),
            tls_record_max_bytes: 16 * 1024,
            proxy_protocol: false,
            forwarded_header: ForwardedHeader::Off,
            auth: HttpAuth::Sticky,
            dialect: Dialect::Documented,
            allowed_origins: vec!["*".into()],
            connections_max: 10_000,
            connections_per_address_max: 256,
            header_timeout_s: 10,
            body_pause_timeout_s: 15,
            request_timeout_s: 120,
            body_max_bytes: 64 * 1024,
            upload_max_bytes: 16 * 1024 * 1024,
        }
    }
}

/// `[ws]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ws {
    /// How large a message from an app may be.
    pub message_max_bytes: usize,
    /// Pushes that may wait for a slow app.
    pub queue_messages_max: usize,
    /// Bytes of them.
    pub queue_bytes_max: usize,
    /// How long an app may take to present its token.
    pub auth_timeout_s: u64,
    /// How often the hub pings.
    pub ping_interval_s: u64,
    /// Connections at once of one user.
    pub connections_per_user_max: usize,
    /// Topics that one connection may subscribe to.
    pub subscriptions_max: usize,
    /// Requests that one connection may make in a second.
    pub requests_per_second: u32,
    /// How long a ticket for opening a socket is good for.
    pub ticket_ttl_s: u64,
    /// Tickets that may wait to be used, in all.
    pub tickets_max: usize,
    /// Whether messages are compressed for apps that offer it.
    pub compression: bool,
}

impl Default for Ws {
    fn default() -> Self {
        Self {
            message_max_bytes: 64 * 1024,
            queue_messages_max: 256,
            queue_bytes_max: 4 * 1024 * 1024,
            auth_timeout_s: 10,
            ping_interval_s: 25,
            connections_per_user_max: 16,
            subscriptions_max: 64,
            requests_per_second: 20,
            ticket_ttl_s: 30,
            tickets_max: 10_000,
            compression: false,
        }
    }
}

/// Whether MQTT clients present certificates of their own when they open TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They are not asked.
    Off,
    /// Those who present one need a good one.
    Optional,
    /// All do.
    Required,
}

/// `[mqtt]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Where to listen.
    #[serde(with = "net::list")]
    pub listen: Vec<SocketAddr>,
    /// Where to listen for TLS.
    #[serde(with = "net::list")]
    pub tls_listen: Vec<SocketAddr>,
    /// How large a TLS record to a client may be.
    pub tls_record_max_bytes: usize,
    /// Whether clients present certificates.
    pub tls_client_certificates: ClientCertificates,
    /// The authorities that sign the clients' certificates (PEM).
    pub tls_client_ca: PathBuf,
    /// Whether connections of trusted proxies begin with a PROXY header.
    pub proxy_protocol: bool,
    /// The path of a Unix socket to listen at; `""` for none.
    pub unix_socket: PathBuf,
    /// Where to listen for conformance tests, without permissions; `""` for nowhere. Loopback only.
    #[serde(with = "optional_address")]
    pub conformance_listen: Option<SocketAddr>,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// Refused and early broken connections of one address in a minute, at one more of which it is banned.
    pub flapping_max: u32,
    /// How old a connection that breaks is at most to count as one of those.
    pub flapping_age_s: u64,
    /// How long a banned address is refused.
    pub flapping_ban_s: u64,
    /// Addresses of which such connections are counted at once.
    pub flapping_addresses_max: usize,
    /// How long a client may take to send CONNECT, and before it to open TLS.
    pub connect_timeout_s: u64,
    /// The longest keep alive; a client that asks for more or for none gets this one.
    pub keep_alive_max_s: u16,
    /// How large a packet from a client may be.
    pub packet_max_bytes: usize,
    /// Filters that one client may subscribe to.
    pub subscriptions_max: usize,
    /// Messages of QoS 1 and 2 that may wait for a slow client, and as many again of QoS 0.
    pub queue_messages_max: usize,
    /// Bytes of them.
    pub queue_bytes_max: usize,
    /// How long a publisher, an app too, waits for a subscriber that is behind.
    pub backpressure_max_s: u64,
    /// QoS 1 messages on their way to one client.
    pub inflight_max: u16,
    /// Retained messages in all.
    pub retained_messages_max: usize,
    /// How large a retained message may be.
    pub retained_max_bytes: usize,
    /// How long a client may take to read what is sent to it.
    pub write_timeout_s: u64,
    /// Topic aliases of one connection in each direction.
    pub topic_aliases_max: u16,
    /// How long a session may outlive its connection.
    pub session_expiry_max_s: u32,
    /// Sessions that outlive their connection, in all.
    pub sessions_max: usize,
    /// Sessions of one user or toy.
    pub sessions_per_party_max: usize,
    /// Messages that may wait in one session.
    pub session_messages_max: u64,
    /// Bytes that may wait in one session.
    pub session_bytes_max: u64,
    /// How long a message may wait in a session.
    pub session_message_age_max_s: u64,
    /// What gives way in a full session.
    pub session_overflow: SessionOverflow,
    /// The cache of the sessions' file.
    pub session_cache_bytes: usize,
    /// How often the figures of `$SYS/broker/…` are published.
    pub sys_interval_s: u64,
}

/// What gives way in a full session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionOverflow {
    /// The message that waited longest.
    DropOldest,
    /// The message that finds no room.
    DropNewest,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 1883))],
            tls_listen: Vec::new(),
            tls_record_max_bytes: 4 * 1024,
            tls_client_certificates: ClientCertificates::Off,
            tls_client_ca: PathBuf::new(),
            proxy_protocol: false,
            unix_socket: PathBuf::new(),
            conformance_listen: None,
            connections_max: 20_000,
            connections_per_address_max: 256,
            flapping_max: 300,
            flapping_age_s: 10,
            flapping_ban_s: 60,
            flapping_addresses_max: 10_000,
            connect_timeout_s: 10,
            keep_alive_max_s: 600,
            packet_max_bytes: 64 * 1024,
            subscriptions_max: 32,
            queue_messages_max: 256,
            queue_bytes_max: 4 * 1024 * 1024,
            backpressure_max_s: 10,
            inflight_max: 32,
            retained_messages_max: 100_000,
            retained_max_bytes: 16 * 1024,
            write_timeout_s: 20,
            topic_aliases_max: 16,
            session_expiry_max_s: 7 * 24 * 3600,
            sessions_max: 50_000,
            sessions_per_party_max: 8,
            session_messages_max: 1000,
            session_bytes_max: 4 * 1024 * 1024,
            session_message_age_max_s: 7 * 24 * 3600,
            session_overflow: SessionOverflow::DropOldest,
            session_cache_bytes: 16 * 1024 * 1024,
            sys_interval_s: 60,
        }
    }
}

impl Mqtt {
    /// Keys of which one needs another.
    fn faults(&self) -> Vec<&'static str> {
        let asks = self.tls_client_certificates != ClientCertificates::Off;
        let lacks_ca = asks && !self.tls_listen.is_empty() && self.tls_client_ca.as_os_str().is_empty();
        let is_narrow = self.queue_bytes_max < 2 * self.packet_max_bytes;
        let exposed = self.conformance_listen.is_some_and(|address| !address.ip().is_loopback());
        [
            lacks_ca.then_some(
                "mqtt.tls_client_ca is empty, which mqtt.tls_client_certificates needs; name a PEM file of the \
                 authorities that signed them",
            ),
            is_narrow.then_some("mqtt.queue_bytes_max is less than two of mqtt.packet_max_bytes; set more"),
            exposed.then_some(
                "mqtt.conformance_listen is open to other machines and asks for no password; set a loopback address \
                 such as \"127.0.0.1:1884\", or \"\"",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
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

/// `[store]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `"embedded"`, `"memory"`, or the address of a SurrealDB server.
    pub url: String,
    /// The namespace.
    pub namespace: String,
    /// The database in the namespace.
    pub database: String,
    /// The user of a remote server.
    pub username: String,
    /// The password of a remote server.
    pub password: String,
    /// The block cache of the embedded engine.
    pub block_cache_bytes: u64,
    /// The write buffer of the embedded engine.
    pub memtable_bytes: u64,
    /// How long a query may take.
    pub query_timeout_s: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "embedded".into(),
            namespace: "toyhub".into(),
            database: "toyhub".into(),
            username: String::new(),
            password: String::new(),
            block_cache_bytes: 128 * 1024 * 1024,
            memtable_bytes: 32 * 1024 * 1024,
            query_timeout_s: 15,
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("url", &self.url)
            .field("namespace", &self.namespace)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// `[backup]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    /// The folder of backups; empty for none.
    pub dir: PathBuf,
    /// Hours between two of them.
    pub interval_h: u64,
    /// How many are kept.
    pub keep: usize,
}

impl Default for Backup {
    fn default() -> Self {
        Self { dir: PathBuf::new(), interval_h: 24, keep: 7 }
    }
}

impl Backup {
    /// Whether the hub makes backups by itself.
    pub fn is_on(&self) -> bool {
        !self.dir.as_os_str().is_empty()
    }
}

/// `[audio]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audio {
    /// How long a recording may be.
    pub recording_max_s: u32,
    /// The bit rate of stored MP3.
    pub mp3_bitrate_kbps: u32,
    /// The program for formats that nothing in the process decodes; empty for none.
    pub ffmpeg: String,
    /// How long that program may take.
    pub ffmpeg_timeout_s: u64,
    /// Threads that convert recordings and hash passwords.
    pub workers: usize,
    /// Jobs that may wait for a thread.
    pub queue_max: usize,
}

impl Default for Audio {
    fn default() -> Self {
        Self {
            recording_max_s: 120,
            mp3_bitrate_kbps: 48,
            ffmpeg: "ffmpeg".into(),
            ffmpeg_timeout_s: 20,
            workers: 2,
            queue_max: 256,
        }
    }
}

/// `[chats]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chats {
    /// How long the same recording, from the same sender to the same receiver, is the same message.
    pub retry_window_s: u64,
    /// How often sounds without a message are looked for.
    pub sweep_interval_s: u64,
}

impl Default for Chats {
    fn default() -> Self {
        Self { retry_window_s: 600, sweep_interval_s: 3600 }
    }
}

/// `[chunks]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chunks {
    /// Recordings of one user or toy that may be on their way in.
    pub uploads_per_party_max: usize,
    /// Chunks of one recording.
    pub upload_chunks_max: u32,
    /// How long a recording may rest before it is given up.
    pub upload_age_max_s: u64,
    /// How large a chunk of a sound may be.
    pub download_chunk_bytes_max: u64,
    /// Chunks of a sound that one request gets.
    pub download_chunks_max: u64,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            uploads_per_party_max: 16,
            upload_chunks_max: 4096,
            upload_age_max_s: 86_400,
            download_chunk_bytes_max: 16_384,
            download_chunks_max: 32,
        }
    }
}

/// `[speech]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Speech {
    /// The speech model; empty for the one in the box.
    pub model: PathBuf,
    /// The SHA-256 that the model must have; empty for any.
    pub model_sha256: String,
    /// Languages that may be spoken, the families' own first; none for all that the model knows.
    pub languages: Vec<String>,
    /// Recordings that are listened to at once.
    pub workers: usize,
    /// Cores for each of them.
    pub threads: usize,
    /// Recordings that may wait.
    pub queue_max: usize,
    /// How long one may wait.
    pub wait_timeout_s: u64,
    /// How long listening to one may take.
    pub recognise_timeout_s: u64,
    /// How long a recording to the hub may be.
    pub command_max_s: u32,
    /// Whether recordings to the hub are kept.
    pub keep_ai_recordings: bool,
    /// How long an answer to a question of the hub is waited for.
    pub question_timeout_s: u64,
    /// What the family's clock shows beyond UTC.
    pub utc_offset_minutes: i32,
    /// The chat endpoint that makes replies; empty for the built-in ones.
    pub reply_url: String,
    /// A file of certificates to trust for it; empty for the public ones alone.
    pub reply_certificates: PathBuf,
    /// Its model.
    pub reply_model: String,
    /// The environment variable that holds its key; empty for none.
    pub reply_key_env: String,
    /// What it is told before each question.
    pub reply_prompt: String,
    /// How long a reply may take.
    pub reply_timeout_s: u64,
    /// How long a reply may be.
    pub reply_words_max: usize,
    /// How long the sound of an answer is kept.
    pub answer_age_max_s: u64,
    /// The synthesiser.
    pub synthesiser: String,
    /// Its arguments; none for those of espeak-ng.
    pub synthesiser_arguments: Vec<String>,
    /// Its voice for the families' language; empty for the one that espeak-ng has.
    pub voice: String,
    /// How its words are kept and sent to toys.
    pub format: SpokenFormat,
    /// How fast it speaks.
    pub words_per_minute: u32,
    /// How long a sentence may take.
    pub timeout_s: u64,
    /// How long a text may be.
    pub text_max_chars: usize,
    /// Sentences spoken at once.
    pub parallel_max: usize,
}

/// As what the hub's own words are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpokenFormat {
    /// Small; every toy plays it.
    Mp3,
    /// Ten times as large, for toys that decode nothing.
    Wav,
}

impl SpokenFormat {
    /// The end of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
        }
    }
}

/// Where the model in the box is looked for, from the folder that the hub is started in.
const MODEL_IN_THE_BOX: &str = "models/toyhub-commands-en.bin";

impl Default for Speech {
    fn default() -> Self {
        Self {
            model: PathBuf::new(),
            model_sha256: String::new(),
            languages: vec!["en".into()],
            workers: 1,
            threads: 2,
            queue_max: 64,
            wait_timeout_s: 30,
            recognise_timeout_s: 20,
            command_max_s: 30,
            keep_ai_recordings: false,
            question_timeout_s: 60,
            utc_offset_minutes: 0,
            reply_url: String::new(),
            reply_certificates: PathBuf::new(),
            reply_model: String::new(),
            reply_key_env: String::new(),
            reply_prompt: "You are a friendly soft toy that talks with a small child. Answer in the child's language, \
                           in one to three short and simple sentences, without lists or emoji. Be kind, truthful and \
                           calm. Speak of nothing that is frightening, violent or for adults; of such a thing, say \
                           kindly that the child can ask its parents. Ask for no names, places or secrets."
                .into(),
            reply_timeout_s: 8,
            reply_words_max: 60,
            answer_age_max_s: 24 * 3600,
            synthesiser: "espeak-ng".into(),
            synthesiser_arguments: Vec::new(),
            voice: String::new(),
            words_per_minute: 150,
            format: SpokenFormat::Mp3,
            timeout_s: 10,
            text_max_chars: 600,
            parallel_max: 2,
        }
    }
}

impl Speech {
    /// The model to listen with: that of the settings, or else the one in the box, if it is there.
    pub fn model_file(&self) -> Option<PathBuf> {
        let in_the_box = Path::new(MODEL_IN_THE_BOX);
        match self.names_no_model() {
            false => Some(self.model.clone()),
            true => in_the_box.exists().then(|| in_the_box.to_owned()),
        }
    }

    /// Whether the model is left to be that in the box.
    pub fn names_no_model(&self) -> bool {
        self.model.as_os_str().is_empty()
    }

    fn faults(&self) -> Vec<&'static str> {
        let is_web = ["http://", "https://"].iter().any(|scheme| self.reply_url.starts_with(scheme));
        let (has_url, day) = (!self.reply_url.is_empty(), 24 * 60);
        [
            (has_url && !is_web).then_some(
                "speech.reply_url is no web address; set http://… or https://…, or \"\" for built-in replies",
            ),
            (has_url && self.reply_model.is_empty())
                .then_some("speech.reply_model is empty, which speech.reply_url needs; name a model of that endpoint"),
            (!(-day..=day).contains(&self.utc_offset_minutes))
                .then_some("speech.utc_offset_minutes is more than a day; set 60 for UTC+1, -300 for UTC-5"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// `[accounts]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// How long a token is good for.
    pub token_ttl_days: u32,
    /// Tokens at once of one user or toy; the oldest goes first.
    pub tokens_max: usize,
    /// Friends in one address book.
    pub friends_max: usize,
    /// Requests that may wait for one user's answer.
    pub pending_requests_max: usize,
    /// Events of one user that are kept for devices that come back.
    pub stream_events_max: usize,
    /// How long a name or remark may be.
    pub name_max_chars: usize,
    /// Memory of one password hash (argon2id).
    pub password_memory_kib: u32,
    /// Passes of one password hash (argon2id).
    pub password_passes: u32,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            token_ttl_days: 365,
            tokens_max: 32,
            friends_max: 500,
            pending_requests_max: 100,
            stream_events_max: 1000,
            name_max_chars: 100,
            password_memory_kib: 19 * 1024,
            password_passes: 2,
        }
    }
}

/// `[rates]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Wrong passwords and secrets from one address in a minute.
    pub failed_logins_per_address_per_minute: u32,
    /// Wrong passwords for one account in a minute.
    pub failed_logins_per_account_per_minute: u32,
    /// Registrations from one address in a minute.
    pub registrations_per_address_per_minute: u32,
    /// Recordings from one user or toy in a minute.
    pub uploads_per_party_per_minute: u32,
    /// Friend requests from one user or toy in a minute.
    pub requests_per_party_per_minute: u32,
    /// MQTT connects from one address in a minute.
    pub connects_per_address_per_minute: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            failed_logins_per_address_per_minute: 30,
            failed_logins_per_account_per_minute: 10,
            registrations_per_address_per_minute: 30,
            uploads_per_party_per_minute: 60,
            requests_per_party_per_minute: 30,
            connects_per_address_per_minute: 600,
        }
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
        let known = match Value::try_from(Self::default()) {
            Ok(Value::Table(table)) => table,
            _ => return Err(ConfigError(vec!["the built-in defaults are not a table".into()])),
        };
        let mut faults = Vec::new();
        compare(&table, &known, "", file, &mut faults);
        override_from(environment, &mut table, &known, &mut faults);
        if !faults.is_empty() {
            return Err(ConfigError(faults));
        }
        let config: Self = serde_path_to_error::deserialize(table).map_err(|error| {
            let remedy = "mend its value as the comments of broker.toml say";
            ConfigError(vec![format!("{file}: {}: {}; {remedy}", error.path(), error.inner().message())])
        })?;
        let faults = config.faults(file);
        if faults.is_empty() { Ok(config) } else { Err(ConfigError(faults)) }
    }

    /// Whether `other` has another value than this for any key but `server.log`, which alone is read while the hub runs.
    pub fn differs_beside_log(&self, other: &Self) -> bool {
        let log = self.server.log.clone();
        let server = Server { log, ..other.server.clone() };
        *self != Self { server, ..other.clone() }
    }

    /// Keys of listeners of which one needs another.
    fn net_faults(&self) -> Vec<String> {
        let (net, http, mqtt) = (&self.net, &self.http, &self.mqtt);
        let mut faults = Vec::new();
        for (section, listen, tls_listen) in
            [("http", &http.listen, &http.tls_listen), ("mqtt", &mqtt.listen, &mqtt.tls_listen)]
        {
            if listen.is_empty() && tls_listen.is_empty() {
                faults.push(format!(
                    "{section}.listen and {section}.tls_listen are empty; set an address for one of them"
                ));
            }
        }
        for (section, listen) in [("http", &http.tls_listen), ("mqtt", &mqtt.tls_listen)] {
            let files = [("net.tls_certificate", &net.tls_certificate), ("net.tls_key", &net.tls_key)];
            let missing = files.iter().filter(|(_, path)| !listen.is_empty() && path.as_os_str().is_empty());
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
        faults
            .extend(trusting.map(|(key, _)| format!("{key} is set, and net.proxies names no proxy; name its address")));
        faults
    }

    /// Values that have the right type and yet make no sense.
    fn faults(&self, file: &str) -> Vec<String> {
        let above_zero = [
            ("server.check_interval_s", self.server.check_interval_s),
            ("server.check_timeout_s", self.server.check_timeout_s),
            ("net.tls_reload_interval_s", self.net.tls_reload_interval_s),
            ("net.handshake_timeout_s", self.net.handshake_timeout_s),
            ("http.connections_max", self.http.connections_max as u64),
            ("http.connections_per_address_max", self.http.connections_per_address_max as u64),
            ("http.header_timeout_s", self.http.header_timeout_s),
            ("http.body_pause_timeout_s", self.http.body_pause_timeout_s),
            ("http.request_timeout_s", self.http.request_timeout_s),
            ("http.body_max_bytes", self.http.body_max_bytes),
            ("http.upload_max_bytes", self.http.upload_max_bytes),
            ("ws.message_max_bytes", self.ws.message_max_bytes as u64),
            ("ws.queue_messages_max", self.ws.queue_messages_max as u64),
            ("ws.queue_bytes_max", self.ws.queue_bytes_max as u64),
            ("ws.auth_timeout_s", self.ws.auth_timeout_s),
            ("ws.ping_interval_s", self.ws.ping_interval_s),
            ("ws.requests_per_second", self.ws.requests_per_second.into()),
            ("ws.ticket_ttl_s", self.ws.ticket_ttl_s),
            ("mqtt.connections_max", self.mqtt.connections_max as u64),
            ("mqtt.flapping_max", self.mqtt.flapping_max.into()),
            ("mqtt.flapping_addresses_max", self.mqtt.flapping_addresses_max as u64),
            ("mqtt.connect_timeout_s", self.mqtt.connect_timeout_s),
            ("mqtt.keep_alive_max_s", self.mqtt.keep_alive_max_s.into()),
            ("mqtt.packet_max_bytes", self.mqtt.packet_max_bytes as u64),
            ("mqtt.queue_messages_max", self.mqtt.queue_messages_max as u64),
            ("mqtt.queue_bytes_max", self.mqtt.queue_bytes_max as u64),
            ("mqtt.backpressure_max_s", self.mqtt.backpressure_max_s),
            ("mqtt.inflight_max", self.mqtt.inflight_max.into()),
            ("mqtt.write_timeout_s", self.mqtt.write_timeout_s),
            ("store.memtable_bytes", self.store.memtable_bytes),
            ("store.query_timeout_s", self.store.query_timeout_s),
            ("backup.interval_h", self.backup.interval_h),
            ("backup.keep", self.backup.keep as u64),
            ("audio.recording_max_s", self.audio.recording_max_s.into()),
            ("audio.workers", self.audio.workers as u64),
            ("audio.queue_max", self.audio.queue_max as u64),
            ("chats.sweep_interval_s", self.chats.sweep_interval_s),
            ("chunks.uploads_per_party_max", self.chunks.uploads_per_party_max as u64),
            ("chunks.upload_chunks_max", self.chunks.upload_chunks_max.into()),
            ("chunks.upload_age_max_s", self.chunks.upload_age_max_s),
            ("chunks.download_chunk_bytes_max", self.chunks.download_chunk_bytes_max),
            ("chunks.download_chunks_max", self.chunks.download_chunks_max),
            ("speech.workers", self.speech.workers as u64),
            ("speech.threads", self.speech.threads as u64),
            ("speech.queue_max", self.speech.queue_max as u64),
            ("speech.wait_timeout_s", self.speech.wait_timeout_s),
            ("speech.recognise_timeout_s", self.speech.recognise_timeout_s),
            ("speech.command_max_s", self.speech.command_max_s.into()),
            ("speech.reply_timeout_s", self.speech.reply_timeout_s),
            ("speech.reply_words_max", self.speech.reply_words_max as u64),
            ("speech.answer_age_max_s", self.speech.answer_age_max_s),
            ("speech.parallel_max", self.speech.parallel_max as u64),
            ("accounts.token_ttl_days", self.accounts.token_ttl_days.into()),
            ("accounts.tokens_max", self.accounts.tokens_max as u64),
            ("accounts.stream_events_max", self.accounts.stream_events_max as u64),
            ("accounts.password_passes", self.accounts.password_passes.into()),
            ("rates.failed_logins_per_address_per_minute", self.rates.failed_logins_per_address_per_minute.into()),
            ("rates.failed_logins_per_account_per_minute", self.rates.failed_logins_per_account_per_minute.into()),
            ("rates.registrations_per_address_per_minute", self.rates.registrations_per_address_per_minute.into()),
            ("rates.uploads_per_party_per_minute", self.rates.uploads_per_party_per_minute.into()),
            ("rates.requests_per_party_per_minute", self.rates.requests_per_party_per_minute.into()),
            ("rates.connects_per_address_per_minute", self.rates.connects_per_address_per_minute.into()),
        ];
        let mut faults: Vec<String> = above_zero
            .into_iter()
            .filter(|(_, value)| *value == 0)
            .map(|(key, _)| format!("{file}: {key} is 0; set a number of 1 or more"))
            .collect();
        if self.accounts.password_memory_kib < 8 {
            faults.push(format!("{file}: accounts.password_memory_kib is below 8; set 19456 or more"));
        }
        if self.server.log.trim().is_empty() {
            faults.push(format!("{file}: server.log is empty; set a level such as \"info\", or \"off\""));
        }
        if self.backup.is_on() && are_nested(&self.backup.dir, &self.server.data_dir) {
            let fault = "backup.dir and server.data_dir are one inside of the other; set a backup.dir elsewhere, best on \
                         another disk";
            faults.push(format!("{file}: {fault}"));
        }
        faults.extend(self.net_faults().into_iter().map(|fault| format!("{file}: {fault}")));
        faults.extend(self.mqtt.faults().into_iter().map(|fault| format!("{file}: {fault}")));
        faults.extend(self.speech.faults().into_iter().map(|fault| format!("{file}: {fault}")));
        let remote = ["ws://", "wss://"].iter().any(|scheme| self.store.url.starts_with(scheme));
        if !remote && self.store.url != "embedded" && self.store.url != "memory" {
            faults.push(format!("{file}: store.url is unknown; set \"embedded\", \"memory\" or a ws:// address"));
        }
        faults
    }
}

/// Whether one of two paths leads into the other, or they are the same, as far as their text says.
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
            (None, _) => faults.push(format!("{file}: {path} is not a known key; remove it or mend its spelling")),
            (Some(Value::Table(known)), Value::Table(table)) => compare(table, known, &path, file, faults),
            // One address stands for a list of one.
            (Some(Value::Array(_)), Value::String(_)) if key.ends_with("listen") => {}
            (Some(expected), value) if !value.same_type(expected) => {
                faults.push(format!("{file}: {path} is a {}; write a {}", value.type_str(), expected.type_str()))
            }
            _ => {}
        }
    }
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
            faults.push(format!("environment: {name} names no known key; unset it or mend its spelling"));
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
            faults.push(format!("environment: {name} is not a {}; mend its value", expected.type_str()));
            continue;
        };
        if let Value::Table(section) = table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
            section.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        Config::parse(text, "broker.toml", environment)
    }

    #[test]
    fn the_file_in_the_repository_holds_every_key_with_its_default() {
        let text = include_str!("../broker.toml");
        assert_eq!(parse(text, &[]).unwrap(), Config::default());
        let written: Table = text.parse().unwrap();
        let Ok(Value::Table(known)) = Value::try_from(Config::default()) else { panic!("not a table") };
        for (section, keys) in &known {
            for key in keys.as_table().unwrap().keys() {
                assert!(written[section].get(key).is_some(), "{section}.{key} is missing in broker.toml");
            }
        }
    }

    #[test]
    fn all_faults_are_named_together() {
        let error = parse("[http]\nlisten = 80\nlissen = \"x\"\n[nope]\na = 1\n", &[("TOYHUB_MQTT__LISTN", "x")]);
        let faults = error.unwrap_err().0;
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults.contains(&"broker.toml: http.listen is a integer; write a array".to_owned()), "{faults:?}");
        assert!(faults.iter().any(|f| f.contains("http.lissen is not a known key")));
        assert!(faults.iter().any(|f| f.contains("nope is not a known key")));
        assert!(faults.iter().any(|f| f.contains("TOYHUB_MQTT__LISTN names no known key")));
    }

    #[test]
    fn variables_override_the_file() {
        let config = parse(
            "[http]\nlisten = \"0.0.0.0:1\"\n",
            &[
                ("TOYHUB_HTTP__LISTEN", "127.0.0.1:0"),
                ("TOYHUB_HTTP__ALLOWED_ORIGINS", "http://a, http://b"),
                ("TOYHUB_MQTT__INFLIGHT_MAX", "7"),
                ("HOME", "/"),
            ],
        );
        let config = config.unwrap();
        assert_eq!(config.http.listen, [SocketAddr::from(([127, 0, 0, 1], 0))]);
        assert_eq!(config.http.allowed_origins, ["http://a", "http://b"]);
        assert_eq!(config.mqtt.inflight_max, 7);
    }

    #[test]
    fn listeners_are_one_address_or_many() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let one = parse("[mqtt]\nlisten = \"[::]:1883\"\n[http]\nlegacy_listen = \"\"", &[]).unwrap();
        assert_eq!(one.mqtt.listen, addresses(&["[::]:1883"]));
        assert!(one.http.legacy_listen.is_empty());
        let listed = "[http]\nlisten = [\"127.0.0.1:1\", \"[::1]:1\"]";
        let many = parse(listed, &[("TOYHUB_MQTT__LISTEN", "0.0.0.0:1, [::]:1")]).unwrap();
        assert_eq!(many.http.listen, addresses(&["127.0.0.1:1", "[::1]:1"]));
        assert_eq!(many.mqtt.listen, addresses(&["0.0.0.0:1", "[::]:1"]));
        let proxies = parse("[net]\nproxies = [\"10.0.0.0/8\", \"::1\"]", &[]).unwrap().net.proxies;
        assert_eq!(proxies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
    }

    #[test]
    fn wrong_values_are_refused_with_a_remedy() {
        for (text, expected) in [
            ("[http]\nlisten = \"nowhere\"", "listen"),
            ("[http]\nauth = \"maybe\"", "auth"),
            ("[http]\nupload_max_bytes = 0", "http.upload_max_bytes is 0"),
            ("[mqtt]\nkeep_alive_max_s = 70000", "keep_alive_max_s"),
            ("[store]\nurl = \"mysql://x\"", "store.url is unknown"),
            ("[http", "line 1: not TOML"),
            ("[mqtt]\ntls_listen = \"8883\"", "tls_listen"),
            ("[mqtt]\ntls_listen = \"0.0.0.0:8883\"", "net.tls_certificate is empty, which mqtt.tls_listen needs"),
            ("[http]\ntls_listen = [\"0.0.0.0:443\"]", "net.tls_key is empty, which http.tls_listen needs"),
            ("[http]\nlisten = []", "http.listen and http.tls_listen are empty"),
            ("[http]\nlisten = [\"localhost\"]", "http.listen: \"localhost\" is no address with a port"),
            ("[mqtt]\ntls_record_max_bytes = 20000", "mqtt.tls_record_max_bytes is 20000"),
            ("[mqtt]\nproxy_protocol = true", "mqtt.proxy_protocol is set, and net.proxies names no proxy"),
            ("[http]\nforwarded_header = \"x-forwarded-for\"", "http.forwarded_header is set"),
            ("[http]\nforwarded_header = \"x-real-ip\"", "http.forwarded_header: unknown variant"),
            ("[net]\nproxies = [\"10.0.0.0/40\"]", "net.proxies: \"10.0.0.0/40\" is no address or network"),
            ("[mqtt]\ntls_listen = \"[::]:1\"\ntls_client_certificates = \"optional\"", "mqtt.tls_client_ca is empty"),
            ("[mqtt]\nqueue_bytes_max = 1", "mqtt.queue_bytes_max is less than two"),
            ("[mqtt]\nconformance_listen = \"0.0.0.0:1884\"", "mqtt.conformance_listen is open"),
            ("[speech]\nreply_url = \"example\"\nreply_model = \"m\"", "speech.reply_url is no web address"),
            ("[speech]\nreply_url = \"http://a\"", "speech.reply_model is empty"),
            ("[speech]\nutc_offset_minutes = 5000", "speech.utc_offset_minutes is more than a day"),
        ] {
            let error = parse(text, &[]).unwrap_err().to_string();
            assert!(error.contains(expected) || error.contains("invalid"), "{text}: {error}");
            assert!(error.starts_with("broker.toml"), "{error}");
        }
    }

    #[test]
    fn the_password_of_the_store_does_not_show() {
        let config = parse("[store]\npassword = \"hunter2\"", &[]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
