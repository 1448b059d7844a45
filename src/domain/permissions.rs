//! Permissions to publish and subscribe: one pure function over every topic of the hub.
//!
//! A filter must name its owner: the first two levels take no wildcard, so that
//! no filter can widen the permissions of a client.

use crate::model::{ChatId, Party, PartyId, ToyId};

/// A client's action on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Publish to it. A will is a publish, too.
    Publish,
    /// Subscribe to it.
    Subscribe,
}

/// The condition of a permission.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Permitted.
    Allowed,
    /// Forbidden.
    Forbidden,
    /// A request to the hub itself, which is not routed: an edge with requests handles it.
    ToHub,
    /// Permitted if this toy is bound to the user.
    IfOwnerOf(ToyId),
    /// Permitted if this party is a friend.
    IfFriendOf(PartyId),
    /// Permitted if the party belongs to the chat.
    IfMemberOf(ChatId),
}

/// The topic that even a guest may not subscribe to: conformance suites require one.
const FORBIDDEN_TO_GUESTS: &str = "test/nosubscribe";

/// The client of the conformance listener, which is on the loopback interface only: a toy with an id that is never
/// assigned.
pub fn guest() -> Party {
    Party::Toy(ToyId::nobody())
}

/// Whether this is the client of [`guest`].
#[inline]
pub fn is_guest(who: &Party) -> bool {
    matches!(who, Party::Toy(toy) if toy.is_nobody())
}

/// The permission of `who` for `action` on a topic or filter.
pub fn rule(who: &Party, action: Action, topic: &str) -> Rule {
    if is_guest(who) {
        let refused = action == Action::Subscribe && topic == FORBIDDEN_TO_GUESTS;
        return if refused { Rule::Forbidden } else { Rule::Allowed };
    }
    let mut levels = topic.splitn(4, '/');
    let (Some(root), Some(id)) = (levels.next(), levels.next()) else { return Rule::Forbidden };
    let (channel, rest) = (levels.next(), levels.next());
    match (root, channel, rest) {
        ("app" | "toy", Some(channel), rest) if root == who.kind().as_str() && id == who.id() => {
            own(who, action, channel, rest)
        }
        ("toy", Some(channel), Some(_)) => of_others_toy(who, action, id, channel),
        ("online", None, None) if action == Action::Subscribe => match id.parse::<PartyId>() {
            Ok(party) if party.as_str() == who.id() => Rule::Allowed,
            Ok(party) => Rule::IfFriendOf(party),
            Err(_) => Rule::Forbidden,
        },
        ("chat", None, None) => id.parse().map_or(Rule::Forbidden, Rule::IfMemberOf),
        _ => Rule::Forbidden,
    }
}

/// The topics of the client itself.
fn own(who: &Party, action: Action, channel: &str, rest: Option<&str>) -> Rule {
    match (action, channel, rest, who) {
        (Action::Subscribe, "in", None, _) | (Action::Subscribe, "file", Some(_), _) => Rule::Allowed,
        (Action::Publish, "out", None, _) | (Action::Publish, "voice", Some(_), _) => Rule::ToHub,
        (Action::Subscribe, "cmd", Some(_), Party::Toy(_)) => Rule::Allowed,
        (Action::Publish, "state", Some(_), Party::Toy(_)) => Rule::Allowed,
        _ => Rule::Forbidden,
    }
}

