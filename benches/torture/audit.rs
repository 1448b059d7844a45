//! Reads the stored messages over the hub's interfaces, and enters them in the ledger.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::Client;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Publish;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::family::{Family, done, post};
use crate::gate::Gate;
use crate::hub::Addresses;
use crate::ledger::{Ledger, Way};
use crate::mqtt::{Inbox, Link, Login, Outbox};
use crate::sound;

/// Messages of one page.
const PAGE: usize = 200;
/// The deadline for accepted messages after the last sender has ended.
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(60);

/// The cursor for the messages before a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// `before`, a time.
    Time,
    /// `before_seq`, a number.
    Number,
}

/// A message of a chat, as in `/chat_list`.
#[derive(Debug, PartialEq)]
pub struct Listed {
    pub id: String,
    pub seq: u64,
    pub sound: String,
    pub from_toy: bool,
    pub created_at: f64,
}

/// A toy's session that is offline, except while it is read.
pub struct Away {
    login: Login,
    publisher: Login,
    topic: String,
    qos: QoS,
    inbox: Inbox,
}

/// The offline sessions of a family: one of the toy for each of these ways that sends commands. With several hubs also one
/// of the app for states: a session is at one hub, so that one that is read all the time begins anew with each kill.
pub fn sessions_away(family: &Family, ways: &[Way], has_many_hubs: bool) -> Vec<Away> {
    let toy = |client_id: String, clean| Login {
        client_id,
        user: family.device_key.clone(),
        password: family.secret.clone(),
        clean,
    };
    let app = |client_id: String, clean| Login {
        client_id,
        user: family.user.clone(),
        password: family.token.clone(),
        clean,
    };
    let command = |(_, name, qos): (Way, &str, QoS)| Away {
        login: toy(format!("away-{name}"), false),
        publisher: app("marker".into(), true),
        topic: format!("toy/{}/cmd/{name}", family.toy),
        qos,
        inbox: Inbox::default(),
    };
    let commands = [
        (Way::CommandQos1, "one", QoS::AtLeastOnce),
        (Way::CommandQos2, "two", QoS::ExactlyOnce),
        (Way::CommandSocket, "socket", QoS::AtLeastOnce),
    ];
    let states = (has_many_hubs && ways.contains(&Way::StateQos2)).then(|| Away {
        login: app("states".into(), false),
        publisher: toy("marker".into(), true),
        topic: format!("toy/{}/state/two", family.toy),
        qos: QoS::ExactlyOnce,
        inbox: Inbox::default(),
    });
    commands.into_iter().filter(|(way, ..)| ways.contains(way)).map(command).chain(states).collect()
}

impl Away {
    /// Opens the session and disconnects.
    async fn begin(&self, addresses: Addresses) -> Result<()> {
        let mut link = Link::open(addresses.mqtt, &self.login).await?;
        link.subscribe(&self.topic, self.qos).await?;
        link.disconnect().await;
        Ok(())
    }

    /// Reads the session up to a message that is published for this purpose.
    pub async fn drain(&mut self, addresses: Addresses, marker: usize) -> Result<Vec<Publish>> {
        let marker = format!("marker {marker}");
        let mut publisher = Link::open(addresses.mqtt, &self.publisher).await?;
        let mut outbox = Outbox::default();
        outbox.publish(&mut publisher, Publish::new(&self.topic, self.qos, marker.as_str()), 0).await?;
        while outbox.len() > 0 {
            let packet = publisher.next().await?;
            outbox.take(&mut publisher, &packet).await?;
        }
        publisher.disconnect().await;
        let mut link = Link::open(addresses.mqtt, &self.login).await?;
        if !link.session_present {
            bail!("the hub has forgotten it");
        }
        let (mut messages, mut ended) = (Vec::new(), false);
        while !ended || !self.inbox.is_settled() {
            let packet = link.next().await?;
            let Some(message) = self.inbox.take(&mut link, packet).await? else { continue };
            // An acknowledgement may have been lost with the hub: with QoS 1 an earlier marker is then sent again.
            if message.payload == marker.as_bytes() {
                ended = true;
            } else if !message.payload.starts_with(b"marker") {
                messages.push(message);
            }
        }
        link.disconnect().await;
        Ok(messages)
    }
}

/// The state of the audit for one family.
struct Known {
    family: Family,
    /// Numbers of messages whose sound was read, by the message's id.
    numbers: HashMap<String, u32>,
    /// Ids that `/recv_msg` has returned to the toy.
    received: Vec<String>,
    /// Messages of the toy that the user has read.
    read: usize,
    away: Vec<Away>,
}

