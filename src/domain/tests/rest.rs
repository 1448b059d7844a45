//! Quiet hours with a simulated clock, and approved content.

mod clock;

use super::*;
use crate::model::{ContentId, PartyId};

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
        self.long_message(0, now).await;
    }

    /// One that plays for so many seconds.
    async fn long_message(&self, seconds: usize, now: Timestamp) {
        let (from, to) = (Party::User(self.owner.clone()), Party::Toy(self.toy.clone()));
        let bytes = self.world.hub.config.audio.mp3_bitrate_kbps as usize * 125 * seconds;
        let sound = self.world.hub.put_sound(FileName::random("mp3"), vec![0; bytes].into()).await.unwrap();
        self.world.hub.deliver(&from, (&to, None), &sound, None, None, now).await.unwrap();
    }

    async fn limit(&self, minutes: impl Into<Option<u32>>, now: Timestamp) -> Result<(), DomainError> {
        let daily = daily_minutes(minutes.into(), "Europe/Berlin").unwrap();
        self.world.hub.set_daily_minutes(Some(&self.owner), &self.toy, daily, now).await
    }

    /// A press of the button: how many messages it gives.
    async fn press(&self, now: Timestamp) -> usize {
        let toy = Party::Toy(self.toy.clone());
        let messages = self.world.hub.receive(&toy, None).await.unwrap();
        self.world.hub.count_messages(&toy, messages.iter(), now).await;
        messages.len()
    }

    async fn seconds_used(&self, now: Timestamp) -> Option<f64> {
        let settings = self.world.hub.toy_settings(Some(&self.owner), &self.toy, now).await.unwrap();
        settings.minutes.map(|(_, seconds)| seconds)
    }

    fn rests(&self) -> bool {
        self.world.hub.rests(&Party::Toy(self.toy.clone()))
    }

    /// How many messages of the parent are unread.
    async fn unread(&self) -> u64 {
        self.world.hub.friends(&Party::Toy(self.toy.clone())).await.unwrap()[0].unread
    }

    fn events_of(&mut self) -> usize {
        heard(&mut self.ears).iter().filter(|(_, text)| text.contains("Message {")).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_over_midnight_and_a_change_of_the_clocks_and_are_announced_at_the_end() {
    let mut home = Home::new().await;
    home.quiet("20:00", "07:00", NOON).await.unwrap();
    home.message(NOON).await;
    assert_eq!(home.events_of(), 1, "by day");
    home.world.hub.receive(&Party::Toy(home.toy.clone()), None).await.unwrap();
    heard(&mut home.ears);

    // 20:00 on the wall; at 02:00 it is 03:00, so that 07:00 comes ten hours later.
    home.world.hub.keep_quiet_hours(NOON + 8.0 * HOUR).await;
    home.message(NOON + 8.0 * HOUR).await;
    home.message(NOON + 13.0 * HOUR).await;
    let toy = Party::Toy(home.toy.clone());
    assert_eq!(home.events_of(), 0);
    assert!(home.world.hub.receive(&toy, None).await.unwrap().is_empty(), "a press of the button finds nothing");
    let unread = home.world.hub.unread(&toy, 10).await.unwrap();
    assert_eq!((unread.messages.len(), unread.friends[0].unread), (0, 2), "they are stored and unread");
    let mut late = home.world.connected(&toy).await;
    let inbox = live::Subscription::from_text(toy.inbox().as_str(), crate::model::QoS::AtLeastOnce, 0, 0).unwrap();
    home.world.hub.subscribe(&late, &inbox, live::ReplayRetained::Always).await.unwrap();
    assert_eq!(heard(&mut late), [], "a toy that comes back in the night is not told either");
    drop(late);
    home.world.hub.keep_quiet_hours(NOON + 18.0 * HOUR - 1.0).await;
    assert_eq!(home.events_of(), 0, "06:59:59");
    home.world.hub.keep_quiet_hours(NOON + 18.0 * HOUR).await;
    assert_eq!(home.events_of(), 2, "07:00");
    home.world.hub.keep_quiet_hours(NOON + 18.0 * HOUR + 1.0).await;
    assert_eq!(home.events_of(), 0, "once");
    assert_eq!(home.world.hub.receive(&toy, None).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resting_toy_marks_only_what_it_was_given_as_read() {
    let mut home = Home::new().await;
    let (parent, toy) = (Party::User(home.owner.clone()), Party::Toy(home.toy.clone()));
    let parent_id: PartyId = parent.id().parse().unwrap();
    home.quiet("20:00", "07:00", NOON).await.unwrap();
    let given = home.world.send(&parent, &toy, NOON + 7.9 * HOUR).await;
    home.world.hub.mark_delivered(&toy, &given).await.unwrap();
    home.world.hub.keep_quiet_hours(NOON + 8.0 * HOUR).await;
    let withheld = home.world.send(&parent, &toy, NOON + 9.0 * HOUR).await;
    // The end of a sound that it began to play before.
    for up_to in [None, Some(&given), Some(&withheld), None] {
        home.world.hub.mark_read(&toy, &parent_id, up_to).await.unwrap();
        assert_eq!(home.unread().await, 1, "{up_to:?}");
    }
    // An urgent message is delivered, and those that waited with it.
    home.world.hub.wake_for_emergency(&home.owner, &toy.id().parse().unwrap(), NOON + 10.0 * HOUR).await.unwrap();
    assert_eq!(home.events_of(), 1);
    home.world.hub.mark_delivered(&toy, &withheld).await.unwrap();
    home.world.hub.keep_quiet_hours(NOON + 11.0 * HOUR).await;
    home.message(NOON + 11.0 * HOUR).await;
    home.world.hub.mark_read(&toy, &parent_id, None).await.unwrap();
    assert_eq!((home.events_of(), home.unread().await), (0, 1));
    home.world.hub.keep_quiet_hours(NOON + 18.0 * HOUR).await;
    assert_eq!(home.events_of(), 1, "no message is lost");
    home.world.hub.mark_read(&toy, &parent_id, None).await.unwrap();
    assert_eq!(home.unread().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_emergency_of_a_guardian_suspends_the_hours() {
    let mut home = Home::new().await;
    home.quiet("11:00", "15:00", NOON).await.unwrap();
    home.message(NOON).await;
    assert_eq!(home.events_of(), 0);
    let id = home.toy.as_str().parse().unwrap();
    let (stranger, _) = home.world.family().await;
    let refused = home.world.hub.wake_for_emergency(&stranger, &id, NOON).await;
    assert!(matches!(refused, Err(DomainError::Forbidden)), "{refused:?}");
    home.world.hub.wake_for_emergency(&home.owner, &id, NOON).await.unwrap();
    home.message(NOON + 1.0).await;
    assert_eq!(home.events_of(), 2, "and what waited before");
    // A restart in between keeps it, and the hours go on after it.
    home.world.hub.resting.forget(&home.toy);
    home.world.hub.load_quiet_hours(NOON + 60.0).await.unwrap();
    assert!(!home.world.hub.rests(&Party::Toy(home.toy.clone())));
    home.world.hub.keep_quiet_hours(NOON + 900.0).await;
    assert!(home.world.hub.rests(&Party::Toy(home.toy.clone())));
    // The end of the setting is the end of the rest.
    home.message(NOON + 901.0).await;
    home.quiet("", "", NOON + 902.0).await.unwrap();
    assert!(home.events_of() >= 1);
    assert!(home.world.hub.toy_settings(Some(&home.owner), &home.toy, NOON).await.unwrap().quiet.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toy_whose_minutes_are_used_up_rests_until_the_next_day() {
    let mut home = Home::new().await;
    home.limit(1, NOON).await.unwrap();
    home.long_message(40, NOON).await;
    assert_eq!((home.events_of(), home.press(NOON).await, home.rests()), (1, 1, false));
    home.long_message(40, NOON + 60.0).await;
    assert_eq!((home.events_of(), home.press(NOON + 60.0).await), (1, 1), "what has begun is played to its end");
    assert_eq!((home.rests(), home.seconds_used(NOON + 61.0).await), (true, Some(80.0)));
    home.message(NOON + 120.0).await;
    assert_eq!((home.events_of(), home.press(NOON + 120.0).await), (0, 0), "messages wait");
    let toy = Party::Toy(home.toy.clone());
    assert_eq!(home.world.hub.unread(&toy, 10).await.unwrap().friends[0].unread, 1);

    // A restart does not give them back, and an emergency passes.
    home.world.hub.resting.forget(&home.toy);
    home.world.hub.load_quiet_hours(NOON + 130.0).await.unwrap();
    assert!(home.rests());
    home.world.hub.wake_for_emergency(&home.owner, &home.toy.as_str().parse().unwrap(), NOON + 140.0).await.unwrap();
    assert_eq!((home.events_of(), home.rests()), (1, false));
    home.world.hub.keep_quiet_hours(NOON + 140.0 + 900.0).await;
    assert!(home.rests());
    // The day ends at midnight in Berlin.
    home.world.hub.keep_quiet_hours(NOON + 12.0 * HOUR - 1.0).await;
    assert_eq!((home.events_of(), home.rests()), (0, true));
    home.world.hub.keep_quiet_hours(NOON + 12.0 * HOUR).await;
    assert_eq!((home.events_of(), home.rests()), (1, false), "what waits is announced");
    assert_eq!(home.seconds_used(NOON + 12.0 * HOUR).await, Some(0.0));
    assert_eq!(home.press(NOON + 13.0 * HOUR).await, 1);

    // More minutes, fewer, and none: the minutes played today count.
    home.long_message(90, NOON + 13.0 * HOUR).await;
    assert_eq!((home.press(NOON + 13.0 * HOUR).await, home.rests()), (1, true));
    home.limit(2, NOON + 13.0 * HOUR).await.unwrap();
    assert!(!home.rests());
    home.limit(1, NOON + 13.0 * HOUR).await.unwrap();
    assert!(home.rests());
    home.limit(None, NOON + 13.0 * HOUR).await.unwrap();
    assert_eq!((home.rests(), home.seconds_used(NOON + 13.0 * HOUR).await), (false, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_lost_answer_count_once() {
    let home = Home::new().await;
    let hub = &home.world.hub;
    home.limit(10, NOON).await.unwrap();
    let (toy, parent) = (Party::Toy(home.toy.clone()), home.owner.as_str().parse::<PartyId>().unwrap());
    let receive = async || {
        let (messages, handover) = hub.hand_over(&toy, None).await.unwrap();
        (messages, hub.complete(handover.unwrap(), NOON).await.unwrap().unwrap())
    };
    home.long_message(30, NOON).await;
    for _ in 0..3 {
        let (messages, lost) = receive().await;
        assert_eq!((messages.len(), home.seconds_used(NOON).await), (1, Some(30.0)));
        hub.take_back(lost).await.unwrap();
    }
    // Together with a new one.
    home.long_message(20, NOON).await;
    let (messages, lost) = receive().await;
    assert_eq!((messages.len(), home.seconds_used(NOON).await), (2, Some(50.0)));
    hub.take_back(lost).await.unwrap();
    // A client that marks them itself.
    assert_eq!(hub.unread(&toy, 10).await.unwrap().messages.len(), 2);
    assert!(hub.uncounted_messages(&toy, &parent).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_does_not_undo_a_mark_of_its_receiver() {
    let home = Home::new().await;
    let hub = &home.world.hub;
    let (toy, parent) = (Party::Toy(home.toy.clone()), home.owner.as_str().parse::<PartyId>().unwrap());
    let receive = async || {
        let (messages, handover) = hub.hand_over(&toy, None).await.unwrap();
        (messages, hub.complete(handover.unwrap(), NOON).await.unwrap().unwrap())
    };
    let unread = async || hub.unread(&toy, 10).await.unwrap().messages.len();
    for number in 0..3 {
        home.message(NOON + f64::from(number)).await;
    }
    let (messages, lost) = receive().await;
    assert_eq!((messages.len(), unread().await), (3, 0));
    hub.mark_read(&toy, &parent, Some(&messages[1].id)).await.unwrap();
    hub.take_back(lost).await.unwrap();
    assert_eq!(unread().await, 1, "the one that it has not marked");
    let (_, lost) = receive().await;
    hub.mark_read(&toy, &parent, None).await.unwrap();
    hub.take_back(lost).await.unwrap();
    assert_eq!(unread().await, 0);
    // A later answer is taken back as before.
    home.message(NOON + 9.0).await;
    let (messages, lost) = receive().await;
    hub.take_back(lost).await.unwrap();
    assert_eq!((messages.len(), unread().await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_waits_for_the_first_one() {
    let home = Home::new().await;
    let hub = &home.world.hub;
    let toy = Party::Toy(home.toy.clone());
    home.message(NOON).await;
    let (messages, first) = hub.hand_over(&toy, None).await.unwrap();
    assert_eq!(messages.len(), 1);
    let refused = hub.hand_over(&toy, None).await.map(|_| ());
    assert!(matches!(refused, Err(DomainError::Busy)), "the first answer is being written: {refused:?}");
    // It ends with its connection, and the messages are those of the next call.
    let (second, ()) = tokio::join!(hub.hand_over(&toy, None), async { drop(first) });
    assert_eq!(second.unwrap().0.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_a_toy_plays_counts() {
    let home = Home::new().await;
    let hub = &home.world.hub;
    home.limit(10, NOON).await.unwrap();
    let (parent, toy) = (Party::User(home.owner.clone()), Party::Toy(home.toy.clone()));
    let (parent_id, toy_id) = (parent.id().parse().unwrap(), toy.id().parse().unwrap());
    // Messages that a connected toy marks as heard.
    home.long_message(30, NOON).await;
    let waiting = hub.uncounted_messages(&toy, &parent_id).await.unwrap();
    hub.mark_read(&toy, &parent_id, None).await.unwrap();
    assert!(hub.uncounted_messages(&toy, &parent_id).await.unwrap().is_empty());
    hub.count_messages(&toy, waiting.iter(), NOON).await;
    assert_eq!(home.seconds_used(NOON).await, Some(30.0));
    // Music that a friend starts on it, also a piece whose length was not known.
    let piece = crate::model::Content {
        id: ContentId::random(),
        title: "The Bus".into(),
        music: FileName::random("wav"),
        cover: FileName::random("jpg"),
    };
    hub.store.add_content(&piece, 1.0).await.unwrap();
    let samples = vec![0.1; 8000 * 20];
    let wav = crate::ports::audio::encode_wav(&crate::ports::audio::Sound { rate_hz: 8000, samples }).unwrap();
    hub.files.put(FileKind::Music, &piece.music, wav).await.unwrap();
    for seconds in [50.0, 70.0] {
        let music = crate::model::PlayedSound::Music(piece.music.clone());
        hub.pass_on(&parent, &toy_id, music, NOON).await.unwrap();
        assert_eq!(home.seconds_used(NOON).await, Some(seconds));
    }
    assert_eq!(hub.store.music_seconds(&piece.music).await.unwrap(), Some(20.0));
    // What a user hears counts for nobody.
    hub.count_messages(&parent, waiting.iter(), NOON).await;
    assert_eq!(home.seconds_used(NOON).await, Some(70.0));
    for wrong in [0, 1441, 65_537] {
        assert!(matches!(daily_minutes(Some(wrong), "UTC"), Err(DomainError::Invalid { .. })), "{wrong}");
    }
    let refused = hub.set_daily_minutes(Some(&home.owner), &home.toy, daily_minutes(Some(9), "").unwrap(), NOON).await;
    assert!(matches!(refused, Err(DomainError::Invalid { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_muted_friend_are_stored_and_counted_silently() {
    let mut home = Home::new().await;
    let (parent, toy) = (Party::User(home.owner.clone()), Party::Toy(home.toy.clone()));
    let (parent_id, toy_id): (PartyId, PartyId) = (parent.id().parse().unwrap(), toy.id().parse().unwrap());
    let mut phone = home.world.connected(&parent).await;
    home.world.hub.mute(&toy, &parent_id, true).await.unwrap();
    home.message(NOON).await;
    let music = || crate::model::PlayedSound::Music(FileName::random("mp3"));
    home.world.hub.pass_on(&parent, &toy_id, music(), NOON).await.unwrap();
    assert_eq!(heard(&mut home.ears), []);
    let mut late = home.world.connected(&toy).await;
    let inbox = live::Subscription::from_text(toy.inbox().as_str(), crate::model::QoS::AtLeastOnce, 0, 0).unwrap();
    home.world.hub.subscribe(&late, &inbox, live::ReplayRetained::Always).await.unwrap();
    assert_eq!(heard(&mut late), [], "nor when it comes back");
    drop(late);
    let friend = home.world.hub.friends(&toy).await.unwrap().remove(0);
    assert_eq!((friend.unread, friend.is_muted), (1, true));
    assert_eq!(home.press(NOON).await, 1, "a press of the button gives it");
    home.message(NOON + 1.0).await;
    home.world.hub.mute(&toy, &parent_id, false).await.unwrap();
    assert_eq!(home.events_of(), 1, "what waits is announced at the end");

    // An urgent message of a guardian ends it.
    home.world.hub.mute(&toy, &parent_id, true).await.unwrap();
    home.world.hub.wake_for_emergency(&home.owner, &toy_id, NOON + 2.0).await.unwrap();
    home.message(NOON + 3.0).await;
    assert_eq!(home.events_of(), 1);

    // A user's stream has nothing of a muted friend, and goes on without a gap.
    heard(&mut phone);
    let position = home.world.hub.newest_event(&home.owner).await.unwrap();
    home.world.hub.mute(&parent, &toy_id, true).await.unwrap();
    home.world.send(&toy, &parent, NOON + 4.0).await;
    assert_eq!(home.world.hub.newest_event(&home.owner).await.unwrap(), position);
    assert_eq!(home.world.hub.friends(&parent).await.unwrap()[0].unread, 1);
    home.world.hub.mute(&parent, &toy_id, false).await.unwrap();
    home.world.send(&toy, &parent, NOON + 5.0).await;
    assert_eq!(home.world.hub.newest_event(&home.owner).await.unwrap(), position + 1);
    let stranger = Party::User(home.world.family().await.0);
    let refused = home.world.hub.mute(&toy, &stranger.id().parse().unwrap(), true).await;
    assert!(matches!(refused, Err(DomainError::NotFriends)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_hours_and_strangers_are_refused() {
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
    // The same under the name of a recording, of which nothing has to be approved.
    let play_as_recording =
        async |name: &FileName| hub.pass_on(&parent, &toy, crate::model::PlayedSound::Chat(name.clone()), NOON).await;
    assert!(matches!(play_as_recording(&train.music).await, Err(DomainError::Forbidden)));
    assert!(play_as_recording(&bus.music).await.is_ok());
    assert!(play_as_recording(&FileName::random("mp3")).await.is_ok());
    hub.approve_content(Some(&home.owner), &home.toy, &bus.id, false).await.unwrap();
    assert!(titles().await.is_empty());
    let unknown = hub.approve_content(Some(&home.owner), &home.toy, &ContentId::random(), true).await;
    assert!(matches!(unknown, Err(DomainError::Invalid { .. })), "{unknown:?}");
}
