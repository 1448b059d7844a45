//! Erasures of which the database does not say whether they have begun.

use super::*;
use crate::domain::erasure::{Device, ErasedFor};
use crate::ports::store::Fault;

const NOW: Timestamp = 1_760_000_000.0;

impl World {
    fn arm_erasure(&self, text: &'static str, is_done: bool) {
        *self.hub.store.fault.lock().unwrap() = Some(Fault { text, is_done });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_of_unknown_outcome_is_reported_and_repeated() {
    let world = world(Config::default()).await;
    let (user, toy) = world.family().await;
    let parent = Party::User(user.clone());
    for (is_done, again) in [(false, true), (true, false)] {
        let message = world.send(&parent, &toy, NOW).await;
        world.arm_erasure("kind = 'message'", is_done);
        let unclear = world.hub.erase_message(&user, &message, ErasedFor::Both, NOW).await;
        assert!(matches!(unclear, Err(DomainError::OutcomeUnknown(_))), "{unclear:?}");
        let second = world.hub.erase_message(&user, &message, ErasedFor::Both, NOW).await;
        assert_eq!(second.is_ok(), again, "{second:?}");
    }
    let chat = world.hub.friends(&parent).await.unwrap().remove(0).chat;
    let Party::Toy(id) = &toy else { panic!("a toy") };
    for is_done in [false, true] {
        world.arm_erasure("SET erased_to = $seq", is_done);
        let unclear = world.hub.erase_chat(&user, &chat, NOW).await;
        assert!(matches!(unclear, Err(DomainError::OutcomeUnknown(_))), "{unclear:?}");
    }
    world.hub.erase_chat(&user, &chat, NOW).await.unwrap();
    world.arm_erasure("LET $key = (SELECT VALUE device_key", false);
    let unclear = world.hub.erase_toy(Some(&user), id, Device::NewSecret, NOW).await;
    assert!(matches!(unclear, Err(DomainError::OutcomeUnknown(_))), "{unclear:?}");
    world.hub.erase_toy(Some(&user), id, Device::NewSecret, NOW).await.unwrap();
    world.arm_erasure("DELETE user_name WHERE user", false);
    let unclear = world.hub.erase_account(&user, Some(&user), NOW).await;
    assert!(matches!(unclear, Err(DomainError::OutcomeUnknown(_))), "{unclear:?}");
    world.hub.erase_account(&user, Some(&user), NOW).await.unwrap();
    world.hub.finish_erasures(NOW).await.unwrap();
    assert_eq!(world.hub.open_erasures().await.unwrap(), 0);
}