fn of_others_toy(who: &Party, action: Action, id: &str, channel: &str) -> Rule {
    let Ok(toy) = id.parse::<ToyId>() else { return Rule::Forbidden };
    match (action, channel, who) {
        (Action::Subscribe, "state", Party::User(_)) | (Action::Publish, "cmd", Party::User(_)) => Rule::IfOwnerOf(toy),
        _ => Rule::Forbidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "5c8f582f268d7942f44c6703";
    const OTHER: &str = "5c8f5853268d7942f44c6705";

    #[test]
    fn every_topic_of_the_design() {
        use Action::{Publish, Subscribe};
        use Rule::{Allowed, Forbidden, ToHub};
        let toy = Party::Toy(ME.parse().unwrap());
        let app = Party::User(ME.parse().unwrap());
        let owner = |id: &str| Rule::IfOwnerOf(id.parse().unwrap());
        let cases = [
            (&toy, Subscribe, format!("toy/{ME}/in"), Allowed),
            (&toy, Publish, format!("toy/{ME}/in"), Forbidden),
            (&toy, Subscribe, format!("toy/{OTHER}/in"), Forbidden),
            (&toy, Subscribe, format!("toy/{ME}/cmd/#"), Allowed),
            (&toy, Subscribe, format!("toy/{ME}/file/+/+"), Allowed),
            (&toy, Subscribe, format!("toy/{OTHER}/cmd/#"), Forbidden),
            (&toy, Subscribe, format!("toy/{ME}/state/#"), Forbidden),
            (&toy, Publish, format!("toy/{ME}/state/battery"), Allowed),
            (&toy, Publish, format!("toy/{OTHER}/state/battery"), Forbidden),
            (&toy, Publish, format!("toy/{ME}/cmd/volume"), Forbidden),
            (&toy, Subscribe, format!("app/{ME}/in"), Forbidden),
            (&toy, Publish, format!("toy/{ME}/out"), ToHub),
            (&toy, Subscribe, format!("toy/{ME}/out"), Forbidden),
            (&toy, Publish, format!("toy/{OTHER}/out"), Forbidden),
            (&toy, Publish, format!("app/{ME}/out"), Forbidden),
            (&toy, Publish, format!("toy/{ME}/voice/1/0"), ToHub),
            (&toy, Subscribe, format!("toy/{ME}/voice/#"), Forbidden),
            (&toy, Publish, format!("toy/{OTHER}/voice/1/0"), Forbidden),
            (&toy, Publish, format!("toy/{ME}/file/a.mp3/0"), Forbidden),
            (&app, Publish, format!("toy/{OTHER}/out"), Forbidden),
            (&app, Subscribe, format!("toy/{OTHER}/voice/#"), Forbidden),
            (&app, Subscribe, format!("toy/{OTHER}/file/#"), Forbidden),
            (&app, Publish, format!("app/{ME}/out"), ToHub),
            (&app, Publish, format!("app/{ME}/voice/1/0"), ToHub),
            (&app, Subscribe, format!("app/{ME}/file/+/+"), Allowed),
            (&app, Subscribe, format!("app/{OTHER}/file/+/+"), Forbidden),
            (&app, Publish, format!("app/{ME}/state/x"), Forbidden),
            (&app, Subscribe, format!("app/{ME}/cmd/#"), Forbidden),
            (&app, Subscribe, format!("app/{ME}/in"), Allowed),
            (&app, Subscribe, format!("app/{OTHER}/in"), Forbidden),
            (&app, Publish, format!("app/{ME}/in"), Forbidden),
            (&app, Subscribe, format!("toy/{ME}/in"), Forbidden),
            (&app, Subscribe, format!("toy/{OTHER}/state/#"), owner(OTHER)),
            (&app, Publish, format!("toy/{OTHER}/cmd/volume"), owner(OTHER)),
            (&app, Publish, format!("toy/{OTHER}/state/battery"), Forbidden),
            (&app, Subscribe, format!("toy/{OTHER}/cmd/#"), Forbidden),
            (&app, Subscribe, format!("online/{OTHER}"), Rule::IfFriendOf(OTHER.parse().unwrap())),
            (&app, Subscribe, format!("online/{ME}"), Allowed),
            (&app, Publish, format!("online/{ME}"), Forbidden),
            (&app, Publish, format!("chat/{OTHER}"), Rule::IfMemberOf(OTHER.parse().unwrap())),
            (&toy, Subscribe, format!("chat/{OTHER}"), Rule::IfMemberOf(OTHER.parse().unwrap())),
        ];
        for (who, action, topic, expected) in cases {
            assert_eq!(rule(who, action, &topic), expected, "{who} {action:?} {topic}");
        }
    }

    #[test]
    fn no_wildcard_and_no_odd_topic_widens_anything() {
        let odd = [
            "#", "+/#", "toy/#", "toy/+/in", "+/+/in", "toy/+/#", "online/+", "online/#", "chat/+", "chat/#", "app/#",
            "app/+/in", "$SYS/#", "", "/", "toy", "toy/", "你好", "toy//in",
        ];
        let own = [format!("toy/{ME}/#"), format!("toy/{ME}/+"), format!("toy/{ME}/in/#"), format!("toy/{ME}")];
        for who in [Party::Toy(ME.parse().unwrap()), Party::User(ME.parse().unwrap())] {
            for topic in odd.into_iter().chain(own.iter().map(String::as_str)) {
                for action in [Action::Publish, Action::Subscribe] {
                    assert_eq!(rule(&who, action, topic), Rule::Forbidden, "{who} {action:?} {topic}");
                }
            }
        }
    }
}
