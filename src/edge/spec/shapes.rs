//! What the hub answers and tells, as schemas: the other side of `wire`. Each object is closed, so that a field that
//! is not described here fails the tests.

use super::codes;
use super::schema::{
    Property, closed, component, device_key, either, exactly, file, from, id, list, map, may, must, one_of, or_null,
    party_kind, seconds, secret, text, truth, whole,
};
use crate::edge::wire::Json;
use crate::model::{MessageState, ToyCommand};

/// All schemas that both documents refer to, by their names.
pub(super) fn components() -> Vec<(&'static str, Json)> {
    vec![
        ("Nothing", closed(vec![])),
        ("Failure", failure(vec![])),
        ("FailureData", failure_data()),
        ("Friend", closed(friend())),
        ("ToysFriend", closed(friend_of_toy())),
        ("Toy", closed(toy())),
        ("UnreadCounts", unread_counts()),
        ("Content", closed(content())),
        ("Message", closed(message())),
        ("ChatMessage", closed(message_of_chat())),
        ("UnheardMessage", closed(unheard_message())),
        ("FriendRequest", closed(friend_request())),
        ("OpenedToy", opened_toy()),
        ("AiAnswer", ai_answer()),
    ]
}

/// `{}`
pub(super) fn nothing() -> Json {
    component("Nothing")
}

/// The answer of a call that failed; `head` are the fields before `code`.
pub(super) fn failure(head: Vec<Property>) -> Json {
    let mut fields = head;
    fields.extend([
        must("code", codes::failures(), ""),
        must("msg", text(), "What to mend, in words for a person."),
        must("data", component("FailureData"), ""),
    ]);
    closed(fields)
}

fn failure_data() -> Json {
    closed(vec![
        may("toy_id", id(), "Of code 2: the toy that the device is."),
        may("first_missing", whole(), "Of code 30: the first chunk that has not come."),
        may("seq", whole(), "Of code 29: the number of the newest event."),
    ])
}

/// The answer of a call that succeeded.
pub(super) fn success(head: Vec<Property>, msg: &'static str, data: Json) -> Json {
    let mut fields = head;
    fields.extend([must("code", exactly(0), ""), must("msg", exactly(msg), ""), must("data", data, "")]);
    closed(fields)
}

/// What `/login` and `/auto_login` have in common.
pub(super) fn profile() -> Vec<Property> {
    vec![
        must("_id", id(), "The user."),
        must("username", text(), "The name to log in with."),
        must("gender", text(), "\"1\" or \"2\", as it was registered."),
        must("nickname", text(), "The name that others see."),
        must("avatar", file(), "A picture of /get_image/."),
        must("friend_list", list(component("Friend")), "The address book."),
        must("bind_toy", list(id()), "The user's toys."),
    ]
}

/// What `/login` answers.
pub(super) fn login() -> Json {
    let token = must("token", secret(), "For `Authorization: Bearer`, /ws and MQTT. Added.");
    closed(profile().into_iter().chain([token]).collect())
}

/// What `/auto_login` answers.
pub(super) fn auto_login() -> Json {
    closed(profile().into_iter().chain([must("chat", component("UnreadCounts"), "")]).collect())
}

fn unread_counts() -> Json {
    let total = must("count", whole(), "All unread messages.");
    closed(vec![total])
        .with("patternProperties", map([("^[0-9a-f]{24}$", from(1))]))
        .with("description", "How many messages wait: in all, and under each sender's id.")
}

fn friend() -> Vec<Property> {
    vec![
        must("friend_id", id(), "The friend, a user or a toy."),
        must("friend_nick", text(), "The name that the friend bears; of a toy the child's."),
        must("friend_remark", text(), "The name that the owner of the address book gave."),
        must("friend_avatar", file(), "A picture of /get_image/."),
        must("friend_chat", id(), "The chat of the two."),
        must("friend_type", party_kind(), "The friend's kind."),
        must("unread", whole(), "Messages of this friend that wait. Added."),
    ]
}

