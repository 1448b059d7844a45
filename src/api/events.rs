//! The events that the hub publishes on the inboxes of users and toys.

use serde_json::Value;

use super::answer::{
    Command, File, Id, Kind, Link, Nullable, Object, Positive, ReceiptState, ReminderWord, Shape, answer, words,
};
use super::schema::Components;
use crate::domain::LinksOf;
use crate::model::{Event, FileName, PlayedSound, Timestamp};

words! {
    IsMessage = "message";
    IsPlay = "play";
    IsCommand = "command";
    IsReminder = "reminder";
    IsFriendRequest = "friend_request";
    IsFriendAdded = "friend_added";
    IsFriendRemoved = "friend_removed";
    IsToyWantsIn = "toy_wants_in";
    IsToyOpened = "toy_opened";
    IsReceipt = "receipt";
    IsRead = "read";
    IsErased = "erased";
}

answer! {
    /// There is a new voice message.
    struct Message {
        is as "type": IsMessage,
        /// The event's number in the user's stream. Absent for toys, and in events that are sent again.
        seq: Option<Positive>,
        /// The message's id, by which receivers drop duplicates.
        id as "_id": Id,
        /// The sender.
        from_user: Id,
        /// The sender's kind.
        friend_type: Kind,
        /// The recording, of /get_chat/.
        chat: File,
        /// The chat of the two parties.
        chat_id: Id,
        /// When it was accepted, in seconds since 1970.
        create_time: Timestamp,
        /// A spoken "you have a message from …", of /get_chat/; or null.
        notice: Nullable<File>,
        /// A link to the recording for players. Added.
        url: Option<Link>,
        /// A link to the notice for players. Added.
        notice_url: Option<Link>,
    }
}

answer! {
    /// A friend asks this party to play a sound now.
    struct Play {
        is as "type": IsPlay,
        /// The sender.
        from_user: Id,
        /// The sender's kind.
        friend_type: Kind,
        /// The sound to play, of /get_music/. Either this or `chat` is present.
        music: Option<File>,
        /// The sound to play, of /get_chat/.
        chat: Option<File>,
        /// A link to `chat` for players. Added.
        url: Option<Link>,
    }
}

answer! {
    /// The child gave this toy a command.
    struct Order {
        is as "type": IsCommand,
        command: Command,
    }
}

answer! {
    /// A reminder, an alarm or a timer that the child asked for is due.
    struct Reminder {
        is as "type": IsReminder,
        /// Its id, by which a toy drops duplicates.
        id as "_id": Id,
        kind: ReminderWord,
        /// What the child wants to be reminded of, as it was recognised. May be empty.
        words: String,
        /// When it was due, in seconds since 1970. A toy that was offline or resting is sent it later.
        due: Timestamp,
        /// What to play, of /get_chat/; or null.
        sound: Nullable<File>,
        /// A link to the sound for players.
        url: Option<Link>,
    }
}

answer! {
    /// There is a new friend request.
    struct FriendRequest {
        is as "type": IsFriendRequest,
        /// The event's number in the user's stream. Absent for toys, and in events that are sent again.
        seq: Option<Positive>,
        /// The `req_id` of acc_req and ref_req.
        id as "_id": Id,
        /// The requester.
        req_user: Id,
        /// The recipient: the user or a toy of the user; or another party, if a toy of the user is the requester.
        add_user: Id,
        /// The requester's kind.
        kind: Kind,
    }
}

answer! {
    /// The address book has a new entry.
    struct FriendAdded {
        is as "type": IsFriendAdded,
        /// The event's number in the user's stream. Absent for toys, and in events that are sent again.
        seq: Option<Positive>,
        /// The new friend.
        friend_id: Id,
        /// The friend's kind.
        friend_type: Kind,
        /// The chat of the two parties.
        chat_id: Id,
    }
}

answer! {
    /// The address book has lost an entry.
    struct FriendRemoved {
        is as "type": IsFriendRemoved,
        /// The event's number in the user's stream. Absent for toys, and in events that are sent again.
        seq: Option<Positive>,
        /// The former friend.
        friend_id: Id,
        /// The former friend's kind.
        friend_type: Kind,
        /// The former chat of the two parties.
        chat_id: Id,
    }
}

