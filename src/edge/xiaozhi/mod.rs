//! Devices with stock firmware of the xiaozhi project: the check at their start, their activation, and a conversation over
//! a WebSocket. docs/xiaozhi.md is for families.
//!
//! 1. At its start a device posts a description of itself (`check`). One that nobody has bound gets six digits, which a
//!    user enters in the app; one that is a toy gets the address of the WebSocket, or of MQTT, and the secret to log in.
//! 2. When a child wakes it or presses its button, it opens the WebSocket and says hello (`hello`), and then sends its
//!    microphone as packets of Opus, which `frame` takes from the binary messages.
//! 3. `conversation` is one task and one loop for each device. It passes the packets to a
//!    [`Turn`](crate::domain::turn::Turn), and sends the answer at the pace at which the device plays it (`pace`): devices
//!    have small buffers, and drop the packets that do not fit.
//!
//! `tools` publishes the state of a device, and sets its volume and its brightness.
//!
//! Reminders and the notice of unread messages are said without being asked (`conversation/unasked`), on a connection that
//! is open.
//!
//! Over a WebSocket, the device connects only for a conversation, never sends a ping, and ends by closing the connection
//! without a frame. Over MQTT (`attendant`) it is always connected, says hello for each conversation, and its sound comes
//! over `udp`. `transport` is the interface of a conversation to both. An idle device fetches new messages and reminders by an
//! address that it is told (`notify`).

mod attendant;
mod check;
mod client_name;
mod conversation;
mod firmware;
mod frame;
mod message;
mod notify;
mod pace;
mod socket;
mod speaking;
mod tools;
mod transport;
mod udp;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Error as SocketError;

use crate::config::Config;
use crate::domain::error::DomainError;
use crate::domain::live::QueueLimits;
use crate::domain::login::Admitted;
use crate::domain::{Hub, Mailbox, Origin};
use crate::edge::line::{LoggedIn, Plug, line};
use crate::edge::net::Proxies;
use crate::edge::tasks::Tasks;
use crate::edge::wire;
use crate::model::{Malformed, Party, Secret, StockIdentity, ToyId};
use crate::ports::router::CloseReason;
use attendant::Attendant;
pub use check::{Answer, Started};
use client_name::ClientName;
use conversation::{Conversation, hello_of};
use notify::Tickets;
pub use notify::{SOUND_PATH, Sound};
use socket::Socket;
use tools::Tools;
pub use udp::Udp;

/// Where devices check in.
pub const CHECK_PATHS: [&str; 2] = ["/xiaozhi/ota/", "/xiaozhi/ota"];
/// Where a device asks whether it was bound: the firmware puts it behind the address above.
pub const ACTIVATE_PATH: &str = "/xiaozhi/ota/activate";
/// Where devices open the WebSocket; the first is the one that they are told.
pub const SOCKET_PATHS: [&str; 2] = ["/xiaozhi/v1/", "/xiaozhi/v1"];

/// How a device names itself, unproven.
#[derive(Debug)]
pub struct Names {
    /// Its network address.
    pub device_id: Option<String>,
    /// The random id of its firmware.
    pub client_id: Option<String>,
}

impl Names {
    fn identity(&self) -> Result<StockIdentity, Malformed> {
        let text = |name: &Option<String>| name.clone().unwrap_or_default();
        StockIdentity::parse(&text(&self.device_id), &text(&self.client_id))
    }
}

/// The state that all devices share.
pub struct Devices {
    hub: Arc<Hub>,
    config: Arc<Config>,
    mqtt: Option<OverMqtt>,
    /// The sounds that idle devices were told of.
    tickets: Tickets,
    proxies: Proxies,
    tasks: Tasks,
}

/// The means of devices with MQTT.
pub struct OverMqtt {
    /// The socket of their sound.
    pub udp: Arc<Udp>,
    /// The port of the broker without TLS; none if it has none, and the settings name the address.
    pub port: Option<u16>,
}

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is lost, or the device has closed it.
    Gone,
    /// The device has ended the conversation.
    Left,
    /// The device has no valid login.
    Refused,
    /// The hub ends the conversation.
    Close,
    /// The hub ends the connection.
    Closed(CloseReason),
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Capacity(_) | SocketError::Utf8(_) => Self::Close,
            _ => Self::Gone,
        }
    }
}

