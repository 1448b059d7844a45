//! Deletion of old rows.

use surrealdb::types::{Variables, vars};

use super::{Store, StoreError};
use crate::model::Timestamp;

/// Rows that one statement deletes: so few that it ends long before `store.query_timeout_s`, however many there are.
const STEP_ROWS: i64 = if cfg!(test) { 10 } else { 1000 };

impl Store {
    /// Deletes the friend requests that were made before a time, answered or not. It scans all requests.
    pub async fn delete_requests_before(&self, before: Timestamp) -> Result<(), StoreError> {
        self.delete_in_steps(
            "{
                LET $old = (SELECT id, requester, requestee FROM request WHERE created_at < $before LIMIT $rows);
                FOR $request IN $old {
                    DELETE type::record('pending', [$request.requester, $request.requestee])
                        WHERE request = record::id($request.id);
                    DELETE $request.id;
                };
                RETURN array::len($old);
            }",
            vars! { before: before },
        )
        .await
    }

    /// Deletes the refusals of friend requests before a time. It scans all refusals.
    pub async fn delete_refusals_before(&self, before: Timestamp) -> Result<(), StoreError> {
        self.delete_in_steps(
            "RETURN array::len(
                DELETE (SELECT VALUE id FROM refusal WHERE refused_at < $before LIMIT $rows) RETURN BEFORE
            )",
            vars! { before: before },
        )
        .await
    }

    /// Deletes the tokens that expired before a time. It scans all tokens.
    pub async fn delete_tokens_expired_before(&self, before: Timestamp) -> Result<(), StoreError> {
        self.delete_in_steps(
            "RETURN array::len(
                DELETE (SELECT VALUE id FROM token WHERE expires_at < $before LIMIT $rows) RETURN BEFORE
            )",
            vars! { before: before },
        )
        .await
    }

    /// Runs a statement that deletes at most `$rows` rows and returns their number, until no more rows are left.
    pub(super) async fn delete_in_steps(&self, sql: &'static str, mut variables: Variables) -> Result<(), StoreError> {
        variables.insert("rows", STEP_ROWS);
        loop {
            let mut reply = self.run(sql, variables.clone()).await?;
            if reply.optional::<i64>(0)?.unwrap_or_default() < STEP_ROWS {
                return Ok(());
            }
        }
    }
}
