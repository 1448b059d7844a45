//! The clients of the soak: each keeps its connection, and reconnects when it is lost or in a storm.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use rand::RngExt as _;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;

use super::figures::{Figures, Kind};
use crate::family::Family;
use crate::hub::Addresses;
use crate::mqtt::{Inbox, Link, Login};
use crate::senders::open_socket;

/// The maximum number of messages queued for a client that reconnects; more are not sent.
const WAITING_MAX: usize = 64;
/// Concurrent connects at the beginning.
const AT_ONCE: usize = 50;

/// A storm: its number, and the percentage of clients that lose their connection.
type Storm = (u64, u64);

pub struct Toy {
    states: mpsc::Sender<()>,
}

impl Toy {
    /// Publishes a state.
    pub fn state(&self) {
        let _ = self.states.try_send(());
    }
}

/// The action of an app.
enum Saying {
    Command,
    Chat,
}

pub struct App {
    sayings: mpsc::Sender<Saying>,
}

impl App {
    /// Sends its toy a command.
    pub fn command(&self) {
        let _ = self.sayings.try_send(Saying::Command);
    }

    /// Sends its toy a chat line.
    pub fn chat(&self) {
        let _ = self.sayings.try_send(Saying::Chat);
    }
}

pub struct People {
    toys: Vec<Rc<Toy>>,
    apps: Vec<Rc<App>>,
    storms: watch::Sender<Storm>,
}

impl People {
    /// Connects a toy for each family and an app for each of the first `apps` families, whose users all differ.
    pub async fn connect(
        addresses: Addresses,
        families: &[Family],
        apps: usize,
        figures: &Rc<Figures>,
    ) -> Result<Self> {
        let storms = watch::Sender::new((0, 0));
        let (ready, mut is_ready) = mpsc::channel(AT_ONCE);
        let (mut toys, mut app_handles) = (Vec::new(), Vec::new());
        let mut connecting = 0;
        for (number, family) in families.iter().enumerate() {
            let (states, orders) = mpsc::channel(WAITING_MAX);
            let shared = (addresses, family.clone(), Rc::clone(figures), storms.subscribe(), ready.clone());
            tokio::task::spawn_local(be_toy(shared, orders));
            toys.push(Rc::new(Toy { states }));
            connecting += 1;
            if number < apps {
                let (sayings, orders) = mpsc::channel(WAITING_MAX);
                let shared = (addresses, family.clone(), Rc::clone(figures), storms.subscribe(), ready.clone());
                tokio::task::spawn_local(be_app(shared, orders));
                app_handles.push(Rc::new(App { sayings }));
                connecting += 1;
            }
            while connecting >= AT_ONCE {
                is_ready.recv().await;
                connecting -= 1;
            }
        }
        while connecting > 0 {
            is_ready.recv().await;
            connecting -= 1;
        }
        Ok(Self { toys, apps: app_handles, storms })
    }

    pub fn toy(&self, number: usize) -> Rc<Toy> {
        Rc::clone(&self.toys[number])
    }

    pub fn app(&self, number: usize) -> Rc<App> {
        Rc::clone(&self.apps[number])
    }

    pub fn toys(&self) -> usize {
        self.toys.len()
    }

    pub fn apps(&self) -> usize {
        self.apps.len()
    }

    /// This percentage of clients loses the connection and reconnects at once.
    pub fn storm(&self, percent: u64) {
        self.storms.send_modify(|storm| *storm = (storm.0 + 1, percent));
    }
}

type Shared = (Addresses, Family, Rc<Figures>, watch::Receiver<Storm>, mpsc::Sender<()>);

/// Resolves when this client loses its connection in a storm.
async fn taken(storms: &mut watch::Receiver<Storm>) {
    loop {
        if storms.changed().await.is_err() {
            return std::future::pending().await;
        }
        let percent = storms.borrow_and_update().1;
        if rand::rng().random_range(0..100) < percent {
            return;
        }
    }
}

