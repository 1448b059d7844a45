//! The hub's rules over a real store and router, without any protocol.

mod erasing;
mod household;
mod places;
mod publishing;
mod rest;
mod retention;
mod sending;
mod turns;

use std::net::{IpAddr, Ipv4Addr};

use tempfile::TempDir;

use super::login::Admitted;
use super::*;
use crate::model::{
    ChatId, DeviceKey, FileName, HubId, MessageId, MessageState, PartyKind, Timestamp, Toy, ToyId, User, UserId,
};
use crate::ports::chunks::{ChunkLimits, Usage};
use crate::ports::data_folder::{Inspection, Parts};
use crate::ports::router::{Disk, DiskLimits, Overflow, QueueLimits, RouterLimits};
use crate::ports::speech::SpeakerSettings;
use crate::ports::store::{Location, NewEntry, NewMessage, NewToy, StoreSettings, StoredUser};

pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DAY: f64 = 86_400.0;
/// The secret of every device in these tests.
const SECRET: &str = "a device's secret";

pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) _folder: TempDir,
}

impl World {
    /// A user, and a token that expires in `seconds`.
    pub(crate) async fn user_with_token_for(&self, seconds: Timestamp, now: Timestamp) -> (UserId, Secret) {
        let new = Registration {
            username: "mia".into(),
            password: Secret::new("correct horse"),
            nickname: String::new(),
            gender: String::new(),
            avatar: None,
            invite: None,
        };
        let user = self.hub.register(new, PEER, now).await.unwrap();
        let lifetime = Timestamp::from(self.hub.config.accounts.token_ttl_days) * DAY;
        let (_, token) =
            self.hub.login("mia", Secret::new("correct horse"), PEER, now - lifetime + seconds).await.unwrap();
        (user, token)
    }

    /// A toy of a new user, with the key and the secret of its device.
    pub(crate) async fn toy_with_secret(&self) -> (ToyId, DeviceKey, Secret) {
        let (_, toy) = self.family().await;
        let Party::Toy(id) = toy else { panic!("a toy") };
        let key = self.hub.store.toy(&id).await.unwrap().unwrap().device_key;
        (id, key, Secret::new(SECRET))
    }
}

pub(crate) async fn world(config: Config) -> World {
    let limits = DiskLimits {
        messages_max: 10,
        bytes_max: 1 << 20,
        age_max_s: 60,
        overflow: Overflow::DropOldest,
        cache_bytes: 1 << 20,
    };
    world_on(config, Disk::open(None, limits).unwrap().0).await
}

/// A hub whose sessions are on this disk.
pub(crate) async fn world_on(config: Config, disk: Disk) -> World {
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        place: Location::Memory,
        namespace: "toyhub".into(),
        database: "toyhub".into(),
        query_timeout: std::time::Duration::from_secs(60),
        stream_events_max: config.accounts.stream_events_max,
    };
    let limits = RouterLimits {
        subscriptions_max: 8,
        retained_messages_max: 100,
        retained_per_owner_max: 100,
        retained_max_bytes: 100,
        backpressure_max: std::time::Duration::from_secs(60),
    };
    let speaker = SpeakerSettings {
        program: "espeak-ng".into(),
        arguments: Vec::new(),
        piper: None,
        words_per_minute: 150,
        timeout: std::time::Duration::from_secs(1),
        output_cpu_max: std::time::Duration::from_secs(1),
        max_text_chars: 10,
        max_parallel: 1,
    };
    let chunks = ChunkLimits { uploads_max: 1, chunks_max: 1, bytes_max: 1, of_party: Usage { chunks: 1, bytes: 1 } };
    let parts = Parts { database: None, server: None, sessions: None, files: Some(folder.path().join("files")) };
    let engine = Inspection { is_open: |_| false, check: |_, _| Ok(0) };
    let data = DataFolder::examine(folder.path(), parts, engine).unwrap();
    let store = Store::open(&settings).await.unwrap();
    store.prepare(&HubId::random(), &Progress::unwatched()).await.unwrap();
    let ports = Ports {
        folder: data,
        store,
        files: Files::open(&folder.path().join("files"), &folder.path().join("spool")).unwrap(),
        space: Space::open(folder.path(), config.server.free_bytes_min).unwrap(),
        erased: crate::ports::erased::ErasedList::open(folder.path()).unwrap(),
        clock: MonotonicClock::stopped(),
        chunks: Chunks::open(&folder.path().join("chunks"), chunks).unwrap(),
        router: Router::new(limits, disk, Vec::new()),
        bus: None,
        stored_sessions: Vec::new(),
        speaker: Speaker::new(speaker),
        replies: Arc::new(crate::ports::reply::BuiltIn),
        encode_event: |event, seq| format!("{seq:?} {event:?}").into_bytes(),
    };
    World { hub: Hub::new(ports, Arc::new(config)).await.unwrap(), _folder: folder }
}

