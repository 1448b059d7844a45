//! Lost rows: no call fails, the remaining rows are found, and the counters are corrected.

use super::*;

/// Runs a text on the tables directly.
async fn damage(store: &Store, sql: String) {
    store.run(sql.leak(), Variables::new()).await.unwrap();
}

async fn chat_of(store: &Store, party: &Party, friend: &Party) -> ChatId {
    store.friend(party, &id_of(friend)).await.unwrap().unwrap().chat
}

async fn lose_message(store: &Store, chat: &ChatId, seq: u64) {
    damage(store, format!("DELETE message:['{chat}', {seq}]")).await;
}

async fn lose_chat(store: &Store, chat: &ChatId) {
    damage(store, format!("DELETE chat:{chat}")).await;
}

async fn page(store: &Store, reader: &Party, chat: &ChatId, limit: usize, before: Before) -> Vec<u64> {
    let (messages, _) = store.read_chat(reader, chat, limit, before).await.unwrap();
    messages.into_iter().map(|(message, _)| message.seq).collect()
}

pub(super) async fn check(store: &Store, a: &Party, b: &Party, chat: &ChatId) -> ChatCheck {
    store.check_chat(chat.as_str(), a.id(), b.id()).await.unwrap()
}

async fn mend(store: &Store, a: &Party, b: &Party, chat: &ChatId) -> ChatCheck {
    store.mend_chat(chat.as_str(), a.id(), b.id()).await.unwrap()
}

