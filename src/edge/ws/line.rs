//! The sources of every WebSocket connection: its mailbox, its socket, its heartbeat, and the end of its token.

use std::time::Duration;

use ::bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::socket::Socket;
use super::{CloseCause, End};
use crate::config::{self, seconds};
use crate::domain::{Deliveries, Delivery, Incoming, Mailbox};
use crate::edge::wire;
use crate::model::{Party, Timestamp};

/// Pings without any answer after which a link is dead.
const SILENT_PINGS_MAX: u32 = 2;

/// A client that has logged in: its socket, its mailbox, and the limits of both.
pub(super) struct Line<'a, S> {
    pub(super) socket: &'a mut Socket<S>,
    /// To subscribe with, while [`Line::next`] waits.
    pub(super) mailbox: &'a Mailbox,
    deliveries: Deliveries<'a>,
    heartbeat: Heartbeat,
    rate: Rate,
    /// When the token of the login expires.
    ends: Instant,
}

/// An event of a connection.
pub(super) enum Input {
    /// A publication for the client.
    Delivery(Delivery),
    /// A text frame of the client.
    Text(Utf8Bytes),
    /// A binary frame of the client.
    Binary,
    /// It is time for [`Line::ping`].
    PingDue,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Line<'a, S> {
    pub(super) fn new(
        socket: &'a mut Socket<S>,
        mailbox: &'a mut Mailbox,
        config: &config::Ws,
        expires_at: Timestamp,
    ) -> Self {
        let (mailbox, deliveries) = mailbox.split();
        Self {
            socket,
            mailbox,
            deliveries,
            heartbeat: Heartbeat::new(config.ping_interval_s),
            rate: Rate::new(config.requests_per_second),
            ends: wire::instant_of(expires_at),
        }
    }

    /// Whose connection it is.
    pub(super) fn party(&self) -> &Party {
        self.mailbox.party()
    }

    /// The next thing to act on, or the end of the connection. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Input, End> {
        loop {
            tokio::select! {
                incoming = self.deliveries.recv() => match incoming {
                    Incoming::Delivery(delivery) => return Ok(Input::Delivery(delivery)),
                    // These connections have no stored queue: missed events are in the database.
                    Incoming::Backlog => {}
                    Incoming::Closed(reason) => return Err(End::Close(reason.into())),
                },
                received = self.socket.next() => {
                    self.heartbeat.reset();
                    match received.ok_or(End::Gone)?? {
                        Message::Text(_) if !self.rate.has_room() => return Err(End::Close(CloseCause::TooMuch)),
                        Message::Text(text) => return Ok(Input::Text(text)),
                        Message::Close(_) => return Err(End::Gone),
                        Message::Binary(_) | Message::Frame(_) => return Ok(Input::Binary),
                        Message::Ping(_) | Message::Pong(_) => {}
                    }
                },
                () = self.heartbeat.due() => return Ok(Input::PingDue),
                () = sleep_until(self.ends) => return Err(End::Close(CloseCause::Expired)),
            }
        }
    }

    /// Sends the ping that is due.
    pub(super) async fn ping(&mut self) -> Result<(), End> {
        self.socket.write(self.heartbeat.ping()?).await
    }
}

/// Detects a dead connection by pings.
struct Heartbeat {
    timer: Interval,
    silent_pings: u32,
}

impl Heartbeat {
    fn new(interval_s: u64) -> Self {
        let period = seconds(interval_s);
        let mut timer = interval_at(Instant::now() + period, period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { timer, silent_pings: 0 }
    }

    /// Returns when the next ping is due. Cancel-safe.
    async fn due(&mut self) {
        self.timer.tick().await;
    }

    /// The client has sent a frame.
    fn reset(&mut self) {
        self.silent_pings = 0;
    }

    /// The ping that is due, unless too many of them are unanswered.
    fn ping(&mut self) -> Result<Message, End> {
        if self.silent_pings >= SILENT_PINGS_MAX {
            return Err(End::Gone);
        }
        self.silent_pings += 1;
        Ok(Message::Ping(Bytes::new()))
    }
}

/// Text frames that may still come within this second.
pub(super) struct Rate {
    per_second: u32,
    left: u32,
    began: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, left: per_second, began: Instant::now() }
    }

    /// Counts one more.
    pub(super) fn has_room(&mut self) -> bool {
        if self.began.elapsed() >= Duration::from_secs(1) {
            (self.left, self.began) = (self.per_second, Instant::now());
        }
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }
}
