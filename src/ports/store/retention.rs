//! What is deleted because it is old.

use surrealdb::types::vars;

use super::{Store, StoreError};
use crate::model::Timestamp;

impl Store {
    /// Deletes the friend requests that were made before a time, answered or not. It goes through all requests.
    pub async fn delete_requests_before(&self, before: Timestamp) -> Result<(), StoreError> {
        self.run(
            "{
                LET $old = (SELECT id, requester, requestee FROM request WHERE created_at < $before);
                FOR $request IN $old {
                    DELETE type::record('pending', [$request.requester, $request.requestee])
                        WHERE request = record::id($request.id);
                    DELETE $request.id;
                };
                RETURN NONE;
            }",
            vars! { before: before },
        )
        .await
        .map(drop)
    }

    /// Forgets the tokens that expired before a time. It goes through all tokens.
    pub async fn delete_tokens_expired_before(&self, before: Timestamp) -> Result<(), StoreError> {
        self.run("DELETE token WHERE expires_at < $before RETURN NONE", vars! { before: before }).await.map(drop)
    }
}