/// A user and a toy with six messages to the toy, numbered 1 to 6.
pub(super) async fn six_messages(store: &Store) -> (Party, Party, ChatId) {
    let mia = user(store).await;
    let fluffy = toy(store, &mia).await;
    for n in 1..=6 {
        send(store, &mia, &fluffy, f64::from(n)).await;
    }
    let chat = chat_of(store, &mia, &fluffy).await;
    (mia, fluffy, chat)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_lost_are_skipped_by_every_call_and_nothing_stays_unread() {
    let store = in_memory().await;
    for lost in [vec![1], vec![6], vec![3, 4], vec![5, 6], vec![1, 2, 3, 4, 5, 6]] {
        let (mia, fluffy, chat) = six_messages(&store).await;
        for seq in &lost {
            lose_message(&store, &chat, *seq).await;
        }
        let left: Vec<u64> = (1..=6).filter(|seq| !lost.contains(seq)).collect();
        let waiting = store.unread_messages(&fluffy, LIMIT).await.unwrap();
        assert_eq!(waiting.iter().map(|waiting| waiting.message.seq).collect::<Vec<_>>(), left, "{lost:?}");
        assert_eq!(unread(&store, &fluffy, &mia).await, 6, "{lost:?}: the counters do not know of it");

        let mut taken = Vec::new();
        loop {
            let (messages, _) = store.take_unread(&fluffy, Some(&id_of(&mia)), 2).await.unwrap();
            if messages.is_empty() {
                break;
            }
            taken.extend(messages.into_iter().map(|message| message.seq));
        }
        assert_eq!(taken, left, "{lost:?}");
        assert_eq!(unread(&store, &fluffy, &mia).await, 0, "{lost:?}");
        assert_eq!(page(&store, &mia, &chat, LIMIT, Before::default()).await, left, "{lost:?}");
        let (_, seq) = send(&store, &mia, &fluffy, 7.0).await;
        assert_eq!((seq, unread(&store, &fluffy, &mia).await), (None, 1), "{lost:?}: the chat goes on");
        let (messages, _) = store.take_unread(&fluffy, None, 10).await.unwrap();
        assert_eq!(messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [7], "{lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_with_only_lost_messages_block_no_others() {
    let store = in_memory().await;
    let mia = user(&store).await;
    let mut toys = Vec::new();
    for n in 0..3 {
        let toy = toy(&store, &mia).await;
        send(&store, &toy, &mia, f64::from(n)).await;
        toys.push(toy);
    }
    for toy in &toys[..2] {
        lose_message(&store, &chat_of(&store, &mia, toy).await, 1).await;
    }
    let waiting = store.unread_messages(&mia, 1).await.unwrap();
    assert_eq!(waiting[0].message.from, toys[2], "those who wait longer have nothing left");
    let (messages, marked) = store.take_unread(&mia, None, 10).await.unwrap();
    assert_eq!((messages.len(), &messages[0].from), (1, &toys[2]));
    assert_eq!(
        marked.iter().map(|heard| (&heard.sender, heard.unread)).collect::<Vec<_>>(),
        [(&toys[0], 0), (&toys[1], 0), (&toys[2], 0)]
    );
    assert!(marked[0].up_to.is_none() && marked[0].reader_seq.is_some(), "the reader's devices are told, no sender is");
    for toy in &toys {
        assert_eq!(unread(&store, &mia, toy).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_can_be_marked_as_read_though_all_are_lost() {
    let store = in_memory().await;
    let (mia, fluffy, chat) = six_messages(&store).await;
    for seq in 1..=6 {
        lose_message(&store, &chat, seq).await;
    }
    assert!(store.mark_read(&fluffy, &id_of(&mia), None).await.unwrap().is_some());
    assert_eq!(unread(&store, &fluffy, &mia).await, 0);
    assert!(store.mark_read(&fluffy, &id_of(&mia), None).await.unwrap().is_none());
    let refused = store.mark_delivered(&fluffy, &MessageId::random()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(Refusal::UnknownMessage)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_full_beside_a_hole_and_end_where_they_should() {
    let store = in_memory().await;
    let mia = user(&store).await;
    let fluffy = toy(&store, &mia).await;
    for n in 1..=40 {
        send(&store, &mia, &fluffy, f64::from(n)).await;
    }
    let chat = chat_of(&store, &mia, &fluffy).await;
    damage(&store, format!("DELETE message:['{chat}', 8]..=['{chat}', 37]")).await;
    let before_seq = |seq| Before { seq: Some(seq), ..Before::default() };
    let before = |time| Before { time: Some(time), ..Before::default() };
    assert_eq!(page(&store, &mia, &chat, 5, Before::default()).await, [6, 7, 38, 39, 40]);
    assert_eq!(page(&store, &mia, &chat, 5, before_seq(39)).await, [4, 5, 6, 7, 38]);
    assert_eq!(page(&store, &mia, &chat, 3, before_seq(20)).await, [5, 6, 7], "a number that is lost");
    for (time, expected) in [(38.5, 38), (38.0, 7), (25.0, 7), (7.5, 7), (7.0, 6), (1.5, 1)] {
        assert_eq!(page(&store, &mia, &chat, 1, before(time)).await, [expected], "{time}");
    }
    assert!(page(&store, &mia, &chat, 1, before(1.0)).await.is_empty());
    assert!(page(&store, &mia, &chat, 1, before_seq(1)).await.is_empty());
    assert!(page(&store, &mia, &chat, 1, before_seq(0)).await.is_empty());
    assert_eq!(page(&store, &mia, &chat, 2, Before { time: Some(5.0), seq: Some(3) }).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_without_its_row_gets_it_back_at_the_first_call_of_its_parties_only() {
    let store = in_memory().await;
    let (mia, fluffy, chat) = six_messages(&store).await;
    let eve = user(&store).await;
    lose_chat(&store, &chat).await;
    assert!(store.is_member(&mia, &chat).await.unwrap() && store.is_member(&fluffy, &chat).await.unwrap());
    assert!(!store.is_member(&eve, &chat).await.unwrap());
    let waiting = store.unread_messages(&fluffy, 1).await.unwrap();
    let parties = store.parties_of_sound(&waiting[0].message.sound).await.unwrap().unwrap().parties;
    assert!(parties.contains(&mia.id().to_owned()) && parties.contains(&fluffy.id().to_owned()), "{parties:?}");
    assert_eq!(parties.len(), 2);
    let refused = store.read_chat(&eve, &chat, 10, Before::default()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(Refusal::UnknownChat)), "{refused}");
    assert_eq!(page(&store, &mia, &chat, 10, Before::default()).await, [1, 2, 3, 4, 5, 6]);

    lose_chat(&store, &chat).await;
    send(&store, &mia, &fluffy, 3.0).await;
    assert_eq!(page(&store, &mia, &chat, 2, Before::default()).await, [6, 7], "the numbers go on");
    lose_chat(&store, &chat).await;
    assert_eq!(store.take_unread(&fluffy, None, 3).await.unwrap().0.len(), 3);
    assert_eq!(store.take_unread(&fluffy, None, 10).await.unwrap().0.len(), 4);
    assert_eq!(unread(&store, &fluffy, &mia).await, 0);
    send(&store, &mia, &fluffy, 8.0).await;
    assert_eq!(store.take_unread(&fluffy, None, 10).await.unwrap().0[0].seq, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_fell_back_refuses_no_message_and_gives_no_number_twice() {
    let store = in_memory().await;
    let (mia, fluffy, chat) = six_messages(&store).await;
    damage(&store, format!("UPDATE chat:{chat} SET seq = 2")).await;
    send(&store, &mia, &fluffy, 7.0).await;
    assert_eq!(page(&store, &mia, &chat, 10, Before::default()).await, [1, 2, 3, 4, 5, 6, 7]);
    // The last messages are lost together with the chat's count of them, but not the reader's mark.
    store.take_unread(&fluffy, None, 10).await.unwrap();
    for seq in 5..=7 {
        lose_message(&store, &chat, seq).await;
    }
    damage(&store, format!("UPDATE chat:{chat} SET seq = 4")).await;
    send(&store, &mia, &fluffy, 8.0).await;
    let (messages, _) = store.take_unread(&fluffy, None, 10).await.unwrap();
    assert_eq!(messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [8], "it does not count as heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_lost_events_returns_the_rest_and_takes_new_ones() {
    let store = in_memory().await;
    let mia = user(&store).await;
    let fluffy = toy(&store, &mia).await;
    for n in 1..=6 {
        send(&store, &fluffy, &mia, f64::from(n)).await;
    }
    let Party::User(id) = &mia else { panic!() };
    let numbers = async || events(&store, &mia).await.into_iter().map(|(seq, _)| seq).collect::<Vec<_>>();
    damage(&store, format!("DELETE event:['{id}', 3]; DELETE event:['{id}', 4]")).await;
    assert_eq!(numbers().await, [1, 2, 5, 6]);
    let found = StreamCheck { events: 2, was_wrong: true };
    assert_eq!(store.check_stream(id.as_str()).await.unwrap(), found);
    assert_eq!(store.mend_stream(id.as_str()).await.unwrap(), found);
    assert_eq!((position(&store, &mia).await, numbers().await), ((5, 6), vec![5, 6]));
    assert!(!store.check_stream(id.as_str()).await.unwrap().was_wrong);

    damage(&store, format!("DELETE stream:{id}")).await;
    assert_eq!(send(&store, &fluffy, &mia, 7.0).await.1, Some(7), "the numbers go on behind what is left");
    assert_eq!((position(&store, &mia).await, numbers().await), ((5, 7), vec![5, 6, 7]));
    damage(&store, format!("UPDATE stream:{id} SET last = 5")).await;
    assert_eq!(send(&store, &fluffy, &mia, 8.0).await.1, Some(6), "an event in the way refuses no message");
    assert!(store.mend_stream(id.as_str()).await.unwrap().was_wrong);
    assert_eq!(position(&store, &mia).await, (5, 7), "an event that the stream had forgotten is found again");

    damage(&store, format!("DELETE event:['{id}', 0]..['{id}', 100]")).await;
    assert!(store.mend_stream(id.as_str()).await.unwrap().was_wrong);
    assert_eq!(position(&store, &mia).await, (8, 7), "nothing is kept, and no number is given again");
    damage(&store, format!("DELETE stream:{id}")).await;
    assert!(!store.check_stream(id.as_str()).await.unwrap().was_wrong, "neither stream nor events");
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_are_set_to_the_messages_that_there_are() {
    let store = in_memory().await;
    let (mia, fluffy, chat) = six_messages(&store).await;
    send(&store, &fluffy, &mia, 7.0).await;
    let sound = ChatCheck { messages: 7, lost: 0, was_wrong: false };
    assert_eq!(check(&store, &mia, &fluffy, &chat).await, sound);
    assert_eq!(check(&store, &fluffy, &mia, &chat).await, sound, "from both sides");
    assert_eq!(store.take_unread(&fluffy, None, 2).await.unwrap().0.len(), 2);
    assert_eq!(check(&store, &mia, &fluffy, &chat).await, sound);

    for seq in [2, 5] {
        lose_message(&store, &chat, seq).await;
    }
    let hurt = ChatCheck { messages: 5, lost: 2, was_wrong: true };
    assert_eq!(check(&store, &mia, &fluffy, &chat).await, hurt);
    assert_eq!(unread(&store, &fluffy, &mia).await, 4, "to look mends nothing");
    assert_eq!(mend(&store, &mia, &fluffy, &chat).await, hurt);
    assert_eq!((unread(&store, &fluffy, &mia).await, unread(&store, &mia, &fluffy).await), (3, 1));
    assert_eq!(check(&store, &mia, &fluffy, &chat).await, ChatCheck { was_wrong: false, ..hurt });
    assert_eq!(store.take_unread(&fluffy, None, 10).await.unwrap().0.len(), 3);

    damage(&store, format!("UPDATE friend:['{}', '{}'] SET incoming = 0, heard = 0", mia.id(), fluffy.id())).await;
    lose_chat(&store, &chat).await;
    let hurt = ChatCheck { messages: 5, lost: 2, was_wrong: true };
    assert_eq!(mend(&store, &fluffy, &mia, &chat).await, hurt);
    assert_eq!(unread(&store, &mia, &fluffy).await, 1, "messages that no counter counted are found again");
    assert_eq!(store.take_unread(&mia, None, 10).await.unwrap().0[0].seq, 7);
    assert!(store.is_member(&mia, &chat).await.unwrap());

    damage(&store, format!("DELETE friend:['{}', '{}']", fluffy.id(), mia.id())).await;
    assert!(!mend(&store, &mia, &fluffy, &chat).await.was_wrong, "one side alone, as after an unbinding");
    assert_eq!(page(&store, &mia, &chat, 10, Before::default()).await, [1, 3, 4, 6, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_repaired_while_messages_are_sent_and_read() {
    let store = Arc::new(in_memory().await);
    let (mia, fluffy, chat) = six_messages(&store).await;
    lose_message(&store, &chat, 2).await;
    let writer = {
        let (store, mia, fluffy) = (Arc::clone(&store), mia.clone(), fluffy.clone());
        tokio::spawn(async move {
            for n in 7..=60 {
                send(&store, &mia, &fluffy, f64::from(n)).await;
                if n % 7 == 0 {
                    store.take_unread(&fluffy, None, 3).await.unwrap();
                }
            }
        })
    };
    while !writer.is_finished() {
        // It may report that the chat changes too fast; it must not set a wrong number.
        let _ = store.mend_chat(chat.as_str(), mia.id(), fluffy.id()).await;
    }
    writer.await.unwrap();
    mend(&store, &mia, &fluffy, &chat).await;
    assert_eq!(check(&store, &mia, &fluffy, &chat).await, ChatCheck { messages: 59, lost: 1, was_wrong: false });
    let unread = unread(&store, &fluffy, &mia).await;
    let taken = store.take_unread(&fluffy, None, LIMIT).await.unwrap().0;
    assert_eq!(taken.len() as u64, unread);
    assert!(taken.is_sorted_by_key(|message| message.seq));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_stays_when_the_row_of_the_friend_is_lost() {
    let store = in_memory().await;
    let (mia, fluffy, chat) = six_messages(&store).await;
    damage(&store, format!("DELETE toy:{}; DELETE user:{}", fluffy.id(), mia.id())).await;
    assert_eq!(store.friends(&mia).await.unwrap()[0].party, fluffy);
    assert_eq!(store.friends(&fluffy).await.unwrap()[0].unread, 6);
    assert!(store.party(&id_of(&fluffy)).await.unwrap().is_none());
    assert!(store.toys_of(&mia.id().parse().unwrap()).await.unwrap().is_empty());
    assert_eq!(store.take_unread(&fluffy, None, 10).await.unwrap().0.len(), 6);
    assert_eq!(page(&store, &mia, &chat, 10, Before::default()).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_looked_through_page_by_page() {
    let store = in_memory().await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        let (mia, fluffy, chat) = six_messages(&store).await;
        for (owner, friend) in [(&mia, &fluffy), (&fluffy, &mia)] {
            let (owner, friend) = (owner.id().to_owned(), friend.id().to_owned());
            expected.push(EntryKey { owner, friend, chat: chat.to_string() });
        }
    }
    expected.sort_by(|a, b| (&a.owner, &a.friend).cmp(&(&b.owner, &b.friend)));
    let mut found = Vec::new();
    loop {
        let page = store.entries_after(found.last()).await.unwrap();
        let Some(first) = page.first() else { break };
        // As with a page size of one row.
        found.push(first.clone());
    }
    assert_eq!(found, expected);
    let (all, next) = store.sounds_from(&MessagePlace::default()).await.unwrap();
    assert_eq!(all.len(), 18);
    assert!(store.sounds_from(&next).await.unwrap().0.is_empty());
    let sounds: Vec<FileName> = all.iter().map(|message| message.sound.clone()).collect();
    let asked: Vec<FileName> = sounds[..3].iter().cloned().chain([FileName::random("mp3")]).collect();
    let mut known = store.sounds_of_messages(&asked).await.unwrap();
    known.sort();
    let mut expected = sounds[..3].to_vec();
    expected.sort();
    assert_eq!(known, expected);
    let mut users = Vec::new();
    while let Some(user) = store.users_after(users.last().map_or("0", String::as_str)).await.unwrap().first() {
        users.push(user.clone());
    }
    assert!(users.len() == 3 && users.is_sorted(), "{users:?}");
}