async fn be_toy((addresses, family, figures, mut storms, ready): Shared, mut states: mpsc::Receiver<()>) {
    let login = Login {
        client_id: "toy".into(),
        user: family.device_key.clone(),
        password: family.secret.clone(),
        clean: true,
    };
    let mut ready = Some(ready);
    loop {
        let begun = Instant::now();
        let lived = async {
            let mut link = Link::open(addresses.mqtt, &login).await?;
            for (topic, qos) in [("in", QoS::AtLeastOnce), ("cmd/#", QoS::AtLeastOnce)] {
                link.subscribe(&format!("toy/{}/{topic}", family.toy), qos).await?;
            }
            link.subscribe(&format!("chat/{}", family.chat), QoS::AtMostOnce).await?;
            figures.note(Kind::Return, begun.elapsed());
            if let Some(ready) = ready.take() {
                let _ = ready.send(()).await;
            }
            toy_lives(&mut link, &family, &figures, &mut states).await
        };
        let ended: Result<()> = tokio::select! {
            lived = lived => lived,
            () = taken(&mut storms) => continue,
        };
        if let Err(error) = ended {
            figures.fail(&format!("a toy's connection: {error}"));
        }
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(100..1000))).await;
    }
}

async fn toy_lives(link: &mut Link, family: &Family, figures: &Figures, states: &mut mpsc::Receiver<()>) -> Result<()> {
    let mut inbox = Inbox::default();
    let mut ping = tokio::time::interval(Duration::from_secs(120));
    loop {
        tokio::select! {
            packet = link.read() => {
                let packet = packet?;
                let Some(message) = inbox.take(link, packet).await? else { continue };
                if message.topic.contains("/cmd/") {
                    figures.age(&message.payload).into_iter().for_each(|age| figures.note(Kind::Command, age));
                } else if message.topic.starts_with("chat/") {
                    figures.age(&message.payload).into_iter().for_each(|age| figures.note(Kind::Chat, age));
                } else if message.payload.starts_with(br#"{"type":"message""#) {
                    let request = json!({"id": 1, "do": "recv_msg", "from_user": family.user});
                    let out = Publish::new(format!("toy/{}/out", family.toy), QoS::AtMostOnce, request.to_string());
                    link.send(&Packet::Publish(out)).await?;
                }
            }
            Some(()) = states.recv() => {
                let topic = format!("toy/{}/state/battery", family.toy);
                link.send(&Packet::Publish(Publish::new(topic, QoS::AtMostOnce, "57"))).await?;
            }
            _ = ping.tick() => link.send(&Packet::PingReq).await?,
        }
    }
}

async fn be_app((addresses, family, figures, mut storms, ready): Shared, mut sayings: mpsc::Receiver<Saying>) {
    let mut ready = Some(ready);
    loop {
        let begun = Instant::now();
        let lived = async {
            let mut socket = open_socket(addresses, &family.token).await?;
            let subscribe = json!({"id": 1, "do": "subscribe", "topic": format!("toy/{}/state/#", family.toy)});
            socket.send(Message::text(subscribe.to_string())).await?;
            figures.note(Kind::Return, begun.elapsed());
            if let Some(ready) = ready.take() {
                let _ = ready.send(()).await;
            }
            loop {
                tokio::select! {
                    frame = socket.next() => match frame {
                        Some(Ok(Message::Close(frame))) => bail!("closed: {frame:?}"),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(error.into()),
                        None => bail!("lost"),
                    },
                    Some(saying) = sayings.recv() => {
                        let topic = match saying {
                            Saying::Command => format!("toy/{}/cmd/volume", family.toy),
                            Saying::Chat => format!("chat/{}", family.chat),
                        };
                        let publish = json!({"id": 2, "do": "publish", "topic": topic, "payload": figures.stamp()});
                        socket.send(Message::text(publish.to_string())).await?;
                    }
                }
            }
        };
        let ended: Result<()> = tokio::select! {
            lived = lived => lived,
            () = taken(&mut storms) => continue,
        };
        if let Err(error) = ended {
            figures.fail(&format!("an app's connection: {error}"));
        }
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(100..1000))).await;
    }
}
