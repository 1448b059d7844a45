//! Quiet hours by a clock that is moved, and approved content.

use bytes::Bytes;

use super::*;
use crate::model::ContentId;

/// 2026-03-28 at 12:00 in Berlin; daylight-saving time begins in the night that follows.
const NOON: Timestamp = 1_774_695_600.0;
const HOUR: f64 = 3600.0;

struct Home {
    world: World,
    owner: UserId,
    toy: ToyId,
    ears: Mailbox,
}

impl Home {
    async fn new() -> Self {
        let world = world(Config::default()).await;
        let (owner, toy) = world.family().await;
        let ears = world.connected(&toy).await;
        let Party::Toy(toy) = toy else { panic!("a toy") };
        Self { world, owner, toy, ears }
    }

    async fn quiet(&self, from: &str, until: &str, now: Timestamp) -> Result<(), DomainError> {
        let hours = quiet_hours(from, until, "Europe/Berlin").unwrap();
        self.world.hub.set_quiet_hours(Some(&self.owner), &self.toy, hours, now).await
    }

    /// A message of the parent, as an upload ends: stored, then announced.
    async fn message(&self, now: Timestamp) {
        let (from, to) = (Party::User(self.owner.clone()), Party::Toy(self.toy.clone()));
        let sound = self.world.hub.put_sound(FileName::random("mp3"), Bytes::from_static(b"mp3")).await.unwrap();
        self.world.hub.deliver(&from, &to, &sound, None, None, now).await.unwrap();
    }

