//! Rows of several tables that one statement reads by their ids.

use surrealdb::types::{Object, RecordId, RecordIdKey, SurrealValue, Value};

use super::StoreError;

/// The text that reads rows by their ids.
pub(super) const BY_ID: &str = "SELECT * FROM $ids";

/// A row of any table. A key that is a text is its member `uid`, too.
#[derive(Clone)]
pub(super) struct Row(Object);

impl Row {
    /// The row with its columns; those that the row does not have are none.
    pub(super) fn read<T: SurrealValue>(self) -> Result<T, StoreError> {
        Ok(T::from_value(Value::Object(self.0))?)
    }

    /// A row, with its id.
    pub(super) fn of(row: Value) -> Option<(RecordId, Self)> {
        let Value::Object(mut columns) = row else { return None };
        let Some(Value::RecordId(id)) = columns.get("id").cloned() else { return None };
        if let RecordIdKey::String(key) = &id.key {
            columns.insert("uid", key.clone());
        }
        Some((id, Self(columns)))
    }
}
