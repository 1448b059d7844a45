//! The topics of MQTT: the table of the permissions, with the payloads.

use crate::model::PartyKind;

/// The parties that publish or subscribe to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The hub.
    Hub,
    /// The toy or app of the topic.
    Itself(PartyKind),
    /// The owner of the toy.
    Owner,
    /// The party itself and its friends.
    Friends,
    /// The members of the chat.
    Members,
}

/// The payload of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// Events and answers.
    Inbox,
    /// Requests.
    Requests,
    /// A piece of a recording.
    VoiceChunk,
    /// A piece of a file.
    FileChunk,
    /// `1` or `0`.
    Presence,
    /// Any payload that the two sides agree on.
    Anything,
}

/// One kind of topic.
pub(super) struct Topic {
    /// Its name in the document.
    pub(super) key: &'static str,
    /// The levels, with parameters as `{…}`.
    pub(super) address: &'static str,
    pub(super) about: &'static str,
    pub(super) publishes: Who,
    pub(super) subscribes: Who,
    pub(super) payload: Payload,
}

const TOY: Who = Who::Itself(PartyKind::Toy);
const APP: Who = Who::Itself(PartyKind::App);

/// All of them.
pub(super) const TOPICS: [Topic; 12] = [
    topic("toyIn", "toy/{toyId}/in", Who::Hub, TOY, Payload::Inbox, "Events and answers for a toy."),
    topic("toyOut", "toy/{toyId}/out", TOY, Who::Hub, Payload::Requests, "Requests of a toy."),
    topic("toyVoice", "toy/{toyId}/voice/{upload}/{n}", TOY, Who::Hub, Payload::VoiceChunk, VOICE),
    topic("toyFile", "toy/{toyId}/file/{name}/{n}", Who::Hub, TOY, Payload::FileChunk, FILE),
    topic("toyState", "toy/{toyId}/state/{key}", TOY, Who::Owner, Payload::Anything, STATE),
    topic("toyCommand", "toy/{toyId}/cmd/{key}", Who::Owner, TOY, Payload::Anything, "Commands of its owner to a toy."),
    topic("appIn", "app/{userId}/in", Who::Hub, APP, Payload::Inbox, "Events and answers for a user."),
    topic("appOut", "app/{userId}/out", APP, Who::Hub, Payload::Requests, "Requests of a user."),
    topic("appVoice", "app/{userId}/voice/{upload}/{n}", APP, Who::Hub, Payload::VoiceChunk, VOICE),
    topic("appFile", "app/{userId}/file/{name}/{n}", Who::Hub, APP, Payload::FileChunk, FILE),
    topic("online", "online/{partyId}", Who::Hub, Who::Friends, Payload::Presence, ONLINE),
    topic("chat", "chat/{chatId}", Who::Members, Who::Members, Payload::Anything, CHAT),
];

const VOICE: &str = "A recording in chunks, from 0. A chunk is on disk when its PUBACK is sent.";
const FILE: &str = "A sound in the chunks that `get_file` requested.";
const STATE: &str =
    "State of a toy, such as battery and volume; retained if the toy requests it. `key` may have more levels.";
const ONLINE: &str = "Whether a party is connected; retained.";
const CHAT: &str = "Live messages between the members of a chat, such as typing and playing.";

const fn topic(
    key: &'static str,
    address: &'static str,
    publishes: Who,
    subscribes: Who,
    payload: Payload,
    about: &'static str,
) -> Topic {
    Topic { key, address, about, publishes, subscribes, payload }
}

/// The parameters of the addresses.
pub(super) const PARAMETERS: [(&str, &str); 8] = [
    ("toyId", "The id of a toy."),
    ("userId", "The id of a user."),
    ("partyId", "The id of a user or a toy."),
    ("chatId", "The id of a chat: `friend_chat` of the address book."),
    ("upload", "The sender's name of its recording: 1 to 32 letters, digits, `-` and `_`."),
    ("n", "The number of the chunk, from 0, in decimal digits."),
    ("name", "The name of the file."),
    ("key", "The name of a state or command; further levels may follow."),
];
