//! Replies from a real server on this machine, which follows the protocol or violates it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::model::Secret;
use crate::ports::speech::languages::{CHINESE, ENGLISH};

const PROMPT: &str = "You are a bear.";

/// Answers one request after `delay`, with this status and body. Returns head and body of the request.
async fn endpoint(
    status: u16,
    body: String,
    delay: Duration,
) -> (SocketAddr, tokio::task::JoinHandle<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer_one(stream, status, &body, delay).await
    });
    (address, served)
}

async fn answer_one(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    status: u16,
    body: &str,
    delay: Duration,
) -> (String, Value) {
    let mut asked = Vec::new();
    let (head, content) = loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "the client went away");
        asked.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&asked).into_owned();
        let Some((head, content)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if content.len() == length.unwrap_or(0usize) {
            break (head.to_owned(), serde_json::from_str(content).unwrap());
        }
    };
    tokio::time::sleep(delay).await;
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // The client may have closed the connection.
    let _ = stream.write_all(answer.as_bytes()).await;
    (head, content)
}

fn chat(text: &str) -> String {
    json!({"id": "1", "object": "chat.completion", "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}},
    ], "usage": {"total_tokens": 9}})
    .to_string()
}

fn settings(address: SocketAddr) -> ChatSettings {
    ChatSettings {
        url: format!("http://{address}/v1"),
        certificates: None,
        model: "small".into(),
        key: Some(Secret::new("sesame")),
        prompt: PROMPT.into(),
        timeout: Duration::from_secs(20),
        answer_max_bytes: 256 * 1024,
        words_max: 12,
        streams: true,
    }
}

#[tokio::test]
async fn a_question_follows_the_protocol_and_is_answered() {
    let (address, served) = endpoint(200, chat("Bears sleep\nin **winter**. 🐻"), Duration::ZERO).await;
    let engine = ChatEndpoint::new(settings(address)).unwrap();
    assert_eq!(engine.reply("why do bears sleep", &ENGLISH).await.unwrap(), "Bears sleep in winter .");
    let (head, asked) = served.await.unwrap();
    let head = head.to_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {address}")) && head.contains("authorization: bearer sesame"), "{head}");
    assert_eq!(
        asked,
        json!({"model": "small", "max_tokens": 36, "stream": false, "messages": [
            {"role": "system", "content": PROMPT}, {"role": "user", "content": "why do bears sleep"},
        ]})
    );
    assert!(!format!("{engine:?} {:?}", settings(address)).contains("sesame"));
}

#[tokio::test]
async fn a_long_reply_ends_with_a_sentence() {
    let long = "Bears sleep in winter. They eat a lot before that. Then they dream of honey all day long.";
    let (address, _served) = endpoint(200, chat(long), Duration::ZERO).await;
    let reply = ChatEndpoint::new(settings(address)).unwrap().reply("why", &ENGLISH).await.unwrap();
    assert_eq!(reply, "Bears sleep in winter. They eat a lot before that.");
}

/// An answer in pieces, each of which is sent once the one before was taken.
async fn pieces(parts: Vec<String>) -> (SocketAddr, tokio::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut may_send) = tokio::sync::mpsc::channel::<()>(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await.unwrap();
        let head = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        for part in parts {
            stream.write_all(part.as_bytes()).await.unwrap();
            if may_send.recv().await.is_none() {
                return;
            }
        }
    });
    (address, sender)
}

fn event(text: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
}

#[tokio::test]
async fn a_reply_in_pieces_is_known_sentence_by_sentence() {
    let first = [": a comment\r\n", &event("Bears sl"), &event("eep in winter. They")].concat();
    // The third event comes in two parts.
    let cut = event(" dream");
    let (begun, done) = cut.split_at(9);
    let parts = vec![first, begun.to_owned(), format!("{done}{}data: [DONE]\n\n", event(" of honey."))];
    let (address, next) = pieces(parts).await;
    let engine = Arc::new(ChatEndpoint::new(settings(address)).unwrap());
    let mut sentences = engine.sentences("why".into(), &ENGLISH);
    // Before the endpoint has sent the rest.
    assert_eq!(sentences.next().await.unwrap().unwrap(), "Bears sleep in winter.");
    for _ in 0..3 {
        next.send(()).await.unwrap();
    }
    drop(next);
    assert_eq!(sentences.next().await.unwrap().unwrap(), "They dream of honey.");
    assert!(sentences.next().await.is_none());
}

