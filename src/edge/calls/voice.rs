//! `/app_uploader`, `/toy_uploader`, `/ai_uploader`, `/chat_list` and `/recv_msg`.

use super::{Call, Reply, dialect};
use crate::domain::error::DomainError;
use crate::domain::{Before, Sent};
use crate::edge::wire::{self, Json};
use crate::model::{Party, PartyKind, Timestamp};

/// Messages of one `/chat_list` answer, if the client does not say how many.
const HISTORY_DEFAULT: usize = 100;
/// Messages of one `/chat_list` answer at most.
const HISTORY_MAX: usize = 500;

/// `/app_uploader`: a user sends a recording.
pub async fn app_uploader(mut call: Call) -> Result<Reply, DomainError> {
    let sender = Party::User(call.user("user_id").await?);
    let sent = send(&mut call, &sender, "reco_file").await?;
    Ok(uploaded(&sent, sent.receiver))
}

/// `/toy_uploader`: a toy sends a recording. The receiver's kind is known by its id, whatever `friend_type` says.
pub async fn toy_uploader(mut call: Call) -> Result<Reply, DomainError> {
    let sender = Party::Toy(call.toy("user_id").await?);
    let sent = send(&mut call, &sender, "reco").await?;
    Ok(uploaded(&sent, dialect::toy_upload_kind(call.dialect, sent.receiver)))
}

async fn send(call: &mut Call, sender: &Party, recording_field: &'static str) -> Result<Sent, DomainError> {
    let receiver = call.fields.party("to_user")?;
    let recording = call.take_recording(recording_field)?;
    call.hub.send_recording(sender, &receiver, recording, call.now).await
}

/// A toy plays first who has written, an app shows that itself and plays the message. The `_id` is additive: the
/// receipts name it.
fn uploaded(sent: &Sent, friend_type: PartyKind) -> Reply {
    let filename = match (sent.receiver, &sent.notice) {
        (PartyKind::Toy, Some(notice)) => notice,
        (PartyKind::Toy, None) | (PartyKind::App, _) => &sent.sound,
    };
    let data = Json::object([
        ("filename", filename.as_str().into()),
        ("friend_type", friend_type.as_str().into()),
        ("_id", sent.message.as_str().into()),
    ]);
    Reply::Envelope { msg: "Upload Success", data }
}

/// `/ai_uploader`: a child asks its toy.
pub async fn ai_uploader(mut call: Call) -> Result<Reply, DomainError> {
    let toy = call.toy("toy_id").await?;
    let recording = call.take_recording("reco")?;
    let answer = call.hub.ask(&toy, recording, call.now).await?;
    Ok(Reply::Bare(wire::answer(&answer)))
}

/// `/chat_list`: a page of a chat, oldest first. `limit`, `before` and `before_seq` are additive.
pub async fn chat_list(call: Call) -> Result<Reply, DomainError> {
    let reader = call.user("to_user").await?;
    let fields = &call.fields;
    let chat = fields.required("chat_id")?.trim().parse().map_err(|_| DomainError::UnknownChat)?;
    let friend = fields.optional_party("from_user");
    let limit = fields.limit("a number from 1 to 500", HISTORY_DEFAULT)?;
    let time: Option<Timestamp> = fields.number("before", "seconds since 1970, as create_time")?;
    if time.is_some_and(|time| !time.is_finite()) {
        return Err(DomainError::invalid("before", "seconds since 1970, as create_time"));
    }
    let before = Before { time, seq: fields.number("before_seq", "the seq of a message")? };
    let messages = call.hub.history(&reader, &chat, limit.min(HISTORY_MAX), before).await?;
    let data = Json::list(&messages, |(message, state)| {
        let receiver = if message.from.id() == reader.as_str() {
            friend.as_ref().map_or(Json::Null, |friend| friend.as_str().into())
        } else {
            reader.as_str().into()
        };
        dialect::message(call.dialect, wire::message_of_chat(message, *state), receiver)
    });
    Ok(Reply::Envelope { msg: "Query chat records", data })
}

/// `/recv_msg`: all that waits from one sender, or from the one who waited longest.
pub async fn recv_msg(call: Call) -> Result<Reply, DomainError> {
    let receiver = call.party("to_user").await?;
    let sender = call.fields.optional_party("from_user");
    let messages = call.hub.receive(&receiver, sender.as_ref()).await?;
    Ok(Reply::Bare(dialect::received(&call, &receiver, sender.as_ref(), &messages).await))
}
