//! QoS 2 over kills of the process: whichever change of its disk is the last, each message is delivered exactly once.
//!
//! Router and file are the real ones, on a disk in memory. The steps of a session between two packets are executed here
//! as in `session`, one at a time and in any order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::machine::Client;
use super::*;
use crate::model::{Party, ToyId};
use crate::ports::router::{
    DISK_LIMITS, Incoming, Mailbox, Publication, QueueLimits, ReplayRetained, Router, RouterLimits,
    Subscription as Routed, TestDisk, Ticket,
};

/// Lives of the hub in one world.
const LIVES: u64 = 25;
/// Worlds; together with the lives of each, how many kills there are.
const WORLDS: u64 = 40;
/// Clients that publish, and as many that subscribe.
const PAIRS: usize = 2;
/// Messages of one publisher in one world, which have numbers of one byte.
const MESSAGES_MAX: u8 = 100;

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The hub's end of a connection.
struct Connection {
    mailbox: Mailbox,
    exchange: Exchange,
    pending: VecDeque<(Option<Ticket>, BytesMut)>,
    backlog: VecDeque<Delivery>,
}

/// One life of the hub.
struct Hub {
    router: Arc<Router>,
    connections: Vec<Connection>,
    is_dead: bool,
}

fn terms(last_seq: Option<u64>) -> Terms {
    Terms {
        version: Version::V4,
        packet_max_bytes: 100,
        window: 3,
        receive_max: 10,
        is_bridge: false,
        aliases_in_max: 0,
        aliases_out_max: 0,
        problem_information: true,
        last_seq,
    }
}

impl Hub {
    /// Starts with the sessions on the disk, served by the clients, or with new ones.
    async fn start(storage: &TestDisk) -> Self {
        let (disk, found) = storage.open(DISK_LIMITS).unwrap();
        let limits = RouterLimits {
            subscriptions_max: 8,
            retained_messages_max: 8,
            retained_per_owner_max: 8,
            retained_max_bytes: 64,
            backpressure_max: std::time::Duration::from_secs(10),
        };
        let queue = QueueLimits { messages_max: 4, bytes_max: 1 << 20 };
        let router = Router::new(limits, disk, found.retained);
        let mut connections = Vec::new();
        let is_new = found.sessions.is_empty();
        for at in 0..2 * PAIRS {
            let client_id = at.to_string();
            let stored = found.sessions.iter().find(|session| session.client_id == client_id);
            assert!(is_new || stored.is_some(), "a session is lost");
            let handle = match stored {
                Some(stored) => router.restore_session(stored, queue),
                None => router.open_session(Party::Toy(ToyId::random()), &client_id, queue, 1000),
            };
            let mailbox = handle.attach();
            if is_new && at >= PAIRS {
                let all = Routed::from_text("t", QoS::ExactlyOnce, 0, 0).unwrap();
                mailbox.subscribe(&all, ReplayRetained::Never).unwrap();
            }
            assert!(handle.is_stored().await);
            let received = stored.into_iter().flat_map(|stored| stored.received.iter().copied()).collect();
            let memory = Memory { received, ..Memory::default() };
            let exchange = Exchange::new(terms(mailbox.last_seq()), memory);
            connections.push(Connection { mailbox, exchange, pending: VecDeque::new(), backlog: VecDeque::new() });
        }
        Self { router, connections, is_dead: false }
    }

    fn read(&mut self, at: usize, client: &mut Client) {
        let Connection { mailbox, exchange, pending, .. } = &mut self.connections[at];
        let Some((kind, id, payload)) = client.outgoing.pop_front() else { return };
        let mut packet = BytesMut::new();
        let commit = match kind {
            5 => {
                encode::pubrel(id, &mut packet);
                match exchange.recorded(id, false) {
                    Acknowledged::Message { seq: Some(seq) } => mailbox.release(seq),
                    _ => None,
                }
            }
            6 => {
                exchange.released(id, &mut packet);
                mailbox.completed(id)
            }
            7 => {
                if let Acknowledged::Message { seq: Some(seq) } = exchange.completed(id) {
                    mailbox.forget(seq);
                }
                return;
            }
            _ => {
                let publication = Publication {
                    topic: "t".parse().unwrap(),
                    payload: bytes::Bytes::from(vec![payload.unwrap()]).into(),
                    qos: QoS::ExactlyOnce,
                    retain: false,
                    publisher: Some(mailbox.connection_id()),
                    properties: bytes::Bytes::new(),
                    expires_at: None,
                };
                let publish = Publish {
                    topic: Some(publication.topic.clone()),
                    alias: None,
                    payload: publication.payload.bytes().clone(),
                    qos: QoS::ExactlyOnce,
                    id,
                    retain: false,
                    properties: bytes::Bytes::new(),
                    expires_in_s: None,
                };
                if exchange.receive(&publish) == Ok(Receive::Repeat) {
                    exchange.repeat(id, &mut packet);
                    None
                } else {
                    let commit = self.router.publish_once(publication, mailbox.receipt(id).unwrap()).commit;
                    assert_eq!(exchange.answer(QoS::ExactlyOnce, id, None, &mut packet), Ok(true));
                    commit
                }
            }
        };
        pending.push_back((commit, packet));
    }

