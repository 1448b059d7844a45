//! What the hub deletes by the clock, and the compaction that makes it unreadable.

use surrealdb::types::vars;

use super::*;
use crate::model::{Action, Audited};

async fn rows(store: &Store, sql: &'static str) -> i64 {
    store.run(sql, vars! {}).await.unwrap().optional::<i64>(0).unwrap().unwrap()
}

#[tokio::test]
async fn more_rows_than_a_step_deletes_are_deleted_and_younger_ones_are_kept() {
    let store = in_memory().await;
    let owner = user(&store).await;
    for number in 0..35 {
        store.add_token(&format!("old{number}"), &owner, 0.0, 10.0, 100).await.unwrap();
    }
    store.add_token("young", &owner, 0.0, 100.0, 100).await.unwrap();
    assert_eq!(rows(&store, "RETURN array::len(SELECT id FROM token)").await, 36);
    store.delete_tokens_expired_before(50.0).await.unwrap();
    assert_eq!(rows(&store, "RETURN array::len(SELECT id FROM token)").await, 1);
    assert!(store.login("young", 1.0).await.unwrap().is_some());
}

#[tokio::test]
async fn the_audit_of_before_a_time_and_the_one_of_a_party_are_deleted_whole() {
    let store = in_memory().await;
    let (owner, other) = (id_of(&user(&store).await), id_of(&user(&store).await));
    let entry = |at: f64, subject: &PartyId| Audited {
        subject: subject.clone(),
        at,
        action: Action::Exported,
        actor: Some(subject.clone()),
        about: None,
        place: None,
        setting: None,
    };
    for number in 0..25 {
        store.audit(&entry(f64::from(number), &owner)).await.unwrap();
        store.audit(&entry(f64::from(number), &other)).await.unwrap();
    }
    store.delete_audit_before(20.0).await.unwrap();
    assert_eq!(store.audited(&owner, 100.0, 100).await.unwrap().len(), 5);
    for number in 0..20 {
        store.audit(&entry(f64::from(number), &owner)).await.unwrap();
    }
    store.erase_audit(&owner).await.unwrap();
    assert_eq!(store.audited(&owner, 100.0, 100).await.unwrap().len(), 0);
    assert_eq!(store.audited(&other, 100.0, 100).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_compaction_that_takes_longer_than_a_query_may_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path(), 1000).await;
    *store.fault.lock().unwrap() = Some(Fault { text: "COMPACT", is_done: false });
    store.compact().await.unwrap();
    assert!(store.fault.lock().unwrap().is_none(), "the fault was not met");
}

/// A database whose version is that of the program keeps its tables as they are: a change without a new version would reach
/// new databases only, and the others would refuse the rows.
#[test]
fn a_change_of_the_schema_raises_its_version() {
    let statements: Vec<&str> = SCHEMA.lines().filter(|line| !line.starts_with("--")).collect();
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(statements.join("\n")));
    let known = "a1debb55e78a0fbaafca5f198c28685ba48f5698310aaa9ad41534a79177ec43";
    assert_eq!((SCHEMA_VERSION, digest.as_str()), (20, known), "raise SCHEMA_VERSION, and note both here");
}
