//! What strangers can send, over the hub's own modules, which are included here one by one: so that the fuzzer need
//! not build the database. Each function takes any bytes and must neither panic nor break its assertions.
#![allow(dead_code, unused_imports)]

pub mod api;
#[path = "../../../src/edge/mqtt/codec.rs"]
mod codec;
pub mod domain;
pub mod edge;
#[path = "../../../src/edge/mqtt/encode.rs"]
mod encode;
#[path = "../../../src/edge/mqtt/exchange.rs"]
mod exchange;
#[path = "../../../src/edge/mqtt/connect.rs"]
mod connect;
#[path = "../../../src/model/mod.rs"]
pub mod model;
pub mod ports;
#[path = "../../../src/edge/mqtt/properties.rs"]
mod properties;
#[path = "../../../src/edge/mqtt/reason.rs"]
mod reason;
pub mod sound;
pub mod time;
#[path = "../../../src/edge/mqtt/version.rs"]
mod version;

// The decoders measure their time by it.
extern crate self as cpu_time;
pub use time::ThreadTime;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use codec::{Request, Wanted};
use exchange::{Acknowledged, Exchange, Memory, Options, Receive, Terms};
use model::{Party, QoS, Topic, TopicFilter, ToyId};
use ports::router::{
    ConnectionId, Delivery, Disk, DiskLimits, Overflow, Publication, QueueLimits, QueuePosition, Router, RouterLimits,
};
use version::Version;

const PACKET_MAX_BYTES: usize = 4096;

/// The first bytes of a connection.
pub fn connect(bytes: &[u8]) {
    let (guest, bytes) = match bytes.split_first() {
        Some((first, rest)) => (first & 1 == 1, rest),
        None => return,
    };
    let mut buffer = BytesMut::from(bytes);
    let Ok(Some((header, frame))) = codec::take_frame(&mut buffer, PACKET_MAX_BYTES) else { return };
    assert!(header.frame <= PACKET_MAX_BYTES);
    match connect::Connect::read(header, frame, guest) {
        Ok(connect) => {
            assert!(guest || !connect.username.is_empty());
            assert!(connect.receive_max > 0 && connect.packet_max_bytes > 0);
        }
        Err(rejection) => rejection.write(&mut BytesMut::new()),
    }
}

fn own_id() -> ConnectionId {
    static OWN: LazyLock<ConnectionId> = LazyLock::new(|| {
        let limits = DiskLimits {
            messages_max: 1,
            bytes_max: 1,
            age_max_s: 1,
            overflow: Overflow::DropOldest,
            cache_bytes: 1 << 20,
        };
        let (disk, found) = Disk::open(None, limits).expect("memory");
        let limits = RouterLimits {
            subscriptions_max: 1,
            retained_messages_max: 1,
            retained_per_owner_max: 1,
            retained_max_bytes: 1,
            backpressure_max: Duration::from_secs(1),
        };
        let queue = QueueLimits { messages_max: 1, bytes_max: 1 };
        Router::new(limits, disk, found.retained).connect(Party::Toy(ToyId::nobody()), queue).connection_id()
    });
    *OWN
}

