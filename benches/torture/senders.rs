//! Senders, one for each way and lane: each sends one message after the other until the gate closes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Client;
use reqwest::multipart::{Form, Part};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::family::Family;
use crate::gate::Gate;
use crate::hub::Addresses;
use crate::ledger::{Ledger, Outcome, Way};
use crate::mqtt::{Inbox, Link, Login, Outbox};
use crate::sound;

/// The timeout of an answer, after which it counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two attempts.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The time for which a message is sent again.
const RETRIES_FOR: Duration = Duration::from_secs(120);
const CHUNK_BYTES: usize = 2048;
/// Concurrent publishes of one sender.
const WINDOW: usize = 8;
/// Publishes of one sender between two checks of the gate.
const BATCH: usize = 16;

/// The environment of a sender.
#[derive(Clone)]
pub struct Sender {
    pub ledger: Arc<Ledger>,
    pub gate: Gate,
    pub family: Family,
    pub lane: usize,
    /// The pause between two messages.
    pub pause: Duration,
}

/// The outcome of an attempt.
enum Answer {
    Done,
    Refused(String),
    /// It may have been executed, or not.
    Open(String),
}

impl Answer {
    fn of(answer: &Value) -> Self {
        let said = format!("code {}, {}", answer["code"], answer["msg"]);
        match answer["code"].as_i64() {
            Some(0) => Self::Done,
            // The hub is busy, has a fault, its disk is full, or the database did not say whether it has committed: the
            // sender tries again.
            Some(17 | 19 | 32 | 33) | None => Self::Open(said),
            Some(_) => Self::Refused(said),
        }
    }
}

impl Sender {
    /// Sends over one way until the gate closes.
    pub async fn run(self, way: Way) {
        match way {
            Way::AppHttp | Way::ToyHttp => self.over_http(way).await,
            Way::ToyMqtt => self.voice_over_mqtt().await,
            Way::AppSocket => self.voice_over_socket().await,
            Way::CommandSocket => self.commands_over_socket().await,
            Way::CommandQos1 | Way::CommandQos2 | Way::StateQos2 => self.publishes(way).await,
        }
    }

    /// Repeats a message until there is an answer, or gives up after the first attempt without one.
    async fn settle(&self, way: Way, number: u32, again: bool, mut attempt: impl AsyncFnMut(Addresses) -> Answer) {
        let begun = Instant::now();
        loop {
            let Some(addresses) = self.gate.addresses().await else { return };
            let why = match attempt(addresses).await {
                Answer::Done => return self.ledger.settle(number, Outcome::Accepted),
                Answer::Refused(why) => {
                    self.ledger.answer(way, &why);
                    return self.ledger.settle(number, Outcome::Refused);
                }
                Answer::Open(why) => why,
            };
            if self.gate.is_open() {
                self.ledger.answer(way, &why);
            }
            if begun.elapsed() > RETRIES_FOR {
                return self.ledger.fault(format!("message {number} gets no answer in {RETRIES_FOR:?}: {why}"));
            }
            tokio::time::sleep(AGAIN_AFTER).await;
            if !again {
                return;
            }
        }
    }

    async fn over_http(self, way: Way) {
        let client = Client::builder().timeout(PATIENCE).build().unwrap();
        let Family { user, toy, token, .. } = &self.family;
        while let Some(_permit) = self.gate.permit().await {
            let number = self.ledger.begin(way, self.lane);
            let recording = sound::recording(number);
            let send = async |addresses: Addresses| -> Result<Value> {
                let part = Part::bytes(recording.clone()).file_name("record.wav");
                let (path, form) = match way {
                    Way::AppHttp => ("/app_uploader", [("user_id", user), ("to_user", toy)]),
                    _ => ("/toy_uploader", [("user_id", toy), ("to_user", user)]),
                };
                let fields = form.into_iter().fold(Form::new(), |form, (name, value)| form.text(name, value.clone()));
                let form = if way == Way::AppHttp {
                    fields.part("reco_file", part)
                } else {
                    fields.text("friend_type", "app").part("reco", part)
                };
                let mut request = client.post(format!("http://{}{path}", addresses.http)).multipart(form);
                if way == Way::AppHttp {
                    request = request.bearer_auth(token);
                }
                Ok(serde_json::from_str(&request.send().await?.text().await?)?)
            };
            // Every second message is sent only once, so that some outcomes stay unknown.
            self.settle(way, number, number.is_multiple_of(2), async |addresses| match send(addresses).await {
                Ok(answer) => Answer::of(&answer),
                Err(error) => Answer::Open(error.to_string()),
            })
            .await;
            tokio::time::sleep(self.pause).await;
        }
    }

