//! What clients say that acknowledge by themselves: `unread`, `delivered`, `mark_read`. Nothing is lost with a broken
//! link, as a `recv_msg` can be: a message stays unread until it is said to have been played.

use super::{Call, Reply};
use crate::domain::Unheard;
use crate::domain::error::DomainError;
use crate::edge::wire::{self, Json};
use crate::model::MessageId;

/// Messages of one `unread` answer, if the client does not say how many.
const UNREAD_DEFAULT: usize = 50;
/// Messages of one `unread` answer at most.
const UNREAD_MAX: usize = 200;

/// `unread`: the counts of `/auto_login`, and the oldest unread messages. Nothing is marked by it.
pub async fn unread(call: Call) -> Result<Reply, DomainError> {
    let limit = call.fields.limit("a number from 1 to 200", UNREAD_DEFAULT)?;
    let found = call.hub.unread(call.connected()?, limit.min(UNREAD_MAX)).await?;
    let messages = Json::list(&found.messages, |Unheard { message, chat, notice }| {
        let notice = notice.as_ref().map_or(Json::Null, |notice| notice.as_str().into());
        wire::message(message).with("chat_id", chat.as_str()).with("notice", notice)
    });
    let data = Json::object([("chat", wire::unread_counts(&found.friends)), ("messages", messages)]);
    Ok(Reply::Bare(data))
}

/// `delivered`: this device has the message `message` and those before it.
pub async fn delivered(call: Call) -> Result<Reply, DomainError> {
    let message = message(&call)?.ok_or_else(|| DomainError::invalid("message", "is missing"))?;
    call.hub.mark_delivered(call.connected()?, &message).await?;
    Ok(Reply::done("done"))
}

/// `mark_read`: the messages of `from_user` were heard, up to `message` or all of them.
pub async fn mark_read(call: Call) -> Result<Reply, DomainError> {
    let friend = call.fields.party("from_user")?;
    call.hub.mark_heard(call.connected()?, &friend, message(&call)?.as_ref()).await?;
    Ok(Reply::done("done"))
}

fn message(call: &Call) -> Result<Option<MessageId>, DomainError> {
    match call.fields.optional("message").trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| DomainError::UnknownMessage),
    }
}
