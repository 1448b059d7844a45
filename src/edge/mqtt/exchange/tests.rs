use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::edge::mqtt::codec::Wanted;
use crate::ports::router::{Publication, QueuePosition, ReplayRetained};

fn terms(version: Version, window: u16) -> Terms {
    Terms {
        version,
        packet_max_bytes: 100,
        window,
        receive_max: 2,
        is_bridge: false,
        aliases_in_max: 2,
        aliases_out_max: 0,
        problem_information: false,
        last_seq: None,
    }
}

fn exchange(version: Version, window: u16) -> Exchange {
    Exchange::new(terms(version, window), Memory::default())
}

const OWN: ConnectionId = ConnectionId::for_tests(1);
const OTHER: ConnectionId = ConnectionId::for_tests(2);

fn delivery(topic: &str, qos: QoS, size: usize, retain: bool) -> Delivery {
    let (topic, payload) = (topic.parse().unwrap(), Bytes::from(vec![b'x'; size]).into());
    let (properties, publisher, expires_at) = (Bytes::new(), None, None);
    let publication = Publication { topic, payload, qos, retain: true, publisher, properties, expires_at };
    Delivery { publication: Arc::new(publication), qos, retain, stored: None }
}

fn stored(seq: u64, qos: QoS) -> Delivery {
    Delivery { stored: Some(QueuePosition { seq, again: false, released: false }), ..delivery("a", qos, 1, false) }
}

fn publish(qos: QoS, id: u16) -> Publish {
    let (payload, properties) = (Bytes::new(), Bytes::new());
    let topic = Some("a".parse().unwrap());
    Publish { topic, alias: None, payload, qos, id, retain: false, properties, expires_in_s: None }
}

fn send(exchange: &mut Exchange, delivery: &Delivery) -> (Result<bool, PacketIdTaken>, Vec<u8>) {
    let mut buffer = BytesMut::new();
    let sent = exchange.deliver(delivery, OWN, || 100.0, &mut buffer);
    (sent, buffer.to_vec())
}

#[test]
fn the_window_fills_and_empties() {
    let mut exchange = exchange(Version::V4, 2);
    for expected in [1, 2] {
        assert!(exchange.takes_deliveries());
        let (sent, bytes) = send(&mut exchange, &delivery("a", QoS::AtLeastOnce, 1, false));
        assert_eq!((sent, &bytes[..]), (Ok(true), &[0x32, 6, 0, 1, b'a', 0, expected, b'x'][..]));
    }
    assert!(!exchange.takes_deliveries());
    assert_eq!(exchange.acknowledged(9), Acknowledged::Unknown);
    assert!(!exchange.takes_deliveries());
    assert_eq!(exchange.acknowledged(1), Acknowledged::Message { seq: None });
    assert!(exchange.takes_deliveries());
    let (_, bytes) = send(&mut exchange, &delivery("a", QoS::AtMostOnce, 1, true));
    assert_eq!(&bytes[..], [0x31, 4, 0, 1, b'a', b'x'], "a retained message has its flag");
    assert!(exchange.takes_deliveries(), "QoS 0 takes no room");
}

#[test]
fn a_message_of_qos_2_ends_in_two_steps() {
    let mut exchange = exchange(Version::V5, 1);
    let (_, bytes) = send(&mut exchange, &stored(7, QoS::ExactlyOnce));
    assert_eq!(&bytes[..], [0x34, 7, 0, 1, b'a', 0, 7, 0, b'x']);
    assert_eq!(exchange.acknowledged(7), Acknowledged::Unknown, "PUBACK is for QoS 1");
    assert_eq!(exchange.completed(7), Acknowledged::Unknown, "PUBREC comes first");
    for _ in 0..2 {
        assert_eq!(exchange.recorded(7, false), Acknowledged::Message { seq: Some(7) });
        assert!(!exchange.takes_deliveries());
    }
    assert_eq!(exchange.completed(7), Acknowledged::Message { seq: Some(7) });
    assert!(exchange.takes_deliveries());
    send(&mut exchange, &stored(8, QoS::ExactlyOnce)).0.unwrap();
    assert_eq!(exchange.recorded(8, true), Acknowledged::Message { seq: Some(8) });
    assert!(exchange.takes_deliveries(), "what the client refuses is over");
}

