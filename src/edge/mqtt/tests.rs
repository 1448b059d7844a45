//! Effects of the clock and of a full disk, with a real hub and a real socket.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions, StateError};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::config::Config;
use crate::domain::erasure::Device;
use crate::domain::tests::{World, world, world_on};
use crate::edge::wire::now;
use crate::model::Party;
use crate::ports::router::{DISK_LIMITS, TestDisk};

fn plain(listener: Option<TcpListener>) -> Listeners {
    Listeners::new(Vec::from_iter(listener), Vec::new(), None)
}

fn shared() -> Shared {
    Shared { places: Places::new(100, 100), tasks: Tasks::default(), lines: None }
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let config = Config::default();
    let world = world(config.clone()).await;
    let (user, token) = world.user_with_token_for(2.0, now()).await;
    let World { hub, _folder } = world;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shutdown = CancellationToken::new();
    let (listeners, none) = (plain(Some(listener)), plain(None));
    let serving = tokio::spawn(serve(listeners, none, Arc::new(hub), Arc::new(config), shared(), shutdown.clone()));

    let mut options = MqttOptions::new("app", "127.0.0.1", port);
    options.set_credentials(user.to_string(), token.reveal());
    let (_client, mut events) = AsyncClient::new(options, 4);
    let mut is_accepted = false;
    let told = async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => is_accepted = true,
                Ok(_) => {}
                Err(ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. })) => {
                    return reason_code;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let told = timeout(Duration::from_secs(2 + 5), told).await.expect("within five seconds of its end");
    assert_eq!(told, DisconnectReasonCode::AdministrativeAction);
    assert!(is_accepted);
    shutdown.cancel();
    serving.await.unwrap();
}

/// The party that logs in, and the way its login is revoked.
enum Loss {
    /// A user, whose tokens are revoked.
    Tokens,
    /// A toy, whose device is removed.
    Device,
}

#[tokio::test]
async fn a_login_that_crosses_a_revocation_is_refused() {
    for (loss, is_clean) in [(Loss::Tokens, true), (Loss::Tokens, false), (Loss::Device, true), (Loss::Device, false)] {
        let config = Config::default();
        let world = world(config.clone()).await;
        let (party, name, password) = match loss {
            Loss::Tokens => {
                let (user, token) = world.user_with_token_for(1000.0, now()).await;
                (Party::User(user.clone()), user.to_string(), token)
            }
            Loss::Device => {
                let (toy, key, secret) = world.toy_with_secret().await;
                (Party::Toy(toy), key.to_string(), secret)
            }
        };
        let World { hub, _folder } = world;
        let hub = Arc::new(hub);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shutdown = CancellationToken::new();
        let (listeners, none) = (plain(Some(listener)), plain(None));
        let serving =
            tokio::spawn(serve(listeners, none, Arc::clone(&hub), Arc::new(config), shared(), shutdown.clone()));

        let (is_stopped, open) = hub.gate.shut();
        let mut options = rumqttc::MqttOptions::new("client", "127.0.0.1", port);
        options.set_credentials(name, password.reveal()).set_clean_session(is_clean);
        let (_client, mut events) = rumqttc::AsyncClient::new(options, 4);
        let polled = tokio::spawn(async move { events.poll().await });
        // The password was good, and there is no mailbox yet that could be closed.
        is_stopped.await.unwrap();
        match (&loss, &party) {
            (Loss::Device, Party::Toy(toy)) => drop(hub.erase_toy(None, toy, Device::NewSecret, now()).await.unwrap()),
            _ => hub.log_out_everywhere(&party).await.unwrap(),
        }
        open.send(()).unwrap();
        let refused = timeout(Duration::from_secs(60), polled).await.expect("an answer").unwrap().unwrap_err();
        let expected = rumqttc::ConnectReturnCode::BadUserNamePassword;
        assert!(
            matches!(&refused, rumqttc::ConnectionError::ConnectionRefused(code) if *code == expected),
            "clean {is_clean}: {refused:?}"
        );
        shutdown.cancel();
        serving.await.unwrap();
        assert_eq!(hub.figures().connections, 0);
    }
}

