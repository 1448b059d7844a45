//! What the entities look like on the wire: the documented field names, in the documented order.
//!
//! Pure functions from the model to [`Json`]; who asked, and over which protocol, is not known here.
//! The names are the contract's: renaming a field of the model breaks no toy.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::domain::{Answer, Health, Opened, PartState, Profile};
use crate::model::{
    Content, Event, Friend, FriendRequest, Message, MessageId, MessageState, Party, PlayedSound, Timestamp, Toy,
};

/// A JSON value whose objects keep their fields in the order in which they were given.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A count or code.
    Whole(u64),
    /// Seconds with a fraction.
    Seconds(Timestamp),
    /// A text.
    Text(Cow<'static, str>),
    /// A list.
    List(Vec<Json>),
    /// An object. Names are given once only.
    Object(Vec<(Cow<'static, str>, Json)>),
}

impl Json {
    /// An object of these fields.
    pub fn object<const FIELDS: usize>(fields: [(&'static str, Json); FIELDS]) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
    }

    /// `{}`
    pub const fn empty() -> Self {
        Self::Object(Vec::new())
    }

    /// A list of what `encode` makes of the `items`.
    pub fn list<T>(items: &[T], encode: impl Fn(&T) -> Self) -> Self {
        Self::List(items.iter().map(encode).collect())
    }

    /// This object and one more field; any other value stays as it is.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Self>) -> Self {
        if let Self::Object(fields) = &mut self {
            fields.push((Cow::Borrowed(name), value.into()));
        }
        self
    }

    /// This object and then the fields of another; any other value stays as it is.
    #[must_use]
    fn and(mut self, other: Self) -> Self {
        if let (Self::Object(fields), Self::Object(others)) = (&mut self, other) {
            fields.extend(others);
        }
        self
    }

    /// The value of an object's field.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The JSON text.
    pub fn to_vec(&self) -> Vec<u8> {
        // Writing to memory does not fail, and no key of an object is anything but a text.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Whole(value) => serializer.serialize_u64(*value),
            Self::Seconds(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => {
                number.as_u64().map_or_else(|| Self::Seconds(number.as_f64().unwrap_or_default()), Self::Whole)
            }
            serde_json::Value::String(text) => text.into(),
            serde_json::Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(fields) => {
                Self::Object(fields.into_iter().map(|(name, value)| (Cow::Owned(name), value.into())).collect())
            }
        }
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<Timestamp> for Json {
    fn from(value: Timestamp) -> Self {
        Self::Seconds(value)
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Self::Text(Cow::Owned(value.to_owned()))
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl From<Vec<Json>> for Json {
    fn from(value: Vec<Json>) -> Self {
        Self::List(value)
    }
}

/// The current time, read here so that the rooms below need no clock.
pub fn now() -> Timestamp {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// When it will be that time, on the clock that waits; at most in a year, since nobody keeps a connection for longer.
pub fn instant_of(time: Timestamp) -> Instant {
    const LATEST: Duration = Duration::from_secs(366 * 86_400);
    let left = Duration::try_from_secs_f64((time - now()).max(0.0)).unwrap_or(LATEST);
    Instant::now() + left.min(LATEST)
}

/// The body of `/readyz`.
pub fn health(health: &Health) -> Json {
    let part = |(name, state): (&'static str, PartState)| {
        let state = match state {
            PartState::Ok => Json::object([("state", "ok".into())]),
            PartState::Off => Json::object([("state", "off".into())]),
            PartState::Failed(reason) => Json::object([("state", "failed".into()), ("reason", reason.into())]),
        };
        (Cow::Borrowed(name), state)
    };
    let parts = Json::Object(health.parts().into_iter().map(part).collect());
    Json::object([("ready", health.is_ready().into()), ("parts", parts)])
}

/// The `data` of `/login` and `/auto_login`.
pub fn profile(profile: &Profile) -> Json {
    let user = &profile.user;
    Json::object([
        ("_id", user.id.as_str().into()),
        ("username", user.username.as_str().into()),
        ("gender", user.gender.as_str().into()),
        ("nickname", user.nickname.as_str().into()),
        ("avatar", user.avatar.as_str().into()),
        ("friend_list", Json::list(&profile.friends, friend)),
        ("bind_toy", Json::list(&profile.toys, |toy| toy.as_str().into())),
    ])
}

/// The `chat` of `/auto_login`: `count` is the total, then each sender who waits to be heard.
pub fn unread_counts(friends: &[Friend]) -> Json {
    let total = friends.iter().map(|friend| friend.unread).sum::<u64>();
    let mut counts = vec![(Cow::Borrowed("count"), total.into())];
    let waiting = friends.iter().filter(|friend| friend.unread > 0);
    counts.extend(waiting.map(|friend| (Cow::Owned(friend.party.id().to_owned()), friend.unread.into())));
    Json::Object(counts)
}

/// An entry of `/friend_list`.
pub fn friend(friend: &Friend) -> Json {
    Json::object([
        ("friend_id", friend.party.id().into()),
        ("friend_nick", friend.nickname.as_str().into()),
        ("friend_remark", friend.remark.as_str().into()),
        ("friend_avatar", friend.avatar.as_str().into()),
        ("friend_chat", friend.chat.as_str().into()),
        ("friend_type", friend.party.kind().as_str().into()),
        ("unread", friend.unread.into()),
    ])
}

/// An entry of a toy's `friend_list` in `/toy_list`, where the document says `friend_nickname`.
fn friend_of_toy(friend: &Friend) -> Json {
    Json::object([
        ("friend_nickname", friend.nickname.as_str().into()),
        ("friend_avatar", friend.avatar.as_str().into()),
        ("friend_remark", friend.remark.as_str().into()),
        ("friend_chat", friend.chat.as_str().into()),
        ("friend_id", friend.party.id().into()),
        ("friend_nick", friend.nickname.as_str().into()),
        ("friend_type", friend.party.kind().as_str().into()),
        ("unread", friend.unread.into()),
    ])
}

/// An entry of `/toy_list`.
pub fn toy(toy: &Toy, friends: &[Friend]) -> Json {
    Json::object([
        ("_id", toy.id.as_str().into()),
        ("device_key", toy.device_key.as_str().into()),
        ("bind_user", toy.bind_user.as_str().into()),
        ("toy_name", toy.toy_name.as_str().into()),
        ("avatar", toy.avatar.as_str().into()),
        ("baby_name", toy.baby_name.as_str().into()),
        ("gender", toy.gender.as_str().into()),
        ("friend_list", Json::list(friends, friend_of_toy)),
    ])
}

/// An entry of `/content_list`.
pub fn content(content: &Content) -> Json {
    Json::object([
        ("_id", content.id.as_str().into()),
        ("music", content.music.as_str().into()),
        ("cover", content.cover.as_str().into()),
        ("title", content.title.as_str().into()),
    ])
}

/// An entry of `/recv_msg`; its `_id` is additive, to drop repeats by.
pub fn message(message: &Message) -> Json {
    Json::object([
        ("from_user", message.from.id().into()),
        ("message", message.sound.as_str().into()),
        ("create_time", message.created_at.into()),
        ("_id", message.id.as_str().into()),
    ])
}

/// An entry of `/chat_list`; how far the message has come, and its number in the chat, are additive.
pub fn message_of_chat(message: &Message, state: MessageState) -> Json {
    self::message(message).with("state", state.as_str()).with("seq", message.seq)
}

/// An entry of `/req_list`; its `_id` is what `/acc_req` and `/ref_req` take.
pub fn friend_request(request: &FriendRequest) -> Json {
    Json::object([
        ("_id", request.id.as_str().into()),
        ("req_user", request.requester.id().into()),
        ("add_user", request.requestee.id().into()),
        ("type", request.requester.kind().as_str().into()),
        ("req_info", request.info.as_str().into()),
        ("remark", request.remark.as_str().into()),
        ("avatar", request.avatar.as_str().into()),
        ("nickname", request.nickname.as_str().into()),
        ("status", (request.status as u64).into()),
        ("toy_name", request.toy_name.as_str().into()),
    ])
}

/// The bare answer of `/ai_uploader`, in its three documented shapes.
pub fn answer(answer: &Answer) -> Json {
    match answer {
        Answer::Music(music) => Json::object([("from_user", "ai".into()), ("music", music.as_str().into())]),
        Answer::Reply(chat) => Json::object([("from_user", "ai".into()), ("chat", chat.as_str().into())]),
        Answer::StartMessage { friend, prompt } => Json::object([
            ("from_user", friend.id().into()),
            ("chat", prompt.as_str().into()),
            ("friend_type", friend.kind().as_str().into()),
        ]),
    }
}

/// The bare answer of `/open_toy`, in its three documented shapes; `token` is additive.
pub fn opened(opened: &Opened) -> Json {
    match opened {
        Opened::Bound { toy, token } => {
            let answer = Json::object([
                ("code", 0u64.into()),
                ("music", "Success.mp3".into()),
                ("toy_id", toy.id.as_str().into()),
                ("name", toy.toy_name.as_str().into()),
            ]);
            match token {
                Some(token) => answer.with("token", token.reveal()),
                None => answer,
            }
        }
        Opened::Unbound => Json::object([("code", 2u64.into()), ("music", "Nolic.mp3".into())]),
        Opened::Unknown => Json::object([("code", 1u64.into()), ("music", "Nobind.mp3".into())]),
    }
}

/// What a party is told. `type` is `message`, `play`, `command`, `friend_request`, `friend_added`, `receipt` or `read`;
/// `seq` is the number in the user's stream, which toys do not have.
pub fn event(event: &Event, seq: Option<u64>) -> Json {
    let (name, rest) = match event {
        Event::Message { id, from, chat, sound, notice, created_at } => (
            "message",
            Json::object([
                ("_id", id.as_str().into()),
                ("from_user", from.id().into()),
                ("friend_type", from.kind().as_str().into()),
                ("chat", sound.as_str().into()),
                ("chat_id", chat.as_str().into()),
                ("create_time", (*created_at).into()),
                ("notice", notice.as_ref().map_or(Json::Null, |notice| notice.as_str().into())),
            ]),
        ),
        Event::Play { from, sound } => {
            let (kind, name) = match sound {
                PlayedSound::Music(name) => ("music", name),
                PlayedSound::Chat(name) => ("chat", name),
            };
            let rest = [
                ("from_user", from.id().into()),
                ("friend_type", from.kind().as_str().into()),
                (kind, name.as_str().into()),
            ];
            ("play", Json::object(rest))
        }
        Event::Command(command) => ("command", Json::object([("command", command.as_str().into())])),
        Event::FriendRequest { id, requester, requestee } => (
            "friend_request",
            Json::object([
                ("_id", id.as_str().into()),
                ("req_user", requester.id().into()),
                ("add_user", requestee.id().into()),
                ("kind", requester.kind().as_str().into()),
            ]),
        ),
        Event::FriendAdded { friend, chat } => (
            "friend_added",
            Json::object([
                ("friend_id", friend.id().into()),
                ("friend_type", friend.kind().as_str().into()),
                ("chat_id", chat.as_str().into()),
            ]),
        ),
        Event::Receipt { state, up_to, chat, by } => (
            "receipt",
            Json::object([
                ("state", state.as_str().into()),
                ("_id", up_to.as_str().into()),
                ("chat_id", chat.as_str().into()),
                ("by", by.id().into()),
                ("friend_type", by.kind().as_str().into()),
            ]),
        ),
        Event::Read { friend, chat, unread } => (
            "read",
            Json::object([
                ("friend_id", friend.id().into()),
                ("chat_id", chat.as_str().into()),
                ("unread", (*unread).into()),
            ]),
        ),
    };
    let head = Json::object([("type", name.into())]);
    let head = match seq {
        Some(seq) => head.with("seq", seq),
        None => head,
    };
    head.and(rest)
}

/// The message that an event, given in its JSON text, tells of.
pub fn message_of(told: &[u8]) -> Option<MessageId> {
    // Most of what passes here is something else, and need not be parsed.
    if !told.starts_with(br#"{"type":"message""#) {
        return None;
    }
    let told = serde_json::from_slice::<serde_json::Value>(told).ok()?;
    told.get("_id")?.as_str()?.parse().ok()
}

/// What an older client at its socket is sent of an event, given in its JSON: what to play, if anything. A toy plays
/// first who has written, an app the message itself.
pub fn legacy(told: &serde_json::Value, me: &Party) -> Option<Json> {
    let text = |name: &str| told.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    let (kind, name) = match (text("type")?.as_str(), me) {
        ("message", Party::Toy(_)) => ("chat", text("notice").or_else(|| text("chat"))?),
        ("message", Party::User(_)) => ("chat", text("chat")?),
        ("play", _) => match text("music") {
            Some(music) => ("music", music),
            None => ("chat", text("chat")?),
        },
        _ => return None,
    };
    let from = text("from_user")?;
    let frame = Json::object([("to_user", me.id().into()), ("from_user", from.into()), (kind, name.into())]);
    Some(if kind == "chat" { frame.with("friend_type", text("friend_type")?) } else { frame })
}

/// The JSON text of [`event`], for payloads that leave over a topic.
pub fn event_json(told: &Event, seq: Option<u64>) -> Vec<u8> {
    event(told, seq).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::model::{ChatId, Party, Secret};

    fn text(json: &Json) -> String {
        String::from_utf8(json.to_vec()).unwrap()
    }

    #[test]
    fn fields_keep_their_order_and_types() {
        let told = Event::Message {
            id: "5c8f58eb268d79173c97bac5".parse().unwrap(),
            from: Party::User("5c8f582f268d7942f44c6703".parse().unwrap()),
            chat: "5c8f5853268d7942f44c6704".parse().unwrap(),
            sound: "a.mp3".parse().unwrap(),
            notice: None,
            created_at: 1_552_898_225.274_415_7,
        };
        assert_eq!(
            text(&event(&told, None)),
            r#"{"type":"message","_id":"5c8f58eb268d79173c97bac5","from_user":"5c8f582f268d7942f44c6703","friend_type":"app","chat":"a.mp3","chat_id":"5c8f5853268d7942f44c6704","create_time":1552898225.2744157,"notice":null}"#
        );
        let numbered = text(&event(&told, Some(7)));
        assert!(numbered.starts_with(r#"{"type":"message","seq":7,"_id":"5c8f58eb268d79173c97bac5","#), "{numbered}");
        assert_eq!(text(&Json::Seconds(5.0)), "5.0", "seconds stay a float");
    }

    #[test]
    fn the_health_names_each_part_and_why_it_fails() {
        let (store, sessions) = (PartState::Ok, PartState::Ok);
        let speech = PartState::Off;
        let mut all = Health { store, disk: PartState::Ok, sessions, speech, is_alive: true };
        assert!(text(&health(&all)).starts_with(r#"{"ready":true,"parts":{"store":{"state":"ok"},"disk":"#));
        assert!(text(&health(&all)).ends_with(r#""speech":{"state":"off"}}}"#), "to do without speech is no failure");
        all.disk = PartState::Failed("make room");
        assert!(text(&health(&all)).starts_with(r#"{"ready":false,"#));
        assert!(text(&health(&all)).contains(r#""disk":{"state":"failed","reason":"make room"}"#));
    }

    #[test]
    fn only_senders_who_wait_are_counted() {
        let friend = |id: &str, unread| Friend {
            party: Party::Toy(id.parse().unwrap()),
            nickname: String::new(),
            remark: String::new(),
            avatar: "toy.jpg".parse().unwrap(),
            chat: ChatId::random(),
            unread,
        };
        let friends = [friend("5c8f5853268d7942f44c6705", 2), friend("5c8f5853268d7942f44c6706", 0)];
        assert_eq!(text(&unread_counts(&friends)), r#"{"count":2,"5c8f5853268d7942f44c6705":2}"#);
        assert_eq!(text(&unread_counts(&[])), r#"{"count":0}"#);
    }

    #[test]
    fn a_toy_that_opens_hears_the_documented_sounds() {
        assert_eq!(text(&opened(&Opened::Unbound)), r#"{"code":2,"music":"Nolic.mp3"}"#);
        assert_eq!(text(&opened(&Opened::Unknown)), r#"{"code":1,"music":"Nobind.mp3"}"#);
        let toy = Toy {
            id: "5c8f5853268d7942f44c6705".parse().unwrap(),
            device_key: "bc557bcc9570069a494a64eb38698d35".parse().unwrap(),
            bind_user: "5c8f582f268d7942f44c6703".parse().unwrap(),
            toy_name: "Ball \"ball\"".into(),
            baby_name: String::new(),
            gender: "1".into(),
            avatar: "toy.jpg".parse().unwrap(),
        };
        let bound = Opened::Bound { toy, token: Some(Secret::new("t")) };
        assert_eq!(
            text(&opened(&bound)),
            r#"{"code":0,"music":"Success.mp3","toy_id":"5c8f5853268d7942f44c6705","name":"Ball \"ball\"","token":"t"}"#
        );
    }

    #[test]
    fn every_event_has_its_type_and_then_its_number() {
        let (toy, chat, message) = ("5c8f5853268d7942f44c6705", "5c8f5853268d7942f44c6704", "5c8f58eb268d79173c97bac5");
        let (friend, in_chat) = (Party::Toy(toy.parse().unwrap()), || chat.parse().unwrap());
        let added = Event::FriendAdded { friend: friend.clone(), chat: in_chat() };
        let read = Event::Read { friend: friend.clone(), chat: in_chat(), unread: 3 };
        let up_to = message.parse().unwrap();
        let heard = Event::Receipt { state: MessageState::Heard, up_to, chat: in_chat(), by: friend };
        for (told, expected) in [
            (added, json!({"type": "friend_added", "seq": 9, "friend_id": toy, "friend_type": "toy", "chat_id": chat})),
            (read, json!({"type": "read", "seq": 9, "friend_id": toy, "chat_id": chat, "unread": 3})),
            (
                heard,
                json!({
                    "type": "receipt", "seq": 9, "state": "heard", "_id": message, "chat_id": chat, "by": toy,
                    "friend_type": "toy",
                }),
            ),
        ] {
            let text = event_json(&told, Some(9));
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&text).unwrap(), expected);
            assert!(text.starts_with(format!(r#"{{"type":{},"seq":9,"#, expected["type"]).as_bytes()));
        }
    }
}