#[tokio::test]
async fn an_endpoint_without_pieces_and_failures_are_taken_as_they_come() {
    // The whole at once.
    let (address, _served) = endpoint(200, chat("Bears sleep in winter. They dream."), Duration::ZERO).await;
    let engine = Arc::new(WithFallback::new(ChatEndpoint::new(settings(address)).unwrap()));
    let all: Vec<_> = engine.sentences("thank you".into(), &ENGLISH).map(Result::unwrap).collect().await;
    assert_eq!(all, ["Bears sleep in winter.", "They dream."]);
    // A failure before the first sentence, and after it.
    for (parts, expected) in [
        (vec!["data: {}\n".to_owned()], vec!["You are welcome!"]),
        (vec!["data: nonsense\n".to_owned()], vec!["You are welcome!"]),
        (vec![event(" ")], vec!["You are welcome!"]),
        (vec![event("Bears sleep in winter. They ") + "data: {}\n"], vec!["Bears sleep in winter."]),
    ] {
        let (address, next) = pieces(parts.clone()).await;
        let engine = Arc::new(WithFallback::new(ChatEndpoint::new(settings(address)).unwrap()));
        drop(next);
        let all: Vec<_> = engine.sentences("thank you".into(), &ENGLISH).map(Result::unwrap).collect().await;
        assert_eq!(all, expected, "{parts:?}");
    }
    // Silence after the first sentence.
    let (address, _next) = pieces(vec![event("Bears sleep in winter. They ")]).await;
    let hurried = ChatSettings { timeout: Duration::from_millis(300), ..settings(address) };
    let engine = Arc::new(ChatEndpoint::new(hurried).unwrap());
    let all: Vec<_> = engine.sentences("why".into(), &ENGLISH).collect().await;
    assert_eq!(all[0].as_deref().unwrap(), "Bears sleep in winter.");
    assert!(matches!(all[1..], [Err(ReplyError::TimedOut)]), "{all:?}");
}

#[tokio::test]
async fn every_failure_has_its_error_and_the_built_in_reply_is_used() {
    let huge = chat(&"bear ".repeat(100_000));
    for (status, body, expected) in [
        (500, chat("bears"), "status 500"),
        (401, "{}".into(), "status 401"),
        (302, String::new(), "status 302"),
        (200, "<html>".into(), "not the JSON"),
        (200, "{\"choices\":[]}".into(), "no text"),
        (200, "{\"choices\":[{\"message\":{\"content\":null}}]}".into(), "no text"),
        (200, chat(" 🐻 "), "no words"),
        (200, huge, "too long"),
    ] {
        let (address, _served) = endpoint(status, body.clone(), Duration::ZERO).await;
        let error =
            ChatEndpoint::new(settings(address)).unwrap().reply("thank you", &ENGLISH).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("thank"), "{error}");
        let (address, _served) = endpoint(status, body, Duration::ZERO).await;
        let engine = WithFallback::new(ChatEndpoint::new(settings(address)).unwrap());
        assert_eq!(engine.reply("thank you", &ENGLISH).await.unwrap(), "You are welcome!");
    }
}

