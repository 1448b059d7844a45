//! The owners of sessions of MQTT.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_one_owner_until_its_time_is_over() {
    let store = in_memory().await;
    let (mia, leo) = (user(&store).await, user(&store).await);
    let (long, first) = ("线\u{1}".repeat(20_000), SessionOwner::next(None, "a", 5.0));
    assert_eq!(store.session_owner(&mia, &long).await.unwrap(), None);
    assert!(store.set_session_owner(&mia, &long, None, Some(&first)).await.unwrap());
    assert_eq!(store.session_owner(&mia, &long).await.unwrap().as_ref(), Some(&first));
    let second = SessionOwner::next(Some(&first), "b", 5.0);
    assert!(store.set_session_owner(&mia, &long, Some(&first), Some(&second)).await.unwrap());
    assert_eq!(store.session_owner(&mia, &long).await.unwrap().as_ref(), Some(&second));
    assert_eq!(store.session_owner(&leo, &long).await.unwrap(), None);

    // Neither a hub that has read an earlier row changes it, nor one that has read none.
    let third = SessionOwner::next(Some(&first), "c", 5.0);
    for before in [Some(&first), Some(&third), None] {
        assert!(!store.set_session_owner(&mia, &long, before, Some(&third)).await.unwrap());
        assert!(!store.set_session_owner(&mia, &long, before, None).await.unwrap());
    }
    assert_eq!(store.session_owner(&mia, &long).await.unwrap().as_ref(), Some(&second));
    // A hub that keeps a session raises the epoch: the one that was about to get it does not.
    let kept = SessionOwner { anew_at: Some(8.5), ..SessionOwner::next(Some(&second), "b", 9.0) };
    assert!(store.set_session_owner(&mia, &long, Some(&second), Some(&kept)).await.unwrap());
    assert!(!store.set_session_owner(&mia, &long, Some(&second), Some(&third)).await.unwrap());

    let found = store.session_owner(&mia, &long).await.unwrap();
    assert_eq!((found.as_ref(), SessionOwner::next(found.as_ref(), "c", 9.0).anew_at), (Some(&kept), Some(8.5)));

    let x = SessionOwner::next(None, "a", 16.0);
    assert!(store.set_session_owner(&mia, "x", None, Some(&x)).await.unwrap());
    store.delete_session_owners_before(9.0).await.unwrap();
    assert_eq!(store.session_owner(&mia, &long).await.unwrap(), None);
    assert!(!store.set_session_owner(&mia, &long, Some(&kept), Some(&third)).await.unwrap());
    assert!(store.set_session_owner(&mia, "x", Some(&x), None).await.unwrap());
    assert!(store.set_session_owner(&mia, "x", None, None).await.unwrap());
    assert_eq!(store.session_owner(&mia, "x").await.unwrap(), None);
    assert!(store.set_session_owner(&mia, "x", None, Some(&x)).await.unwrap());
    store.erase_requests(&mia).await.unwrap();
    assert_eq!(store.session_owner(&mia, "x").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_the_hubs_that_want_a_session_at_the_same_time_gets_it() {
    let store = Arc::new(in_memory().await);
    let mia = user(&store).await;
    let mut before = None;
    for _ in 0..20 {
        let hubs = (0..8).map(|hub| {
            let (store, mia, before) = (Arc::clone(&store), mia.clone(), before.clone());
            tokio::spawn(async move {
                let owner = SessionOwner::next(before.as_ref(), &hub.to_string(), 5.0);
                let is_set = store.set_session_owner(&mia, "x", before.as_ref(), Some(&owner)).await.unwrap();
                is_set.then_some(owner)
            })
        });
        let hubs: Vec<_> = hubs.collect();
        let mut owners = Vec::new();
        for hub in hubs {
            owners.extend(hub.await.unwrap());
        }
        let [owner] = &owners[..] else { panic!("{owners:?}") };
        assert_eq!(store.session_owner(&mia, "x").await.unwrap().as_ref(), Some(owner));
        before = Some(owner.clone());
    }
}