    fn told(&mut self) -> usize {
        heard(&mut self.ears).iter().filter(|(_, text)| text.contains("Message {")).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_over_midnight_and_a_change_of_the_clocks_and_are_announced_at_the_end() {
    let mut home = Home::new().await;
    home.quiet("20:00", "07:00", NOON).await.unwrap();
    home.message(NOON).await;
    assert_eq!(home.told(), 1, "by day");
    home.world.hub.receive(&Party::Toy(home.toy.clone()), None).await.unwrap();
    heard(&mut home.ears);

    // 20:00 on the wall; at 02:00 it is 03:00, so that 07:00 comes ten hours later.
    home.world.hub.keep_quiet_hours(NOON + 8.0 * HOUR).await;
    home.message(NOON + 8.0 * HOUR).await;
    home.message(NOON + 13.0 * HOUR).await;
    let toy = Party::Toy(home.toy.clone());
    assert_eq!(home.told(), 0);
    assert!(home.world.hub.receive(&toy, None).await.unwrap().is_empty(), "a press of the button finds nothing");
    let unread = home.world.hub.unread(&toy, 10).await.unwrap();
    assert_eq!((unread.messages.len(), unread.friends[0].unread), (0, 2), "they are stored and unread");
    let mut late = home.world.connected(&toy).await;
    let inbox = live::Subscription::from_text(toy.inbox().as_str(), crate::model::QoS::AtLeastOnce, 0, 0).unwrap();
    home.world.hub.subscribe(&late, &inbox, live::ReplayRetained::Always).await.unwrap();
    assert_eq!(heard(&mut late), [], "a toy that comes back in the night is not told either");
    drop(late);
    home.world.hub.keep_quiet_hours(NOON + 18.0 * HOUR - 1.0).await;
    assert_eq!(home.told(), 0, "06:59:59");
    home.world.hub.keep_quiet_hours(NOON + 18.0 * HOUR).await;
    assert_eq!(home.told(), 2, "07:00");
    home.world.hub.keep_quiet_hours(NOON + 18.0 * HOUR + 1.0).await;
    assert_eq!(home.told(), 0, "once");
    assert_eq!(home.world.hub.receive(&toy, None).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_of_a_guardian_lifts_the_hours_and_nobody_elses() {
    let mut home = Home::new().await;
    home.quiet("11:00", "15:00", NOON).await.unwrap();
    home.message(NOON).await;
    assert_eq!(home.told(), 0);
    let id = home.toy.as_str().parse().unwrap();
    let (stranger, _) = home.world.family().await;
    let refused = home.world.hub.wake_for_emergency(&stranger, &id, NOON).await;
    assert!(matches!(refused, Err(DomainError::Forbidden)), "{refused:?}");
    home.world.hub.wake_for_emergency(&home.owner, &id, NOON).await.unwrap();
    home.message(NOON + 1.0).await;
    assert_eq!(home.told(), 2, "and what waited before");
    // A restart in between keeps it, and the hours go on after it.
    home.world.hub.resting.forget(&home.toy);
    home.world.hub.load_quiet_hours(NOON + 60.0).await.unwrap();
    assert!(!home.world.hub.rests(&Party::Toy(home.toy.clone())));
    home.world.hub.keep_quiet_hours(NOON + 900.0).await;
    assert!(home.world.hub.rests(&Party::Toy(home.toy.clone())));
    // The end of the setting is the end of the rest.
    home.message(NOON + 901.0).await;
    home.quiet("", "", NOON + 902.0).await.unwrap();
    assert!(home.told() >= 1);
    assert!(home.world.hub.toy_settings(Some(&home.owner), &home.toy).await.unwrap().quiet.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_that_are_none_are_refused_and_so_are_strangers() {
    let home = Home::new().await;
    let hub = &home.world.hub;
    for (from, until, zone) in [("25:00", "07:00", "UTC"), ("20:00", "", "UTC"), ("20:00", "x", "UTC")] {
        assert!(matches!(quiet_hours(from, until, zone), Err(DomainError::Invalid { .. })), "{from} {until}");
    }
    for (from, until, zone) in [("07:00", "07:00", "UTC"), ("20:00", "07:00", "Europe/Nowhere"), ("20:00", "07:00", "")]
    {
        let hours = quiet_hours(from, until, zone).unwrap();
        let refused = hub.set_quiet_hours(Some(&home.owner), &home.toy, hours, NOON).await;
        assert!(matches!(refused, Err(DomainError::Invalid { .. })), "{from} {until} {zone}: {refused:?}");
    }
    let (stranger, _) = home.world.family().await;
    let hours = quiet_hours("20:00", "07:00", "UTC").unwrap();
    let refused = hub.set_quiet_hours(Some(&stranger), &home.toy, hours, NOON).await;
    assert!(matches!(refused, Err(DomainError::UnknownParty)), "{refused:?}");
    let refused = hub.set_approved_only(Some(&stranger), &home.toy, true).await;
    assert!(matches!(refused, Err(DomainError::UnknownParty)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_of_approved_content_plays_nothing_else() {
    let home = Home::new().await;
    let hub = &home.world.hub;
    let piece = |title: &str| crate::model::Content {
        id: ContentId::random(),
        title: title.into(),
        music: FileName::random("mp3"),
        cover: FileName::random("jpg"),
    };
    let (bus, train) = (piece("The Bus"), piece("The Train"));
    for content in [&bus, &train] {
        hub.store.add_content(content, 1.0).await.unwrap();
    }
    let titles = async || -> Vec<String> {
        hub.content_for(&home.toy).await.unwrap().into_iter().map(|content| content.title).collect()
    };
    assert_eq!(titles().await.len(), 2);
    hub.set_approved_only(Some(&home.owner), &home.toy, true).await.unwrap();
    assert!(titles().await.is_empty(), "nothing is approved yet");
    hub.approve_content(Some(&home.owner), &home.toy, &bus.id, true).await.unwrap();
    assert_eq!(titles().await, ["The Bus"]);
    let (parent, toy) = (Party::User(home.owner.clone()), home.toy.as_str().parse().unwrap());
    let play = async |music: &FileName| {
        hub.pass_on(&parent, &toy, crate::model::PlayedSound::Music(music.clone()), NOON).await
    };
    assert!(play(&bus.music).await.is_ok());
    assert!(matches!(play(&train.music).await, Err(DomainError::Forbidden)));
    hub.approve_content(Some(&home.owner), &home.toy, &bus.id, false).await.unwrap();
    assert!(titles().await.is_empty());
    let unknown = hub.approve_content(Some(&home.owner), &home.toy, &ContentId::random(), true).await;
    assert!(matches!(unknown, Err(DomainError::Invalid { .. })), "{unknown:?}");
}
