//! The sister dialect that pages and phones of the field read: a transformation of finished JSON.
//!
//! A listener's `"documented"` passes everything through unchanged. `"field"` renames fields of some requests on their
//! way in, and adds members to answers on their way out. It replaces answers that those clients cannot read otherwise:
//! `/content_list` is bare (or under `data`, by a setting), `/recv_msg` runs newest first and ends with a spoken item.
//!
//! [`sign_of_other`] finds clients that are served in the wrong one.

use serde_json::{Map, Value, json};

use crate::api::request::{Given, text_of};
use crate::api::schema::With;
use crate::api::{CallContext, Entry, Reply};
use crate::config::{ContentListForm, Dialect};
use crate::domain::error::DomainError;
use crate::model::{FileName, PartyId, PartyKind};

/// Does a call of a client of this dialect, and answers in the same dialect.
pub async fn call(
    dialect: Dialect,
    content_list: ContentListForm,
    call: &Entry,
    context: &CallContext,
    mut given: Given,
) -> Result<Reply, DomainError> {
    if dialect == Dialect::Documented {
        return call.run(context, given).await;
    }
    documented(call.facts.name, &mut given.fields);
    let fields = given.fields.clone();
    let Reply { msg, data } = call.run(context, given).await?;
    Ok(match call.facts.name {
        "login" | "auto_login" => Reply { msg, data: profile(data) },
        "content_list" => Reply { msg: msg.filter(|_| content_list == ContentListForm::Data), data: songs(data) },
        "toy_uploader" => Reply { msg, data: data.with("friend_type", PartyKind::Toy.as_str()) },
        "chat_list" => Reply { msg, data: chat_list(&fields, data) },
        "recv_msg" => Reply { msg, data: recv_msg(context, &fields, data).await },
        _ => Reply { msg, data },
    })
}

/// The sign by which a request is unmistakably one of the other dialect.
pub fn sign_of_other(served: Dialect, name: &str, fields: &Map<String, Value>) -> Option<&'static str> {
    let has = |name: &str| is_given(fields, name);
    match (served, name) {
        (Dialect::Documented, "add_req") if has("toy_id") && has("add_type") => Some("add_type"),
        (Dialect::Documented, "req_list") if has("user_id") && !has("_id") => Some("user_id"),
        (Dialect::Documented, "reg") if has("nickName") && !has("nickname") => Some("nickName"),
        (Dialect::Documented, "recv_msg") => READS_OBJECT.into_iter().find(|name| has(name)),
        (Dialect::Field, "add_req") if has("req_user") && has("type") && !has("toy_id") => Some("type"),
        _ => None,
    }
}

/// The fields of `/recv_msg` that only pages send which read an object.
const READS_OBJECT: [&str; 2] = ["from_user_type", "friend_type"];

fn is_given(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).and_then(text_of).is_some_and(|text| !text.trim().is_empty())
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