/// The reader of all families.
pub struct Audit {
    ledger: Arc<Ledger>,
    client: Client,
    known: Vec<Known>,
    markers: usize,
    watchers: Vec<JoinHandle<()>>,
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.watchers.iter().for_each(JoinHandle::abort);
    }
}

impl Audit {
    /// Opens what receives the messages of these ways: sessions of the families' toys, and an app's for each family, which
    /// reconnects at every start of the hub.
    pub async fn open(ledger: &Arc<Ledger>, gate: &Gate, families: &[Family], ways: &[Way]) -> Result<Self> {
        let addresses = gate.addresses().await.context("a hub")?;
        let client = Client::builder().timeout(Duration::from_secs(60)).build()?;
        let (mut known, mut watchers) = (Vec::new(), Vec::new());
        for family in families {
            let away = sessions_away(family, ways, ledger.has_many_hubs());
            for session in &away {
                session.begin(addresses).await?;
            }
            if ways.contains(&Way::StateQos2) && !ledger.has_many_hubs() {
                let login = Login {
                    client_id: "states".into(),
                    user: family.user.clone(),
                    password: family.token.clone(),
                    clean: false,
                };
                let mut link = Link::open(addresses.mqtt, &login).await?;
                link.subscribe(&format!("toy/{}/state/two", family.toy), QoS::ExactlyOnce).await?;
                link.disconnect().await;
                watchers.push(tokio::task::spawn_local(watch_states(login, gate.clone(), Arc::clone(ledger))));
            }
            let family = family.clone();
            known.push(Known { family, numbers: HashMap::new(), received: Vec::new(), read: 0, away });
        }
        Ok(Self { ledger: Arc::clone(ledger), client, known, markers: 0, watchers })
    }

    /// The first call of a toy after a restart: `/recv_msg` must answer.
    pub async fn greet(&mut self, addresses: Addresses) {
        for known in &mut self.known {
            if let Err(error) = receive(&self.client, addresses, known).await {
                self.ledger.fault(format!("after a restart: {error:#}"));
            }
        }
    }

