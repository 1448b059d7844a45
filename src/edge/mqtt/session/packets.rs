//! Acts on the packets of a client, one after the other.

use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use rumqttd::protocol::{QoS as WireQoS, SubscribeReasonCode};

use super::super::codec::{self, Publish, Request, Subscription, Wanted};
use super::super::encode;
use super::super::exchange::{Acknowledged, Options, Receive};
use super::super::reason::{self, End, Fault, Kind};
use super::super::requests::{Desk, Job};
use super::super::waiting::{Acknowledgement, Waiting};
use super::{Pending, Session, Stream};
use crate::domain::error::DomainError;
use crate::domain::live::{Publication, Reached, Subscription as Routed, Undecided};
use crate::edge::request::Caller;
use crate::edge::status;
use crate::edge::wire::age_now;
use crate::model::QoS;

/// A packet whose answer takes time.
enum Slow {
    Publish { undecided: Undecided, qos: QoS, id: u16 },
    Leave { job: Job, qos: QoS, id: u16 },
    Subscribe { id: u16, identifier: u32, filters: Vec<Subscription> },
}

/// The result of a look at the input.
enum Step {
    /// A message of the client was published, or refused.
    Message,
    /// A packet takes time.
    Slow(Slow),
}

/// What was done with the input.
pub(super) enum Answered<'a> {
    /// No complete packet is left, or there is no space for its answer.
    All,
    /// One message was published. Further packets may be there.
    Message,
    /// A packet takes time: the future must end before the next one is looked at.
    ///
    /// Boxed: the hub's futures are large, and most connections have none most of the time.
    Later(BoxFuture<'a, Result<(), End>>),
}

