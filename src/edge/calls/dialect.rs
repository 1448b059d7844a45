//! The sister dialect that pages and phones of the field read: additions around the documented answers.
//!
//! `[http] dialect = "documented"` passes everything through unchanged. `"field"` adds; the one thing that it
//! replaces is what those clients cannot read otherwise: `/content_list` is bare, `/recv_msg` runs newest first and
//! ends with a spoken item.

use super::fields::Fields;
use super::{Call, Reply};
use crate::config::Dialect;
use crate::domain::error::DomainError;
use crate::edge::wire::{self, Json};
use crate::model::{FileName, Message, Party, PartyId, PartyKind};

/// The envelope: `code`, `msg`, `data`; in the field `CODE`, `MSG` and `DATA` too, and the code once more in `DATA`.
pub fn envelope(dialect: Dialect, code: u16, msg: Json, data: Json) -> Json {
    let documented = Json::object([("code", u64::from(code).into()), ("msg", msg.clone()), ("data", data.clone())]);
    match dialect {
        Dialect::Documented => documented,
        Dialect::Field => {
            documented.with("CODE", u64::from(code)).with("MSG", msg).with("DATA", data.with("code", u64::from(code)))
        }
    }
}

/// A user's profile; in the field with `bind_toys` beside `bind_toy`.
pub fn profile(dialect: Dialect, profile: Json) -> Json {
    match (dialect, profile.get("bind_toy").cloned()) {
        (Dialect::Field, Some(toys)) => profile.with("bind_toys", toys),
        _ => profile,
    }
}

/// The content library; in the field a bare list.
pub fn content_list(dialect: Dialect, reply: Reply) -> Reply {
    match (dialect, reply) {
        (Dialect::Field, Reply::Envelope { data, .. }) => Reply::Bare(data),
        (_, reply) => reply,
    }
}

/// An entry of a message list; in the field with `chat`, `createTime` and `to_user`.
pub fn message(dialect: Dialect, message: Json, receiver: Json) -> Json {
    match dialect {
        Dialect::Documented => message,
        Dialect::Field => {
            let sound = message.get("message").cloned().unwrap_or(Json::Null);
            let time = message.get("create_time").cloned().unwrap_or(Json::Null);
            message.with("chat", sound).with("createTime", time).with("to_user", receiver)
        }
    }
}

/// The `friend_type` of `/toy_uploader`: the receiver's kind; in the field the sender's, which is a toy.
pub fn toy_upload_kind(dialect: Dialect, receiver: PartyKind) -> PartyKind {
    match dialect {
        Dialect::Documented => receiver,
        Dialect::Field => PartyKind::Toy,
    }
}

/// Which fields of `/add_req` name the two parties.
pub struct RequestFields {
    /// Who asks.
    pub requester: &'static str,
    /// Who is asked.
    pub requestee: &'static str,
}

/// The fields of `/add_req`; in the field a `toy_id` names the one who is asked, and `add_user` the one who asks.
pub fn request_fields(dialect: Dialect, fields: &Fields) -> RequestFields {
    match dialect {
        Dialect::Field if fields.get("toy_id").is_some() => {
            RequestFields { requester: "add_user", requestee: "toy_id" }
        }
        Dialect::Documented | Dialect::Field => RequestFields { requester: "req_user", requestee: "add_user" },
    }
}

/// The field of `/req_list` that names the user: `_id`; in the field `user_id` too.
pub fn request_list_field(dialect: Dialect, fields: &Fields) -> &'static str {
    match dialect {
        Dialect::Field if fields.get("_id").is_none() => "user_id",
        Dialect::Documented | Dialect::Field => "_id",
    }
}

/// The answer of `/recv_msg`, oldest first. In the field newest first and last of all a spoken item: who the messages
/// are from, or that there are none. Such pages take from the end, and so hear the notice and then oldest to newest.
pub async fn received(call: &Call, receiver: &Party, asked: Option<&PartyId>, messages: &[Message]) -> Json {
    let entry = |entry| message(call.dialect, entry, receiver.id().into());
    let mut items: Vec<Json> = messages.iter().map(|message| entry(wire::message(message))).collect();
    if call.dialect == Dialect::Field {
        items.reverse();
        let (speaker, spoken) = match messages.first() {
            Some(first) => (first.from.id(), call.hub.spoken_notice(receiver, &first.from).await),
            None => (asked.map_or("ai", PartyId::as_str), call.hub.spoken_nothing_new().await),
        };
        items.extend(said(call, speaker, spoken).map(entry));
    }
    Json::List(items)
}

/// A spoken item. The messages have been marked read, so that a hub that cannot speak must still deliver them.
fn said(call: &Call, speaker: &str, spoken: Result<FileName, DomainError>) -> Option<Json> {
    match spoken {
        Ok(sound) => Some(Json::object([
            ("from_user", speaker.into()),
            ("message", sound.as_str().into()),
            ("create_time", call.now.into()),
        ])),
        Err(error) => {
            tracing::warn!(%error, "no spoken item for a list of messages");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &Json) -> String {
        String::from_utf8(json.to_vec()).unwrap()
    }

    #[test]
    fn the_documented_envelope_is_the_document_alone() {
        let data = Json::object([("device_key", "k".into())]);
        assert_eq!(
            text(&envelope(Dialect::Documented, 0, "m".into(), data.clone())),
            r#"{"code":0,"msg":"m","data":{"device_key":"k"}}"#
        );
        assert_eq!(
            text(&envelope(Dialect::Field, 0, "m".into(), data)),
            r#"{"code":0,"msg":"m","data":{"device_key":"k"},"CODE":0,"MSG":"m","DATA":{"device_key":"k","code":0}}"#
        );
        assert_eq!(
            text(&envelope(Dialect::Field, 1, "m".into(), Json::List(vec![]))),
            r#"{"code":1,"msg":"m","data":[],"CODE":1,"MSG":"m","DATA":[]}"#
        );
    }

    #[test]
    fn messages_of_the_field_have_both_names() {
        let plain = Json::object([("message", "a.mp3".into()), ("create_time", 1.5.into())]);
        assert_eq!(message(Dialect::Documented, plain.clone(), "t".into()), plain);
        assert_eq!(
            text(&message(Dialect::Field, plain, "t".into())),
            r#"{"message":"a.mp3","create_time":1.5,"chat":"a.mp3","createTime":1.5,"to_user":"t"}"#
        );
    }

    #[test]
    fn requests_of_the_field_name_the_toy() {
        let fields = Fields::from_form(b"add_user=a&toy_id=b").unwrap();
        assert_eq!(request_fields(Dialect::Field, &fields).requester, "add_user");
        assert_eq!(request_fields(Dialect::Documented, &fields).requester, "req_user");
        let fields = Fields::from_form(b"add_user=a&req_user=b").unwrap();
        assert_eq!(request_fields(Dialect::Field, &fields).requester, "req_user");
        assert_eq!(request_list_field(Dialect::Field, &Fields::from_form(b"user_id=a").unwrap()), "user_id");
        assert_eq!(request_list_field(Dialect::Documented, &Fields::from_form(b"user_id=a").unwrap()), "_id");
    }
}