    /// Reads everything; senders must have settled. With `anew`, sounds that were read before are read again.
    pub async fn read_all(&mut self, addresses: Addresses, anew: bool) {
        self.ledger.forget_found_voice();
        self.markers += 1;
        for known in &mut self.known {
            if anew {
                known.numbers.clear();
            }
            if let Err(error) = read_chat(&self.client, addresses, known, &self.ledger).await {
                self.ledger.fault(format!("chat of {}: {error:#}", known.family.toy));
            }
            for away in &mut known.away {
                match tokio::time::timeout(ARRIVAL_DEADLINE, away.drain(addresses, self.markers)).await {
                    Ok(Ok(messages)) => {
                        let place = format!("{}, reading {}", away.topic, self.markers);
                        messages.iter().for_each(|message| enter(&self.ledger, message, &place));
                    }
                    Ok(Err(error)) => self.ledger.fault(format!("session of {}: {error:#}", away.topic)),
                    Err(_) => self.ledger.fault(format!("session of {}: its last message does not come", away.topic)),
                }
            }
        }
        if self.watchers.is_empty() {
            return;
        }
        let arrived = async {
            while !self.ledger.is_complete(Way::StateQos2) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // Messages that have not arrived by then count as lost.
        let _ = tokio::time::timeout(ARRIVAL_DEADLINE, arrived).await;
    }
}

/// An app that subscribes to its toy's states, at every start of the hub.
async fn watch_states(login: Login, gate: Gate, ledger: Arc<Ledger>) {
    let mut inbox = Inbox::default();
    while let Some(addresses) = gate.addresses().await {
        let watched = async {
            let mut link = Link::open(addresses.mqtt, &login).await?;
            if !link.session_present {
                ledger.fault("the session of an app is gone".into());
                bail!("no session");
            }
            loop {
                let packet = link.read().await?;
                if let Some(message) = inbox.take(&mut link, packet).await? {
                    enter(&ledger, &message, "states");
                }
            }
        };
        let _: Result<()> = watched.await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Enters a message whose payload is its number.
fn enter(ledger: &Ledger, message: &Publish, place: &str) {
    match std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok()) {
        Some(number) => ledger.found(number, place),
        None => ledger.fault(format!("{place}: a payload that nobody sent, {:?}", message.payload)),
    }
}

/// Reads all unread messages of a toy.
async fn receive(client: &Client, addresses: Addresses, known: &mut Known) -> Result<()> {
    loop {
        let body = json!({"from_user": known.family.user, "to_user": known.family.toy});
        let taken = post(client, addresses, "/recv_msg", None, &body).await?;
        let messages = taken.as_array().with_context(|| format!("/recv_msg answers {taken}"))?;
        if messages.is_empty() {
            return Ok(());
        }
        for message in messages {
            known.received.push(message["_id"].as_str().context("_id")?.to_owned());
        }
    }
}

async fn read_chat(client: &Client, addresses: Addresses, known: &mut Known, ledger: &Ledger) -> Result<()> {
    let Family { user, token, toy, .. } = known.family.clone();
    let counted = done(&post(client, addresses, "/auto_login", Some(&token), &json!({"_id": user})).await?)?;
    let listed = list(client, addresses, &known.family, Cursor::Number, PAGE).await?;
    let of_toy = listed.iter().filter(|message| message.from_toy).count();
    let unread = counted["chat"][&toy].as_u64().unwrap_or(0);
    if of_toy as u64 != known.read as u64 + unread {
        ledger.fault(format!(
            "chat of {toy}: {unread} messages are counted as unread, {of_toy} are there and {} were read before",
            known.read
        ));
    }
    known.read = of_toy;
    let is_before = |pair: &&[Listed]| pair[1].created_at < pair[0].created_at || pair[1].seq <= pair[0].seq;
    if let Some(pair) = listed.windows(2).find(is_before) {
        ledger.fault(format!("chat of {toy}: {:?} comes before {:?}", pair[0], pair[1]));
    }
    let mut ids = HashSet::new();
    for message in &listed {
        if !ids.insert(&message.id) {
            ledger.fault(format!("chat of {toy}: message {} is listed twice", message.id));
        }
        let number = match known.numbers.get(&message.id) {
            Some(number) => *number,
            None => match sound_number(client, addresses, &token, message).await {
                Ok(number) => *known.numbers.entry(message.id.clone()).or_insert(number),
                Err(error) => {
                    ledger.fault(format!("chat of {toy}: message {}: {error:#}", message.id));
                    continue;
                }
            },
        };
        ledger.found(number, &format!("chat of {toy}"));
    }
    receive(client, addresses, known).await?;
    let to_toy: Vec<&String> = listed.iter().filter(|message| !message.from_toy).map(|message| &message.id).collect();
    let received: Vec<&String> = known.received.iter().collect();
    if to_toy != received {
        let missing = to_toy.iter().filter(|id| !received.contains(id)).count();
        ledger.fault(format!(
            "chat of {toy}: /recv_msg has given {} messages, the chat holds {}; {missing} of these are missing",
            received.len(),
            to_toy.len()
        ));
        // Reported once; from here on, the difference is known.
        known.received = to_toy.into_iter().cloned().collect();
    }
    Ok(())
}

/// All messages of a family's chat, oldest first, page by page.
pub async fn list(
    client: &Client,
    addresses: Addresses,
    family: &Family,
    cursor: Cursor,
    limit: usize,
) -> Result<Vec<Listed>> {
    let (mut pages, mut seen) = (Vec::new(), HashSet::new());
    let mut before = None;
    loop {
        let mut body = json!({"chat_id": family.chat, "to_user": family.user, "from_user": family.toy, "limit": limit});
        if let Some(before) = &before {
            body[if cursor == Cursor::Time { "before" } else { "before_seq" }] = Value::clone(before);
        }
        let page = done(&post(client, addresses, "/chat_list", Some(&family.token), &body).await?)?;
        let page = page.as_array().context("a list of messages")?.clone();
        let Some(oldest) = page.first() else { break };
        if !seen.insert(oldest["_id"].to_string()) {
            bail!("the page before {} begins with a message of an earlier page", before.unwrap_or_default());
        }
        before = Some(oldest[if cursor == Cursor::Time { "create_time" } else { "seq" }].clone());
        pages.push(page);
    }
    let mut listed = Vec::new();
    for message in pages.into_iter().rev().flatten() {
        let text =
            |name: &str| message[name].as_str().map(str::to_owned).with_context(|| format!("{name} of {message}"));
        let sender = text("from_user")?;
        let created_at = message["create_time"].as_f64().context("create_time")?;
        let seq = message["seq"].as_u64().context("seq")?;
        listed.push(Listed {
            seq,
            id: text("_id")?,
            sound: text("message")?,
            from_toy: sender == family.toy,
            created_at,
        });
    }
    Ok(listed)
}

/// Fetches a message's sound and reads the number in it.
pub async fn sound_number(client: &Client, addresses: Addresses, token: &str, message: &Listed) -> Result<u32> {
    let url = format!("http://{}/get_chat/{}", addresses.http, message.sound);
    let fetched = client.get(url).bearer_auth(token).send().await?;
    let status = fetched.status();
    let sound = fetched.bytes().await?;
    if status != 200 || sound.is_empty() {
        bail!("its sound is answered by {status}, {} bytes", sound.len());
    }
    sound::number_of(sound).context("its sound is not what was sent")
}