/// A client of 3.1.1 with a persistent session, which repeats unanswered packets.
fn kept(id: &str, port: u16) -> (rumqttc::AsyncClient, rumqttc::EventLoop) {
    let mut options = rumqttc::MqttOptions::new(id, "127.0.0.1", port);
    options.set_clean_session(false);
    rumqttc::AsyncClient::new(options, 16)
}

/// The next packet that is `wanted`. A connection that was lost is made again, as often as it takes; `losses` counts.
async fn until<T>(
    events: &mut rumqttc::EventLoop,
    losses: &mut u32,
    mut wanted: impl FnMut(rumqttc::Packet) -> Option<T>,
) -> T {
    let found = async {
        loop {
            match events.poll().await {
                Ok(rumqttc::Event::Incoming(packet)) => {
                    if let Some(found) = wanted(packet) {
                        return found;
                    }
                }
                Ok(rumqttc::Event::Outgoing(_)) => {}
                Err(_) => {
                    *losses += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    };
    timeout(Duration::from_secs(60), found).await.expect("in vain waited for a packet")
}

#[tokio::test]
async fn a_full_disk_delays_a_message_of_qos_2_and_doubles_none() {
    use rumqttc::{Packet, QoS};
    let config = Config::default();
    let storage = TestDisk::default();
    let World { hub, _folder } = world_on(config.clone(), storage.open(DISK_LIMITS).unwrap().0).await;
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = open.local_addr().unwrap().port();
    let (guarded, for_tests) = (plain(None), plain(Some(open)));
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(guarded, for_tests, Arc::new(hub), Arc::new(config), shared(), shutdown.clone()));

    let (reader, mut reads) = kept("reader", port);
    let mut losses = 0;
    reader.subscribe("once", QoS::ExactlyOnce).await.unwrap();
    until(&mut reads, &mut losses, |packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    let (writer, mut writes) = kept("writer", port);
    until(&mut writes, &mut losses, |packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await;
    assert_eq!(losses, 0);

    storage.set_full(true);
    writer.publish("once", QoS::ExactlyOnce, false, "1").await.unwrap();
    // Taken back several times, then taken; and one more after that.
    while losses < 3 {
        until(&mut writes, &mut losses, |packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await;
    }
    storage.set_full(false);
    let is_complete = |packet| matches!(packet, Packet::PubComp(_)).then_some(());
    until(&mut writes, &mut losses, is_complete).await;
    writer.publish("once", QoS::ExactlyOnce, false, "2").await.unwrap();
    until(&mut writes, &mut losses, is_complete).await;
    let (mut seen, mut released) = (Vec::new(), 0);
    let collect = |packet| {
        match packet {
            Packet::Publish(publish) => seen.push(publish.payload),
            Packet::PubRel(_) => released += 1,
            _ => {}
        }
        (released == 2).then_some(())
    };
    until(&mut reads, &mut losses, collect).await;
    assert_eq!(seen, ["1", "2"]);
    // The ids of complete messages are free, in the file as in memory.
    let (_disk, found) = storage.after_kill().open(DISK_LIMITS).unwrap();
    assert!(found.sessions.iter().all(|session| session.received.is_empty()), "{:?}", found.sessions);
    shutdown.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_session_is_whole_wherever_its_handshake_ends() {
    use super::connect::Connect;
    use super::exchange::{Memory, Options};
    use super::handshake::enter;
    use super::sessions::Kept;
    use super::version::Version;
    use crate::domain::tests::PEER;
    use crate::edge::wire::age_now;
    use crate::ports::router::Subscription;

    let config = Config::default();
    let world = world(config.clone()).await;
    let (toy, key, secret) = world.toy_with_secret().await;
    let World { hub, _folder } = world;
    let guardian = hub.toy_profile(&toy).await.unwrap().0.bind_user;
    let edge = Edge {
        hub: Arc::new(hub),
        config: Arc::new(config.mqtt.clone()),
        sessions: Arc::default(),
        tasks: Tasks::default(),
        lines: None,
        shutdown: CancellationToken::new(),
    };
    let connect = Connect {
        version: Version::V5,
        is_bridge: false,
        client_id: "toy".into(),
        keep_alive_s: 60,
        username: key.to_string(),
        password: secret.clone(),
        will: None,
        receive_max: 10,
        packet_max_bytes: 10_000,
        is_clean: false,
        expiry_s: 1000,
        aliases_max: 0,
        problem_information: true,
    };
    let admitted = edge.hub.authenticate_client(&key.to_string(), secret, PEER, now()).await.unwrap();
    let (mut number, patience) = (0, Duration::from_secs(60));
    let mut next = || {
        number += 1;
        number
    };

    // The client has sent a message of QoS 2, and subscribed with options. The database says whether it still may.
    let subscription = Subscription {
        filter: format!("online/{guardian}").parse().unwrap(),
        share: None,
        qos: crate::model::QoS::ExactlyOnce,
        options: 3,
        id: 9,
    };
    let mut entered = enter(&connect, &admitted, &edge, next(), patience).await.unwrap();
    entered.mailbox.subscribe(&subscription, crate::domain::live::ReplayRetained::Never).unwrap();
    let options = Options::new(subscription.filter.clone(), None, subscription.options, subscription.id);
    let memory = Memory { received: [7].into(), released: [8].into(), options: vec![options] };
    let session = entered.mailbox.session().unwrap();
    entered.place.keep(Kept::new(session, memory.clone(), age_now() + 1000.0, None));
    drop(entered);

    // Its next handshakes end before they are complete, as by a fault or the client's patience.
    for gate in [&edge.hub.gate, &edge.hub.permission_gate] {
        let (is_stopped, _open) = gate.shut();
        tokio::select! {
            entered = enter(&connect, &admitted, &edge, next(), patience) => panic!("it has entered: {}", entered.is_ok()),
            stopped = is_stopped => stopped.unwrap(),
        }
        let mut entered = enter(&connect, &admitted, &edge, next(), patience).await.unwrap();
        assert!(entered.is_resumed);
        assert_eq!(entered.memory.received, memory.received);
        assert_eq!(entered.memory.options, memory.options);
        assert_eq!(entered.memory.released, memory.released);
        let session = entered.mailbox.session().unwrap();
        entered.place.keep(Kept::new(session, entered.memory, age_now() + 1000.0, None));
    }
}

/// A served hub, and the port of its listener for tests.
async fn open_hub() -> (tokio::task::JoinHandle<()>, CancellationToken, u16, tempfile::TempDir) {
    let config = Config::default();
    let World { hub, _folder } = world(config.clone()).await;
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = open.local_addr().unwrap().port();
    let (guarded, for_tests) = (plain(None), plain(Some(open)));
    let shutdown = CancellationToken::new();
    let serving = serve(guarded, for_tests, Arc::new(hub), Arc::new(config), shared(), shutdown.clone());
    (tokio::spawn(serving), shutdown, port, _folder)
}

/// A client that writes and reads bytes.
struct Raw(tokio::net::TcpStream);

impl Raw {
    async fn connect(port: u16, version: u8, id: u8) -> Self {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut connect = vec![0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', version, 2, 0, 60, 0, 1, id];
        if version == 5 {
            connect.insert(12, 0);
            connect[1] += 1;
        }
        tokio::io::AsyncWriteExt::write_all(&mut stream, &connect).await.unwrap();
        let mut client = Self(stream);
        assert_eq!(client.packet().await.unwrap().0, 0x20);
        client
    }

    async fn write(&mut self, bytes: &[u8]) {
        tokio::io::AsyncWriteExt::write_all(&mut self.0, bytes).await.unwrap();
    }

    /// The next packet: its first byte and the rest; none at the end.
    async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        use tokio::io::AsyncReadExt as _;
        let read = async {
            let byte1 = self.0.read_u8().await.ok()?;
            let (mut length, mut shift) = (0, 0);
            loop {
                let byte = self.0.read_u8().await.ok()?;
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.ok()?;
            Some((byte1, body))
        };
        timeout(Duration::from_secs(60), read).await.expect("in vain waited for a packet")
    }
}

/// A PUBLISH of 3.1.1 on topic `a`.
fn publish(qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let length = 3 + if qos > 0 { 2 } else { 0 } + payload.len();
    let mut packet = vec![0x30 | qos << 1, length as u8 & 0x7f | 0x80, (length >> 7) as u8 & 0x7f, 0, 1, b'a'];
    if qos > 0 {
        packet.extend(id.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_all_forms_keep_their_order_and_are_answered_in_it() {
    let (serving, shutdown, port, _folder) = open_hub().await;
    let (mut reader, mut writer) = (Raw::connect(port, 4, b'r').await, Raw::connect(port, 4, b'w').await);
    reader.write(&[0x82, 6, 0, 1, 0, 1, b'a', 2]).await;
    assert_eq!(reader.packet().await.unwrap().0, 0x90);
    // Small ones are read in place; a large one and one of QoS 2 take other ways.
    let mut sent = Vec::new();
    let mut batch = Vec::new();
    for number in 0..300u16 {
        // Those of QoS 2 are not completed here, and are fewer than a window.
        let qos = if number % 20 == 2 { 2 } else { [1, 1, 1, 0][usize::from(number) % 4] };
        let size = if number % 7 == 3 { 5000 } else { 2 };
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(size, b'x');
        batch.extend(publish(qos, number + 1, &payload));
        sent.push((qos, number));
    }
    let writing = tokio::spawn(async move {
        writer.write(&batch).await;
        writer
    });
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let (byte1, body) = reader.packet().await.unwrap();
        if byte1 >> 4 != 3 {
            continue;
        }
        let (qos, mut at) = (byte1 >> 1 & 3, 3);
        if qos > 0 {
            let kind = if qos == 1 { 0x40 } else { 0x50 };
            reader.write(&[kind, 2, body[at], body[at + 1]]).await;
            at += 2;
        }
        received.push((qos, u16::from_be_bytes([body[at], body[at + 1]])));
    }
    assert_eq!(received, sent);
    let mut writer = writing.await.unwrap();
    for (qos, number) in sent.into_iter().filter(|(qos, _)| *qos > 0) {
        let (byte1, body) = writer.packet().await.unwrap();
        assert_eq!((byte1, u16::from_be_bytes([body[0], body[1]])), (if qos == 1 { 0x40 } else { 0x50 }, number + 1));
    }
    shutdown.cancel();
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_message_of_qos_2_is_answered_and_not_routed_again() {
    let (serving, shutdown, port, _folder) = open_hub().await;
    let mut client = Raw::connect(port, 4, b'c').await;
    client.write(&[0x82, 6, 0, 1, 0, 1, b'a', 0]).await;
    assert_eq!(client.packet().await.unwrap().0, 0x90);
    let mut repeat = publish(2, 9, b"1");
    repeat[0] |= 8;
    client.write(&[publish(2, 9, b"1"), repeat, vec![0x62, 2, 0, 9], publish(2, 9, b"2")].concat()).await;
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let (byte1, body) = client.packet().await.unwrap();
        seen.push((byte1 >> 4, body.last().copied().unwrap()));
    }
    let of = |kind: u8| seen.iter().filter(|(of, _)| *of == kind).map(|(_, last)| *last).collect::<Vec<_>>();
    assert_eq!(of(3), *b"12", "{seen:?}");
    assert_eq!((of(5), of(7)), (vec![9, 9, 9], vec![9]), "{seen:?}");
    shutdown.cancel();
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_ended_its_side_gets_all_its_answers() {
    let (serving, shutdown, port, _folder) = open_hub().await;
    for version in [4, 5] {
        let mut client = Raw::connect(port, version, b'c').await;
        // v5 has the length of the properties before the payload.
        let batch: Vec<u8> = (1..=50).flat_map(|id| publish(1, id, b"\0")).collect();
        client.write(&batch).await;
        tokio::io::AsyncWriteExt::shutdown(&mut client.0).await.unwrap();
        for id in 1..=50 {
            let (byte1, body) = client.packet().await.expect("an answer to each message");
            assert_eq!((byte1, u16::from_be_bytes([body[0], body[1]])), (0x40, id));
        }
        assert_eq!(client.packet().await, None);
    }
    shutdown.cancel();
    serving.await.unwrap();
}