answer! {
    /// A toy of this user was refused at an unknown address. `let_in` allows it to open there once.
    struct ToyWantsIn {
        is as "type": IsToyWantsIn,
        /// The event's number in the user's stream. Absent in events that are sent again.
        seq: Option<Positive>,
        /// The toy.
        toy_id: Id,
        /// The address, or the first address of an IPv6 network.
        place: String,
    }
}

answer! {
    /// A toy of this user was opened at a new address, by its device key alone. If it was not opened by the family,
    /// `let_in` revokes the opening.
    struct ToyOpened {
        is as "type": IsToyOpened,
        /// The event's number in the user's stream. Absent in events that are sent again.
        seq: Option<Positive>,
        /// The toy.
        toy_id: Id,
        /// The address, or the first address of an IPv6 network.
        place: String,
    }
}

answer! {
    /// Messages that this party sent were delivered or read.
    struct Receipt {
        is as "type": IsReceipt,
        /// The event's number in the user's stream. Absent for toys, and in events that are sent again.
        seq: Option<Positive>,
        state: ReceiptState,
        /// The newest message in this state. All messages before it have reached the state, too.
        up_to as "_id": Id,
        /// The chat of the two parties.
        chat_id: Id,
        /// The receiver.
        by: Id,
        /// The receiver's kind.
        friend_type: Kind,
    }
}

answer! {
    /// A device of this party marked messages as read.
    struct Read {
        is as "type": IsRead,
        /// The event's number in the user's stream. Absent for toys, and in events that are sent again.
        seq: Option<Positive>,
        /// The sender of the messages that were read.
        friend_id: Id,
        /// The chat of the two parties.
        chat_id: Id,
        /// The number of messages of that friend that are still unread.
        unread: u64,
    }
}

answer! {
    /// Data was erased. The client loads friends, toys and chats again.
    struct Erased {
        is as "type": IsErased,
        /// The event's number in the user's stream. Absent for toys, and in events that are sent again.
        seq: Option<Positive>,
    }
}

/// An event as the documents describe it.
pub struct Described {
    /// Its `type`.
    pub name: &'static str,
    /// A description of one sentence.
    pub about: &'static str,
    /// Its schema.
    pub schema: fn(&mut Components) -> Value,
}

/// All events.
pub const EVENTS: [Described; 12] = [
    Described { name: "message", about: Message::ABOUT, schema: Message::schema },
    Described { name: "play", about: Play::ABOUT, schema: Play::schema },
    Described { name: "command", about: Order::ABOUT, schema: Order::schema },
    Described { name: "reminder", about: Reminder::ABOUT, schema: Reminder::schema },
    Described { name: "friend_request", about: FriendRequest::ABOUT, schema: FriendRequest::schema },
    Described { name: "friend_added", about: FriendAdded::ABOUT, schema: FriendAdded::schema },
    Described { name: "friend_removed", about: FriendRemoved::ABOUT, schema: FriendRemoved::schema },
    Described { name: "toy_wants_in", about: ToyWantsIn::ABOUT, schema: ToyWantsIn::schema },
    Described { name: "toy_opened", about: ToyOpened::ABOUT, schema: ToyOpened::schema },
    Described { name: "receipt", about: Receipt::ABOUT, schema: Receipt::schema },
    Described { name: "read", about: Read::ABOUT, schema: Read::schema },
    Described { name: "erased", about: Erased::ABOUT, schema: Erased::schema },
];