/// Gives the fields of a request their documented names. In the field, a `toy_id` of `/add_req` names the recipient, and
/// `add_user` the requester; `/req_list` takes `user_id`; `/reg` takes `nickName`, and the user name if there is none.
fn documented(name: &str, fields: &mut Map<String, Value>) {
    let has = |fields: &Map<String, Value>, name: &str| fields.get(name).is_some_and(|value| text_of(value).is_some());
    match name {
        "add_req" if has(fields, "toy_id") => {
            rename(fields, "add_user", "req_user");
            rename(fields, "toy_id", "add_user");
        }
        "req_list" if !has(fields, "_id") => rename(fields, "user_id", "_id"),
        "reg" if !is_given(fields, "nickname") => {
            let from = if is_given(fields, "nickName") { "nickName" } else { "username" };
            if let Some(name) = fields.get(from).cloned() {
                fields.insert("nickname".to_owned(), name);
            }
        }
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

/// A profile with the names of the field. Each friend stands in `chat`, also without unread messages: a page shows a
/// missing member as "undefined".
fn profile(data: Value) -> Value {
    let (toys, nickname) = (data["bind_toy"].clone(), data["nickname"].clone());
    let mut chat = Map::new();
    chat.insert("count".to_owned(), 0.into());
    let mut count = 0;
    for friend in data["friend_list"].as_array().into_iter().flatten() {
        let unread = friend["unread"].as_u64().unwrap_or_default();
        count += unread;
        chat.insert(friend["friend_id"].as_str().unwrap_or_default().to_owned(), unread.into());
    }
    chat.insert("count".to_owned(), count.into());
    data.with("bind_toys", toys).with("nickName", nickname).with("chat", chat)
}

/// The library with the names of the field: the title, and the files of sound and picture.
fn songs(data: Value) -> Value {
    let song = |entry: Value| {
        let [title, music, cover] = ["title", "music", "cover"].map(|name| entry[name].clone());
        entry.with("track_title", title).with("track_name", music).with("track_cover_name", cover)
    };
    match data {
        Value::Array(songs) => songs.into_iter().map(song).collect(),
        data => data,
    }
}

/// The chat with the receiver of each message: the reader, or the friend for messages that the reader has sent.
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
///
/// Pages that send one of [`READS_OBJECT`] read the list as `chat_list` beside the sender and its kind.
async fn recv_msg(context: &CallContext, fields: &Map<String, Value>, data: Value) -> Value {
    let Value::Array(mut messages) = data else { return data };
    let receiver = id(fields, "to_user");
    let sender = messages.first().and_then(|oldest| oldest["from_user"].as_str()?.parse::<PartyId>().ok());
    let (speaker, spoken) = match (&sender, &receiver) {
        (Some(sender), Some(receiver)) => {
            let spoken = notice(context, receiver, sender).await;
            (sender.as_str().to_owned(), spoken)
        }
        _ => {
            let wanted = id(fields, "from_user");
            let spoken = nothing_new(context, receiver.as_ref()).await;
            (wanted.as_ref().map_or("ai", PartyId::as_str).to_owned(), spoken)
        }
    };
    messages.reverse();
    // The messages have been marked read, so that a hub that cannot speak must still deliver them.
    match spoken {
        Ok(sound) => {
            messages.push(json!({"from_user": &speaker, "message": sound.as_str(), "create_time": context.now}));
        }
        Err(error) => tracing::warn!(%error, "no spoken item for a list of messages"),
    }
    let to = receiver.as_ref().map(PartyId::as_str);
    let messages: Value = messages.into_iter().map(|entry| message(entry, to)).collect();
    let Some(kind_field) = READS_OBJECT.into_iter().find(|name| fields.contains_key(*name)) else { return messages };
    let kind = match (&sender, &receiver) {
        (Some(sender), Some(receiver)) => kind_of(context, receiver, sender).await,
        _ => None,
    };
    // A former friend has no entry any more, and the page knows whom it has asked for.
    let is_toy = fields.get(kind_field).and_then(text_of).is_some_and(|kind| kind.trim() == PartyKind::Toy.as_str());
    let kind = kind.unwrap_or(if is_toy { PartyKind::Toy } else { PartyKind::App });
    json!({"chat_list": messages, "from_user": speaker, "friend_type": kind.as_str()})
}

/// The kind of the receiver's friend.
async fn kind_of(context: &CallContext, receiver: &PartyId, friend: &PartyId) -> Option<PartyKind> {
    let receiver = context.act_for(receiver).await.ok()?;
    context.hub.kind_of_friend(&receiver, friend).await.ok()?
}

async fn notice(context: &CallContext, receiver: &PartyId, sender: &PartyId) -> Result<FileName, DomainError> {
    let receiver = context.act_for(receiver).await?;
    context.hub.spoken_notice(&receiver, sender).await
}

async fn nothing_new(context: &CallContext, receiver: Option<&PartyId>) -> Result<FileName, DomainError> {
    let receiver = context.act_for(receiver.ok_or(DomainError::UnknownParty)?).await?;
    context.hub.spoken_nothing_new(&receiver).await
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
        assert_eq!(named("reg", b"username=a&nickName=b", "nickname"), "b");
        assert_eq!(named("reg", b"username=a&nickname=&nickName=b", "nickname"), "b");
        assert_eq!(named("reg", b"username=a&nickname=c&nickName=b", "nickname"), "c");
        assert_eq!(named("reg", b"username=a&nickName=+", "nickname"), "a");
        assert_eq!(named("reg", b"nickName=", "nickname"), Value::Null);
    }

    #[test]
    fn every_friend_stands_in_the_counts_of_the_field() {
        let friend = |id: &str, unread: u64| json!({"friend_id": id, "unread": unread});
        let data = json!({"nickname": "Mia", "friend_list": [friend("a", 2), friend("b", 0)], "bind_toy": ["a"]});
        let twice = profile(profile(data.clone()));
        let expected =
            data.with("bind_toys", vec!["a"]).with("nickName", "Mia").with("chat", json!({"count": 2, "a": 2, "b": 0}));
        assert_eq!(twice.to_string(), expected.to_string(), "in this order too");
        let alone = profile(json!({"nickname": "", "friend_list": [], "bind_toy": []}));
        assert_eq!(alone["chat"], json!({"count": 0}));
    }

    #[test]
    fn songs_of_the_field_have_both_names() {
        let song = json!({"_id": "a", "music": "m.mp3", "cover": "c.jpg", "title": "A Pug"});
        let named = json!({
            "_id": "a", "music": "m.mp3", "cover": "c.jpg", "title": "A Pug", "track_title": "A Pug",
            "track_name": "m.mp3", "track_cover_name": "c.jpg",
        });
        assert_eq!(songs(json!([song])), json!([named]));
        assert_eq!(songs(json!([])), json!([]));
    }

    #[test]
    fn a_client_of_the_other_dialect_is_known_by_what_only_it_sends() {
        let sign = |served, name: &str, form: &str| sign_of_other(served, name, &from_form(form.as_bytes()).unwrap());
        let (documented, field) = (Dialect::Documented, Dialect::Field);
        for (name, form, expected) in [
            ("add_req", "add_user=a&toy_id=b&add_type=app", "add_type"),
            ("req_list", "user_id=a", "user_id"),
            ("reg", "username=a&nickName=b", "nickName"),
            ("recv_msg", "from_user=a&to_user=b&friend_type=app", "friend_type"),
            ("recv_msg", "from_user=a&to_user=b&from_user_type=app", "from_user_type"),
        ] {
            assert_eq!(sign(documented, name, form), Some(expected), "{name} {form}");
            assert_eq!(sign(field, name, form), None, "{name} {form}");
        }
        let request = "req_user=a&add_user=b&type=app&req_info=&remark=";
        assert_eq!(sign(field, "add_req", request), Some("type"));
        assert_eq!(sign(documented, "add_req", request), None);
        for (name, form) in [
            ("req_list", "_id=a"),
            ("req_list", "_id=a&user_id=a"),
            ("reg", "username=a&nickname=b&nickName=b"),
            ("recv_msg", "from_user=a&to_user=b&friend_type="),
            ("toy_uploader", "user_id=a&to_user=b&friend_type=undefined"),
        ] {
            assert_eq!((sign(documented, name, form), sign(field, name, form)), (None, None), "{name} {form}");
        }
    }
}
