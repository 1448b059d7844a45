//! The addresses and times at which a toy that knows only its device key may open.

use std::net::IpAddr;

use futures_util::future::join_all;

use super::*;
use crate::config::AuthMode;

const HOME: &str = "192.168.1.20";
const HOUR: f64 = 3600.0;

fn at(address: &str) -> IpAddr {
    address.parse().unwrap()
}

struct Toys {
    world: World,
    owner: UserId,
    toy: Toy,
}

impl Toys {
    async fn new(config: Config) -> Self {
        let world = world(config).await;
        let (owner, toy) = world.family().await;
        let toy = world.hub.store.toy(&toy.id().parse().unwrap()).await.unwrap().unwrap();
        Self { world, owner, toy }
    }

    async fn opens(&self, address: &str, now: Timestamp) -> bool {
        let opened = self.world.hub.open_toy(&self.toy.device_key, None, at(address), now).await.unwrap();
        match opened {
            Opened::Bound { token, .. } => {
                assert!(token.is_none(), "a device key gets no token");
                true
            }
            Opened::NotLetIn => false,
            other => panic!("{other:?}"),
        }
    }

    async fn owner_is_at(&self, address: &str, now: Timestamp) {
        self.world.hub.note_proof(&self.owner.clone().into(), at(address), now).await.unwrap();
    }

