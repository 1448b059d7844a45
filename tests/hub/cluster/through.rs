//! The main use, and each kind of client with each other kind, through a balancer: each connection is at any of two hubs.

use super::behind;
use crate::two_families::outside;
use crate::{matrix, story};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn story_a_parents_message_reaches_the_toy_and_its_answer_the_app() {
    story::message_and_answer(behind::world(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn story_an_offline_toy_gets_all_messages_on_reconnect_also_after_a_restart() {
    story::absence_and_restart(behind::world(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn story_an_accepted_message_survives_an_immediate_kill() {
    story::kill_after_each_message(behind::world(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn story_two_families_become_friends_and_their_toys_talk() {
    story::families_become_friends(behind::world(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn matrix_every_kind_of_toy_and_every_kind_of_app_reach_each_other() {
    matrix::everyone_with_everyone(behind::world(&matrix::SETTINGS).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn matrix_a_legacy_client_plays_music_at_a_friend_and_not_at_a_stranger() {
    matrix::music_for_a_friend(behind::world(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn matrix_no_edge_discloses_data_of_another_family() {
    outside::disclose_nothing(behind::world(&outside::SETTINGS).await).await;
}
