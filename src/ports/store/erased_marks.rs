//! The list of erasures ([`crate::ports::erased`]) of a database on a server, which its hubs share: each of them writes it
//! to its own folder of backups. Its table is made when it is first needed.

use surrealdb::types::{Variables, vars};

use super::transaction::record;
use super::{Store, StoreError};

/// Marks that are read at once.
const PAGE: i64 = 5000;

impl Store {
    /// Makes the table.
    pub async fn open_erased_marks(&self) -> Result<(), StoreError> {
        self.run("DEFINE TABLE IF NOT EXISTS erased SCHEMALESS", Variables::new()).await.map(drop)
    }

    /// Adds marks, in hex.
    pub async fn add_erased_marks(&self, marks: &[String]) -> Result<(), StoreError> {
        let sql = "FOR $mark IN $marks { UPSERT type::record('erased', $mark) RETURN NONE }";
        self.run(sql, vars! { marks: marks.to_vec() }).await.map(drop)
    }

    /// Those of these marks, in hex, that are in the list.
    pub async fn erased_among(&self, marks: &[String]) -> Result<Vec<String>, StoreError> {
        let ids: Vec<_> = marks.iter().map(|mark| record("erased", mark)).collect();
        self.run("SELECT VALUE record::id(id) FROM $ids", vars! { ids: ids }).await?.rows::<String>(0)
    }

    /// The next marks after this one, in hex.
    pub async fn erased_marks_after(&self, mark: &str) -> Result<Vec<String>, StoreError> {
        let sql = "{
            LET $place = type::record('erased', $after);
            RETURN (SELECT VALUE record::id(id) FROM erased WHERE id > $place LIMIT $limit);
        }";
        self.run(sql, vars! { after: mark.to_owned(), limit: PAGE }).await?.rows::<String>(0)
    }
}
