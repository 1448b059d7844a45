use std::collections::BTreeSet;

use super::topics::{Payload, TOPICS, Topic, Who};
use super::*;
use crate::domain::permissions::{Action, Rule, rule};
use crate::model::{Party, PartyKind};

const ME: &str = "5c8f582f268d7942f44c6703";
const OTHER: &str = "5c8f5853268d7942f44c6705";

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
            let place = format!("#/components/schemas/{name}");
            assert!(found.contains(&place), "{}: {name} is used nowhere", document.name);
        }
    }
}

fn expected(topic: &Topic, who: &Party, action: Action, id: &str) -> Rule {
    let side = if action == Action::Publish { topic.publishes } else { topic.subscribes };
    let is_app = who.kind() == PartyKind::App;
    match side {
        Who::Itself(kind) if kind == who.kind() && id == who.id() => {
            let to_hub = action == Action::Publish && topic.subscribes == Who::Hub;
            if to_hub { Rule::ToHub } else { Rule::Allowed }
        }
        Who::Owner if is_app => Rule::IfOwnerOf(id.parse().unwrap()),
        Who::Friends if id == who.id() => Rule::Allowed,
        Who::Friends => Rule::IfFriendOf(id.parse().unwrap()),
        Who::Members => Rule::IfMemberOf(id.parse().unwrap()),
        Who::Hub | Who::Itself(_) | Who::Owner => Rule::Forbidden,
    }
}

/// The levels of an address without its parameters: root, channel, and whether something follows.
fn place(address: &str) -> (String, Option<String>, bool) {
    let mut levels = address.splitn(4, '/');
    let (root, _) = (levels.next().unwrap(), levels.next().unwrap());
    let channel = levels.next().filter(|channel| !channel.starts_with('{'));
    (root.into(), channel.map(str::to_owned), levels.next().is_some())
}

#[test]
fn the_topics_are_those_that_the_permissions_know() {
    let parties = [Party::Toy(ME.parse().unwrap()), Party::User(ME.parse().unwrap())];
    let channels = ["in", "out", "voice", "file", "state", "cmd", "x"];
    let mut met = BTreeSet::new();
    for root in ["toy", "app", "online", "chat", "hub"] {
        for (channel, rest) in
            channels.iter().flat_map(|channel| [(Some(channel), ""), (Some(channel), "/a/0")]).chain([(None, "")])
        {
            for (who, id) in parties.iter().flat_map(|who| [(who, ME), (who, OTHER)]) {
                let address =
                    format!("{root}/{id}{}{rest}", channel.map(|channel| format!("/{channel}")).unwrap_or_default());
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