fn friend_of_toy() -> Vec<Property> {
    vec![
        must("friend_nickname", text(), "The name that the friend bears."),
        must("friend_avatar", file(), "A picture of /get_image/."),
        must("friend_remark", text(), "What the toy calls the friend."),
        must("friend_chat", id(), "The chat of the two."),
        must("friend_id", id(), "The friend. Added."),
        must("friend_nick", text(), "As friend_nickname. Added."),
        must("friend_type", party_kind(), "The friend's kind. Added."),
        must("unread", whole(), "Messages of this friend that wait for the toy. Added."),
    ]
}

fn toy() -> Vec<Property> {
    vec![
        must("_id", id(), "The toy."),
        must("device_key", device_key(), "The device that it runs on."),
        must("bind_user", id(), "Its owner."),
        must("toy_name", text(), "Its name."),
        must("avatar", file(), "A picture of /get_image/."),
        must("baby_name", text(), "The child's name."),
        must("gender", text(), "As the owner's."),
        must("friend_list", list(component("ToysFriend")), "Its address book."),
    ]
}

fn content() -> Vec<Property> {
    vec![
        must("_id", id(), ""),
        must("music", file(), "The sound, of /get_music/."),
        must("cover", file(), "The picture, of /get_image/."),
        must("title", text(), ""),
    ]
}

fn message() -> Vec<Property> {
    vec![
        must("from_user", id(), "Who sent it."),
        must("message", file(), "The recording, of /get_chat/."),
        must("create_time", seconds(), "When it was accepted, in seconds since 1970."),
        must("_id", id(), "To drop repeats by. Added."),
    ]
}

fn message_of_chat() -> Vec<Property> {
    let seq = must("seq", from(1), "Its number in the chat, for `before_seq`. Added.");
    message().into_iter().chain([must("state", message_state(), "How far it has come. Added."), seq]).collect()
}

fn message_state() -> Json {
    one_of([MessageState::Sent, MessageState::Delivered, MessageState::Heard].map(MessageState::as_str))
}

fn notice() -> Property {
    must("notice", or_null(file()), "A spoken \"you have a message from …\", of /get_chat/; or null.")
}

fn unheard_message() -> Vec<Property> {
    message().into_iter().chain([must("chat_id", id(), "The chat that it stands in."), notice()]).collect()
}

/// What `unread` answers.
pub(super) fn unread() -> Json {
    closed(vec![
        must("chat", component("UnreadCounts"), ""),
        must("messages", list(component("UnheardMessage")), "The oldest that wait, oldest first."),
    ])
}

fn friend_request() -> Vec<Property> {
    vec![
        must("_id", id(), "The `req_id` of /acc_req and /ref_req. Added."),
        must("req_user", id(), "Who asks."),
        must("add_user", id(), "Who is asked: the user, or a toy of the user."),
        must("type", party_kind(), "The kind of who asks."),
        must("req_info", text(), "The words sent along."),
        must("remark", text(), "What the asker calls who is asked."),
        must("avatar", file(), "The asker's picture, of /get_image/."),
        must("nickname", text(), "The asker's name."),
        must("status", Json::object([("enum", vec![0.into(), 1.into(), 2.into()].into())]), STATUS),
        must("toy_name", text(), "The name of who is asked."),
    ]
}

const STATUS: &str = "0: not answered; 1: accepted; 2: refused.";

/// What the two uploaders of messages answer.
pub(super) fn uploaded() -> Json {
    closed(vec![
        must("filename", file(), "To a toy: what it plays first, of /get_chat/. To an app: the recording."),
        must("friend_type", party_kind(), "The receiver's kind."),
        must("_id", id(), "The message, as its receipts name it. Added."),
    ])
}

/// What `/scan_qr` answers.
pub(super) fn scanned() -> Json {
    closed(vec![must("device_key", device_key(), "A device that can be bound.")])
}

/// What `/ticket` answers.
pub(super) fn ticket() -> Json {
    closed(vec![must("ticket", secret(), "Opens /ws?ticket=… once, and soon.")])
}

/// What `upload_state` answers.
pub(super) fn upload_state() -> Json {
    closed(vec![
        must("received", whole(), "Chunks that have come."),
        must("first_missing", whole(), "The first that has not."),
        must("finished", truth(), "Whether a request has used the recording."),
    ])
}

/// What `get_file` answers.
pub(super) fn file_sent() -> Json {
    closed(vec![
        must("size", whole(), "The bytes of the whole file."),
        must("chunk_bytes", from(1), "The bytes of a chunk; the last one is shorter."),
        must("chunks", whole(), "The chunks of the whole file."),
        must("sent", whole(), "The chunks that were sent."),
    ])
}