    async fn may_call(&self, address: &str, now: Timestamp) -> bool {
        let id = self.toy.id.as_str().parse().unwrap();
        self.world.hub.authorize(&id, None, at(address), now).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_opens_near_its_owner_and_not_elsewhere() {
    let toys = Toys::new(Config::default()).await;
    assert!(!toys.opens(HOME, 1.0).await, "nobody is known there");
    toys.owner_is_at("192.168.1.4", 1.0).await;
    for elsewhere in ["192.168.2.20", "203.0.113.7", "127.0.0.1", "fd00::20"] {
        assert!(!toys.opens(elsewhere, 2.0).await, "{elsewhere}");
        assert!(!toys.may_call(elsewhere, 2.0).await, "{elsewhere}");
    }
    assert!(!toys.may_call(HOME, 2.0).await, "before it has opened there");
    assert!(toys.opens(HOME, 3.0).await);
    assert!(toys.may_call(HOME, 4.0).await);
    assert!(!toys.may_call("192.168.1.21", 4.0).await, "the place is the toy's address, not the network");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_that_is_active_does_not_move_by_itself() {
    let toys = Toys::new(Config::default()).await;
    toys.owner_is_at(HOME, 1.0).await;
    toys.owner_is_at("203.0.113.7", 1.0).await;
    assert!(toys.opens(HOME, 1.0).await);
    assert!(toys.may_call(HOME, 20.0 * HOUR).await);
    assert!(!toys.opens("203.0.113.7", 1.0 + 43.0 * HOUR).await, "active at home less than a day ago");
    assert!(toys.opens("203.0.113.7", 1.0 + 45.0 * HOUR).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_that_is_let_in_takes_one_new_place_and_in_time() {
    let toys = Toys::new(Config::default()).await;
    let hub = &toys.world.hub;
    let (somebody, _) = toys.world.family().await;
    assert!(matches!(hub.let_toy_in(Some(&somebody), &toys.toy.id, 0.0).await, Err(DomainError::UnknownParty)));
    assert!(!toys.opens("203.0.113.7", 1.0).await);

    hub.let_toy_in(Some(&toys.owner), &toys.toy.id, 0.0).await.unwrap();
    assert!(!toys.opens("203.0.113.7", 15.0 * 60.0).await, "too late");
    hub.let_toy_in(Some(&toys.owner), &toys.toy.id, 1000.0).await.unwrap();
    assert!(toys.opens("203.0.113.7", 1001.0).await);
    assert!(!toys.opens("203.0.113.8", 1002.0).await, "one place only");
    assert!(toys.opens("203.0.113.7", 1003.0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_that_has_logged_in_with_its_secret_is_not_let_in_by_its_key() {
    let toys = Toys::new(Config::default()).await;
    let hub = &toys.world.hub;
    let let_in = async |now| hub.let_toy_in(Some(&toys.owner), &toys.toy.id, now).await.unwrap();
    let_in(0.0).await;
    hub.open_toy(&toys.toy.device_key, Some(&Secret::new(SECRET)), at(HOME), 1.0).await.unwrap();
    assert!(!toys.opens("203.0.113.66", 2.0).await, "a stranger who knows the key");
    assert!(toys.opens(HOME, 3.0).await);
    let_in(4.0).await;
    assert!(toys.opens("203.0.113.7", 5.0).await, "a guardian can let it in again");
}

#[tokio::test(flavor = "multi_thread")]
async fn letting_a_toy_in_evicts_whoever_opened_it_first() {
    let toys = Toys::new(Config::default()).await;
    toys.owner_is_at(HOME, 0.0).await;
    assert!(toys.opens(HOME, 0.0).await);
    toys.world.hub.let_toy_in(Some(&toys.owner), &toys.toy.id, 1.0).await.unwrap();
    assert!(toys.opens("203.0.113.66", 2.0).await, "a stranger is the first");
    toys.world.hub.let_toy_in(Some(&toys.owner), &toys.toy.id, 3.0).await.unwrap();
    assert!(!toys.may_call("203.0.113.66", 4.0).await);
    assert!(toys.may_call(HOME, 4.0).await, "what is near its owner stays");
    assert!(toys.opens("203.0.113.7", 5.0).await);
    assert!(!toys.opens("203.0.113.66", 6.0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_concurrent_openings_one_gets_the_place() {
    let toys = Arc::new(Toys::new(Config::default()).await);
    toys.world.hub.let_toy_in(Some(&toys.owner), &toys.toy.id, 0.0).await.unwrap();
    let openers = (1..=8).map(|number| {
        let toys = Arc::clone(&toys);
        tokio::spawn(async move { toys.opens(&format!("203.0.113.{number}"), 1.0).await })
    });
    let opened = join_all(openers.collect::<Vec<_>>()).await;
    let opened: Vec<bool> = opened.into_iter().map(Result::unwrap).collect();
    assert_eq!(opened.iter().filter(|is_open| **is_open).count(), 1, "{opened:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_that_wants_only_tokens_opens_nowhere_with_its_key() {
    let toys = Toys::new(Config::default()).await;
    toys.owner_is_at(HOME, 0.0).await;
    assert!(toys.opens(HOME, 1.0).await);
    let party = Party::Toy(toys.toy.id.clone());
    toys.world.hub.set_only_token(&party, true).await.unwrap();
    assert!(!toys.opens(HOME, 2.0).await);
    toys.world.hub.set_only_token(&party, false).await.unwrap();
    assert!(toys.opens(HOME, 3.0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_secret_of_a_device_gets_a_token() {
    let world = world(Config::default()).await;
    let (_, key, secret) = world.toy_with_secret().await;
    let open = async |proof: &Secret| match world.hub.open_toy(&key, Some(proof), at(HOME), 1.0).await.unwrap() {
        Opened::Bound { token, .. } => token,
        other => panic!("{other:?}"),
    };
    let token = open(&secret).await.unwrap();
    assert!(open(&token).await.is_none(), "a token does not renew itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_good_for_its_days_and_ends_with_the_tokens() {
    let toys = Toys::new(Config::default()).await;
    let user = toys.owner.as_str().parse().unwrap();
    let (hub, days) = (&toys.world.hub, 30.0 * DAY);
    toys.owner_is_at(HOME, 0.0).await;
    hub.authorize(&user, None, at(HOME), days - 1.0).await.unwrap();
    for (address, now) in [(HOME, days), (HOME, days + 1.0), ("192.168.1.21", 1.0)] {
        let refused = hub.authorize(&user, None, at(address), now).await;
        assert!(matches!(refused, Err(DomainError::Unauthorized)), "{address} {now}: {refused:?}");
    }
    toys.owner_is_at(HOME, days + 2.0).await;
    hub.authorize(&user, None, at(HOME), days + 3.0).await.unwrap();
    hub.log_out_everywhere(&toys.owner.clone().into()).await.unwrap();
    assert!(hub.authorize(&user, None, at(HOME), days + 4.0).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_place_is_forgotten_first() {
    let mut config = Config::default();
    config.auth.places_max = 2;
    let toys = Toys::new(config).await;
    let user = toys.owner.as_str().parse().unwrap();
    for (number, now) in [(1, 1.0), (2, 2.0), (3, 3.0)] {
        toys.owner_is_at(&format!("10.0.0.{number}"), now).await;
    }
    let is_known = async |address| toys.world.hub.authorize(&user, None, at(address), 4.0).await.is_ok();
    assert_eq!(
        (is_known("10.0.0.1").await, is_known("10.0.0.2").await, is_known("10.0.0.3").await),
        (false, true, true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_that_always_need_tokens_have_no_places_and_open_needs_none() {
    let toys = Toys::new(Config::default()).await;
    let user = toys.owner.as_str().parse().unwrap();
    toys.owner_is_at(HOME, 0.0).await;
    toys.world.hub.set_only_token(&toys.owner.clone().into(), true).await.unwrap();
    assert!(toys.world.hub.authorize(&user, None, at(HOME), 1.0).await.is_err());

    let mut config = Config::default();
    config.auth.mode = AuthMode::Open;
    let toys = Toys::new(config).await;
    let user = toys.owner.as_str().parse().unwrap();
    assert!(toys.world.hub.authorize(&user, None, at("203.0.113.7"), 1.0).await.is_ok());
    assert!(toys.opens("203.0.113.7", 1.0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_near_a_guardian_replaces_a_far_one() {
    let toys = Toys::new(Config::default()).await;
    let (hub, far) = (&toys.world.hub, "203.0.113.66");
    toys.owner_is_at("192.168.1.4", 0.0).await;
    for now in [0.0, 100.0] {
        hub.let_toy_in(Some(&toys.owner), &toys.toy.id, now).await.unwrap();
        assert!(toys.opens(far, now + 1.0).await, "a stranger who polls is the first");
        assert!(!toys.opens("203.0.113.67", now + 2.0).await, "one far place only");
        assert!(toys.opens(HOME, now + 3.0).await, "the toy at home");
        assert!(!toys.may_call(far, now + 4.0).await);
        assert!(!toys.opens(far, now + 5.0).await, "the time has ended with the place at home");
        assert!(toys.may_call(HOME, now + 6.0).await);
    }
    // So does the secret of the device.
    hub.let_toy_in(Some(&toys.owner), &toys.toy.id, 200.0).await.unwrap();
    assert!(toys.opens(far, 201.0).await);
    hub.open_toy(&toys.toy.device_key, Some(&Secret::new(SECRET)), at("198.51.100.7"), 202.0).await.unwrap();
    assert!(!toys.may_call(far, 203.0).await);
    assert!(toys.may_call("198.51.100.7", 203.0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_by_a_device_key_are_limited() {
    let mut config = Config::default();
    config.rates.refused_openings_per_address_per_minute = 3;
    let toys = Toys::new(config).await;
    let hub = &toys.world.hub;
    let device = hub.add_devices(1, 0.0).await.unwrap().remove(0);
    let poll = async |address: &str| hub.open_toy(&device.key, None, at(address), 1.0).await.unwrap();
    for _ in 0..3 {
        assert!(matches!(poll("203.0.113.66").await, Opened::Unbound));
    }
    assert!(matches!(poll("203.0.113.66").await, Opened::NotLetIn), "it does not learn when the device is bound");
    assert!(matches!(poll("203.0.113.67").await, Opened::Unbound));
    hub.let_toy_in(Some(&toys.owner), &toys.toy.id, 1.0).await.unwrap();
    assert!(!toys.opens("203.0.113.66", 2.0).await);
    assert!(toys.opens("203.0.113.67", 2.0).await);
    for _ in 0..4 {
        poll("203.0.113.67").await;
    }
    assert!(toys.opens("203.0.113.67", 3.0).await, "at its own place");
}