#[test]
fn a_stored_message_keeps_its_packet_id() {
    for (seq, id) in [(1, 1), (65_535, 65_535), (65_536, 1), (131_071, 1), (u64::MAX, 0)] {
        if id > 0 {
            assert_eq!(stored_id(seq), id);
        }
        assert_ne!(stored_id(seq), 0);
    }
    let mut exchange = exchange(Version::V4, 5);
    let again = Delivery {
        stored: Some(QueuePosition { seq: 3, again: true, released: false }),
        ..stored(3, QoS::AtLeastOnce)
    };
    assert_eq!(send(&mut exchange, &again).1[0], 0x3a, "DUP");
    assert_eq!(send(&mut exchange, &again).0, Err(PacketIdTaken), "the id is in use");
    let released = Delivery { stored: Some(QueuePosition { seq: 4, again: true, released: true }), ..again };
    assert_eq!(send(&mut exchange, &released), (Ok(true), vec![0x62, 2, 0, 4]));
    assert_eq!(exchange.completed(4), Acknowledged::Message { seq: Some(4) });
}

/// The client has released one message, and would take the PUBREL of it for that of the next one under this id.
#[test]
fn a_packet_id_is_not_used_before_its_release_is_complete() {
    let memory = Memory { released: [3, 4].into(), ..Memory::default() };
    let mut other = Exchange::new(terms(Version::V4, 5), Memory { released: [1, 3].into(), ..Memory::default() });
    let mut exchange = Exchange::new(Terms { last_seq: Some(3), ..terms(Version::V4, 5) }, memory);
    assert_eq!(send(&mut exchange, &stored(3, QoS::ExactlyOnce)).0, Err(PacketIdTaken));
    assert_eq!(exchange.completed(3), Acknowledged::Unknown);
    assert_eq!(send(&mut exchange, &stored(3, QoS::ExactlyOnce)).0, Ok(true));
    assert_eq!(send(&mut exchange, &stored(4, QoS::ExactlyOnce)).0, Err(PacketIdTaken));
    for id in [2, 4, 5] {
        assert_eq!(send(&mut other, &delivery("a", QoS::ExactlyOnce, 1, false)).0, Ok(true));
        assert_eq!(other.newest(), Some(id));
    }
}

#[test]
fn a_packet_id_is_never_zero_nor_in_use() {
    let mut exchange = exchange(Version::V4, 10);
    exchange.sent = [65_535, 1].map(|id| Sent { id, seq: None, awaits: Awaits::Acknowledgement }).into();
    exchange.last_id = 65_534;
    assert_eq!(exchange.next_id(), 2);
}

#[test]
fn packet_ids_are_not_used_again_before_they_are_acknowledged_however_many_messages_follow() {
    let mut exchange = exchange(Version::V4, 10);
    let mut in_use = BTreeSet::new();
    let next = |exchange: &mut Exchange| {
        let (sent, bytes) = send(exchange, &delivery("a", QoS::AtLeastOnce, 1, false));
        assert_eq!(sent, Ok(true));
        u16::from_be_bytes([bytes[5], bytes[6]])
    };
    for number in 0..200_000u32 {
        let id = next(&mut exchange);
        assert!(id != 0 && in_use.insert(id), "{id} is in use");
        // Every 40,000th stays for long, so that the ids come around to it.
        let kept = number % 40_000 == 7;
        if !kept {
            assert_eq!(exchange.acknowledged(id), Acknowledged::Message { seq: None });
            in_use.remove(&id);
        }
    }
    assert_eq!(in_use.len(), 5);
    for id in in_use.iter().rev() {
        assert_eq!(exchange.acknowledged(*id), Acknowledged::Message { seq: None }, "in any order");
    }
    assert_eq!(exchange.acknowledged(1), Acknowledged::Unknown);
}

#[test]
fn the_ids_of_stored_messages_and_of_others_differ() {
    let mut exchange = Exchange::new(Terms { last_seq: Some(0), ..terms(Version::V4, 1000) }, Memory::default());
    let mut ids = BTreeSet::new();
    for seq in 1..=200 {
        let (sent, _) = send(&mut exchange, &stored(seq, QoS::AtLeastOnce));
        assert!(sent == Ok(true) && ids.insert(exchange.newest().unwrap()));
        let (sent, _) = send(&mut exchange, &delivery("a", QoS::AtLeastOnce, 1, false));
        assert!(sent == Ok(true) && ids.insert(exchange.newest().unwrap()));
    }
    assert_eq!(ids.len(), 400);
}