/// What an authenticated client sends, in any order, while messages are delivered to it. The first byte chooses the
/// version and the terms; the rest is the stream, and the client's acknowledgements are read as in a connection.
pub fn session(bytes: &[u8]) {
    let Some((&first, stream)) = bytes.split_first() else { return };
    let version = if first & 1 == 0 { Version::V4 } else { Version::V5 };
    let window = u16::from(first >> 1 & 3) + 1;
    let terms = Terms {
        version,
        packet_max_bytes: 64 + usize::from(first >> 3 & 7) * 16,
        window,
        receive_max: 2,
        is_bridge: false,
        aliases_in_max: 4,
        aliases_out_max: u16::from(first >> 6),
        problem_information: first & 0x20 != 0,
        last_seq: None,
    };
    let own = own_id();
    let mut exchange = Exchange::new(terms, Memory::default());
    let mut buffer = BytesMut::from(stream);
    let mut unreleased = BTreeSet::new();
    let (mut seq, mut under_way) = (0, BTreeSet::new());
    while let Ok(Some((header, frame))) = codec::take_frame(&mut buffer, PACKET_MAX_BYTES) {
        let mut output = BytesMut::new();
        let Ok(request) = codec::read_request(version, header, frame) else { return };
        match request {
            Request::Publish(mut publish) => {
                let (qos, id) = (publish.qos, publish.id);
                let Ok(topic) = exchange.topic(&mut publish) else { return };
                match exchange.receive(&publish) {
                    Err(_) => return,
                    Ok(Receive::Repeat) => {
                        assert!(unreleased.contains(&id), "a repeat of what was never routed");
                        exchange.repeat(id, &mut output);
                    }
                    Ok(Receive::Route) => {
                        assert!(qos != QoS::ExactlyOnce || !unreleased.contains(&id), "routed twice");
                        let is_kept = exchange.answer(qos, id, None, &mut output).expect("taken");
                        assert_eq!(is_kept, qos == QoS::ExactlyOnce);
                        if is_kept {
                            unreleased.insert(id);
                        }
                        // The client hears itself, at each quality of service.
                        seq += 1;
                        if exchange.takes_deliveries() {
                            let publication = Publication {
                                topic,
                                payload: publish.payload.into(),
                                qos,
                                retain: publish.retain,
                                publisher: Some(own),
                                properties: publish.properties,
                                expires_at: publish.expires_in_s.map(f64::from),
                            };
                            let place = QueuePosition { seq, again: seq % 3 == 0, released: seq % 5 == 0 };
                            let stored = (qos != QoS::AtMostOnce && seq % 2 == 0).then_some(place);
                            let publication = Arc::new(publication);
                            let delivery = Delivery { publication, qos, retain: false, stored };
                            if exchange.deliver(&delivery, own, || 0.0, &mut output) == Ok(true) && stored.is_some() {
                                under_way.insert(seq);
                            }
                        }
                    }
                }
            }
            Request::PubAck(id) => finish(exchange.acknowledged(id), &mut under_way),
            Request::PubRec { id, refused: true } => finish(exchange.recorded(id, true), &mut under_way),
            Request::PubRec { id, refused: false } => {
                exchange.recorded(id, false);
            }
            Request::PubComp(id) => finish(exchange.completed(id), &mut under_way),
            Request::PubRel(id) => assert_eq!(exchange.released(id, &mut output), unreleased.remove(&id)),
            Request::Subscribe { identifier, filters, .. } => {
                for wanted in filters {
                    let bits = Options::bits(&wanted, false);
                    if let Wanted::Filter { filter, share } = wanted.filter {
                        exchange.subscribed(Options::new(filter, share, bits, identifier));
                    }
                }
            }
            Request::Unsubscribe { filters, .. } => {
                for wanted in filters {
                    if let Wanted::Filter { filter, share } = wanted {
                        exchange.unsubscribed(&filter, share.as_deref());
                    }
                }
            }
            Request::PingReq => {}
            Request::Disconnect { .. } => return,
        }
        assert!(exchange.room() <= usize::from(window));
        // What is written is whole packets, none larger than the client takes.
        while !output.is_empty() {
            let (header, frame) = codec::take_frame(&mut output, PACKET_MAX_BYTES).expect("good").expect("whole");
            assert!(header.byte1 >> 4 != 3 || frame.len() <= terms.packet_max_bytes);
        }
    }
}

fn finish(acknowledged: Acknowledged, under_way: &mut BTreeSet<u64>) {
    if let Acknowledged::Message { seq: Some(seq) } = acknowledged {
        assert!(under_way.remove(&seq), "acknowledged twice");
    }
}

/// A topic and a filter, divided by a line feed, against the definition in plain words.
pub fn topics(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some((topic, filter)) = text.split_once('\n') else { return };
    let (topic, filter) = (topic.parse::<Topic>(), filter.parse::<TopicFilter>());
    if let (Ok(topic), Ok(filter)) = (topic, filter) {
        assert_eq!(filter.matches(&topic), reference(topic.as_str(), filter.as_str()), "{topic} {filter}");
    }
}

/// MQTT 3.1.1 §4.7, level by level, by recursion.
fn reference(topic: &str, filter: &str) -> bool {
    fn levels(topic: &[&str], filter: &[&str]) -> bool {
        match (topic, filter) {
            (_, ["#"]) => true,
            ([], []) => true,
            ([_, topic @ ..], ["+", filter @ ..]) => levels(topic, filter),
            ([name, topic @ ..], [wanted, filter @ ..]) => name == wanted && levels(topic, filter),
            _ => false,
        }
    }
    let system = topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#'));
    !system && levels(&topic.split('/').collect::<Vec<_>>(), &filter.split('/').collect::<Vec<_>>())
}
