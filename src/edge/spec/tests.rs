use std::collections::BTreeSet;

use super::calls::{Answer, describe};
use super::schema::component;
use super::topics::{Payload, TOPICS, Topic, Who};
use super::*;
use crate::domain::permissions::{Action, Rule, rule};
use crate::domain::{self, Opened, Profile};
use crate::edge::calls::{ADDED, CONNECTED, DOCUMENTED};
use crate::edge::wire;
use crate::model::{
    Content, Event, Friend, FriendRequest, Message, MessageState, Party, PartyKind, PlayedSound, RequestStatus, Secret,
    Toy, ToyCommand, User,
};

const ME: &str = "5c8f582f268d7942f44c6703";
const OTHER: &str = "5c8f5853268d7942f44c6705";

fn toy_party() -> Party {
    Party::Toy(OTHER.parse().unwrap())
}

fn names(json: &Json) -> Vec<String> {
    let Json::Object(fields) = json else { panic!("{json:?}") };
    fields.iter().map(|(name, _)| name.to_string()).collect()
}

/// The fields that a schema says are always there, in their order.
fn required(schema: &Json) -> Vec<String> {
    let Some(Json::List(names)) = schema.get("required") else { return vec![] };
    names.iter().map(|name| if let Json::Text(name) = name { name.to_string() } else { panic!("{name:?}") }).collect()
}

fn shape(name: &str) -> Json {
    shapes::components().into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1
}

/// Whether one of several schemas has the fields of `json`, and their values where it says them.
fn one_fits(schema: &Json, json: &Json) -> bool {
    let fits = |schema: &&Json| {
        let constant = |name: &str| schema.get("properties")?.get(name)?.get("const").cloned();
        let names = names(json);
        names == required(schema)
            && names.iter().all(|name| constant(name).is_none_or(|value| json.get(name) == Some(&value)))
    };
    match schema.get("oneOf") {
        Some(Json::List(several)) => several.iter().filter(fits).count() == 1,
        _ => fits(&schema),
    }
}

fn friend() -> Friend {
    Friend {
        party: toy_party(),
        nickname: String::new(),
        remark: String::new(),
        avatar: "toy.jpg".parse().unwrap(),
        chat: ME.parse().unwrap(),
        unread: 2,
    }
}

fn toy() -> Toy {
    Toy {
        id: OTHER.parse().unwrap(),
        device_key: "bc557bcc9570069a494a64eb38698d35".parse().unwrap(),
        bind_user: ME.parse().unwrap(),
        toy_name: String::new(),
        baby_name: String::new(),
        gender: String::new(),
        avatar: "toy.jpg".parse().unwrap(),
    }
}

#[test]
fn shapes_have_the_fields_that_the_wire_writes() {
    let file = || "a.mp3".parse().unwrap();
    let user = User {
        id: ME.parse().unwrap(),
        username: String::new(),
        nickname: String::new(),
        gender: String::new(),
        avatar: file(),
    };
    let profile = Profile { user, friends: vec![friend()], toys: vec![] };
    let message = Message { id: ME.parse().unwrap(), seq: 1, from: toy_party(), sound: file(), created_at: 1.5 };
    let content = Content { id: ME.parse().unwrap(), title: String::new(), music: file(), cover: file() };
    let request = FriendRequest {
        id: ME.parse().unwrap(),
        requester: toy_party(),
        requestee: toy_party(),
        answerer: ME.parse().unwrap(),
        info: String::new(),
        remark: String::new(),
        avatar: file(),
        nickname: String::new(),
        toy_name: String::new(),
        status: RequestStatus::Pending,
    };
    for (name, json) in [
        ("Friend", wire::friend(&friend())),
        ("Toy", wire::toy(&toy(), &[])),
        ("Content", wire::content(&content)),
        ("Message", wire::message(&message)),
        ("ChatMessage", wire::message_of_chat(&message, MessageState::Heard)),
        ("FriendRequest", wire::friend_request(&request)),
    ] {
        assert_eq!(names(&json), required(&shape(name)), "{name}");
        assert_eq!(shape(name).get("additionalProperties"), Some(&false.into()), "{name}");
    }
    assert_eq!(names(&wire::profile(&profile)), required(&schema::closed(shapes::profile())));
    let of_toy = wire::toy(&toy(), &[friend()]);
    let Some(Json::List(friends)) = of_toy.get("friend_list") else { panic!("{of_toy:?}") };
    assert_eq!(names(&friends[0]), required(&shape("ToysFriend")));
    assert_eq!(names(&wire::unread_counts(&[])), required(&shape("UnreadCounts")));
}