#[test]
fn a_message_larger_than_the_client_takes_is_skipped_and_costs_no_id() {
    let mut exchange = exchange(Version::V5, 1);
    assert_eq!(send(&mut exchange, &delivery("a", QoS::AtLeastOnce, 100, false)), (Ok(false), vec![]));
    assert!(exchange.takes_deliveries());
    let (sent, bytes) = send(&mut exchange, &delivery("a", QoS::AtLeastOnce, 92, false));
    assert_eq!((sent, bytes.len()), (Ok(true), 100));
}

#[test]
fn expiry_is_counted_down() {
    let mut exchange = exchange(Version::V5, 1);
    let mut message = delivery("a", QoS::AtMostOnce, 1, false);
    let publication = Arc::get_mut(&mut message.publication).unwrap();
    publication.expires_at = Some(107.5);
    assert_eq!(send(&mut exchange, &message).1[5..], [5, 2, 0, 0, 0, 8, b'x']);
    Arc::get_mut(&mut message.publication).unwrap().expires_at = Some(100.0);
    assert_eq!(send(&mut exchange, &message), (Ok(false), vec![]));
}

#[test]
fn aliases_are_made_and_understood() {
    let mut exchange = Exchange::new(Terms { aliases_out_max: 1, ..terms(Version::V5, 1) }, Memory::default());
    let first = send(&mut exchange, &delivery("a", QoS::AtMostOnce, 1, false)).1;
    assert_eq!(first, [0x30, 8, 0, 1, b'a', 3, 35, 0, 1, b'x']);
    let second = send(&mut exchange, &delivery("a", QoS::AtMostOnce, 1, false)).1;
    assert_eq!(second, [0x30, 7, 0, 0, 3, 35, 0, 1, b'x']);
    let other = send(&mut exchange, &delivery("b", QoS::AtMostOnce, 1, false)).1;
    assert_eq!(other, [0x30, 5, 0, 1, b'b', 0, b'x'], "there is one alias");

    let named = |topic: Option<&str>, alias| Publish {
        topic: topic.map(|topic| topic.parse().unwrap()),
        alias: Some(alias),
        ..publish(QoS::AtMostOnce, 0)
    };
    assert_eq!(exchange.topic(&mut named(None, 1)), Err(Fault::Protocol));
    for topic in ["a", "b"] {
        assert_eq!(exchange.topic(&mut named(Some(topic), 2)).unwrap().as_str(), topic);
        assert_eq!(exchange.topic(&mut named(None, 2)).unwrap().as_str(), topic);
    }
    assert_eq!(exchange.topic(&mut named(Some("a"), 0)), Err(Fault::TopicAlias));
    assert_eq!(exchange.topic(&mut named(Some("a"), 3)), Err(Fault::TopicAlias));
}

#[test]
fn a_message_of_qos_2_is_routed_once() {
    for version in [Version::V4, Version::V5] {
        let mut exchange = exchange(version, 1);
        let mut buffer = BytesMut::new();
        let message = publish(QoS::ExactlyOnce, 7);
        assert_eq!(exchange.receive(&message), Ok(Receive::Route));
        assert_eq!(exchange.answer(QoS::ExactlyOnce, 7, None, &mut buffer), Ok(true));
        assert_eq!(&buffer[..], [0x50, 2, 0, 7]);
        assert_eq!(exchange.receive(&message), Ok(Receive::Repeat));
        assert_eq!(exchange.receive(&publish(QoS::AtLeastOnce, 7)), Ok(Receive::Route));
        exchange.answer(QoS::ExactlyOnce, 8, None, &mut buffer).unwrap();
        assert_eq!(exchange.receive(&publish(QoS::ExactlyOnce, 9)), Err(Fault::ReceiveMaximum));
        let memory = std::mem::replace(&mut exchange, Exchange::new(terms(version, 1), Memory::default()));
        let mut exchange = Exchange::new(terms(version, 1), memory.into_memory());
        assert_eq!(exchange.receive(&message), Ok(Receive::Repeat), "another connection of the session");
        buffer.clear();
        assert!(exchange.released(7, &mut buffer));
        assert_eq!(&buffer[..], [0x70, 2, 0, 7]);
        assert_eq!(exchange.receive(&message), Ok(Receive::Route));
        buffer.clear();
        assert!(!exchange.released(7, &mut buffer));
        let unknown: &[u8] = if version == Version::V4 { &[0x70, 2, 0, 7] } else { &[0x70, 4, 0, 7, 0x92, 0] };
        assert_eq!(&buffer[..], unknown);
    }
}

