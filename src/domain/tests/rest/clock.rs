//! Rests across changes of daylight-saving time, and after the clock of the machine was set back.

use super::*;

/// The nights in which the clocks change: the zone, 22:00 and 06:00 of its wall clock.
const NIGHTS: [(&str, Timestamp, Timestamp); 4] = [
    ("Europe/Berlin", 1_774_731_600.0, 1_774_756_800.0),
    ("Europe/Berlin", 1_792_872_000.0, 1_792_904_400.0),
    ("America/New_York", 1_772_938_800.0, 1_772_964_000.0),
    ("America/New_York", 1_793_498_400.0, 1_793_530_800.0),
];

/// Moments, and whether the toy rests then.
type Moments<'a> = &'a [(Timestamp, bool)];

impl Home {
    async fn quiet_in(&self, zone: &str, from: &str, until: &str, now: Timestamp) {
        let hours = quiet_hours(from, until, zone).unwrap();
        self.world.hub.set_quiet_hours(Some(&self.owner), &self.toy, hours, now).await.unwrap();
    }

    /// Whether the toy rests when the clock shows this.
    async fn rests_at(&self, now: Timestamp) -> bool {
        self.world.hub.keep_quiet_hours(now).await;
        self.rests()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_nights_in_which_the_clocks_change_messages_wait_until_the_morning() {
    for (zone, evening, morning) in NIGHTS {
        let mut home = Home::new().await;
        home.quiet_in(zone, "22:00", "06:00", evening - HOUR).await;
        home.message(evening - 1.0).await;
        assert_eq!((home.events_of(), home.rests_at(evening - 1.0).await), (1, false), "{zone}");
        assert_eq!(home.press(evening - 1.0).await, 1);
        let mut sent = 0;
        let mut now = evening;
        while now < morning {
            assert!(home.rests_at(now).await, "{zone} {now}");
            home.message(now).await;
            sent += 1;
            assert_eq!((home.events_of(), home.press(now).await), (0, 0), "{zone} {now}");
            now += HOUR;
        }
        assert!([7, 9].contains(&sent), "the hours of such a night: {sent}");
        assert!(home.rests_at(morning - 1.0).await);
        assert!(!home.rests_at(morning).await, "{zone}");
        assert_eq!(
            (home.events_of(), home.press(morning).await),
            (sent, sent),
            "{zone}: none is lost, none comes twice"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_that_begin_or_end_with_a_change_of_the_clocks_follow_the_wall_clock() {
    // In spring 01:59:59 is followed by 03:00:00, in autumn 02:59:59 by 02:00:00.
    let (spring, autumn) = (1_774_746_000.0, 1_792_890_000.0);
    let cases: [(&str, &str, Moments<'_>); 6] = [
        ("02:00", "03:00", &[(spring - 1.0, false), (spring, false), (spring + DAY - HOUR, true)]),
        ("01:30", "02:30", &[(spring - 1800.0, true), (spring - 1.0, true), (spring, false)]),
        ("02:30", "03:30", &[(spring - 1.0, false), (spring, true), (spring + 1799.0, true), (spring + 1800.0, false)]),
        ("23:00", "02:30", &[(spring - 1.0, true), (spring, false)]),
        (
            "02:00",
            "02:30",
            &[
                (autumn - HOUR - 1.0, false),
                (autumn - HOUR, true),
                (autumn - 1800.0, false),
                (autumn - 1.0, false),
                (autumn, true),
                (autumn + 1800.0, false),
            ],
        ),
        (
            "02:30",
            "03:00",
            &[(autumn - 1800.0, true), (autumn, false), (autumn + 1800.0, true), (autumn + HOUR, false)],
        ),
    ];
    let home = Home::new().await;
    for (from, until, moments) in cases {
        home.quiet_in("Europe/Berlin", from, until, moments[0].0 - DAY / 2.0).await;
        for (now, expected) in moments {
            assert_eq!(home.rests_at(*now).await, *expected, "{from} {until} {now}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_loses_no_message_and_delivers_none_in_the_quiet_hours() {
    let mut home = Home::new().await;
    let evening = NOON - 16.0 * HOUR;
    let morning = evening + 11.0 * HOUR;
    home.quiet("20:00", "07:00", evening - HOUR).await.unwrap();
    assert!(!home.rests_at(evening - 1.0).await && home.rests_at(evening).await);
    home.message(evening + HOUR).await;
    // Back by an hour, to before the quiet hours: the message that waits is published, and it is not lost.
    assert!(!home.rests_at(evening - 1.0).await);
    assert_eq!((home.events_of(), home.press(evening - 1.0).await), (1, 1));
    // Back by a day, into the quiet hours of the day before.
    assert!(home.rests_at(evening + HOUR).await && home.rests_at(evening + HOUR - DAY).await);
    home.message(evening + HOUR - DAY).await;
    assert_eq!((home.events_of(), home.press(evening + HOUR - DAY).await), (0, 0));
    assert!(home.rests_at(morning - DAY - 1.0).await);
    assert!(!home.rests_at(morning - DAY).await);
    assert_eq!(home.events_of(), 1);
    // Back by an hour, after the quiet hours: they go on.
    assert!(home.rests_at(morning - DAY - HOUR).await);
    home.message(morning - DAY - HOUR).await;
    assert_eq!((home.events_of(), home.press(morning - DAY - HOUR).await), (0, 0));
    assert!(!home.rests_at(morning - DAY).await);
    assert_eq!(home.press(morning - DAY).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_message_does_not_suspend_the_quiet_hours_of_another_day() {
    let home = Home::new().await;
    let id: PartyId = home.toy.as_str().parse().unwrap();
    for back in [HOUR, DAY, 400.0 * DAY] {
        home.quiet("11:00", "15:00", NOON).await.unwrap();
        assert!(home.rests_at(NOON).await);
        home.world.hub.wake_for_emergency(&home.owner, &id, NOON).await.unwrap();
        assert!(!home.rests() && !home.rests_at(NOON + 899.0).await);
        let now = NOON - back;
        assert!(home.rests_at(now).await, "the clock was set back by {back}");
        home.world.hub.resting.forget(&home.toy);
        home.world.hub.load_quiet_hours(now).await.unwrap();
        assert!(home.rests(), "after a restart, too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_gives_no_minutes_and_takes_none_of_the_next_day() {
    let home = Home::new().await;
    for (back, restarts) in [(HOUR, false), (DAY, false), (DAY, true), (400.0 * DAY, true)] {
        home.limit(None, NOON).await.unwrap();
        home.limit(1, NOON).await.unwrap();
        home.long_message(61, NOON).await;
        assert_eq!(home.press(NOON).await, 1, "{back}");
        assert!(home.rests() && home.seconds_used(NOON).await == Some(61.0));
        let now = NOON - back;
        assert!(home.rests_at(now).await, "the minutes of the day are used, back by {back}");
        assert_eq!(home.seconds_used(now).await, Some(61.0));
        if restarts {
            home.world.hub.resting.forget(&home.toy);
            home.world.hub.load_quiet_hours(now).await.unwrap();
            assert!(home.rests());
        }
        if back > HOUR {
            assert!(!home.rests_at(now + 12.0 * HOUR).await, "the next midnight, back by {back}");
        }
        assert!(!home.rests_at(NOON + DAY).await);
        assert_eq!(home.seconds_used(NOON + DAY).await, Some(0.0));
    }
    // Back by an hour over midnight: the minutes played on either side count.
    let midnight = NOON + 35.0 * HOUR;
    home.limit(None, midnight).await.unwrap();
    home.limit(1, midnight).await.unwrap();
    home.long_message(40, midnight + 60.0).await;
    assert_eq!((home.press(midnight + 60.0).await, home.rests()), (1, false));
    assert!(!home.rests_at(midnight + 60.0 - HOUR).await);
    home.long_message(40, midnight + 70.0 - HOUR).await;
    assert_eq!((home.press(midnight + 70.0 - HOUR).await, home.rests()), (1, true));
    assert_eq!(home.seconds_used(midnight + 70.0 - HOUR).await, Some(80.0));
    assert!(!home.rests_at(midnight).await);
}
