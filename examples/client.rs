//! An example app over the socket: it logs in, prints events, acknowledges messages, and sends a recording.
//!
//! ```sh
//! PASSWORD=… cargo run --release --example client -- http://127.0.0.1:9527 USERNAME [TO FILE]
//! ```
//!
//! The connection may break at any moment. The client reconnects, unless the close code forbids it, and gets the events
//! that it missed: none is lost, and none is reported twice. With `https://` the socket needs a TLS feature of
//! `tokio-tungstenite`, which this example leaves out.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

/// The size of a chunk: in Base64, with the rest of its request, it fits into `ws.message_max_bytes`.
const CHUNK_BYTES: usize = 30 * 1024;
/// The hub closes a connection with more than `ws.requests_per_second`: this many chunks at once, then one after each
/// pause.
const BURST: u32 = 4;
const PAUSE: Duration = Duration::from_millis(70);
/// The hub pings every `ws.ping_interval_s`. After this time without a frame the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Close codes from here on forbid a reconnect.
const STAY_AWAY: u16 = 4500;
/// The number of message ids that are kept to drop duplicates.
const REMEMBERED: usize = 1000;

/// Errors of the client.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The connection broke: it is not known whether the request was executed. The next call reconnects.
    #[error("the connection was lost")]
    Lost,
    /// The hub answered with an error, with a code of the table in docs/http.md.
    #[error("{msg} (code {code})")]
    Refused {
        /// The code.
        code: u64,
        /// The error and its remedy.
        msg: String,
    },
    /// The hub closed the connection and forbids a reconnect.
    #[error("{reason} (close code {code})")]
    Ended {
        /// The close code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// The login over HTTP failed.
    #[error("no login")]
    Login(#[from] reqwest::Error),
}

impl From<SocketError> for Trouble {
    fn from(_: SocketError) -> Self {
        Self::Lost
    }
}

/// An item of [`Client::next`].
#[derive(Debug, PartialEq)]
pub enum Told {
    /// Load all data that the app shows, then call [`Client::loaded`].
    LoadAll,
    /// An event, as the hub pushed it.
    Event(Value),
}

/// The position in the user's stream of events.
#[derive(Default)]
struct Place {
    seen: u64,
    /// Until all data is loaded, a new connection begins anew rather than after events that were not processed.
    loaded: bool,
    ids: HashSet<String>,
    oldest: VecDeque<String>,
}

impl Place {
    fn after(&self) -> Option<u64> {
        self.loaded.then_some(self.seen)
    }

    /// The stream continues at another number.
    fn begin(&mut self, seq: u64) {
        (self.seen, self.loaded) = (seq, false);
    }

    /// Whether the event is new. An unread message may be sent again without a number.
    fn is_new(&mut self, event: &Value) -> bool {
        if let Some(seq) = event["seq"].as_u64() {
            if seq <= self.seen {
                return false;
            }
            self.seen = seq;
        }
        event["type"] != "message" || event["_id"].as_str().is_none_or(|id| self.remember(id))
    }

    fn remember(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.oldest.push_back(id.to_owned());
        if self.oldest.len() > REMEMBERED
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// An app that is logged in.
pub struct Client {
    /// The maximum wait before the first reconnect; it doubles each further time.
    pub first_wait: Duration,
    /// Host and port.
    address: String,
    token: String,
    socket: Option<WebSocketStream<TcpStream>>,
    place: Place,
    waiting: VecDeque<Told>,
    tries: u32,
    number: u64,
    room: Instant,
}

impl Client {
    /// Logs in over HTTP. `hub` is an address such as `http://127.0.0.1:9527`.
    pub async fn log_in(hub: &str, username: &str, password: &str) -> Result<Self, Trouble> {
        let body = json!({"username": username, "password": password});
        let login = reqwest::Client::new().post(format!("{hub}/login")).json(&body).send().await?;
        let data = data_of(login.json().await?)?;
        Ok(Self {
            first_wait: Duration::from_millis(500),
            address: hub.trim_start_matches("http://").to_owned(),
            token: data["token"].as_str().unwrap_or_default().to_owned(),
            socket: None,
            place: Place::default(),
            waiting: VecDeque::new(),
            tries: 0,
            number: 0,
            room: Instant::now(),
        })
    }

    /// The next item. Reconnects as often as needed. Errors: `Ended`.
    pub async fn next(&mut self) -> Result<Told, Trouble> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Ok(told);
            }
            match self.read().await {
                Ok(frame) => self.take(frame),
                Err(Trouble::Lost) => self.socket = None,
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// All data is loaded: from now on a reconnect continues after the last event.
    pub fn loaded(&mut self) {
        self.place.loaded = true;
    }

    /// Sends a request, and returns the `data` of the answer. Events that arrive meanwhile are queued for
    /// [`next`](Self::next).
    pub async fn ask(&mut self, word: &str, mut fields: Value) -> Result<Value, Trouble> {
        let asked = async {
            self.connect().await?;
            self.pause().await;
            self.number += 1;
            (fields["id"], fields["do"]) = (self.number.into(), word.into());
            let socket = self.socket.as_mut().ok_or(Trouble::Lost)?;
            socket.send(Message::text(fields.to_string())).await?;
            loop {
                let frame = self.read_connected().await?;
                if frame["id"] == self.number {
                    return data_of(frame);
                }
                self.take(frame);
            }
        };
        let answer = asked.await;
        if matches!(answer, Err(Trouble::Lost)) {
            self.socket = None;
        }
        answer
    }

    /// Sends a recording in chunks. After a broken connection it continues with the first missing chunk.
    pub async fn send_recording(&mut self, to: &str, recording: &[u8]) -> Result<Value, Trouble> {
        let upload = format!("{:032x}", rand::random::<u128>());
        let mut known = true;
        loop {
            match self.upload(to, recording, &upload, known).await {
                Err(Trouble::Lost) => known = false,
                done => return done,
            }
        }
    }

    async fn upload(&mut self, to: &str, recording: &[u8], upload: &str, known: bool) -> Result<Value, Trouble> {
        let chunks = recording.chunks(CHUNK_BYTES);
        let count = chunks.len();
        let first = if known {
            0
        } else {
            let state = self.ask("upload_state", json!({"upload": upload})).await?;
            let missing = state["first_missing"].as_u64().and_then(|first| first.try_into().ok()).unwrap_or(0);
            // A chunk after the end would begin a new recording.
            if state["finished"] == true { count } else { missing }
        };
        for (number, chunk) in chunks.enumerate().skip(first) {
            let fields = json!({"upload": upload, "n": number, "data": STANDARD.encode(chunk)});
            self.ask("voice", fields).await?;
        }
        // A repeated request gets the same answer, and the message is sent once.
        self.ask("app_uploader", json!({"to_user": to, "upload": upload, "chunks": count})).await
    }

    async fn read(&mut self) -> Result<Value, Trouble> {
        self.connect().await?;
        self.read_connected().await
    }

    /// The next JSON frame of this connection.
    async fn read_connected(&mut self) -> Result<Value, Trouble> {
        let socket = self.socket.as_mut().ok_or(Trouble::Lost)?;
        loop {
            let message = timeout(SILENCE_MAX, socket.next()).await.map_err(|_| Trouble::Lost)?;
            match message.ok_or(Trouble::Lost)?? {
                Message::Text(text) => return serde_json::from_str(&text).map_err(|_| Trouble::Lost),
                Message::Close(Some(close)) if u16::from(close.code) >= STAY_AWAY => {
                    return Err(Trouble::Ended { code: close.code.into(), reason: close.reason.to_string() });
                }
                Message::Close(_) => return Err(Trouble::Lost),
                _ => {}
            }
        }
    }

    fn take(&mut self, frame: Value) {
        let seq = frame["seq"].as_u64().unwrap_or_default();
        match frame["type"].as_str() {
            Some("welcome") => {
                self.tries = 1;
                if frame["resumed"] != true {
                    self.place.begin(seq);
                    self.waiting.push_back(Told::LoadAll);
                }
            }
            Some("reload") => {
                self.place.begin(seq);
                self.waiting.push_back(Told::LoadAll);
            }
            Some(_) if self.place.is_new(&frame) => self.waiting.push_back(Told::Event(frame)),
            // A duplicate, or the answer to a cancelled request.
            _ => {}
        }
    }

    /// Opens the socket, if it is not open.
    async fn connect(&mut self) -> Result<(), Trouble> {
        while self.socket.is_none() {
            if self.tries > 0 {
                let longest = LONGEST_WAIT.min(self.first_wait.saturating_mul(1 << (self.tries - 1).min(16)));
                // A random delay, as other clients have lost the connection, too.
                sleep(longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            }
            // Reset by `welcome`.
            self.tries = self.tries.saturating_add(1);
            self.socket = timeout(SILENCE_MAX, self.open()).await.ok().and_then(Result::ok);
        }
        Ok(())
    }

    async fn open(&self) -> Result<WebSocketStream<TcpStream>, SocketError> {
        let after = self.place.after().map(|seen| format!("?after={seen}")).unwrap_or_default();
        let mut request = format!("ws://{}/ws{after}", self.address).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("Authorization", HeaderValue::try_from(format!("Bearer {}", self.token))?);
        headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static("toyhub.v1"));
        let stream = TcpStream::connect(&self.address).await?;
        Ok(tokio_tungstenite::client_async(request, stream).await?.0)
    }

    async fn pause(&mut self) {
        let full = Instant::now().checked_sub(PAUSE * (BURST - 1)).unwrap_or(self.room);
        self.room = full.max(self.room + PAUSE);
        sleep_until(self.room).await;
    }
}

fn data_of(mut answer: Value) -> Result<Value, Trouble> {
    match answer["code"].as_u64() {
        Some(0) => Ok(answer["data"].take()),
        code => Err(Trouble::Refused {
            code: code.unwrap_or_default(),
            msg: answer["msg"].as_str().unwrap_or_default().to_owned(),
        }),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [hub, username, sending @ ..] = &arguments[..] else {
        return Err("usage: PASSWORD=… client http://HOST:PORT USERNAME [TO FILE]".into());
    };
    let mut client = Client::log_in(hub, username, &std::env::var("PASSWORD")?).await?;
    if let [to, file] = sending {
        let sent = client.send_recording(to, &std::fs::read(file)?).await?;
        println!("sent as {}", sent["_id"]);
    }
    loop {
        let told = match client.next().await? {
            Told::LoadAll => client.ask("friend_list", json!({})).await.map(|friends| {
                client.loaded();
                println!("friends: {friends:#}");
            }),
            Told::Event(event) => {
                println!("{event}");
                match (event["type"].as_str(), &event["_id"]) {
                    (Some("message"), id) => client.ask("delivered", json!({"message": id})).await.map(|_| ()),
                    _ => Ok(()),
                }
            }
        };
        match told {
            // The next call reconnects.
            Ok(()) | Err(Trouble::Lost) => {}
            Err(trouble) => return Err(trouble.into()),
        }
    }
}
