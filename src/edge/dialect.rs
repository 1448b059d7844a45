//! The sister dialect that pages and phones of the field read: a transformation of finished JSON.
//!
//! `[http] dialect = "documented"` passes everything through unchanged. `"field"` renames fields of two requests on
//! their way in, and adds members to answers on their way out. It replaces what those clients cannot read otherwise:
//! `/content_list` is bare, `/recv_msg` runs newest first and ends with a spoken item.

use serde_json::{Map, Value, json};

use crate::api::request::{Given, text_of};
use crate::api::schema::With;
use crate::api::{Asked, Entry, Reply};
use crate::config::Dialect;
use crate::domain::error::DomainError;
use crate::model::{FileName, PartyId, PartyKind};

/// Does a call of a client of this dialect, and answers in the same dialect.
pub async fn call(dialect: Dialect, call: &Entry, asked: &Asked, mut given: Given) -> Result<Reply, DomainError> {
    if dialect == Dialect::Documented {
        return call.run(asked, given).await;
    }
    documented(call.facts.name, &mut given.fields);
    let fields = given.fields.clone();
    let Reply { msg, data } = call.run(asked, given).await?;
    Ok(match call.facts.name {
        "login" | "auto_login" => {
            let toys = data["bind_toy"].clone();
            Reply { msg, data: data.with("bind_toys", toys) }
        }
        "content_list" => Reply { msg: None, data },
        "toy_uploader" => Reply { msg, data: data.with("friend_type", PartyKind::Toy.as_str()) },
        "chat_list" => Reply { msg, data: chat_list(&fields, data) },
        "recv_msg" => Reply { msg, data: recv_msg(asked, &fields, data).await },
        _ => Reply { msg, data },
    })
}

/// The envelope: `code`, `msg`, `data`; in the field `CODE`, `MSG` and `DATA` too, and the code once more in `DATA`.
pub fn envelope(dialect: Dialect, code: u16, msg: &str, data: Value) -> Value {
    match dialect {
        Dialect::Documented => json!({"code": code, "msg": msg, "data": data}),
        Dialect::Field => {
            let twin = data.clone().with("code", code);
            json!({"code": code, "msg": msg, "data": data, "CODE": code, "MSG": msg, "DATA": twin})
        }
    }
}

/// Gives the fields of a request their documented names. In the field, a `toy_id` of `/add_req` names who is asked, and
/// `add_user` who asks; `/req_list` takes `user_id`.
fn documented(name: &str, fields: &mut Map<String, Value>) {
    let has = |fields: &Map<String, Value>, name: &str| fields.get(name).is_some_and(|value| text_of(value).is_some());
    match name {
        "add_req" if has(fields, "toy_id") => {
            rename(fields, "add_user", "req_user");
            rename(fields, "toy_id", "add_user");
        }
        "req_list" if !has(fields, "_id") => rename(fields, "user_id", "_id"),
        _ => {}
    }
}

fn rename(fields: &mut Map<String, Value>, from: &str, to: &str) {
    let value = fields.remove(from).unwrap_or(Value::Null);
    fields.insert(to.to_owned(), value);
}

fn id(fields: &Map<String, Value>, name: &str) -> Option<PartyId> {
    text_of(fields.get(name)?)?.trim().parse().ok()
}

/// The chat with the receiver of each message: the reader, or the friend for what the reader has sent.
fn chat_list(fields: &Map<String, Value>, data: Value) -> Value {
    let (reader, friend) = (id(fields, "to_user"), id(fields, "from_user"));
    let reader = reader.as_ref().map(PartyId::as_str);
    let entry = |entry: Value| {
        let is_own = entry["from_user"].as_str() == reader;
        let receiver = if is_own { friend.as_ref().map(PartyId::as_str) } else { reader };
        message(entry, receiver)
    };
    match data {
        Value::Array(messages) => messages.into_iter().map(entry).collect(),
        data => data,
    }
}

/// An entry of a message list with `chat`, `createTime` and `to_user`.
fn message(entry: Value, receiver: Option<&str>) -> Value {
    let (sound, time) = (entry["message"].clone(), entry["create_time"].clone());
    entry.with("chat", sound).with("createTime", time).with("to_user", receiver)
}

