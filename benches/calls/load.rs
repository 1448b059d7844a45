//! A closed load of HTTP requests: each connection sends its request again when it has the answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The bytes of a number in a request that is different each time it is sent.
const NUMBER_BYTES: usize = 8;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The bytes of a request, and where its number is, if it has one.
#[derive(Clone)]
pub struct Request(Vec<u8>, Option<usize>);

impl Request {
    /// A `POST` of JSON, or a `GET`.
    pub fn of(path: &str, body: Option<&Value>) -> Self {
        let Some(body) = body else {
            return Self(format!("GET {path} HTTP/1.1\r\nHost: hub\r\n\r\n").into_bytes(), None);
        };
        Self::post(path, "application/json", body.to_string().as_bytes())
    }

    pub fn post(path: &str, media_type: &str, body: &[u8]) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: hub\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Self([head.as_bytes(), body].concat(), None)
    }

    /// The same, different each time: its last bytes but `after` are a number.
    pub fn numbered(mut self, after: usize) -> Self {
        self.1 = Some(self.0.len() - after - NUMBER_BYTES);
        self
    }
}

/// Answers in a second, with a connection for each request.
pub async fn rate(address: SocketAddr, requests: &[Request], time: Duration) -> f64 {
    let (answers, took) = answers(address, requests, time, || ()).await;
    answers as f64 / took.as_secs_f64()
}

/// The number of answers and their time, with a connection for each request. The first answer of each connection is
/// not counted; `begin` is called after these.
pub async fn answers(
    address: SocketAddr,
    requests: &[Request],
    time: Duration,
    begin: impl FnOnce(),
) -> (u64, Duration) {
    let mut connections = Vec::new();
    for request in requests {
        let mut connection = Connection { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() };
        connection.stream.set_nodelay(true).unwrap();
        let mut request = request.clone();
        let first = connection.ask(&mut request).await;
        assert!(!first.contains("\"code\":") || first.contains("\"code\":0"), "{first}");
        connections.push((connection, request));
    }
    begin();
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for (mut connection, mut request) in connections {
        running.spawn(async move {
            let mut answers = 0u64;
            while begun.elapsed() < time {
                let answer = connection.ask(&mut request).await;
                assert!(!answer.contains("\"code\":") || answer.contains("\"code\":0"), "{answer}");
                answers += 1;
            }
            answers
        });
    }
    let answers: u64 = running.join_all().await.into_iter().sum();
    (answers, begun.elapsed())
}

struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    /// The body of the answer.
    async fn ask(&mut self, request: &mut Request) -> String {
        if let Some(at) = request.1 {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            request.0[at..at + NUMBER_BYTES].copy_from_slice(&number.to_be_bytes());
        }
        self.stream.write_all(&request.0).await.unwrap();
        loop {
            if let Some((head, length)) = self.answer() {
                let body = String::from_utf8_lossy(&self.read[head..head + length]).into_owned();
                self.read.drain(..head + length);
                return body;
            }
            let mut buffer = [0; 16 << 10];
            let count = self.stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the hub closed the connection");
            self.read.extend_from_slice(&buffer[..count]);
        }
    }

    /// Where the body of a complete answer begins, and its length.
    fn answer(&self) -> Option<(usize, usize)> {
        let head = self.read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let text = std::str::from_utf8(&self.read[..head]).expect("a head in ASCII").to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1).expect("a length").split('\r').next().unwrap();
        let length = length.parse().expect("a number");
        (self.read.len() >= head + length).then_some((head, length))
    }
}
