//! One client's session: a single loop over its socket, its mailbox and its silence.
//!
//! ```text
//!            ┌────────────── pump: mailbox → PUBLISH, while there is room and window ──────────────┐
//! CONNACK ──▶│ answer: whole packets of the input → hub → PUBACK, SUBACK, …, while there is room   │──▶ End
//!            └─ wait: written │ read │ delivery or close │ silence ────────────────────────────────┘
//! End ──▶ will ──▶ mailbox and entry go ──▶ DISCONNECT (v5) ──▶ close
//! ```
//!
//! The hub's shutdown comes through the mailbox like every other reason to close. A client that does not read fills
//! the output; then neither packets nor deliveries are taken until the write timeout ends the connection.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttd::protocol::{PubRecReason, QoS as WireQoS, SubscribeReasonCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep, sleep_until};

use super::codec::{self, Publish, Request, Subscription, Version, Wanted};
use super::connect::Will;
use super::encode;
use super::exchange::{Exchange, Receive};
use super::link::Link;
use super::reason::{self, End, Kind};
use super::sessions::SessionGuard;
use super::{Edge, Ending};
use crate::model::QoS;
use crate::ports::router::{Incoming, Mailbox};

/// The best quality of service that a subscription gets (MQTT 3.1.1 §3.8.4).
const GRANTED_QOS_MAX: QoS = QoS::AtLeastOnce;

/// How long a client's next packet waits after a publish that crowded a subscriber's mailbox. A client that sends
/// as fast as it can would otherwise fill 256 places before the subscriber's task gets its turn.
const CROWDED_PAUSE: Duration = Duration::from_millis(1);

/// A connected client.
pub(super) struct Session<S> {
    edge: Arc<Edge>,
    link: Link<S>,
    mailbox: Mailbox,
    guard: SessionGuard,
    exchange: Exchange,
    will: Option<Box<Will>>,
    /// One and a half times the keep alive; none if the client has none.
    silence_max: Option<Duration>,
    heard_at: Instant,
}

impl<S: AsyncRead + AsyncWrite> Session<S> {
    /// A session whose CONNACK is in the link's output.
    pub(super) fn new(
        edge: Arc<Edge>,
        link: Link<S>,
        mailbox: Mailbox,
        guard: SessionGuard,
        exchange: Exchange,
        will: Option<Box<Will>>,
        silence_max: Option<Duration>,
    ) -> Self {
        Self { edge, link, mailbox, guard, exchange, will, silence_max, heard_at: Instant::now() }
    }

    /// Serves the client until its connection has ended.
    pub(super) async fn run(mut self) -> Ending {
        let version = self.exchange.version();
        tracing::info!(party = %self.mailbox.party(), ?version, "mqtt client connected");
        let Err(end) = self.converse().await;
        tracing::info!(
            party = %self.mailbox.party(), reason = ?end, dropped = self.mailbox.dropped(), "mqtt client disconnected"
        );
        let is_orderly = matches!(end, End::Disconnected { .. } | End::Closed(_));
        // Boxed, like the hub's futures: an idle connection then has no room set aside for its end.
        Box::pin(self.finish(end)).await;
        if is_orderly { Ending::Orderly } else { Ending::Failed }
    }

    async fn converse(&mut self) -> Result<Infallible, End> {
        let mut silence = pin!(sleep_until(self.silence_ends()));
        loop {
            self.pump()?;
            self.answer().await?;
            let has_keep_alive = self.silence_max.is_some();
            let Self { link: Link { input, output }, mailbox, exchange, .. } = &mut *self;
            let takes_deliveries = exchange.takes_deliveries() && !output.is_full();
            let delivery = async { if takes_deliveries { mailbox.recv().await } else { mailbox.closed().await } };
            tokio::select! {
                // Written first, so that the output has room; read before silence is judged, since what was sent in
                // time may have waited for the hub.
                biased;
                written = output.write(), if !output.buffer.is_empty() => written.map_err(|error| lost(&error))?,
                read = input.read(), if !output.is_full() => match read {
                    Ok(0) | Err(_) => return Err(End::Lost),
                    Ok(_) => {}
                },
                incoming = delivery => self.take(incoming)?,
                () = &mut silence, if has_keep_alive => {
                    if self.silence_ends() <= Instant::now() {
                        return Err(End::KeepAlive);
                    }
                    silence.as_mut().reset(self.silence_ends());
                }
            }
        }
    }

    fn silence_ends(&self) -> Instant {
        self.heard_at + self.silence_max.unwrap_or_default()
    }

    /// Writes waiting deliveries, as many as one write holds.
    fn pump(&mut self) -> Result<(), End> {
        while self.exchange.takes_deliveries() && !self.link.output.is_full() {
            match self.mailbox.try_recv() {
                Some(incoming) => self.take(incoming)?,
                None => break,
            }
        }
        Ok(())
    }

    fn take(&mut self, incoming: Incoming) -> Result<(), End> {
        match incoming {
            Incoming::Delivery(delivery) => {
                self.exchange.deliver(&delivery, self.mailbox.connection_id(), &mut self.link.output.buffer);
                Ok(())
            }
            Incoming::Closed(reason) => Err(End::Closed(reason)),
        }
    }

