//! The clients of the load: toys that publish, and apps that read, at toyhub's app socket or by MQTT over WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// The timeout of each step.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub type Socket = WebSocketStream<TcpStream>;

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn packet(byte1: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![byte1];
    let mut length = body.len();
    while length >= 128 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(body);
    bytes
}

/// CONNECT of MQTT 3.1.1.
pub fn connect(id: &str, login: Option<(&str, &str)>, clean: bool) -> Vec<u8> {
    let flags = if login.is_some() { 0xc0 } else { 0 } | u8::from(clean) << 1;
    let mut body = [&text("MQTT")[..], &[4, flags, 0, 0], &text(id)].concat();
    if let Some((user, password)) = login {
        body.extend(text(user));
        body.extend(text(password));
    }
    packet(0x10, &body)
}

pub fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &text(filter), &[qos]].concat())
}

/// PUBLISH; with a packet id at QoS 1.
pub fn publish(topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let id_bytes = id.map(u16::to_be_bytes);
    let id_bytes = id_bytes.as_ref().map_or(&[][..], |bytes| &bytes[..]);
    packet(if id.is_some() { 0x32 } else { 0x30 }, &[&text(topic), id_bytes, payload].concat())
}

/// A toy on plain MQTT after its CONNACK.
pub async fn toy(address: SocketAddr, id: &str, login: Option<(&str, &str)>) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("the broker listens");
    socket.set_nodelay(true).expect("a socket");
    socket.write_all(&connect(id, login, true)).await.expect("CONNECT is sent");
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).await.expect("CONNACK");
    assert_eq!(connack[3], 0, "let in");
    socket
}

/// A WebSocket with small buffers: ten thousand of them share the machine with the hub.
pub async fn socket(address: SocketAddr, path: &str, protocol: &str, token: Option<&str>) -> Socket {
    let mut request = format!("ws://{address}{path}").into_client_request().expect("a request");
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().expect("a header"));
    if let Some(token) = token {
        request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().expect("a header"));
    }
    let stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("a socket");
    let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
    let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
    opened.expect("the handshake").0
}

/// An app at toyhub's socket, after its welcome.
pub async fn app(address: SocketAddr, token: &str, after: Option<u64>) -> (Socket, Value) {
    let path = after.map_or("/ws".to_owned(), |after| format!("/ws?after={after}"));
    let mut socket = socket(address, &path, "toyhub.v1", Some(token)).await;
    let welcome = frame(&mut socket).await;
    assert_eq!(welcome["type"], "welcome");
    (socket, welcome)
}

pub async fn frame(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time").expect("open");
        if let Message::Text(text) = message.expect("a frame") {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}

pub async fn app_subscribes(socket: &mut Socket, topic: &str) {
    let request = json!({"id": 1, "do": "subscribe", "topic": topic});
    socket.send(Message::text(request.to_string())).await.expect("sent");
    while frame(socket).await["id"] != 1 {}
}

/// An app by MQTT over WebSocket, after its CONNACK.
pub async fn mqtt_app(address: SocketAddr, id: &str, clean: bool) -> Socket {
    let mut socket = socket(address, "/mqtt", "mqtt", None).await;
    socket.send(Message::binary(connect(id, None, clean))).await.expect("sent");
    assert_eq!(bytes(&mut socket).await[3], 0, "let in");
    socket
}

pub async fn mqtt_app_subscribes(socket: &mut Socket, filter: &str, qos: u8) {
    socket.send(Message::binary(subscribe(filter, qos))).await.expect("sent");
    assert_eq!(bytes(socket).await[0], 0x90, "SUBACK");
}

/// The bytes of the next binary message.
pub async fn bytes(socket: &mut Socket) -> Vec<u8> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time").expect("open");
        if let Message::Binary(bytes) = message.expect("a frame") {
            return bytes.to_vec();
        }
    }
}