#[test]
fn only_what_the_hub_took_is_acknowledged_without_a_reason() {
    let answer = |version, qos, error: DomainError| {
        let mut exchange = exchange(version, 1);
        let mut buffer = BytesMut::new();
        exchange.answer(qos, 7, Some(&error), &mut buffer).map(|_| buffer.to_vec())
    };
    use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
    use Version::{V4, V5};
    let broken = || DomainError::internal("broken");
    assert_eq!(answer(V5, AtLeastOnce, DomainError::Forbidden), Ok(vec![0x40, 4, 0, 7, 0x87, 0]));
    assert_eq!(answer(V5, AtLeastOnce, broken()), Ok(vec![0x40, 4, 0, 7, 0x80, 0]));
    assert_eq!(answer(V5, ExactlyOnce, DomainError::Busy), Ok(vec![0x50, 4, 0, 7, 0x97, 0]));
    assert_eq!(answer(V5, AtMostOnce, broken()), Ok(vec![]));
    assert_eq!(answer(V4, AtLeastOnce, DomainError::Forbidden), Ok(vec![0x40, 2, 0, 7]));
    assert_eq!(answer(V4, ExactlyOnce, DomainError::Forbidden), Ok(vec![0x50, 2, 0, 7]));
    assert_eq!(answer(V4, AtLeastOnce, broken()), Err(Fault::Unavailable));
    assert_eq!(answer(V4, ExactlyOnce, DomainError::Full("x")), Err(Fault::Unavailable));
    assert_eq!(answer(V4, AtMostOnce, broken()), Ok(vec![]));
}

#[test]
fn reason_strings_are_sent_to_clients_that_request_them() {
    let terms = Terms { problem_information: true, ..terms(Version::V5, 1) };
    let mut buffer = BytesMut::new();
    let mut exchange = Exchange::new(terms, Memory::default());
    exchange.answer(QoS::AtLeastOnce, 7, Some(&DomainError::Forbidden), &mut buffer).unwrap();
    let text = DomainError::Forbidden.to_string();
    assert!(buffer.ends_with(text.as_bytes()));
    assert_eq!(buffer[6], 31);
}

#[test]
fn the_options_of_version_five_are_kept() {
    let mut exchange = exchange(Version::V5, 1);
    let options = |text: &str, no_local, retain_as_published, identifier| {
        let filter = Wanted::Malformed;
        let (qos, retain_handling) = (QoS::AtMostOnce, ReplayRetained::Always);
        let wanted = Subscription { filter, qos, no_local, retain_as_published, retain_handling };
        Options::new(text.parse().unwrap(), None, Options::bits(&wanted, false), identifier)
    };
    let from = |publisher| {
        let mut delivery = delivery("a/b", QoS::AtMostOnce, 1, false);
        Arc::get_mut(&mut delivery.publication).unwrap().publisher = publisher;
        delivery
    };
    let retained = delivery("a/b", QoS::AtMostOnce, 1, true);
    assert_eq!(exchange.flags(&from(Some(OWN)), OWN), Some((false, vec![])));

    exchange.subscribed(options("a/b", true, false, 5));
    assert_eq!(exchange.flags(&from(Some(OWN)), OWN), None);
    assert_eq!(exchange.flags(&from(Some(OTHER)), OWN), Some((false, vec![5])));
    assert_eq!(exchange.flags(&retained, OWN), Some((true, vec![5])));

    exchange.subscribed(options("a/+", false, true, 6));
    assert_eq!(exchange.flags(&from(Some(OWN)), OWN), Some((true, vec![6])), "the other filter wants it");
    assert_eq!(exchange.flags(&from(Some(OTHER)), OWN), Some((true, vec![5, 6])));
    exchange.unsubscribed(&"a/+".parse().unwrap(), None);
    assert_eq!(exchange.flags(&from(Some(OWN)), OWN), None);
}