/// Newest first, and at the end a spoken item: the sender of the messages, or that there are none. Such pages play from
/// the end, so first the notice and then the messages from oldest to newest.
async fn recv_msg(asked: &Asked, fields: &Map<String, Value>, data: Value) -> Value {
    let Value::Array(mut messages) = data else { return data };
    let receiver = id(fields, "to_user");
    let sender = messages.first().and_then(|oldest| oldest["from_user"].as_str()?.parse::<PartyId>().ok());
    let (speaker, spoken) = match (sender, &receiver) {
        (Some(sender), Some(receiver)) => {
            let spoken = notice(asked, receiver, &sender).await;
            (sender.as_str().to_owned(), spoken)
        }
        _ => {
            let wanted = id(fields, "from_user");
            (wanted.as_ref().map_or("ai", PartyId::as_str).to_owned(), asked.hub.spoken_nothing_new().await)
        }
    };
    messages.reverse();
    // The messages have been marked read, so that a hub that cannot speak must still deliver them.
    match spoken {
        Ok(sound) => {
            messages.push(json!({"from_user": speaker, "message": sound.as_str(), "create_time": asked.now}));
        }
        Err(error) => tracing::warn!(%error, "no spoken item for a list of messages"),
    }
    let receiver = receiver.as_ref().map(PartyId::as_str);
    messages.into_iter().map(|entry| message(entry, receiver)).collect()
}

async fn notice(asked: &Asked, receiver: &PartyId, sender: &PartyId) -> Result<FileName, DomainError> {
    let receiver = asked.act_for(receiver).await?;
    asked.hub.spoken_notice(&receiver, sender).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::body::from_form;

    #[test]
    fn the_documented_envelope_is_the_document_alone() {
        let text = |dialect, code, data| envelope(dialect, code, "m", data).to_string();
        assert_eq!(
            text(Dialect::Documented, 0, json!({"device_key": "k"})),
            r#"{"code":0,"msg":"m","data":{"device_key":"k"}}"#
        );
        assert_eq!(
            text(Dialect::Field, 0, json!({"device_key": "k"})),
            r#"{"code":0,"msg":"m","data":{"device_key":"k"},"CODE":0,"MSG":"m","DATA":{"device_key":"k","code":0}}"#
        );
        assert_eq!(
            text(Dialect::Field, 1, json!([])),
            r#"{"code":1,"msg":"m","data":[],"CODE":1,"MSG":"m","DATA":[]}"#
        );
    }

    #[test]
    fn messages_of_the_field_have_both_names_and_their_receiver() {
        let (reader, friend) = ("5c8f582f268d7942f44c6703", "5c8f5853268d7942f44c6705");
        let fields = from_form(format!("to_user={reader}&from_user={friend}").as_bytes()).unwrap();
        let sent = |from: &str| json!({"from_user": from, "message": "a.mp3", "create_time": 1.5});
        assert_eq!(
            chat_list(&fields, json!([sent(friend), sent(reader)])),
            json!([
                {"from_user": friend, "message": "a.mp3", "create_time": 1.5, "chat": "a.mp3", "createTime": 1.5,
                 "to_user": reader},
                {"from_user": reader, "message": "a.mp3", "create_time": 1.5, "chat": "a.mp3", "createTime": 1.5,
                 "to_user": friend},
            ])
        );
        let fields = from_form(format!("to_user={reader}&from_user=undefined").as_bytes()).unwrap();
        assert_eq!(chat_list(&fields, json!([sent(reader)]))[0]["to_user"], Value::Null);
    }

    #[test]
    fn requests_of_the_field_name_the_toy() {
        let named = |name: &str, form: &[u8], field: &str| {
            let mut fields = from_form(form).unwrap();
            documented(name, &mut fields);
            fields.get(field).cloned().unwrap_or_default()
        };
        assert_eq!(named("add_req", b"add_user=a&toy_id=b", "req_user"), "a");
        assert_eq!(named("add_req", b"add_user=a&toy_id=b", "add_user"), "b");
        assert_eq!(named("add_req", b"req_user=c&toy_id=b", "req_user"), Value::Null);
        assert_eq!(named("add_req", b"add_user=a&req_user=b", "req_user"), "b");
        assert_eq!(named("req_list", b"user_id=a", "_id"), "a");
        assert_eq!(named("req_list", b"user_id=a&_id=b", "_id"), "b");
        assert_eq!(named("toy_list", b"user_id=a", "_id"), Value::Null);
    }
}