impl Devices {
    /// The edge over `hub`. Without `mqtt`, devices are offered the WebSocket only.
    pub fn new(hub: Arc<Hub>, config: Arc<Config>, mqtt: Option<OverMqtt>, tasks: Tasks) -> Arc<Self> {
        let (tickets, proxies) = (Tickets::new(&config.xiaozhi), Proxies::new(config.net.proxies.clone()));
        Arc::new(Self { hub, config, mqtt, tickets, proxies, tasks })
    }

    /// Serves a client of MQTT, if it has the name of a device with stock firmware, and its key.
    pub fn attend(self: &Arc<Self>, login: LoggedIn<'_>) -> Option<Plug> {
        self.mqtt.as_ref()?;
        let name = ClientName::read(login.client_id)?;
        let Party::Toy(toy) = login.admitted.party.clone() else { return None };
        if self.hub.stock_key(&name.identity).as_str() != login.username {
            return None;
        }
        let (line, plug) = line(name.topics()?, self.config.xiaozhi.message_max_bytes);
        let attendant = Attendant::new(Arc::clone(self), toy, name, self.ip_of(login.peer), line);
        let admitted = login.admitted.clone();
        self.tasks.spawn(async move { attendant.run(admitted).await });
        Some(plug)
    }

    /// The address from which the sound of a client of MQTT comes; none if a proxy may have passed its connection on.
    fn ip_of(&self, peer: IpAddr) -> Option<IpAddr> {
        let is_direct = !self.config.mqtt.proxy_protocol && !self.proxies.contains(peer);
        is_direct.then_some(peer)
    }

    /// Serves one device until either side ends the connection. `io` is the stream after a handshake by another edge.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
        self: Arc<Self>,
        io: S,
        names: Names,
        token: Option<Secret>,
        from: Origin,
    ) {
        let mut socket = Socket::new(io, &self.config).await;
        let end = match self.converse(&mut socket, names, token, from).await {
            Ok(end) | Err(end) => end,
        };
        socket.close(end).await;
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        socket: &mut Socket<S>,
        names: Names,
        token: Option<Secret>,
        from: Origin,
    ) -> Result<End, End> {
        self.hub.may_connect(from.peer).map_err(|_| End::Close)?;
        let (toy, mut mailbox) = self.log_in(&names, token, from).await.map_err(|error| {
            match error {
                DomainError::Internal(cause) => tracing::error!(%cause, "device"),
                error => tracing::debug!(%error, "device refused"),
            }
            End::Refused
        })?;
        crate::edge::label::note_party(&Party::Toy(toy.clone()));
        tracing::info!("device connected");
        let mut tools = Tools::default();
        let end = match self.conversation(socket, toy, &mut tools).await {
            Ok(mut conversation) => conversation.run(&mut mailbox).await,
            Err(end) => end,
        };
        tracing::info!("device disconnected");
        Ok(end)
    }

    async fn conversation<'a, S: AsyncRead + AsyncWrite + Unpin + Send>(
        &'a self,
        socket: &'a mut Socket<S>,
        toy: ToyId,
        tools: &'a mut Tools,
    ) -> Result<Conversation<'a, Socket<S>>, End> {
        let hello = hello_of(socket, &self.config).await?;
        Conversation::open(self, socket, toy, tools, hello).await
    }

    /// The toy of a device, and its mailbox, which is closed when the toy is erased or its login revoked.
    async fn log_in(
        &self,
        names: &Names,
        token: Option<Secret>,
        from: Origin,
    ) -> Result<(ToyId, Mailbox), DomainError> {
        let identity = names.identity().map_err(|_| DomainError::WrongCredentials)?;
        let key = self.hub.stock_key(&identity);
        let token = self.hub.secret_for(&identity, token.ok_or(DomainError::Unauthorized)?).await?;
        let admitted = self.hub.authenticate_client(key.as_str(), token, from.peer, wire::now()).await?;
        let Party::Toy(toy) = admitted.party.clone() else { return Err(DomainError::WrongCredentials) };
        Ok((toy, self.mailbox(&admitted).await?))
    }

    /// A mailbox with the events of a toy.
    async fn mailbox(&self, admitted: &Admitted) -> Result<Mailbox, DomainError> {
        let limits =
            QueueLimits { messages_max: self.config.ws.queue_messages_max, bytes_max: self.config.ws.queue_bytes_max };
        let mailbox = self.hub.connect(admitted, limits).await?;
        self.hub.subscribe_to_inbox(&mailbox)?;
        // With the commands that an owner has retained.
        let commands = format!("toy/{}/cmd/#", admitted.party.id()).parse().map_err(DomainError::internal)?;
        self.hub.subscribe_plainly(&mailbox, commands).await?;
        Ok(mailbox)
    }
}