    async fn answer(&mut self, at: usize, client: &mut Client) {
        let Some((commit, mut packet)) = self.connections[at].pending.pop_front() else { return };
        if let Some(mut commit) = commit
            && !commit.reached().await
        {
            self.is_dead = true;
            return;
        }
        client.arrive(&mut packet);
    }

    async fn send(&mut self, at: usize, client: &mut Client) {
        let Connection { mailbox, exchange, backlog, .. } = &mut self.connections[at];
        if !exchange.takes_deliveries() {
            return;
        }
        let delivery = match backlog.pop_front() {
            Some(delivery) => delivery,
            None => match mailbox.try_recv() {
                Some(Incoming::Delivery(delivery)) => delivery,
                Some(Incoming::Backlog) => {
                    *backlog = mailbox.backlog(2).await.into();
                    return;
                }
                Some(Incoming::Closed(reason)) => panic!("{reason:?}"),
                None => return,
            },
        };
        let mut buffer = BytesMut::new();
        assert_eq!(exchange.deliver(&delivery, mailbox.connection_id(), || 0.0, &mut buffer), Ok(true));
        client.arrive(&mut buffer);
    }

    async fn step(&mut self, dice: &mut Dice, clients: &mut [Client]) {
        let at = dice.below(clients.len() as u64) as usize;
        match dice.below(5) {
            0 => clients[at].read(),
            1 => self.read(at, &mut clients[at]),
            2 => self.answer(at, &mut clients[at]).await,
            _ => self.send(at, &mut clients[at]).await,
        }
    }
}

#[tokio::test]
async fn each_message_is_delivered_once_over_a_thousand_kills() {
    let mut kills = 0;
    for world in 1..=WORLDS {
        let mut dice = Dice(world * 0x9e37_79b9_7f4a_7c15);
        let mut storage = TestDisk::default();
        let mut clients: Vec<Client> = (0..2 * PAIRS).map(|_| Client::default()).collect();
        let first = |publisher: usize| publisher as u8 * MESSAGES_MAX;
        (0..PAIRS).for_each(|publisher| clients[publisher].next = first(publisher));
        for life in 0..=LIVES {
            let mut hub = Hub::start(&storage).await;
            clients.iter_mut().for_each(Client::resume);
            if life == LIVES {
                // In the end there are no more kills and no new messages.
                for _ in 0..20_000 {
                    hub.step(&mut dice, &mut clients).await;
                }
                break;
            }
            storage.kill_after(dice.below(60));
            for _ in 0..200 {
                let publisher = dice.below(PAIRS as u64) as usize;
                if dice.below(6) == 0 && clients[publisher].next < first(publisher) + MESSAGES_MAX - 1 {
                    clients[publisher].send();
                }
                hub.step(&mut dice, &mut clients).await;
                if hub.is_dead {
                    break;
                }
            }
            storage = storage.after_kill();
            kills += 1;
        }
        let mut sent: Vec<u8> =
            (0..PAIRS).flat_map(|publisher| first(publisher) + 1..=clients[publisher].next).collect();
        sent.sort_unstable();
        assert!(sent.len() > 20, "world {world}: {} messages", sent.len());
        for client in &mut clients {
            assert!(client.sending.is_empty() && client.taken.is_empty(), "world {world}: unfinished");
        }
        for subscriber in &mut clients[PAIRS..] {
            subscriber.seen.sort_unstable();
            assert_eq!(subscriber.seen, sent, "world {world}");
        }
    }
    assert_eq!(kills, WORLDS * LIVES);
}
