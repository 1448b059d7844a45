//! A closed load of HTTP requests: each connection sends its request again when it has the answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The bytes of a request.
#[derive(Clone)]
pub struct Request(Vec<u8>);

impl Request {
    /// A `POST` of JSON, or a `GET`.
    pub fn of(path: &str, body: Option<&Value>) -> Self {
        let Some(body) = body else { return Self(format!("GET {path} HTTP/1.1\r\nHost: hub\r\n\r\n").into_bytes()) };
        Self::post(path, "application/json", body.to_string().as_bytes())
    }

    pub fn post(path: &str, media_type: &str, body: &[u8]) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: hub\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Self([head.as_bytes(), body].concat())
    }
}

/// Answers in a second, with a connection for each request. The first answer of each connection is checked for its
/// code, and not counted.
pub async fn rate(address: SocketAddr, requests: &[Request], time: Duration) -> f64 {
    let mut connections = Vec::new();
    for request in requests {
        let mut connection = Connection { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() };
        connection.stream.set_nodelay(true).unwrap();
        let first = connection.ask(request).await;
        assert!(!first.contains("\"code\":") || first.contains("\"code\":0"), "{first}");
        connections.push((connection, request.clone()));
    }
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for (mut connection, request) in connections {
        running.spawn(async move {
            let mut answers = 0u64;
            while begun.elapsed() < time {
                let answer = connection.ask(&request).await;
                assert!(!answer.contains("\"code\":") || answer.contains("\"code\":0"), "{answer}");
                answers += 1;
            }
            answers
        });
    }
    let answers: u64 = running.join_all().await.into_iter().sum();
    answers as f64 / begun.elapsed().as_secs_f64()
}

struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    /// The body of the answer.
    async fn ask(&mut self, request: &Request) -> String {
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