fn opened_toy() -> Json {
    either(vec![
        closed(vec![
            must("code", exactly(0), ""),
            must("music", exactly("Success.mp3"), "What to play, of /get_music/."),
            must("toy_id", id(), "The toy that the device is."),
            must("name", text(), "The toy's name."),
            may("token", secret(), "Missing where the toy uses tokens and came without one. Added."),
        ]),
        closed(vec![must("code", exactly(1), ""), must("music", exactly("Nobind.mp3"), "No such device.")]),
        closed(vec![must("code", exactly(2), ""), must("music", exactly("Nolic.mp3"), "Nobody's toy yet.")]),
    ])
}

fn ai_answer() -> Json {
    either(vec![
        closed(vec![must("from_user", exactly("ai"), ""), must("music", file(), "To play, of /get_music/.")]),
        closed(vec![must("from_user", exactly("ai"), ""), must("chat", file(), "A spoken reply, of /get_chat/.")]),
        closed(vec![
            must("from_user", id(), "The friend for whom the next recording is."),
            must("chat", file(), "What to play first, of /get_chat/."),
            must("friend_type", party_kind(), "The friend's kind."),
        ]),
    ])
}

/// What a party is told, by its `type`, without `type` and `seq`.
pub(super) fn events() -> [(&'static str, &'static str, Json); 7] {
    let event = |name: &'static str, about, fields: Vec<Property>| {
        let seq =
            may("seq", from(1), "Its number among the user's events. Missing at toys, and of what is told again.");
        let head = [must("type", exactly(name), ""), seq];
        (name, about, closed(head.into_iter().chain(fields).collect()))
    };
    let friend = |about| [must("friend_id", id(), about), must("friend_type", party_kind(), "The friend's kind.")];
    let sender = || [must("from_user", id(), "Who sent it."), must("friend_type", party_kind(), "The sender's kind.")];
    let chat = || must("chat_id", id(), "The chat of the two.");
    let [from_user, friend_type] = sender();
    let [played_by, player_type] = sender();
    let [new_friend, new_friend_type] = friend("The new friend.");
    let play = vec![
        must("type", exactly("play"), ""),
        played_by,
        player_type,
        may("music", file(), "To play, of /get_music/. Either this or `chat`."),
        may("chat", file(), "To play, of /get_chat/."),
    ];
    let command = vec![
        must("type", exactly("command"), ""),
        must("command", one_of([ToyCommand::Stop, ToyCommand::Louder, ToyCommand::Softer].map(ToyCommand::as_str)), ""),
    ];
    let message = vec![
        must("_id", id(), "To drop repeats by."),
        from_user,
        friend_type,
        must("chat", file(), "The recording, of /get_chat/."),
        chat(),
        must("create_time", seconds(), "When it was accepted, in seconds since 1970."),
        notice(),
    ];
    let request = vec![
        must("_id", id(), "The `req_id` of acc_req and ref_req."),
        must("req_user", id(), "Who asks."),
        must("add_user", id(), "Who is asked: the user, or a toy of the user."),
        must("kind", party_kind(), "The kind of who asks."),
    ];
    let receipt = vec![
        must("state", one_of([MessageState::Delivered, MessageState::Heard].map(MessageState::as_str)), ""),
        must("_id", id(), "The newest message that has come as far; so have those before it."),
        chat(),
        must("by", id(), "The receiver."),
        must("friend_type", party_kind(), "The receiver's kind."),
    ];
    let read = vec![
        must("friend_id", id(), "Whose messages were heard."),
        chat(),
        must("unread", whole(), "How many of that friend still wait."),
    ];
    [
        event("message", "A voice message waits.", message),
        ("play", "A friend has this party play a sound, now.", closed(play)),
        ("command", "The child has told this toy to do something, now.", closed(command)),
        event("friend_request", "Somebody asks to be a friend.", request),
        event("friend_added", "The address book has a new entry.", vec![new_friend, new_friend_type, chat()]),
        event("receipt", "Messages of this party have come further.", receipt),
        event("read", "A device of this party has heard messages.", read),
    ]
}
