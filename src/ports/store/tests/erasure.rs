//! Erasures: after each of their transactions the counters agree with the messages, as a kill would leave them.

use super::damage::{check, six_messages};
use super::*;

async fn stored(store: &Store, chat: &ChatId) -> Vec<StoredMessage> {
    store.stored_messages(chat, (1, u64::MAX), LIMIT).await.unwrap()
}

/// How many erasures of messages there are to be finished.
async fn begun(store: &Store) -> usize {
    store.erasures().await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_transaction_of_an_erasure_leaves_a_wrong_counter() {
    let store = in_memory().await;
    let (mia, fluffy, chat) = six_messages(&store).await;
    let parties = [id_of(&mia), id_of(&fluffy)];
    send(&store, &fluffy, &mia, 7.0).await;
    assert_eq!(store.take_unread(&fluffy, None, 2).await.unwrap().0.len(), 2);
    let all = stored(&store, &chat).await;
    // One that was heard, the first that was not, one in the middle, and the only one of the other side.
    for (index, unread_left) in [(0, 4), (2, 3), (4, 2), (6, 2)] {
        store.begin_message_erasure(&all[index], &parties, 9.0).await.unwrap();
        assert!(!check(&store, &mia, &fluffy, &chat).await.was_wrong, "{index}");
        assert_eq!(unread(&store, &fluffy, &mia).await, unread_left, "{index}");
    }
    assert_eq!(unread(&store, &mia, &fluffy).await, 0);
    let again = store.begin_message_erasure(&all[0], &parties, 9.0).await.unwrap_err();
    assert!(matches!(again, StoreError::Refused(Refusal::UnknownMessage)), "{again}");
    assert_eq!(begun(&store).await, 4, "what was refused notes nothing");

    // A batch, of which some are gone already, as after a crash.
    let numbers: Vec<u64> = all[..4].iter().map(|message| message.seq).collect();
    store.erase_messages(&chat, &numbers, (&[], None)).await.unwrap();
    assert_eq!(check(&store, &mia, &fluffy, &chat).await, ChatCheck { messages: 1, lost: 0, was_wrong: false });
    assert_eq!(unread(&store, &fluffy, &mia).await, 1);
    store.erase_messages(&chat, &[all[5].seq], (&[], None)).await.unwrap();
    assert_eq!(check(&store, &mia, &fluffy, &chat).await, ChatCheck { messages: 0, lost: 0, was_wrong: false });
    assert!(store.unread_messages(&fluffy, LIMIT).await.unwrap().is_empty());
    send(&store, &mia, &fluffy, 10.0).await;
    assert_eq!(unread(&store, &fluffy, &mia).await, 1, "the chat goes on");
    assert!(!check(&store, &mia, &fluffy, &chat).await.was_wrong);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_marked_by_the_messages_that_are_left() {
    let store = in_memory().await;
    let (mia, fluffy, chat) = six_messages(&store).await;
    let check = async || check(&store, &mia, &fluffy, &chat).await.was_wrong;
    let batch = store.unread_batch(&fluffy, None, 200).await.unwrap();
    // Meanwhile one of them is erased, and another one is sent.
    store.erase_messages(&chat, &[batch.messages[1].seq], (&[], None)).await.unwrap();
    send(&store, &mia, &fluffy, 10.0).await;
    let (_, undo) = store.mark_batch(&fluffy, batch.mark.unwrap()).await.unwrap().unwrap();
    assert_eq!((unread(&store, &fluffy, &mia).await, check().await), (1, false), "the new one");
    // The answer was lost; and another message was erased.
    store.erase_messages(&chat, &[batch.messages[2].seq], (&[], None)).await.unwrap();
    store.unmark_batch(&fluffy, undo).await.unwrap();
    assert_eq!((unread(&store, &fluffy, &mia).await, check().await), (5, false), "four of the batch, and the new one");
    assert_eq!(store.take_unread(&fluffy, None, 200).await.unwrap().0.len(), 5);
    // All messages of a batch are erased.
    send(&store, &mia, &fluffy, 11.0).await;
    let batch = store.unread_batch(&fluffy, None, 200).await.unwrap();
    store.erase_messages(&chat, &[batch.messages[0].seq], (&[], None)).await.unwrap();
    assert!(store.mark_batch(&fluffy, batch.mark.unwrap()).await.unwrap().is_none());
    assert_eq!((unread(&store, &fluffy, &mia).await, check().await), (0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_erased_while_others_are_sent_and_read() {
    const EACH: u64 = 40;
    let store = Arc::new(in_memory().await);
    let (mia, fluffy, chat) = six_messages(&store).await;
    let parties = [id_of(&mia), id_of(&fluffy)];
    let tasks = [(mia.clone(), fluffy.clone()), (fluffy.clone(), mia.clone())].map(|(from, to)| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..EACH {
                send(&store, &from, &to, 10.0 + n as f64).await;
                if n % 5 == 0 {
                    store.take_unread(&from, None, 3).await.unwrap();
                }
            }
        })
    });
    let mut erased = 0;
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        let newest = stored(&store, &chat).await.pop();
        if let Some(newest) = newest {
            store.begin_message_erasure(&newest, &parties, 9.0).await.unwrap();
            erased += 1;
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let found = check(&store, &mia, &fluffy, &chat).await;
    assert_eq!(found, ChatCheck { messages: 6 + 2 * EACH - erased, lost: 0, was_wrong: false });
}