#[test]
fn answers_in_several_shapes_fit_one() {
    for opened in [Opened::Unknown, Opened::Unbound, Opened::Bound { toy: toy(), token: None }] {
        assert!(one_fits(&shape("OpenedToy"), &wire::opened(&opened)), "{:?}", wire::opened(&opened));
    }
    let with_token = wire::opened(&Opened::Bound { toy: toy(), token: Some(Secret::random()) });
    assert_eq!(names(&with_token).last().map(String::as_str), Some("token"));
    let sound = || "a.mp3".parse().unwrap();
    for answer in [
        domain::Answer::Music(sound()),
        domain::Answer::Reply(sound()),
        domain::Answer::StartMessage { friend: toy_party(), prompt: sound() },
    ] {
        assert!(one_fits(&shape("AiAnswer"), &wire::answer(&answer)), "{:?}", wire::answer(&answer));
    }
}

/// One of each event; one that is not listed does not compile.
fn events() -> Vec<Event> {
    let chat = || ME.parse().unwrap();
    let all = vec![
        Event::Message {
            id: ME.parse().unwrap(),
            from: toy_party(),
            chat: chat(),
            sound: "a.mp3".parse().unwrap(),
            notice: None,
            created_at: 1.5,
        },
        Event::Play { from: toy_party(), sound: PlayedSound::Music("a.mp3".parse().unwrap()) },
        Event::Command(ToyCommand::Stop),
        Event::FriendRequest { id: ME.parse().unwrap(), requester: toy_party(), requestee: toy_party() },
        Event::FriendAdded { friend: toy_party(), chat: chat() },
        Event::Receipt { state: MessageState::Heard, up_to: ME.parse().unwrap(), chat: chat(), by: toy_party() },
        Event::Read { friend: toy_party(), chat: chat(), unread: 0 },
    ];
    let place = |event: &Event| match event {
        Event::Message { .. } => 0,
        Event::Play { .. } => 1,
        Event::Command(_) => 2,
        Event::FriendRequest { .. } => 3,
        Event::FriendAdded { .. } => 4,
        Event::Receipt { .. } => 5,
        Event::Read { .. } => 6,
    };
    assert_eq!(all.iter().map(place).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    all
}

#[test]
fn every_event_is_described() {
    let described = shapes::events();
    assert_eq!(described.len(), events().len());
    for event in events() {
        let json = wire::event(&event, None);
        let Some(Json::Text(kind)) = json.get("type") else { panic!("{json:?}") };
        let (_, _, schema) = described.iter().find(|(name, ..)| *name == kind.as_ref()).expect("described");
        let optional: &[&str] = if kind == "play" { &["music", "chat"] } else { &[] };
        let always: Vec<_> = names(&json).into_iter().filter(|name| !optional.contains(&name.as_str())).collect();
        assert_eq!(always, required(schema), "{kind}");
        let numbered = wire::event(&event, Some(1));
        let fields = schema.get("properties").map(names).unwrap();
        let unknown: Vec<_> = names(&numbered).into_iter().filter(|name| !fields.contains(name)).collect();
        let expected: &[&str] = if matches!(kind.as_ref(), "play" | "command") { &["seq"] } else { &[] };
        assert_eq!(unknown, expected, "{kind}");
    }
}

#[test]
fn every_call_is_reached_by_a_path_or_word() {
    let tables = DOCUMENTED.iter().chain(&ADDED).chain(&CONNECTED);
    let documents = documents().unwrap();
    let [http, sockets] = documents.map(|document| serde_json::from_str::<serde_json::Value>(&document.text).unwrap());
    for (path, name) in tables {
        let word = path.trim_start_matches('/');
        assert_eq!(http["paths"].get(*path).is_some(), path.starts_with('/'), "{path}");
        let is_asked = sockets["components"]["messages"].get(format!("ask_{word}")).is_some();
        assert_eq!(is_asked, !ADDED.iter().any(|(added, _)| added == path), "{path}");
        if let Answer::Envelope(msg, _) = describe(*name).answer {
            assert!(!msg.is_empty());
        }
    }
}

/// Every `$ref` leads somewhere.
#[test]
fn no_reference_is_broken_and_no_component_is_unused() {
    fn references(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(|place| place.as_str()).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    for document in documents().unwrap() {
        let value: serde_json::Value = serde_json::from_str(&document.text).unwrap();
        let mut found = BTreeSet::new();
        references(&value, &mut found);
        assert!(found.len() > 10);
        for place in &found {
            let pointer = place.strip_prefix('#').unwrap();
            assert!(value.pointer(pointer).is_some(), "{}: {place}", document.name);
        }
        for name in value["components"]["schemas"].as_object().unwrap().keys() {
            let Json::Object(reference) = component(name) else { panic!() };
            let Json::Text(place) = &reference[0].1 else { panic!() };
            assert!(found.contains(place.as_ref()), "{}: {name} is used nowhere", document.name);
        }
    }
}

fn expected(topic: &Topic, who: &Party, action: Action, id: &str) -> Rule {
    let side = if action == Action::Publish { topic.publishes } else { topic.hears };
    let is_app = who.kind() == PartyKind::App;
    match side {
        Who::Itself(kind) if kind == who.kind() && id == who.id() => {
            let to_hub = action == Action::Publish && topic.hears == Who::Hub;
            if to_hub { Rule::ToHub } else { Rule::Allowed }
        }
        Who::Owner if is_app => Rule::IfOwnerOf(id.parse().unwrap()),
        Who::Friends if id == who.id() => Rule::Allowed,
        Who::Friends => Rule::IfFriendOf(id.parse().unwrap()),
        Who::Members => Rule::IfMemberOf(id.parse().unwrap()),
        Who::Hub | Who::Itself(_) | Who::Owner => Rule::Forbidden,
    }
}

/// The levels of an address without its parameters: room, door, and whether something follows.
fn place(address: &str) -> (String, Option<String>, bool) {
    let mut levels = address.splitn(4, '/');
    let (room, _) = (levels.next().unwrap(), levels.next().unwrap());
    let door = levels.next().filter(|door| !door.starts_with('{'));
    (room.into(), door.map(str::to_owned), levels.next().is_some())
}

#[test]
fn the_topics_are_those_that_the_permissions_know() {
    let parties = [Party::Toy(ME.parse().unwrap()), Party::User(ME.parse().unwrap())];
    let doors = ["in", "out", "voice", "file", "state", "cmd", "x"];
    let mut met = BTreeSet::new();
    for room in ["toy", "app", "online", "chat", "hub"] {
        for (door, rest) in doors.iter().flat_map(|door| [(Some(door), ""), (Some(door), "/a/0")]).chain([(None, "")]) {
            for (who, id) in parties.iter().flat_map(|who| [(who, ME), (who, OTHER)]) {
                let address = format!("{room}/{id}{}{rest}", door.map(|door| format!("/{door}")).unwrap_or_default());
                let topic = TOPICS.iter().find(|topic| place(topic.address) == place(&address));
                met.extend(topic.map(|topic| topic.key));
                for action in [Action::Publish, Action::Subscribe] {
                    let expected = topic.map_or(Rule::Forbidden, |topic| expected(topic, who, action, id));
                    assert_eq!(rule(who, action, &address), expected, "{who} {action:?} {address}");
                }
            }
        }
    }
    assert_eq!(met.len(), TOPICS.len());
    assert!(TOPICS.iter().any(|topic| topic.payload == Payload::Presence));
}
