//! Invitations: expiry, single use, and the limit of guesses.

use futures_util::future::join_all;

use super::*;
use crate::domain::live::Publication;
use crate::model::Topic;

const HOUR: f64 = 3600.0;

struct Home {
    world: World,
    owner: UserId,
    toy: ToyId,
}

impl Home {
    async fn new(config: Config) -> Self {
        let world = world(config).await;
        let (owner, toy) = world.family().await;
        let Party::Toy(toy) = toy else { panic!("a toy") };
        Self { world, owner, toy }
    }

    async fn code(&self, now: Timestamp) -> Secret {
        let wanted = WantedInvitation { toy: Some(self.toy.clone()), remark: "Papa".into() };
        self.world.hub.invite(Some(&self.owner), wanted, now).await.unwrap().code
    }

    async fn stranger(&self) -> UserId {
        self.world.family().await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_ends_with_its_time_and_with_its_use() {
    let home = Home::new(Config::default()).await;
    let hub = &home.world.hub;
    let (papa, eve) = (home.stranger().await, home.stranger().await);
    let code = home.code(0.0).await;
    let late = hub.join(&papa, &code, PEER, 48.0 * HOUR).await;
    assert!(matches!(late, Err(DomainError::UnknownInvite)), "{late:?}");
    // With a clock that was set back it is still valid once, until it expires.
    assert_eq!(hub.join(&papa, &code, PEER, 1.0).await.unwrap(), home.toy);
    assert!(hub.is_guardian(&papa, &home.toy).await.unwrap());
    let again = hub.join(&eve, &code, PEER, 1.0).await;
    assert!(matches!(again, Err(DomainError::UnknownInvite)), "{again:?}");
    let friends = hub.friends(&Party::Toy(home.toy.clone())).await.unwrap();
    let of_papa = friends.iter().find(|friend| friend.party == Party::User(papa.clone())).unwrap();
    assert_eq!(of_papa.remark, "Papa", "the guardian's remark");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_names_the_own_toys_before_those_of_other_guardians() {
    let home = Home::new(Config::default()).await;
    let hub = &home.world.hub;
    let family = async || {
        let (user, toy) = home.world.family().await;
        (user, toy.id().parse::<ToyId>().unwrap())
    };
    let (papa, own) = family().await;
    hub.join(&papa, &home.code(0.0).await, PEER, 1.0).await.unwrap();
    let toys = async || hub.profile(&papa).await.unwrap().toys;
    assert_eq!(toys().await, [own.clone(), home.toy.clone()]);
    let (_, foreign) = family().await;
    let among = hub.store.toys_among(&papa, vec![foreign, home.toy.clone(), own.clone()]).await.unwrap();
    let among: Vec<_> = among.into_iter().map(|toy| toy.id).collect();
    assert_eq!(among, [own.clone(), home.toy.clone()]);
    hub.remove_guardian(Some(&home.owner), &home.toy, &papa, 5.0).await.unwrap();
    assert_eq!(toys().await, [own]);
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_of_a_removed_guardian_end() {
    let home = Home::new(Config::default()).await;
    let hub = &home.world.hub;
    let (papa, eve) = (home.stranger().await, home.stranger().await);
    let code = home.code(0.0).await;
    hub.join(&papa, &code, PEER, 1.0).await.unwrap();
    let wanted = || WantedInvitation { toy: Some(home.toy.clone()), remark: String::new() };
    let code = hub.invite(Some(&papa), wanted(), 2.0).await.unwrap().code;
    let toy = hub.store.toy(&home.toy).await.unwrap().unwrap();
    let elsewhere = std::net::IpAddr::from([203, 0, 113, 5]);
    let may_open = async |now| hub.may_open(&toy, elsewhere.into(), now).await.unwrap();
    // He has authenticated there, so that the toy may open there, too.
    hub.note_proof(&papa.clone().into(), elsewhere, 2.0).await.unwrap();
    assert!(may_open(3.0).await);
    hub.let_toy_in(Some(&papa), &home.toy, 4.0).await.unwrap();

    hub.remove_guardian(Some(&home.owner), &home.toy, &papa, 5.0).await.unwrap();
    for user in [&papa, &eve] {
        let joined = hub.join(user, &code, PEER, 6.0).await;
        assert!(matches!(joined, Err(DomainError::UnknownInvite)), "{joined:?}");
    }
    assert!(!may_open(6.0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_concurrent_joins_with_one_code_one_succeeds() {
    let home = Home::new(Config::default()).await;
    let hub = &home.world.hub;
    let code = home.code(0.0).await;
    let mut users = Vec::new();
    for _ in 0..6 {
        users.push(home.stranger().await);
    }
    let joined = join_all(users.iter().map(|user| hub.join(user, &code, PEER, 1.0))).await;
    assert_eq!(joined.iter().filter(|joined| joined.is_ok()).count(), 1, "{joined:?}");
    assert_eq!(hub.guardians(&home.toy).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_of_codes_are_few_and_so_are_guardians_and_invitations() {
    let mut config = Config::default();
    config.rates.wrong_invites_per_address_per_minute = 3;
    config.accounts.guardians_max = 2;
    config.accounts.invites_max = 2;
    let home = Home::new(config).await;
    let hub = &home.world.hub;
    let (papa, eve) = (home.stranger().await, home.stranger().await);
    let (first, second) = (home.code(0.0).await, home.code(0.0).await);
    let wanted = || WantedInvitation { toy: Some(home.toy.clone()), remark: String::new() };
    let third = hub.invite(Some(&home.owner), wanted(), 1.0).await;
    assert!(matches!(third, Err(DomainError::Full(_))), "{third:?}");
    hub.join(&papa, &first, PEER, 1.0).await.unwrap();
    let full = hub.join(&eve, &second, PEER, 1.0).await;
    assert!(matches!(full, Err(DomainError::Full(_))), "{full:?}");
    let mut refused = Ok(home.toy.clone());
    for _ in 0..5 {
        refused = hub.join(&eve, &Secret::invite_code(), PEER, 2.0).await;
    }
    assert!(matches!(refused, Err(DomainError::RateLimited { .. })), "{refused:?}");
    let locked = hub.join(&eve, &second, PEER, 2.0).await;
    assert!(matches!(locked, Err(DomainError::RateLimited { .. })), "a right one too: {locked:?}");
    // Expired ones make room.
    hub.invite(Some(&home.owner), wanted(), 49.0 * HOUR).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_commands_end_with_a_guardian() {
    let home = Home::new(Config::default()).await;
    let hub = &home.world.hub;
    let (papa, _) = home.world.family().await;
    hub.join(&papa, &home.code(0.0).await, PEER, 1.0).await.unwrap();
    let before = hub.figures().retained;
    let (toy, papas) = (Party::Toy(home.toy.clone()), Party::User(papa.clone()));
    for (party, channel) in [(&papas, "cmd/volume"), (&toy, "state/volume")] {
        let topic: Topic = format!("toy/{}/{channel}", home.toy).parse().unwrap();
        let publication = crate::domain::live::hub_message(topic, bytes::Bytes::from("100"));
        let reached = hub.publish(party, Publication { retain: true, ..publication }).await.unwrap();
        assert!(!reached.retain_refused);
    }
    assert_eq!(hub.figures().retained, before + 2);
    hub.remove_guardian(Some(&home.owner), &home.toy, &papa, 5.0).await.unwrap();
    assert_eq!(hub.figures().retained, before + 1, "what the toy says of itself stays");
}