    fn app_login(&self, client_id: &str, clean: bool) -> Login {
        let Family { user, token, .. } = &self.family;
        Login { client_id: format!("{client_id}-{}", self.lane), user: user.clone(), password: token.clone(), clean }
    }

    fn toy_login(&self, client_id: &str, clean: bool) -> Login {
        let Family { device_key, secret, .. } = &self.family;
        Login {
            client_id: format!("{client_id}-{}", self.lane),
            user: device_key.clone(),
            password: secret.clone(),
            clean,
        }
    }

    async fn voice_over_mqtt(self) {
        let mut kept = None;
        while let Some(_permit) = self.gate.permit().await {
            let number = self.ledger.begin(Way::ToyMqtt, self.lane);
            let recording = sound::recording(number);
            self.settle(Way::ToyMqtt, number, true, async |addresses| {
                let sent = async {
                    let mut link = match kept.take() {
                        Some(link) => link,
                        None => self.open_toy(addresses).await?,
                    };
                    let answer = self.upload_over_mqtt(&mut link, number, &recording).await?;
                    kept = Some(link);
                    Ok::<_, anyhow::Error>(answer)
                };
                match tokio::time::timeout(PATIENCE, sent).await {
                    Ok(Ok(answer)) => Answer::of(&answer),
                    Ok(Err(error)) => Answer::Open(error.to_string()),
                    Err(late) => Answer::Open(late.to_string()),
                }
            })
            .await;
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn open_toy(&self, addresses: Addresses) -> Result<Link> {
        let mut link = Link::open(addresses.mqtt, &self.toy_login("voice", true)).await?;
        link.subscribe(&format!("toy/{}/in", self.family.toy), QoS::AtLeastOnce).await?;
        Ok(link)
    }

    async fn upload_over_mqtt(&self, link: &mut Link, number: u32, recording: &[u8]) -> Result<Value> {
        let Family { user, toy, .. } = &self.family;
        let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
        let mut chunks = 0;
        for chunk in recording.chunks(CHUNK_BYTES) {
            let topic = format!("toy/{toy}/voice/{number}/{chunks}");
            outbox.publish(link, Publish::new(topic, QoS::AtLeastOnce, chunk), number).await?;
            chunks += 1;
        }
        let request = json!({"id": number, "do": "toy_uploader", "to_user": user, "upload": number.to_string(), "chunks": chunks});
        let publish = Publish::new(format!("toy/{toy}/out"), QoS::AtLeastOnce, request.to_string());
        outbox.publish(link, publish, number).await?;
        let mut answer = None;
        while outbox.len() > 0 || answer.is_none() {
            let packet = link.next().await?;
            outbox.take(link, &packet).await?;
            let Some(message) = inbox.take(link, packet).await? else { continue };
            let message: Value = serde_json::from_slice(&message.payload)?;
            if message["id"] == number {
                answer = Some(message);
            }
        }
        Ok(answer.unwrap_or_default())
    }

    async fn voice_over_socket(self) {
        let mut kept = None;
        while let Some(_permit) = self.gate.permit().await {
            let number = self.ledger.begin(Way::AppSocket, self.lane);
            let recording = sound::recording(number);
            let chunks: Vec<_> = recording.chunks(CHUNK_BYTES).collect();
            let mut requests = Vec::new();
            for (n, chunk) in chunks.iter().enumerate() {
                let data = BASE64_STANDARD.encode(chunk);
                requests.push(json!({"do": "voice", "upload": number.to_string(), "n": n, "data": data}));
            }
            let upload = json!({
                "do": "app_uploader", "to_user": self.family.toy, "upload": number.to_string(), "chunks": chunks.len(),
            });
            requests.push(upload);
            self.settle(Way::AppSocket, number, true, async |addresses| {
                socket_requests(addresses, &self.family.token, &mut kept, &requests).await
            })
            .await;
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn commands_over_socket(self) {
        let mut kept = None;
        while let Some(_permit) = self.gate.permit().await {
            let number = self.ledger.begin(Way::CommandSocket, self.lane);
            let topic = format!("toy/{}/cmd/socket", self.family.toy);
            let publish = [json!({"do": "publish", "topic": topic, "payload": number.to_string()})];
            self.settle(Way::CommandSocket, number, false, async |addresses| {
                socket_requests(addresses, &self.family.token, &mut kept, &publish).await
            })
            .await;
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Publishes over MQTT, several at once: at QoS 1 without a session, at QoS 2 with one that is resumed.
    async fn publishes(self, way: Way) {
        let toy = &self.family.toy;
        let (login, topic, qos) = match way {
            Way::CommandQos1 => (self.app_login("one", true), format!("toy/{toy}/cmd/one"), QoS::AtLeastOnce),
            Way::CommandQos2 => (self.app_login("two", false), format!("toy/{toy}/cmd/two"), QoS::ExactlyOnce),
            _ => (self.toy_login("state", false), format!("toy/{toy}/state/two"), QoS::ExactlyOnce),
        };
        let (mut outbox, mut kept) = (Outbox::default(), None);
        while let Some(_permit) = self.gate.permit().await {
            let mut left = BATCH;
            while left > 0 || outbox.len() > 0 {
                let Some(addresses) = self.gate.addresses().await else { return };
                let sent =
                    self.publish_some(way, addresses, &login, &topic, qos, &mut kept, &mut outbox, &mut left).await;
                if let Err(error) = sent {
                    if self.gate.is_open() {
                        self.ledger.answer(way, &error.to_string());
                    }
                    kept = None;
                    if login.clean {
                        outbox.give_up();
                    }
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Continues a batch until it is acknowledged or the connection is lost.
    #[allow(clippy::too_many_arguments)]
    async fn publish_some(
        &self,
        way: Way,
        addresses: Addresses,
        login: &Login,
        topic: &str,
        qos: QoS,
        kept: &mut Option<Link>,
        outbox: &mut Outbox,
        left: &mut usize,
    ) -> Result<()> {
        let link = match kept {
            Some(link) => link,
            None => {
                let mut link = Link::open(addresses.mqtt, login).await?;
                if !login.clean && !link.session_present && outbox.len() > 0 {
                    // A session is at one hub, which may be dead: its messages are of unknown outcome then.
                    if self.ledger.has_many_hubs() {
                        self.ledger.answer(way, "the session of the sender is at another hub, which is dead");
                    } else {
                        let (name, lane) = (way.name(), self.lane);
                        self.ledger.fault(format!("the session of a sender is gone ({name}, lane {lane})"));
                    }
                    outbox.give_up();
                }
                outbox.resume(&mut link).await?;
                kept.insert(link)
            }
        };
        while *left > 0 || outbox.len() > 0 {
            while *left > 0 && outbox.len() < WINDOW {
                *left -= 1;
                let number = self.ledger.begin(way, self.lane);
                outbox.publish(link, Publish::new(topic, qos, number.to_string()), number).await?;
            }
            let packet = link.next().await?;
            if let Packet::Publish(_) = packet {
                bail!("a sender gets a message");
            }
            if let Some(number) = outbox.take(link, &packet).await? {
                self.ledger.settle(number, Outcome::Accepted);
            }
        }
        Ok(())
    }
}

type Socket = WebSocketStream<TcpStream>;

/// An app at its socket.
pub async fn open_socket(addresses: Addresses, token: &str) -> Result<Socket> {
    let mut request = format!("ws://{}/ws", addresses.http).into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", "toyhub.v1".parse()?);
    request.headers_mut().insert("Authorization", format!("Bearer {token}").parse()?);
    let stream = TcpStream::connect(addresses.http).await?;
    stream.set_nodelay(true)?;
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    while next_frame(&mut socket).await?["type"] != "welcome" {}
    Ok(socket)
}

/// The next frame of JSON; pings are answered meanwhile.
pub async fn next_frame(socket: &mut Socket) -> Result<Value> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text)?),
            Some(Ok(Message::Close(frame))) => bail!("the socket is closed: {frame:?}"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => bail!("the socket is lost"),
        }
    }
}

/// Makes requests one after the other; the answer of the last one counts, or the first that is not a success.
async fn socket_requests(addresses: Addresses, token: &str, kept: &mut Option<Socket>, requests: &[Value]) -> Answer {
    let made = async {
        let mut socket = match kept.take() {
            Some(socket) => socket,
            None => open_socket(addresses, token).await?,
        };
        let mut answer = Value::Null;
        for (id, request) in requests.iter().enumerate() {
            let mut request = request.clone();
            request["id"] = id.into();
            socket.send(Message::text(request.to_string())).await?;
            answer = loop {
                let frame = next_frame(&mut socket).await?;
                if frame["id"] == id {
                    break frame;
                }
            };
            if answer["code"] != 0 {
                break;
            }
        }
        *kept = Some(socket);
        Ok::<_, anyhow::Error>(answer)
    };
    match tokio::time::timeout(PATIENCE, made).await {
        Ok(Ok(answer)) => Answer::of(&answer),
        Ok(Err(error)) => Answer::Open(error.to_string()),
        Err(late) => Answer::Open(late.to_string()),
    }
}
