//! QoS 2 as a state machine: although packets are lost and connections break at any moment, each message is delivered
//! exactly once, in both directions (MQTT 3.1.1 §4.3.3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::edge::mqtt::codec::{Request, read_request, take_frame};
use crate::ports::router::{Publication, QueuePosition};

const WINDOW: u16 = 3;

/// A step of the test.
#[derive(Debug, Clone, Copy)]
enum Step {
    HubSends,
    HubReads,
    ClientSends,
    ClientReads,
    /// The connection breaks, packets in flight are lost, and both sides resume.
    Break,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::HubSends),
        6 => Just(Step::HubReads),
        4 => Just(Step::ClientSends),
        6 => Just(Step::ClientReads),
        1 => Just(Step::Break),
    ];
    proptest::collection::vec(step, 1..200)
}

/// The client's half of the protocol, as the specification has it, and all that lies on the wire.
#[derive(Default)]
pub(super) struct Client {
    /// Packets from the hub.
    pub(super) incoming: VecDeque<(u8, u16, Vec<u8>)>,
    /// Ids of messages that were taken and not released.
    pub(super) taken: BTreeSet<u16>,
    /// The messages that the application received.
    pub(super) seen: Vec<u8>,
    /// Packets to the hub: PUBREC, PUBREL, PUBCOMP, or PUBLISH with its payload.
    pub(super) outgoing: VecDeque<(u8, u16, Option<u8>)>,
    /// Own messages by id: not yet PUBREC'd with their payload, then none.
    pub(super) sending: BTreeMap<u16, Option<u8>>,
    pub(super) next: u8,
}

/// The hub: its exchange, its stored queue, and its routed messages.
struct Hub {
    exchange: Exchange,
    queue: BTreeMap<u64, bool>,
    /// Up to where this connection has read the queue.
    cursor: u64,
    given: u64,
    routed: Vec<u8>,
}

fn terms() -> Terms {
    Terms {
        version: Version::V4,
        packet_max_bytes: 100,
        window: WINDOW,
        receive_max: 10,
        is_bridge: false,
        aliases_in_max: 0,
        aliases_out_max: 0,
        problem_information: true,
        last_seq: Some(0),
    }
}

impl Hub {
    fn send(&mut self, client: &mut Client) {
        if !self.exchange.takes_deliveries() {
            return;
        }
        let Some((&seq, &released)) = self.queue.range(self.cursor + 1..).next() else { return };
        let place = QueuePosition { seq, again: seq <= self.given, released };
        (self.cursor, self.given) = (seq, self.given.max(seq));
        let publication = Publication {
            topic: "a".parse().unwrap(),
            payload: Bytes::from(vec![seq as u8]).into(),
            qos: QoS::ExactlyOnce,
            retain: false,
            publisher: None,
            properties: Bytes::new(),
            expires_at: None,
        };
        let publication = Arc::new(publication);
        let delivery = Delivery { publication, qos: QoS::ExactlyOnce, retain: false, stored: Some(place) };
        let mut buffer = BytesMut::new();
        let own = ConnectionId::for_tests(1);
        assert_eq!(self.exchange.deliver(&delivery, own, || 0.0, &mut buffer), Ok(true));
        client.arrive(&mut buffer);
    }

    fn read(&mut self, client: &mut Client) {
        let Some((kind, id, payload)) = client.outgoing.pop_front() else { return };
        let mut buffer = BytesMut::new();
        match kind {
            5 => {
                if let Acknowledged::Message { seq: Some(seq) } = self.exchange.recorded(id, false) {
                    self.queue.insert(seq, true);
                }
                encode::pubrel(id, &mut buffer);
            }
            7 => {
                if let Acknowledged::Message { seq: Some(seq) } = self.exchange.completed(id) {
                    self.queue.remove(&seq);
                }
            }
            6 => drop(self.exchange.released(id, &mut buffer)),
            _ => {
                let payload = payload.unwrap();
                let publish = Publish {
                    topic: Some("a".parse().unwrap()),
                    alias: None,
                    payload: Bytes::from(vec![payload]),
                    qos: QoS::ExactlyOnce,
                    id,
                    retain: false,
                    properties: Bytes::new(),
                    expires_in_s: None,
                };
                match self.exchange.receive(&publish).unwrap() {
                    Receive::Repeat => self.exchange.repeat(id, &mut buffer),
                    Receive::Route => {
                        self.routed.push(payload);
                        self.exchange.answer(QoS::ExactlyOnce, id, None, &mut buffer).unwrap();
                    }
                }
            }
        }
        client.arrive(&mut buffer);
    }
}

