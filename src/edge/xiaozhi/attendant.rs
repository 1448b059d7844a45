//! A device with MQTT, from its login to the end of its connection: idle, or in a conversation.
//!
//! ```text
//!          hello                        goodbye of either side
//!   idle ─────────▶ conversation ─────────────────────────────▶ idle
//! ```
//!
//! Messages go over the line, and sound over UDP. The hub tells an idle device of new messages and of reminders (`bell`).

mod bell;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::client_name::ClientName;
use super::conversation::Conversation;
use super::firmware::Firmware;
use super::message::{Hello, Messages, Said, hello_over_udp};
use super::tools::{self, Outcome, Tools};
use super::transport::{Received, Transport};
use super::udp::{Channel, Udp};
use super::{Devices, End};
use crate::config::{host_and_port, seconds};
use crate::domain::error::DomainError;
use crate::domain::live::Publication;
use crate::domain::login::Admitted;
use crate::domain::{Incoming, Mailbox, Payload};
use crate::edge::label::note_party;
use crate::edge::line::Line;
use crate::edge::wire;
use crate::model::{Party, ToyId};
use bell::{Bell, Rung};

/// One device.
pub(super) struct Attendant {
    devices: Arc<Devices>,
    toy: ToyId,
    name: ClientName,
    /// The address of the device; none if a proxy may hide it.
    ip: Option<IpAddr>,
    line: Line,
    bell: Bell,
    tools: Tools,
    /// When the device is asked for its state.
    look_at: Instant,
}

/// The next event of an idle device.
enum Step {
    Message(Option<Bytes>),
    Incoming(Incoming),
    Rung(Rung),
    /// It is asked for its state.
    Look,
}

impl Attendant {
    pub(super) fn new(devices: Arc<Devices>, toy: ToyId, name: ClientName, ip: Option<IpAddr>, line: Line) -> Self {
        let now = Instant::now();
        Self { devices, toy, name, ip, line, bell: Bell::new(now), tools: Tools::default(), look_at: now }
    }

    /// Serves the device until its connection ends.
    pub(super) async fn run(mut self, admitted: Admitted) {
        note_party(&Party::Toy(self.toy.clone()));
        let mut mailbox = match self.devices.mailbox(&admitted).await {
            Ok(mailbox) => mailbox,
            Err(error) => {
                tracing::warn!(?error, "a device is not served");
                return;
            }
        };
        tracing::info!("device connected");
        let _voice = self.devices.hub.speak_reminders(&self.toy);
        let end = self.serve(&mut mailbox).await;
        tracing::info!(?end, "device disconnected");
        if let End::Closed(reason) = end {
            self.line.close(reason);
        }
    }

    async fn serve(&mut self, mailbox: &mut Mailbox) -> End {
        loop {
            let step = self.step(mailbox).await;
            if let Err(end) = self.act(step, mailbox).await {
                return end;
            }
        }
    }

    /// Waits for the next event of an idle device.
    async fn step(&mut self, mailbox: &mut Mailbox) -> Step {
        tokio::select! {
            biased;
            message = self.line.next() => Step::Message(message),
            incoming = mailbox.recv() => Step::Incoming(incoming),
            rung = self.bell.next() => Step::Rung(rung),
            () = sleep_until(self.look_at), if self.has_tools() => Step::Look,
        }
    }

    async fn act(&mut self, step: Step, mailbox: &mut Mailbox) -> Result<(), End> {
        match step {
            Step::Message(None) => Err(End::Gone),
            Step::Message(Some(message)) => match Said::read(&message) {
                Some(Said::Hello(hello)) => match self.converse(hello, mailbox).await {
                    End::Left | End::Close => Ok(()),
                    end => Err(end),
                },
                Some(Said::Tool(answer)) => {
                    let outcome = self.tools.take(&answer);
                    self.use_tools(outcome).await
                }
                // The end of a conversation may come late, and its other messages, too.
                _ => Ok(()),
            },
            Step::Incoming(Incoming::Closed(reason)) => Err(End::Closed(reason)),
            Step::Incoming(Incoming::Delivery(delivery)) => self.take(&delivery.publication).await,
            Step::Incoming(Incoming::Backlog) => Ok(()),
            Step::Rung(Rung::Due) => self.ring().await,
            Step::Rung(Rung::Ended(outcome)) => self.end_offer(outcome).await,
            Step::Rung(Rung::Played) => {
                self.note_played().await;
                Ok(())
            }
            Step::Look => {
                self.look_at = Instant::now() + seconds(self.devices.config.xiaozhi.state_interval_s);
                let outcome = Outcome::of([self.tools.look()]);
                self.use_tools(outcome).await
            }
        }
    }

