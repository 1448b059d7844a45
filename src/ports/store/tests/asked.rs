//! Questions to children, of hubs that share a server.

use super::*;
use crate::model::{ChildWords, ContentId, Question, ReminderKind};

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_taken_once_in_time_and_is_the_same() {
    let store = in_memory().await;
    let (toy, other) = (ToyId::random(), ToyId::random());
    let friends = [Party::User(UserId::random()), Party::Toy(ToyId::random())];
    let questions = [
        Question::Title([ContentId::random(), ContentId::random()]),
        Question::IsItFor(friends[1].clone()),
        Question::Friend(friends),
        Question::When(ReminderKind::Alarm, ChildWords("feed the \"cat\"".into())),
        Question::PlayMessages,
        Question::WhoFor,
    ];
    for question in questions {
        store.set_question(&toy, &question, 60.0).await.unwrap();
        assert_eq!(store.take_question(&other, 0.0).await.unwrap(), None);
        assert!(store.has_question(&toy, 60.0).await.unwrap());
        assert_eq!(store.take_question(&toy, 60.0).await.unwrap(), Some(question.clone()));
        assert_eq!(store.take_question(&toy, 60.0).await.unwrap(), None, "it was taken");
        store.set_question(&toy, &question, 60.0).await.unwrap();
        assert!(!store.has_question(&toy, 60.1).await.unwrap());
        assert_eq!(store.take_question(&toy, 60.1).await.unwrap(), None, "it is out of date");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_piece_is_known_for_its_time_and_all_of_it_is_deleted_with_the_toy() {
    let store = in_memory().await;
    let (toy, song) = (ToyId::random(), FileName::random("mp3"));
    store.set_last_played(&toy, &FileName::random("mp3"), 5.0).await.unwrap();
    store.set_last_played(&toy, &song, 10.0).await.unwrap();
    assert_eq!(store.last_played(&toy, 10.0).await.unwrap(), Some(song.clone()));
    assert_eq!(store.last_played(&toy, 10.1).await.unwrap(), None);
    assert_eq!(store.last_played(&ToyId::random(), 10.0).await.unwrap(), None);

    let rows = async || {
        let sql = "SELECT VALUE until FROM asked; SELECT VALUE until FROM last_played";
        let mut found = store.run(sql, vars! {}).await.unwrap();
        [found.rows::<f64>(0).unwrap().len(), found.rows::<f64>(1).unwrap().len()]
    };
    store.set_question(&toy, &Question::PlayMessages, 5.0).await.unwrap();
    store.delete_asked_before(5.0).await.unwrap();
    assert_eq!(rows().await, [0, 1]);
    store.set_question(&toy, &Question::PlayMessages, 20.0).await.unwrap();
    store.erase_requests(&Party::from(toy.clone())).await.unwrap();
    assert_eq!(rows().await, [0, 0]);
}