impl Client {
    pub(super) fn arrive(&mut self, buffer: &mut BytesMut) {
        while let Some((header, frame)) = take_frame(buffer, 1000).unwrap() {
            let kind = header.byte1 >> 4;
            let packet = match kind {
                3 => match read_request(Version::V4, header, frame).unwrap() {
                    Request::Publish(publish) => (3, publish.id, publish.payload.to_vec()),
                    other => panic!("{other:?}"),
                },
                _ => (kind, u16::from_be_bytes([frame[2], frame[3]]), Vec::new()),
            };
            self.incoming.push_back(packet);
        }
    }

    pub(super) fn read(&mut self) {
        let Some((kind, id, payload)) = self.incoming.pop_front() else { return };
        match kind {
            3 => {
                if self.taken.insert(id) {
                    self.seen.push(payload[0]);
                }
                self.outgoing.push_back((5, id, None));
            }
            6 => {
                self.taken.remove(&id);
                self.outgoing.push_back((7, id, None));
            }
            5 => {
                self.sending.insert(id, None);
                self.outgoing.push_back((6, id, None));
            }
            7 => drop(self.sending.remove(&id)),
            other => panic!("{other}"),
        }
    }

    pub(super) fn send(&mut self) {
        let Some(id) = (1..=3).find(|id| !self.sending.contains_key(id)) else { return };
        self.next = self.next.wrapping_add(1);
        self.sending.insert(id, Some(self.next));
        self.outgoing.push_back((3, id, Some(self.next)));
    }

    /// A new connection: unacknowledged packets are sent again (§4.4).
    pub(super) fn resume(&mut self) {
        self.incoming.clear();
        self.outgoing.clear();
        for (&id, &payload) in &self.sending {
            self.outgoing.push_back(payload.map_or((6, id, None), |payload| (3, id, Some(payload))));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn each_message_is_delivered_once(steps in steps()) {
        const MESSAGES: u64 = 12;
        let mut client = Client::default();
        let mut hub = Hub {
            exchange: Exchange::new(terms(), Memory::default()),
            queue: (1..=MESSAGES).map(|seq| (seq, false)).collect(),
            cursor: 0,
            given: 0,
            routed: Vec::new(),
        };
        let quiet = [Step::HubSends, Step::ClientReads, Step::HubReads];
        // In the end the connection stays open, and there are no new messages.
        let ending = quiet.into_iter().cycle().take(600);
        for step in steps.into_iter().chain([Step::Break]).chain(ending) {
            match step {
                Step::HubSends => hub.send(&mut client),
                Step::HubReads => hub.read(&mut client),
                Step::ClientSends => client.send(),
                Step::ClientReads => client.read(),
                Step::Break => {
                    let memory = std::mem::replace(&mut hub.exchange, Exchange::new(terms(), Memory::default()));
                    hub.exchange = Exchange::new(terms(), memory.into_memory());
                    hub.cursor = 0;
                    client.resume();
                }
            }
        }
        prop_assert!(hub.queue.is_empty() && client.sending.is_empty() && client.taken.is_empty());
        prop_assert_eq!(client.seen, (1..=MESSAGES as u8).collect::<Vec<_>>());
        // This client repeats by id, not by age, so that the order may change; the count may not.
        hub.routed.sort_unstable();
        prop_assert_eq!(hub.routed, (1..=client.next).collect::<Vec<_>>());
    }
}
