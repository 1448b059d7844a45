//! Deletion of old data, with a simulated clock.

use super::*;
use crate::config::Retention;
use crate::domain::NewRequest;
use crate::domain::units::DAY_S;
use crate::model::Reaction;

const NOW: Timestamp = 1_760_000_000.0;

fn config(retention: Retention) -> Config {
    Config { retention, ..Config::default() }
}

#[tokio::test]
async fn only_messages_past_their_days_are_deleted() {
    let retention = Retention { messages_days: 30, ..Retention::default() };
    let mut config = config(retention);
    config.chats.retry_window_s = 0;
    let world = world(config).await;
    let (user, toy) = world.family().await;
    let user = Party::User(user);
    for day in 0..3 {
        let at = NOW + f64::from(day) * DAY_S;
        world.record(&user, &toy, 1 + day as i16, at).await.unwrap();
    }
    assert_eq!((world.sounds().len(), world.unread(&toy).await), (3, 3));
    world.hub.sweep_old(NOW + 30.0 * DAY_S).await.unwrap();
    assert_eq!((world.sounds().len(), world.unread(&toy).await), (3, 3), "to the day");
    world.hub.sweep_old(NOW + 31.5 * DAY_S).await.unwrap();
    assert_eq!((world.sounds().len(), world.unread(&toy).await), (1, 1));
    let friend = world.hub.friends(&toy).await.unwrap().remove(0);
    assert_eq!(friend.unread, 1, "counters follow");
    world.record(&user, &toy, 9, NOW + 32.0 * DAY_S).await.unwrap();
    // A clock that was set back deletes nothing.
    world.hub.sweep_old(NOW - 400.0 * DAY_S).await.unwrap();
    assert_eq!((world.sounds().len(), world.unread(&toy).await), (2, 2));
}

#[tokio::test]
async fn messages_are_kept_where_no_days_are_set() {
    let world = world(config(Retention::default())).await;
    let (user, toy) = world.family().await;
    world.record(&Party::User(user), &toy, 1, NOW).await.unwrap();
    world.hub.sweep_old(NOW + 40_000.0 * DAY_S).await.unwrap();
    assert_eq!((world.sounds().len(), world.unread(&toy).await), (1, 1));
}

#[tokio::test]
async fn requests_and_expired_tokens_are_deleted_after_their_days() {
    let world = world(config(Retention { requests_days: 10, tokens_days: 5, ..Retention::default() })).await;
    let ((user, _), (other, _)) = (world.family().await, world.family().await);
    let (asker, asked) = (Party::User(user), Party::User(other.clone()));
    let request = || NewRequest {
        requester: asker.clone(),
        is_by_guardian: false,
        requestee: asked.id().parse().unwrap(),
        info: String::new(),
        remark: String::new(),
    };
    world.hub.request_friend(request(), NOW).await.unwrap();
    world.hub.store.add_token("old", &asker, NOW, NOW + DAY_S, 9).await.unwrap();
    world.hub.store.add_token("new", &asker, NOW, NOW + 9.0 * DAY_S, 9).await.unwrap();
    let tokens = async || {
        let known = |hash: &'static str| world.hub.store.login(hash, NOW);
        (known("old").await.unwrap().is_some(), known("new").await.unwrap().is_some())
    };
    world.hub.sweep_old(NOW + 5.0 * DAY_S).await.unwrap();
    assert_eq!(tokens().await, (true, true));
    world.hub.sweep_old(NOW + 9.0 * DAY_S).await.unwrap();
    assert_eq!(tokens().await, (false, true));
    assert_eq!(world.hub.requests(&other).await.unwrap().len(), 1);
    world.hub.sweep_old(NOW + 11.0 * DAY_S).await.unwrap();
    assert_eq!(world.hub.requests(&other).await.unwrap().len(), 0);
    world.hub.request_friend(request(), NOW + 12.0 * DAY_S).await.unwrap();
}

#[tokio::test]
async fn a_token_expires_and_one_beyond_the_limit_replaces_the_oldest() {
    let mut config = Config::default();
    config.accounts.tokens_max = 2;
    config.accounts.token_ttl_days = 10;
    let world = world(config).await;
    let party = Party::User(world.family().await.0);
    let mut tokens = Vec::new();
    for second in 0..3 {
        tokens.push(world.hub.issue_token(&party, NOW + f64::from(second)).await.unwrap());
    }
    let are_valid = async |now: Timestamp| {
        let mut valid = Vec::new();
        for token in &tokens {
            valid.push(world.hub.token_party(token, now).await.unwrap() == Some(party.clone()));
        }
        valid
    };
    assert_eq!(are_valid(NOW + 3.0).await, [false, true, true]);
    assert_eq!(are_valid(NOW + 10.0 * DAY_S + 1.5).await, [false, false, true]);
    assert_eq!(are_valid(NOW + 10.0 * DAY_S + 2.5).await, [false, false, false]);
}

#[tokio::test]
async fn kept_words_are_hidden_and_deleted_after_their_days() {
    let mut config = config(Retention { words_days: 7, ..Retention::default() });
    config.speech.keep_words = true;
    let world = world(config).await;
    let (user, toy) = world.family().await;
    let Party::Toy(toy) = toy else { panic!("a toy") };
    world.hub.keep_words(&toy, "too early", (Reaction::Answered, None), NOW).await;
    world.hub.set_keep_words(&user, &toy, true, NOW).await.unwrap();
    for day in 0..3 {
        let words = format!("words of day {day}");
        world.hub.keep_words(&toy, &words, (Reaction::Answered, None), NOW + f64::from(day) * DAY_S).await;
    }
    let kept = async |now: Timestamp| world.hub.kept_words(&user, &toy, Timestamp::MAX, 10, now).await.unwrap().len();
    assert_eq!(kept(NOW + 3.0 * DAY_S).await, 3);
    assert_eq!(kept(NOW + 7.5 * DAY_S).await, 2, "they are hidden before they are deleted");
    assert_eq!(kept(NOW).await, 3);
    world.hub.sweep_old(NOW + 8.5 * DAY_S).await.unwrap();
    assert_eq!(kept(NOW).await, 1);
}