#[tokio::test]
async fn a_slow_an_absent_and_a_silent_endpoint_cost_no_more_than_the_time_limit() {
    let hurried = |address| ChatSettings { timeout: Duration::from_millis(300), ..settings(address) };
    let (address, _served) = endpoint(200, chat("late"), Duration::from_secs(60)).await;
    let started = Instant::now();
    let error = ChatEndpoint::new(hurried(address)).unwrap().reply("why", &ENGLISH).await.unwrap_err();
    assert!(matches!(error, ReplyError::TimedOut) && started.elapsed() < Duration::from_secs(5));

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = ChatEndpoint::new(settings(closed)).unwrap().reply("why", &ENGLISH).await.unwrap_err();
    assert!(matches!(error, ReplyError::Unreachable(_)), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dumb = listener.local_addr().unwrap();
    tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
    let error = ChatEndpoint::new(settings(dumb)).unwrap().reply("why", &ENGLISH).await.unwrap_err();
    assert!(matches!(error, ReplyError::Unreachable(_)), "{error}");

    // A plain server where TLS is expected.
    let (address, _served) = endpoint(200, chat("bears"), Duration::ZERO).await;
    let secure = ChatSettings { url: format!("https://localhost:{}", address.port()), ..hurried(address) };
    let error = ChatEndpoint::new(secure).unwrap().reply("why", &ENGLISH).await.unwrap_err();
    assert!(matches!(error, ReplyError::Unreachable(_) | ReplyError::TimedOut), "{error}");
}

/// `key.pem` and a self-signed `certificate.pem` for `localhost`.
fn certificate(folder: &Path) {
    let made = std::process::Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split(' '),
        )
        .args("-addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE".split(' '))
        .args("-keyout key.pem -out certificate.pem".split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn a_local_endpoint_is_called_over_tls_if_its_certificate_is_given() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let path = folder.path().join("certificate.pem");
    let certificates = CertificateDer::pem_file_iter(&path).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.path().join("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (stranger, _) = listener.accept().await.unwrap();
        assert!(acceptor.accept(stranger).await.is_err(), "a client that does not trust it goes away");
        let (friend, _) = listener.accept().await.unwrap();
        answer_one(acceptor.accept(friend).await.unwrap(), 200, &chat("Bears sleep."), Duration::ZERO).await
    });
    let secure = ChatSettings { url: format!("https://localhost:{}/v1", address.port()), ..settings(address) };
    let error = ChatEndpoint::new(secure.clone()).unwrap().reply("why", &ENGLISH).await.unwrap_err();
    assert!(matches!(error, ReplyError::Unreachable(_)), "{error}");
    let trusting = ChatSettings { certificates: Some(path), ..secure.clone() };
    assert_eq!(ChatEndpoint::new(trusting).unwrap().reply("why", &ENGLISH).await.unwrap(), "Bears sleep.");
    assert!(served.await.unwrap().0.to_lowercase().contains("authorization: bearer sesame"));

    for file in ["nowhere.pem", "key.pem"] {
        let lost = ChatSettings { certificates: Some(folder.path().join(file)), ..secure.clone() };
        assert!(matches!(ChatEndpoint::new(lost), Err(ReplyError::Certificates { .. })), "{file}");
    }
}

#[test]
fn wrong_addresses_are_reported_at_the_start() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    for url in ["", "localhost", "ftp://localhost/v1", "http://", "http://a b"] {
        let outcome = ChatEndpoint::new(ChatSettings { url: url.into(), ..settings(address) });
        assert!(matches!(outcome, Err(ReplyError::Address(_))), "{url}");
    }
    for url in ["https://chat.example", "http://[::1]:80/v1/", "http://127.0.0.1/v1/chat/completions"] {
        assert!(ChatEndpoint::new(ChatSettings { url: url.into(), ..settings(address) }).is_ok(), "{url}");
    }
}

#[tokio::test]
async fn the_built_in_replies_fit_the_sentences_of_small_children() {
    for (question, expected) in [
        ("Hello teddy!", "Hello! It is nice to hear you."),
        ("I'm scared of the monster.", "I am with you. Hold me tight, and tell a grown-up what frightens you."),
        ("my tummy hurts", "Please go to a grown-up now and tell them. They will help you."),
        ("I love you", "I love you too!"),
        ("我爱你", "我也爱你！"),
        ("谢谢你小熊", "不客气！"),
    ] {
        assert_eq!(BuiltIn.reply(question, Language::of(question, "en")).await.unwrap(), expected, "{question}");
    }
    let unknown = BuiltIn.reply("what is this thing", &ENGLISH).await.unwrap();
    assert!(unknown.starts_with("I do not know"), "\"hi\" is not in \"this\" or \"thing\": {unknown}");
    assert!(BuiltIn.reply("为什么天是蓝的", &CHINESE).await.unwrap().starts_with("这个我还不知道"));
}