impl<S: Stream> Session<S> {
    /// Processes deferred packets and then the complete packets of the input, as long as there is space for the answers,
    /// until a message was published or a packet takes time.
    pub(super) fn answer(&mut self) -> Result<Answered<'_>, End> {
        let slow = match self.step()? {
            None => return Ok(Answered::All),
            Some(Step::Message) => return Ok(Answered::Message),
            Some(Step::Slow(slow)) => slow,
        };
        self.count();
        Ok(Answered::Later(match slow {
            Slow::Publish { undecided, qos, id } => Box::pin(self.publish_undecided(undecided, qos, id)),
            Slow::Leave { job, qos, id } => Box::pin(self.leave(job, qos, id)),
            Slow::Subscribe { id, identifier, filters } => Box::pin(self.subscribe(id, identifier, filters)),
        }))
    }

    fn step(&mut self) -> Result<Option<Step>, End> {
        let (version, packet_max_bytes) = (self.exchange.version(), self.edge.config.packet_max_bytes);
        while self.takes_requests() {
            if self.waiting.is_none() {
                // Most packets are of these two forms, and nothing is put off.
                match codec::take_acknowledgement(&mut self.link.input, packet_max_bytes) {
                    Some(Request::PubAck(id)) => {
                        self.puback(id);
                        continue;
                    }
                    Some(other) => {
                        self.answer_request(other)?;
                        continue;
                    }
                    None => {}
                }
                if let Some(publish) = codec::take_small_publish(version, &mut self.link.input, packet_max_bytes) {
                    return self.publish(publish).map(Some);
                }
            }
            let request = match self.next_put_off() {
                Some(request) => request?,
                None => match self.next_packet()? {
                    Some(request) => request,
                    None => break,
                },
            };
            if let Some(step) = self.answer_request(request)? {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    /// The deferred packet whose turn it is.
    fn next_put_off(&mut self) -> Option<Result<Request, End>> {
        let waiting = self.waiting.as_mut()?;
        let next = waiting.next();
        if waiting.is_over() {
            self.waiting = None;
        }
        next
    }

    /// The next packet that has been read and need not be put off.
    fn next_packet(&mut self) -> Result<Option<Request>, End> {
        let (version, packet_max_bytes) = (self.exchange.version(), self.edge.config.packet_max_bytes);
        while self.reads() {
            let before = self.link.input.len();
            let request = match codec::take_request(version, &mut self.link.input, packet_max_bytes) {
                Ok(None) => break,
                Ok(Some(request)) => Ok(request),
                Err(fault) => Err(fault),
            };
            let bytes = before - self.link.input.len();
            match (&mut self.waiting, request) {
                (Some(_), Ok(request)) if Waiting::goes_ahead(&request) => return Ok(Some(request)),
                (Some(waiting), request) => {
                    waiting.put_off(request.map_err(End::from), bytes);
                }
                (None, request) => return Ok(Some(request?)),
            }
        }
        Ok(None)
    }

    /// Ends the connection after the deferred packets, which were received in time.
    pub(super) fn end_after_waiting(&mut self, end: End) -> Result<(), End> {
        let Some(waiting) = &mut self.waiting else { return Err(end) };
        waiting.put_off(Err(end), 0);
        Ok(())
    }

    /// Answers a packet; none if nothing of it is left to do and it was no message.
    fn answer_request(&mut self, request: Request) -> Result<Option<Step>, End> {
        match request {
            Request::Publish(publish) => return self.publish(publish).map(Some),
            Request::Subscribe { id, identifier, filters } => {
                return Ok(Some(Step::Slow(Slow::Subscribe { id, identifier, filters })));
            }
            Request::Unsubscribe { id, filters } => self.unsubscribe(id, filters),
            Request::PubAck(id) => self.puback(id),
            Request::PubRec { id, refused: true } => {
                let acknowledged = self.exchange.recorded(id, true);
                self.receipts.retain(|(of, _)| *of != id);
                self.finished(id, acknowledged);
            }
            Request::PubRec { id, refused: false } => {
                // On disk first: after PUBREL the client would take a repeat for a new message.
                let commit = match self.exchange.recorded(id, false) {
                    Acknowledged::Message { seq: Some(seq) } => self.mailbox.release(seq),
                    _ => None,
                };
                self.respond(commit, |buffer| encode::pubrel(id, buffer));
            }
            Request::PubComp(id) => {
                let acknowledged = self.exchange.completed(id);
                self.finished(id, acknowledged);
            }
            Request::PubRel(id) => {
                let mut packet = BytesMut::new();
                self.exchange.released(id, &mut packet);
                // On disk first: the id may be used again for another message at once. Also where it is not known: an
                // earlier connection may have failed to write it.
                let commit = self.mailbox.completed(id);
                self.respond(commit, |buffer| buffer.extend_from_slice(&packet));
            }
            Request::PingReq => encode::pingresp(self.exchange.version(), &mut self.link.output),
            Request::Disconnect { with_will, expiry_s } => {
                if let Some(expiry_s) = expiry_s {
                    self.change_expiry(expiry_s)?;
                }
                return Err(End::Disconnected { with_will });
            }
        }
        Ok(None)
    }

    /// v5 §3.14.2.2.2: a session that was to end with its connection cannot be kept after all.
    fn change_expiry(&mut self, expiry_s: u32) -> Result<(), Fault> {
        if expiry_s > 0 && self.lifetime.expiry_s == 0 {
            return Err(Fault::Protocol);
        }
        self.lifetime.expiry_s = expiry_s.min(self.edge.config.session_expiry_max_s);
        self.mailbox.set_expiry(self.lifetime.expiry_s);
        Ok(())
    }

    fn puback(&mut self, id: u16) {
        let acknowledged = self.exchange.acknowledged(id);
        self.finished(id, acknowledged);
    }

    fn finished(&mut self, id: u16, acknowledged: Acknowledged) {
        let Acknowledged::Message { seq } = acknowledged else { return };
        if let Some(seq) = seq {
            self.mailbox.forget(seq);
        }
        if let Some(at) = self.receipts.iter().position(|(of, _)| *of == id) {
            let (_, message) = self.receipts.swap_remove(at);
            self.desk().note(message);
        }
    }

    /// Publishes a message of the client, unless that takes time.
    fn publish(&mut self, mut publish: Publish) -> Result<Step, End> {
        let (qos, id) = (publish.qos, publish.id);
        self.tally.received(qos);
        let topic = self.exchange.topic(&mut publish)?;
        if self.exchange.receive(&publish)? == Receive::Repeat {
            let mut packet = BytesMut::new();
            self.exchange.repeat(id, &mut packet);
            self.respond(None, |buffer| buffer.extend_from_slice(&packet));
            return Ok(Step::Message);
        }
        if let Some(plug) = self.plug.as_ref().filter(|plug| plug.takes(&topic)) {
            plug.push(&publish.payload);
            return self.acknowledge(qos, id, None).map(|()| Step::Message);
        }
        match Job::of(self.mailbox.party(), topic.as_str(), &publish.payload) {
            None => {}
            Some(Ok(job)) => return Ok(Step::Slow(Slow::Leave { job, qos, id })),
            Some(Err(refused)) => return self.acknowledge(qos, id, Some(&refused)).map(|()| Step::Message),
        }
        let Publish { payload, retain, properties, expires_in_s, .. } = publish;
        let publisher = Some(self.mailbox.connection_id());
        let expires_at = expires_in_s.map(|seconds| age_now() + f64::from(seconds));
        let payload = payload.into();
        let publication = Publication { topic, payload, qos, retain, publisher, properties, expires_at };
        let receipt = if qos == QoS::ExactlyOnce { self.mailbox.receipt(id) } else { None };
        match self.edge.hub.publish_at_once(self.mailbox.party(), Arc::new(publication), receipt) {
            Ok(published) => self.answer_published(published, qos, id).map(|()| Step::Message),
            Err(undecided) => Ok(Step::Slow(Slow::Publish { undecided, qos, id })),
        }
    }

    /// Publishes a message of the client once the hub knows whether it may.
    async fn publish_undecided(&mut self, undecided: Undecided, qos: QoS, id: u16) -> Result<(), End> {
        let published = {
            let publishing = pin!(self.edge.hub.publish_undecided(self.mailbox.party(), undecided));
            self.link.write_during(publishing).await
        };
        self.answer_published(published, qos, id)
    }

    fn answer_published(&mut self, published: Result<Reached, DomainError>, qos: QoS, id: u16) -> Result<(), End> {
        let (mut commit, held, refused) = match published {
            Ok(Reached { commit, held, .. }) => (commit, held, None),
            Err(error) => (None, None, Some(error)),
        };
        refused.as_ref().map(status::log_fault);
        self.batch.add();
        if qos != QoS::ExactlyOnce && commit.is_none() && held.is_none() && self.pending.is_empty() {
            self.exchange.answer(qos, id, refused.as_ref(), &mut self.link.output)?;
            return Ok(());
        }
        let mut packet = BytesMut::new();
        let is_new = self.exchange.answer(qos, id, refused.as_ref(), &mut packet)?;
        if is_new && refused.is_some() {
            // Nothing was routed, so that the id was not stored with it.
            commit = self.mailbox.received(id);
        }
        let answer = Acknowledgement { commit, packet, received: is_new.then_some(id) };
        match held {
            None => self.give(answer),
            Some(held) => {
                let limits = self.edge.queue_limits();
                let waiting = self.waiting.get_or_insert_with(|| Box::new(Waiting::new(limits)));
                waiting.hold(held, answer);
            }
        }
        Ok(())
    }

    /// Answers a message that is no longer held.
    pub(super) fn release(&mut self, answer: Acknowledgement) {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.is_over()) {
            self.waiting = None;
        }
        self.give(answer);
    }

    /// Answers a publication that is not routed.
    fn acknowledge(&mut self, qos: QoS, id: u16, refused: Option<&DomainError>) -> Result<(), End> {
        let mut packet = BytesMut::new();
        let is_new = self.exchange.answer(qos, id, refused, &mut packet)?;
        let commit = is_new.then(|| self.mailbox.received(id)).flatten();
        self.give(Acknowledgement { commit, packet, received: is_new.then_some(id) });
        Ok(())
    }

    /// Passes a publication to the hub itself to its task.
    async fn leave(&mut self, job: Job, qos: QoS, id: u16) -> Result<(), End> {
        let leaving = self.desk().leave(job);
        let left = self.link.write_during(pin!(leaving)).await;
        let done = left.ok_or(End::Fault(Fault::Unavailable))?;
        if qos != QoS::AtMostOnce {
            self.pending.push_back(Pending::Undone { done, qos, id });
        }
        Ok(())
    }

    fn desk(&mut self) -> &Desk {
        self.desk.get_or_insert_with(|| {
            let caller =
                Caller { hub: Arc::clone(&self.edge.hub), party: self.mailbox.party().clone(), peer: self.peer };
            Desk::open(&self.edge, caller, self.edge.config.inflight_max.into())
        })
    }

    async fn subscribe(&mut self, id: u16, identifier: u32, filters: Vec<Subscription>) -> Result<(), End> {
        let asked_max = self.edge.config.subscriptions_max;
        let mut codes = Vec::with_capacity(filters.len());
        for (at, wanted) in filters.into_iter().enumerate() {
            codes.push(match &wanted.filter {
                Wanted::Malformed => SubscribeReasonCode::TopicFilterInvalid,
                // More cannot be granted, so the hub is not made to look them all up.
                Wanted::Filter { .. } if at >= asked_max => SubscribeReasonCode::QuotaExceeded,
                Wanted::Filter { .. } => self.subscribe_to(wanted, identifier).await,
            });
        }
        let commit = self.mailbox.commit();
        let version = self.exchange.version();
        self.respond(commit, |buffer| encode::suback(version, id, codes, buffer));
        Ok(())
    }

    async fn subscribe_to(&mut self, wanted: Subscription, identifier: u32) -> SubscribeReasonCode {
        if let (Some(plug), Wanted::Filter { filter, share: None }) = (&self.plug, &wanted.filter)
            && plug.is_subscription(filter.as_str())
        {
            // It gets these messages without a subscription.
            return SubscribeReasonCode::Success(WireQoS::AtMostOnce);
        }
        let options = self.exchange.options_of(&wanted);
        let Subscription { filter: Wanted::Filter { filter, share }, qos, retain_handling, .. } = wanted else {
            return SubscribeReasonCode::TopicFilterInvalid;
        };
        // Remembered first: the retained messages that follow are sent by it.
        self.exchange.subscribed(Options::new(filter.clone(), share.clone(), options, identifier));
        let routed = Routed { filter, share, qos, options, id: identifier };
        let granted = pin!(self.edge.hub.subscribe(&self.mailbox, &routed, retain_handling));
        match self.link.write_during(granted).await {
            Ok(_) => SubscribeReasonCode::Success(match qos {
                QoS::AtMostOnce => WireQoS::AtMostOnce,
                QoS::AtLeastOnce => WireQoS::AtLeastOnce,
                QoS::ExactlyOnce => WireQoS::ExactlyOnce,
            }),
            Err(error) => {
                tracing::debug!(%error, "mqtt subscription refused");
                self.exchange.unsubscribed(&routed.filter, routed.share.as_deref());
                Kind::of(&error).suback()
            }
        }
    }

    fn unsubscribe(&mut self, id: u16, filters: Vec<Wanted>) {
        let mut reasons = Vec::with_capacity(filters.len());
        for wanted in filters {
            reasons.push(reason::unsuback(match wanted {
                Wanted::Malformed => Err(()),
                Wanted::Filter { filter, share } => {
                    self.exchange.unsubscribed(&filter, share.as_deref());
                    Ok(self.mailbox.unsubscribe(&filter, share.as_deref()))
                }
            }));
        }
        let commit = self.mailbox.commit();
        let version = self.exchange.version();
        self.respond(commit, |buffer| encode::unsuback(version, id, reasons, buffer));
    }
}
