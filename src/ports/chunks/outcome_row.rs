//! The stored form of the outcome of a recording: JSON, which is not sent to clients.

use serde::{Deserialize, Serialize};

use crate::model::{Answer, FileName, Malformed, Outcome, Party, PartyId, PartyKind, Sent};

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Row {
    Sent { message: String, sound: String, notice: Option<String>, to_toy: bool },
    Music { sound: String },
    Reply { sound: String },
    StartMessage { friend: String, is_toy: bool, prompt: String },
}

/// The content of the file.
pub(super) fn write(outcome: &Outcome) -> Vec<u8> {
    let is_toy = |kind: PartyKind| kind == PartyKind::Toy;
    let row = match outcome {
        Outcome::Sent(Sent { message, sound, notice, receiver }) => Row::Sent {
            message: message.to_string(),
            sound: sound.to_string(),
            notice: notice.as_ref().map(FileName::to_string),
            to_toy: is_toy(*receiver),
        },
        Outcome::Answered(Answer::Music(sound)) => Row::Music { sound: sound.to_string() },
        Outcome::Answered(Answer::Reply(sound)) => Row::Reply { sound: sound.to_string() },
        Outcome::Answered(Answer::StartMessage { friend, prompt }) => Row::StartMessage {
            friend: friend.id().to_owned(),
            is_toy: is_toy(friend.kind()),
            prompt: prompt.to_string(),
        },
    };
    // Writing to memory does not fail.
    serde_json::to_vec(&row).unwrap_or_default()
}

/// Parses the file; none if another version of the hub has written it.
pub(super) fn read(content: &[u8]) -> Option<Outcome> {
    outcome(serde_json::from_slice(content).ok()?).ok()
}

fn outcome(row: Row) -> Result<Outcome, Malformed> {
    let kind = |is_toy| if is_toy { PartyKind::Toy } else { PartyKind::App };
    Ok(match row {
        Row::Sent { message, sound, notice, to_toy } => Outcome::Sent(Sent {
            message: message.parse()?,
            sound: sound.parse()?,
            notice: notice.map(|name| name.parse()).transpose()?,
            receiver: kind(to_toy),
        }),
        Row::Music { sound } => Outcome::Answered(Answer::Music(sound.parse()?)),
        Row::Reply { sound } => Outcome::Answered(Answer::Reply(sound.parse()?)),
        Row::StartMessage { friend, is_toy, prompt } => {
            let friend = Party::new(kind(is_toy), &friend.parse::<PartyId>()?);
            Outcome::Answered(Answer::StartMessage { friend, prompt: prompt.parse()? })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageId, ToyId, UserId};

    #[test]
    fn every_outcome_comes_back_as_it_was() {
        let sound = || FileName::random("mp3");
        let sent =
            |notice, receiver| Outcome::Sent(Sent { message: MessageId::random(), sound: sound(), notice, receiver });
        let begun = |friend| Outcome::Answered(Answer::StartMessage { friend, prompt: sound() });
        for outcome in [
            sent(None, PartyKind::App),
            sent(Some(sound()), PartyKind::Toy),
            Outcome::Answered(Answer::Music(sound())),
            Outcome::Answered(Answer::Reply(sound())),
            begun(ToyId::random().into()),
            begun(UserId::random().into()),
        ] {
            assert_eq!(read(&write(&outcome)), Some(outcome));
        }
    }

    #[test]
    fn other_rows_are_no_outcome() {
        let of_an_earlier_version = br#"{"filename":"a.mp3","friend_type":"app","_id":"5c8f5853268d7942f44c6705"}"#;
        let with_a_path = br#"{"outcome":"music","sound":"../a.mp3"}"#;
        for content in [&b""[..], b"{}", of_an_earlier_version, with_a_path] {
            assert_eq!(read(content), None, "{}", String::from_utf8_lossy(content));
        }
    }
}