/// The JSON text of an event. `seq` is its number in the user's stream; toys have no stream. With `links`, sounds have
/// links for players, which are valid from that time on.
pub fn encode(event: &Event, seq: Option<u64>, links: Option<(&LinksOf, Timestamp)>) -> Vec<u8> {
    let seq = seq.map(Positive);
    let link = |name: &FileName| links.map(|(links, now)| Link::of(name, links, now));
    match event {
        Event::Message { id, from, chat, sound, notice, created_at } => write(&Message {
            is: IsMessage,
            seq,
            id: id.into(),
            from_user: from.into(),
            friend_type: Kind(from.kind()),
            chat: sound.into(),
            chat_id: chat.into(),
            create_time: *created_at,
            notice: Nullable(notice.as_ref().map(File::from)),
            url: link(sound),
            notice_url: notice.as_ref().and_then(link),
        }),
        Event::Play { from, sound } => {
            let (music, chat, url) = match sound {
                PlayedSound::Music(name) => (Some(name.into()), None, None),
                PlayedSound::Chat(name) => (None, Some(name.into()), link(name)),
            };
            write(&Play { is: IsPlay, from_user: from.into(), friend_type: Kind(from.kind()), music, chat, url })
        }
        Event::Command(command) => write(&Order { is: IsCommand, command: Command(*command) }),
        Event::Reminder { id, kind, words, due, sound } => write(&Reminder {
            is: IsReminder,
            id: id.into(),
            kind: ReminderWord(*kind),
            words: words.0.clone(),
            due: *due,
            sound: Nullable(sound.as_ref().map(File::from)),
            url: sound.as_ref().and_then(link),
        }),
        Event::FriendRequest { id, requester, requestee } => write(&FriendRequest {
            is: IsFriendRequest,
            seq,
            id: id.into(),
            req_user: requester.into(),
            add_user: requestee.into(),
            kind: Kind(requester.kind()),
        }),
        Event::FriendAdded { friend, chat } => write(&FriendAdded {
            is: IsFriendAdded,
            seq,
            friend_id: friend.into(),
            friend_type: Kind(friend.kind()),
            chat_id: chat.into(),
        }),
        Event::FriendRemoved { friend, chat } => write(&FriendRemoved {
            is: IsFriendRemoved,
            seq,
            friend_id: friend.into(),
            friend_type: Kind(friend.kind()),
            chat_id: chat.into(),
        }),
        Event::ToyWantsIn { toy, place } => {
            write(&ToyWantsIn { is: IsToyWantsIn, seq, toy_id: toy.into(), place: place.clone() })
        }
        Event::ToyOpened { toy, place } => {
            write(&ToyOpened { is: IsToyOpened, seq, toy_id: toy.into(), place: place.clone() })
        }
        Event::Receipt { state, up_to, chat, by } => write(&Receipt {
            is: IsReceipt,
            seq,
            state: ReceiptState(*state),
            up_to: up_to.into(),
            chat_id: chat.into(),
            by: by.into(),
            friend_type: Kind(by.kind()),
        }),
        Event::Erased => write(&Erased { is: IsErased, seq }),
        Event::Read { friend, chat, unread } => {
            write(&Read { is: IsRead, seq, friend_id: friend.into(), chat_id: chat.into(), unread: *unread })
        }
    }
}