    /// An event, or a command of the owner.
    async fn take(&mut self, publication: &Publication) -> Result<(), End> {
        if let Payload::Event(announced) = &publication.payload {
            self.bell.take(announced.event(), Instant::now());
            return Ok(());
        }
        match tools::key_of_command(&self.toy, publication.topic.as_str()) {
            Some(key) if self.has_tools() => {
                let outcome = Outcome::of(self.tools.set(key, publication.payload.bytes()));
                self.use_tools(outcome).await
            }
            _ => Ok(()),
        }
    }

    /// Whether the device has tools, also while it is idle.
    fn has_tools(&self) -> bool {
        self.name.firmware.is_some_and(|firmware| firmware >= Firmware::WITH_TOOLS)
    }

    /// Calls tools, and publishes what has changed.
    async fn use_tools(&mut self, outcome: Outcome) -> Result<(), End> {
        for call in &outcome.calls {
            self.send(&Messages::outside_sessions().to_tools(call)).await?;
        }
        tools::publish(&self.devices.hub, &self.toy, outcome.states).await;
        Ok(())
    }

    async fn send(&mut self, message: &Value) -> Result<(), End> {
        send(&self.line, message).await
    }

    /// One conversation.
    async fn converse(&mut self, hello: Hello, mailbox: &mut Mailbox) -> End {
        self.bell.stop();
        let config = &self.devices.config;
        let Some(mqtt) = &self.devices.mqtt else { return End::Left };
        let endpoint = match endpoint(&config.xiaozhi.udp_endpoint, self.name.host(), &mqtt.udp) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::error!(%error, "udp");
                return End::Left;
            }
        };
        let mut device = Voice { line: &mut self.line, udp: &mqtt.udp, ip: self.ip, endpoint, channel: None };
        let opened = Conversation::open(&self.devices, &mut device, self.toy.clone(), &mut self.tools, hello).await;
        let (end, goodbye) = match opened {
            Ok(mut conversation) => {
                self.bell.unheard().for_each(|id| conversation.add_reminder(id));
                let end = conversation.run(mailbox).await;
                let new = conversation.take_new_messages();
                let goodbye = conversation.messages().goodbye();
                self.bell.add_messages(new, Instant::now());
                (end, goodbye)
            }
            Err(end) => return end,
        };
        if end == End::Close && device.send(&goodbye).await.is_err() {
            return End::Gone;
        }
        end
    }
}

/// Sends a message over the line.
async fn send(line: &Line, message: &Value) -> Result<(), End> {
    if line.send(Bytes::from(wire::text(message))).await { Ok(()) } else { Err(End::Gone) }
}

/// Where a device sends its sound.
fn endpoint(configured: &str, host: &str, udp: &Udp) -> std::io::Result<(String, u16)> {
    match host_and_port(configured) {
        Some((host, port)) => Ok((host.to_owned(), port)),
        None => Ok((host.to_owned(), udp.address()?.port())),
    }
}

/// The transport of a conversation.
struct Voice<'a> {
    line: &'a mut Line,
    udp: &'a Arc<Udp>,
    ip: Option<IpAddr>,
    endpoint: (String, u16),
    /// None before the hello is answered.
    channel: Option<Channel>,
}

impl Transport for Voice<'_> {
    async fn next(&mut self) -> Result<Received, End> {
        let Self { line, channel, .. } = self;
        tokio::select! {
            // Sound first: the end of a turn that comes over MQTT was sent after it.
            biased;
            packet = sound(channel) => Ok(Received::Sound(packet)),
            message = line.next() => message.map(Received::Text).ok_or(End::Gone),
        }
    }

    /// The address of the device is known from its first packet.
    fn is_reachable(&self) -> bool {
        self.channel.as_ref().is_some_and(Channel::is_reachable)
    }

    async fn greet(&mut self, _: &Hello, session: &str) -> Result<(), End> {
        // Another hello is another session, with numbers from 1 on.
        self.channel = None;
        let Some(channel) = self.udp.open(self.ip) else {
            let refused = DomainError::Full("conversation over UDP").to_string();
            self.send(&Messages { session: session.to_owned() }.alert(&refused)).await?;
            return Err(End::Left);
        };
        let (host, port) = &self.endpoint;
        let answer = hello_over_udp(session, (host, *port), channel.secrets());
        self.channel = Some(channel);
        self.send(&answer).await
    }

    async fn send(&mut self, message: &Value) -> Result<(), End> {
        send(self.line, message).await
    }

    async fn ping(&mut self) -> Result<bool, End> {
        Ok(false)
    }

    async fn send_sound(&mut self, packet: &Bytes, _: u32) -> Result<(), End> {
        if let Some(channel) = &mut self.channel {
            channel.send(packet).await;
        }
        Ok(())
    }
}

async fn sound(channel: &mut Option<Channel>) -> Bytes {
    match channel {
        Some(channel) => channel.next().await,
        None => std::future::pending().await,
    }
}
