//! A message as its row holds it.

use surrealdb::types::SurrealValue;

use super::{StoreError, stored, stored_number, stored_party};
use crate::model::{ChatId, FileName, Message, MessageId, Party};

#[derive(SurrealValue, Clone)]
#[surreal(crate = "surrealdb::types")]
pub(super) struct MessageRow {
    pub(super) uid: String,
    pub(super) chat: String,
    pub(super) seq: i64,
    pub(super) sender: String,
    pub(super) kind: String,
    pub(super) sound: String,
    pub(super) notice: Option<String>,
    pub(super) created_at: f64,
    /// The number of its event in the receiver's stream; none for a toy, or for a message from before schema 7.
    pub(super) event_seq: Option<i64>,
    pub(super) hidden: Option<String>,
}

impl MessageRow {
    pub(super) fn event_seq(&self) -> Result<Option<u64>, StoreError> {
        self.event_seq.map(stored_number).transpose()
    }

    pub(super) fn notice(&self) -> Result<Option<FileName>, StoreError> {
        self.notice.as_deref().map(stored).transpose()
    }

    pub(super) fn into_message(self) -> Result<Message, StoreError> {
        Ok(Message {
            id: self.id()?,
            seq: stored_number(self.seq)?,
            from: self.from()?,
            sound: self.sound()?,
            created_at: self.created_at,
        })
    }

    pub(super) fn id(&self) -> Result<MessageId, StoreError> {
        stored(&self.uid)
    }

    pub(super) fn chat(&self) -> Result<ChatId, StoreError> {
        stored(&self.chat)
    }

    pub(super) fn sound(&self) -> Result<FileName, StoreError> {
        stored(&self.sound)
    }

    pub(super) fn from(&self) -> Result<Party, StoreError> {
        stored_party(&self.kind, &self.sender)
    }
}