    /// Answers the whole packets that have been read, as long as the answers find room.
    async fn answer(&mut self) -> Result<(), End> {
        let packet_max_bytes = self.edge.config.packet_max_bytes;
        while !self.link.output.is_full() {
            let Some((header, frame)) = codec::take_frame(&mut self.link.input.buffer, packet_max_bytes)? else {
                break;
            };
            let request = codec::read_request(self.exchange.version(), header, frame)?;
            self.heard_at = Instant::now();
            self.answer_request(request).await?;
            // Where the hub answers at once, nothing else in this loop would let other tasks have their turn.
            consume_budget().await;
        }
        Ok(())
    }

    async fn answer_request(&mut self, request: Request) -> Result<(), End> {
        let version = self.exchange.version();
        let output = &mut self.link.output.buffer;
        match request {
            Request::Publish(publish) => return self.publish(publish).await,
            Request::Subscribe { id, filters } => self.subscribe(id, filters).await,
            Request::PubAck(id) => self.exchange.acknowledged(id),
            Request::PubRel(id) => self.exchange.released(id, output),
            Request::Unsubscribe { id, filters } => {
                let mut reasons = Vec::with_capacity(filters.len());
                for filter in filters {
                    reasons.push(reason::unsuback(filter.map(|filter| {
                        self.exchange.unsubscribed(&filter);
                        self.mailbox.unsubscribe(&filter)
                    })));
                }
                encode::unsuback(version, id, reasons, output);
            }
            Request::PingReq => encode::pingresp(version, output),
            Request::Disconnect { with_will } => return Err(End::Disconnected { with_will }),
        }
        Ok(())
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let Publish { qos, id, .. } = publish;
        if self.exchange.receive(&publish)? == Receive::Repeat {
            encode::pubrec(self.exchange.version(), id, PubRecReason::Success, &mut self.link.output.buffer);
            return Ok(());
        }
        // Boxed: the hub's future is large, and most connections have none most of the time.
        let Publish { topic, payload, retain, .. } = publish;
        let crowding = self.mailbox.crowding();
        let published = Box::pin(self.edge.hub.publish(&self.mailbox, topic, payload, qos, retain));
        let published = self.link.output.write_during(published).await;
        if self.mailbox.crowding() != crowding {
            self.link.output.write_during(sleep(CROWDED_PAUSE)).await;
        }
        self.exchange.answer(qos, id, published, &mut self.link.output.buffer)?;
        Ok(())
    }

    async fn subscribe(&mut self, id: u16, filters: Vec<Subscription>) {
        let asked_max = self.edge.config.subscriptions_max;
        let mut codes = Vec::with_capacity(filters.len());
        for (at, wanted) in filters.into_iter().enumerate() {
            codes.push(match &wanted.filter {
                Wanted::Malformed => SubscribeReasonCode::TopicFilterInvalid,
                Wanted::Shared => SubscribeReasonCode::SharedSubscriptionsNotSupported,
                // More cannot be granted, so the hub is not made to look them all up.
                Wanted::Filter(_) if at >= asked_max => SubscribeReasonCode::QuotaExceeded,
                Wanted::Filter(_) => self.subscribe_to(wanted).await,
            });
        }
        encode::suback(self.exchange.version(), id, codes, &mut self.link.output.buffer);
    }

    async fn subscribe_to(&mut self, wanted: Subscription) -> SubscribeReasonCode {
        let Wanted::Filter(filter) = wanted.filter.clone() else { return SubscribeReasonCode::TopicFilterInvalid };
        let qos = wanted.qos.min(GRANTED_QOS_MAX);
        let granted = if self.exchange.has_subscription(&filter, qos, wanted.retain_handling) {
            Ok(qos)
        } else {
            let granted = Box::pin(self.edge.hub.subscribe(&self.mailbox, filter.clone(), qos));
            self.link.output.write_during(granted).await
        };
        match granted {
            Ok(granted) => {
                let granted = granted.min(GRANTED_QOS_MAX);
                self.exchange.subscribed(filter, granted, &wanted);
                SubscribeReasonCode::Success(match granted {
                    QoS::AtMostOnce => WireQoS::AtMostOnce,
                    QoS::AtLeastOnce | QoS::ExactlyOnce => WireQoS::AtLeastOnce,
                })
            }
            Err(error) => {
                tracing::debug!(party = %self.mailbox.party(), %error, "mqtt subscription refused");
                Kind::of(&error).suback()
            }
        }
    }

    async fn finish(self, end: End) {
        let Self { edge, mut link, mailbox, guard, exchange, will, .. } = self;
        if let Some(will) = will.filter(|_| end.publishes_will()) {
            let Will { topic, payload, qos, retain } = *will;
            let published = Box::pin(edge.hub.publish(&mailbox, topic, payload, qos, retain)).await;
            if let Err(error) = published {
                tracing::debug!(party = %mailbox.party(), %error, "mqtt will refused");
            }
        }
        // Offline before the last bytes are sent: a client that takes over waits for this, not for a slow socket.
        drop(mailbox);
        drop(guard);
        if matches!(end, End::Lost | End::WriteTimeout) {
            return;
        }
        if let (Version::V5, Some(code)) = (exchange.version(), end.disconnect_code()) {
            encode::disconnect(code, &mut link.output.buffer);
        }
        link.close().await;
    }
}

fn lost(error: &std::io::Error) -> End {
    match error.kind() {
        std::io::ErrorKind::TimedOut => End::WriteTimeout,
        _ => End::Lost,
    }
}
