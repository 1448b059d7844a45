//! The owners of sessions of MQTT.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_owner_until_its_time_is_over() {
    let store = in_memory().await;
    let (mia, leo) = (user(&store).await, user(&store).await);
    let owner = |hub: &str, until| SessionOwner { hub: hub.into(), until };
    let long = "线\u{1}".repeat(20_000);
    assert_eq!(store.session_owner(&mia, &long).await.unwrap(), None);
    for hub in ["a", "b"] {
        store.set_session_owner(&mia, &long, Some(&owner(hub, 5.0))).await.unwrap();
        assert_eq!(store.session_owner(&mia, &long).await.unwrap(), Some(owner(hub, 5.0)));
    }
    assert_eq!(store.session_owner(&leo, &long).await.unwrap(), None);
    store.set_session_owner(&mia, "x", Some(&owner("a", 6.0))).await.unwrap();
    store.delete_session_owners_before(5.0).await.unwrap();
    assert_eq!(store.session_owner(&mia, &long).await.unwrap(), None);
    store.set_session_owner(&mia, "x", None).await.unwrap();
    store.set_session_owner(&mia, "x", None).await.unwrap();
    assert_eq!(store.session_owner(&mia, "x").await.unwrap(), None);
    store.set_session_owner(&mia, "x", Some(&owner("a", 6.0))).await.unwrap();
    store.erase_requests(&mia).await.unwrap();
    assert_eq!(store.session_owner(&mia, "x").await.unwrap(), None);
}