impl World {
    /// A user with a toy.
    async fn family(&self) -> (UserId, Party) {
        let avatar: FileName = "toy.jpg".parse().unwrap();
        let (id, key) = (UserId::random(), DeviceKey::random());
        let user = User {
            id: id.clone(),
            username: id.to_string(),
            nickname: "n".into(),
            gender: "1".into(),
            avatar: avatar.clone(),
        };
        self.hub.store.create_user(StoredUser { user, password_hash: "$argon2id$".into() }, 0.0).await.unwrap();
        let secret = Secret::new(SECRET);
        let device = NewDevice { key: key.clone(), secret };
        self.hub.store.add_devices(&[device.stored()], 0.0).await.unwrap();
        let toy = Toy {
            id: ToyId::random(),
            device_key: key,
            bind_user: id.clone(),
            toy_name: "t".into(),
            baby_name: "b".into(),
            gender: "1".into(),
            avatar: avatar.clone(),
        };
        let toy_id = toy.id.clone();
        let entry = |kind| NewEntry { kind, nickname: "n".into(), remark: "Rosa".into(), avatar: avatar.clone() };
        let (entry_of_user, entry_of_toy) = (entry(PartyKind::Toy), entry(PartyKind::App));
        let (chat, let_in_until, invite_hash) = (ChatId::random(), 0.0, None);
        let new = NewToy { toy, chat, entry_of_user, entry_of_toy, let_in_until, invite_hash, consent: "1".into() };
        self.hub.store.bind_toy(new, 10, 0.0).await.unwrap();
        (id, toy_id.into())
    }

    async fn send(&self, from: &Party, to: &Party, now: Timestamp) -> MessageId {
        let (id, sound) = (MessageId::random(), FileName::random("mp3"));
        let (from, to) = (from.clone(), to.clone());
        let new = NewMessage { id: id.clone(), from, to, chat: None, sound, notice: None, repeats: None };
        self.hub.store.add_message(new, now).await.unwrap();
        id
    }

    /// A live connection that is subscribed to its inbox.
    async fn connected(&self, party: &Party) -> Mailbox {
        let (admitted, limits) =
            (Admitted::unproven(party.clone()), QueueLimits { messages_max: 16, bytes_max: 1 << 20 });
        let mailbox = self.hub.connect(&admitted, limits).await.unwrap();
        self.hub.subscribe_to_inbox(&mailbox).unwrap();
        mailbox
    }
}