fn write<S: Shape>(event: &S) -> Vec<u8> {
    // Writing to memory does not fail, and all keys are texts.
    serde_json::to_vec(event).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChildWords, MessageState, Party, ReminderKind, ToyCommand};

    const ID: &str = "5c8f582f268d7942f44c6703";

    fn text(event: &Event, seq: Option<u64>) -> String {
        String::from_utf8(encode(event, seq, None)).unwrap()
    }

    /// One event of each variant. A variant that is not listed here fails to compile.
    fn all() -> Vec<Event> {
        let (toy, chat) = (|| Party::Toy("5c8f5853268d7942f44c6705".parse().unwrap()), || ID.parse().unwrap());
        let all = vec![
            Event::Message {
                id: ID.parse().unwrap(),
                from: toy(),
                chat: chat(),
                sound: "a.mp3".parse().unwrap(),
                notice: None,
                created_at: 1_552_898_225.274_415_7,
            },
            Event::Play { from: toy(), sound: PlayedSound::Music("a.mp3".parse().unwrap()) },
            Event::Command(ToyCommand::Stop),
            Event::Reminder {
                id: ID.parse().unwrap(),
                kind: ReminderKind::Alarm,
                words: ChildWords("feed the cat".into()),
                due: 1_552_898_225.5,
                sound: None,
            },
            Event::FriendRequest { id: ID.parse().unwrap(), requester: toy(), requestee: toy() },
            Event::FriendAdded { friend: toy(), chat: chat() },
            Event::FriendRemoved { friend: toy(), chat: chat() },
            Event::ToyWantsIn { toy: "5c8f5853268d7942f44c6705".parse().unwrap(), place: "203.0.113.7".into() },
            Event::ToyOpened { toy: "5c8f5853268d7942f44c6705".parse().unwrap(), place: "203.0.113.7".into() },
            Event::Receipt { state: MessageState::Heard, up_to: ID.parse().unwrap(), chat: chat(), by: toy() },
            Event::Read { friend: toy(), chat: chat(), unread: 3 },
            Event::Erased,
        ];
        let place = |event: &Event| match event {
            Event::Message { .. } => 0,
            Event::Play { .. } => 1,
            Event::Command(_) => 2,
            Event::Reminder { .. } => 3,
            Event::FriendRequest { .. } => 4,
            Event::FriendAdded { .. } => 5,
            Event::FriendRemoved { .. } => 6,
            Event::ToyWantsIn { .. } => 7,
            Event::ToyOpened { .. } => 8,
            Event::Receipt { .. } => 9,
            Event::Read { .. } => 10,
            Event::Erased => 11,
        };
        assert_eq!(all.iter().map(place).collect::<Vec<_>>(), (0..EVENTS.len()).collect::<Vec<_>>());
        all
    }

    #[test]
    fn the_json_of_every_event_is_unchanged() {
        let (toy, from) = ("5c8f5853268d7942f44c6705", r#""5c8f5853268d7942f44c6705","friend_type":"toy""#);
        let expected = [
            format!(
                r#"{{"type":"message","seq":9,"_id":"{ID}","from_user":{from},"chat":"a.mp3","chat_id":"{ID}","create_time":1552898225.2744157,"notice":null}}"#
            ),
            format!(r#"{{"type":"play","from_user":{from},"music":"a.mp3"}}"#),
            r#"{"type":"command","command":"stop"}"#.to_owned(),
            format!(
                r#"{{"type":"reminder","_id":"{ID}","kind":"alarm","words":"feed the cat","due":1552898225.5,"sound":null}}"#
            ),
            format!(
                r#"{{"type":"friend_request","seq":9,"_id":"{ID}","req_user":"{toy}","add_user":"{toy}","kind":"toy"}}"#
            ),
            format!(r#"{{"type":"friend_added","seq":9,"friend_id":{from},"chat_id":"{ID}"}}"#),
            format!(r#"{{"type":"friend_removed","seq":9,"friend_id":{from},"chat_id":"{ID}"}}"#),
            format!(r#"{{"type":"toy_wants_in","seq":9,"toy_id":"{toy}","place":"203.0.113.7"}}"#),
            format!(r#"{{"type":"toy_opened","seq":9,"toy_id":"{toy}","place":"203.0.113.7"}}"#),
            format!(r#"{{"type":"receipt","seq":9,"state":"heard","_id":"{ID}","chat_id":"{ID}","by":{from}}}"#),
            format!(r#"{{"type":"read","seq":9,"friend_id":"{toy}","chat_id":"{ID}","unread":3}}"#),
            r#"{"type":"erased","seq":9}"#.to_owned(),
        ];
        for (event, expected) in all().iter().zip(expected) {
            assert_eq!(text(event, Some(9)), expected);
            assert_eq!(text(event, None), expected.replace(r#","seq":9"#, ""));
        }
    }

    #[test]
    fn sounds_have_links_where_the_hub_makes_some() {
        let links = crate::domain::test_links("a secret", 2, Party::User(ID.parse().unwrap()));
        let (sound, notice): (FileName, FileName) = ("a.mp3".parse().unwrap(), "n.mp3".parse().unwrap());
        let mut all = all();
        let Event::Message { notice: of_message, .. } = &mut all[0] else { panic!("a message") };
        *of_message = Some(notice.clone());
        let from = Party::Toy("5c8f5853268d7942f44c6705".parse().unwrap());
        all.push(Event::Play { from, sound: PlayedSound::Chat(sound.clone()) });
        let linked: Vec<Value> = all
            .iter()
            .map(|event| serde_json::from_slice(&encode(event, None, Some((&links, 1000.0)))).unwrap())
            .collect();
        let (of_sound, of_notice) = (links.to(&sound, 1000.0), links.to(&notice, 1000.0));
        assert_eq!((&linked[0]["url"], &linked[0]["notice_url"]), (&of_sound.clone().into(), &of_notice.into()));
        assert_eq!(linked.last().unwrap()["url"], of_sound);
        assert!(linked[1].get("url").is_none(), "music needs none: {}", linked[1]);
    }

    #[test]
    fn each_event_is_described_under_its_type() {
        for (event, described) in all().iter().zip(&EVENTS) {
            let value: Value = serde_json::from_str(&text(event, None)).unwrap();
            assert_eq!(value["type"], described.name);
            let schema = (described.schema)(&mut Components::default());
            assert_eq!(schema["properties"]["type"]["const"], described.name);
        }
    }
}