/// The events in the mailbox: number and text.
fn heard(mailbox: &mut Mailbox) -> Vec<(Option<u64>, String)> {
    let mut found = Vec::new();
    while let Some(Incoming::Delivery(delivery)) = mailbox.try_recv() {
        let Payload::Event(announced) = &delivery.publication.payload else { panic!("an event is expected") };
        found.push((announced.seq(), String::from_utf8(announced.json().to_vec()).unwrap()));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_reconnects_gets_missed_events_or_has_to_load_everything() {
    let mut config = Config::default();
    config.accounts.stream_events_max = 5;
    let world = world(config).await;
    let (user, toy) = world.family().await;
    assert_eq!(world.hub.newest_event(&user).await.unwrap(), 0);
    assert_eq!(world.hub.missed(&user, 0, 10).await.unwrap(), []);
    let party = Party::User(user.clone());
    for n in 0..8 {
        world.send(&toy, &party, f64::from(n)).await;
    }
    assert_eq!(world.hub.newest_event(&user).await.unwrap(), 8);
    let numbers = async |after, limit| {
        let missed = world.hub.missed(&user, after, limit).await;
        missed.map(|events| events.into_iter().map(|(seq, _)| seq).collect::<Vec<_>>())
    };
    assert_eq!(numbers(3, 10).await.unwrap(), [4, 5, 6, 7, 8]);
    assert_eq!(numbers(5, 2).await.unwrap(), [6, 7]);
    assert!(numbers(8, 10).await.unwrap().is_empty());
    for after in [0, 2, 9, u64::MAX] {
        let refused = numbers(after, 10).await.unwrap_err();
        assert!(matches!(refused, DomainError::StreamTooOld { current: 8 }), "{after}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_reach_the_sender_and_reads_the_readers_other_devices() {
    let world = world(Config::default()).await;
    let (user, toy) = world.family().await;
    let party = Party::User(user.clone());
    let (mut phone, mut tablet, mut ears) =
        (world.connected(&party).await, world.connected(&party).await, world.connected(&toy).await);
    let to_toy = world.send(&party, &toy, 1.0).await;
    world.hub.mark_delivered(&toy, &to_toy).await.unwrap();
    world.hub.mark_delivered(&toy, &to_toy).await.unwrap();
    assert_eq!(world.hub.receive(&toy, None).await.unwrap().len(), 1);
    let told = heard(&mut phone);
    assert_eq!(told, heard(&mut tablet));
    assert_eq!(told.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert!(told[0].1.contains("state: Delivered") && told[1].1.contains("state: Heard"), "{told:?}");
    assert_eq!(heard(&mut ears), [], "a toy is not notified of its own marks");

    let from_toy = world.send(&toy, &party, 2.0).await;
    let unread = world.hub.unread(&party, 10).await.unwrap();
    assert_eq!((unread.friends.len(), unread.friends[0].unread), (1, 1));
    assert_eq!(unread.messages[0].message.id, from_toy);
    world.hub.mark_read(&party, &toy.id().parse().unwrap(), Some(&from_toy)).await.unwrap();
    let told = heard(&mut tablet);
    assert_eq!((told.len(), told[0].0), (1, Some(4)), "3 is the message, which was only stored");
    assert!(told[0].1.contains("Read {") && told[0].1.contains("unread: 0"), "{told:?}");
    let told = heard(&mut ears);
    assert!(told.len() == 1 && told[0].0.is_none() && told[0].1.contains("state: Heard"), "{told:?}");
    let unread = world.hub.unread(&party, 10).await.unwrap();
    assert!(unread.friends.is_empty() && unread.messages.is_empty());
    let chat = world.hub.friends(&party).await.unwrap()[0].chat.clone();
    let page = world.hub.history(&user, &chat, 10, Before::default()).await.unwrap();
    assert!(page.len() == 2 && page.iter().all(|(_, state)| *state == MessageState::Heard));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_what_its_token_opens_and_nothing_once_that_is_revoked() {
    let mut config = Config::default();
    config.rates.failed_logins_per_address_per_minute = 3;
    let world = world(config).await;
    let (user, _) = world.family().await;
    let party = Party::User(user);
    let token = world.hub.issue_token(&party, 0.0).await.unwrap();
    let expires_at = 365.0 * DAY;
    let login = world.hub.authenticate_token(&token, PEER, 1.0).await.unwrap();
    assert_eq!((&login.party, login.expires_at), (&party, expires_at));

    let ticket = world.hub.issue_ticket(&token, PEER, 1.0).await.unwrap();
    let redeemed = world.hub.redeem_ticket(&ticket, PEER, 2.0).await.unwrap();
    assert_eq!((redeemed.party, redeemed.expires_at), (login.party.clone(), login.expires_at));
    let kept = world.hub.issue_ticket(&token, PEER, 3.0).await.unwrap();
    world.hub.log_out_everywhere(&party).await.unwrap();
    for wrong in [ticket, kept, Secret::random(), token] {
        let refused = world.hub.redeem_ticket(&wrong, PEER, 4.0).await.unwrap_err();
        assert!(matches!(refused, DomainError::Unauthorized), "{refused}");
    }
    let refused = world.hub.redeem_ticket(&Secret::random(), PEER, 4.0).await.unwrap_err();
    assert!(matches!(refused, DomainError::RateLimited { .. }), "{refused}");

    let token = world.hub.issue_token(&party, 10.0).await.unwrap();
    let other = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let ticket = world.hub.issue_ticket(&token, other, 10.0 + expires_at - 1.0).await.unwrap();
    let refused = world.hub.redeem_ticket(&ticket, other, 10.0 + expires_at).await.unwrap_err();
    assert!(matches!(refused, DomainError::Unauthorized), "the token has expired: {refused}");
}

/// Takes all deliveries of a session's connection: texts, and whether they are stored in the session.
async fn given(mailbox: &mut Mailbox) -> Vec<(String, bool)> {
    let note = |delivery: &Delivery| {
        (String::from_utf8(delivery.publication.payload.bytes().to_vec()).unwrap(), delivery.stored.is_some())
    };
    let mut given = Vec::new();
    loop {
        match mailbox.try_recv() {
            Some(Incoming::Delivery(delivery)) => given.push(note(&delivery)),
            Some(Incoming::Backlog) => given.extend(mailbox.backlog(64).await.iter().map(note)),
            Some(Incoming::Closed(reason)) => panic!("{reason:?}"),
            None => return given,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_stored_but_not_announced_reaches_a_session_that_does_not_subscribe_again() {
    let world = world(Config::default()).await;
    let (user, toy) = world.family().await;
    let inbox = live::Subscription::from_text(toy.inbox().as_str(), crate::model::QoS::AtLeastOnce, 0, 0).unwrap();
    let mut mailbox = world.hub.open_session(&Admitted::unproven(toy.clone()), "c", 1000).await.unwrap();
    let session = mailbox.session().unwrap();
    world.hub.subscribe(&mailbox, &inbox, live::ReplayRetained::Always).await.unwrap();
    assert_eq!(given(&mut mailbox).await, []);
    drop(mailbox);

    // The hub crashes between the commit and the publication.
    let message = world.send(&Party::User(user), &toy, 1.0).await;
    let mut mailbox = world.hub.attach(&session, &Admitted::unproven(toy.clone())).await.unwrap();
    assert_eq!(given(&mut mailbox).await, [], "it is in no session");
    world.hub.resume(&mailbox).await.unwrap();
    let told = given(&mut mailbox).await;
    assert!(told.len() == 1 && told[0].0.contains(message.as_str()) && !told[0].1, "{told:?}");

    // Only once: a client that subscribes again, as most do, is not sent the messages a second time. Later it may
    // subscribe again.
    world.hub.subscribe(&mailbox, &inbox, live::ReplayRetained::Always).await.unwrap();
    assert_eq!(given(&mut mailbox).await, []);
    world.hub.subscribe(&mailbox, &inbox, live::ReplayRetained::Always).await.unwrap();
    assert_eq!(given(&mut mailbox).await, told);
    // A session without the subscription is sent nothing, and read messages are not sent again.
    mailbox.unsubscribe(&inbox.filter, None);
    world.hub.resume(&mailbox).await.unwrap();
    assert_eq!(given(&mut mailbox).await, []);
    world.hub.receive(&toy, None).await.unwrap();
    world.hub.subscribe(&mailbox, &inbox, live::ReplayRetained::Always).await.unwrap();
    assert_eq!(given(&mut mailbox).await, []);
}

#[tokio::test]
async fn a_hub_that_is_not_checked_any_more_is_not_alive() {
    use std::time::Duration;
    let config = Config::default();
    let age_max = Duration::from_secs(2 * (config.server.check_interval_s + config.server.check_timeout_s));
    let World { hub, _folder } = world(config).await;
    assert!(!hub.health().is_ready() && !hub.health().is_alive, "nothing is known yet");
    hub.check_health().await.unwrap();
    hub.clock.advance(age_max);
    let health = hub.health();
    assert_eq!((health.store, health.sessions, health.is_alive), (PartState::Ok, PartState::Ok, true));
    hub.clock.advance(Duration::from_millis(1));
    let late = hub.health();
    assert!(!late.is_alive && !late.is_ready());
}

#[tokio::test]
async fn a_hub_without_the_thread_of_its_sessions_has_lost_an_essential_part() {
    let World { hub, _folder } = world(Config::default()).await;
    hub.router.close().await;
    assert!(matches!(hub.check_health().await, Err(DomainError::Internal(_))));
    let health = hub.health();
    assert!(matches!(health.sessions, PartState::Failed(_)) && !health.is_alive);
}

#[test]
fn the_settings_accept_the_languages_that_have_texts() {
    let mut texts: Vec<_> = crate::ports::speech::languages::all().iter().map(|language| language.code).collect();
    let mut accepted = crate::config::LANGUAGES.to_vec();
    texts.sort_unstable();
    accepted.sort_unstable();
    assert_eq!(accepted, texts);
}
