//! What each call is, for those who write clients: one entry for every [`Name`], or it does not compile.

use super::schema::{
    Property, component, file, from, id, list, may, must, one_of, party_kind, seconds, text, upload, whole,
};
use super::shapes;
use crate::edge::calls::Name;
use crate::edge::wire::Json;
use crate::model::PartyKind;

/// One call.
pub(super) struct Description {
    /// What it does.
    pub(super) about: &'static str,
    /// What it is about, to sort by.
    pub(super) room: &'static str,
    /// On what ground it is done.
    pub(super) ground: Ground,
    /// What comes with it; of a recording, only over HTTP.
    pub(super) fields: Vec<Property>,
    /// What it answers when all went well.
    pub(super) answer: Answer,
}

/// On what ground a call is done.
pub(super) enum Ground {
    /// Anybody may ask.
    Anybody,
    /// Only with a token.
    Token,
    /// For the party that this field names, who is of this kind where one is given.
    Party(&'static str, Option<PartyKind>),
    /// For the user who may answer the friend request.
    Answerer,
    /// For the party of the connection.
    Connection,
}

impl Description {
    /// Whether one of `kind` gets anything from it at its connection.
    pub(super) fn is_for(&self, kind: PartyKind) -> bool {
        match self.ground {
            Ground::Party(_, Some(only)) => only == kind,
            Ground::Answerer => kind == PartyKind::App,
            Ground::Anybody | Ground::Token | Ground::Party(_, None) | Ground::Connection => true,
        }
    }
}

/// What a call answers when all went well.
pub(super) enum Answer {
    /// The documented `msg`, and the schema of `data`.
    Envelope(&'static str, Json),
    /// The data alone.
    Bare(Json),
}

const ME: &str = "For whom this is asked.";

/// What `name` is.
pub(super) fn describe(name: Name) -> Description {
    use Answer::{Bare, Envelope};
    use Ground::{Answerer, Anybody, Connection, Party, Token};
    use PartyKind::{App, Toy};
    let entry = |room, about, ground, fields, answer| Description { about, room, ground, fields, answer };
    match name {
        Name::Reg => entry("accounts", "Registers a user.", Anybody, registration(), done("login was successful")),
        Name::Login => entry(
            "accounts",
            "Logs a user in, with a token.",
            Anybody,
            vec![must("username", text(), ""), must("password", password(), "")],
            Envelope("Successful login", shapes::login()),
        ),
        Name::AutoLogin => entry(
            "accounts",
            "The profile of a user, and what waits to be heard.",
            Party("_id", Some(App)),
            vec![must("_id", id(), ME)],
            Envelope("Successful login", shapes::auto_login()),
        ),
        Name::Ticket => entry(
            "accounts",
            "A ticket with which a page opens /ws: good once, and soon.",
            Token,
            vec![],
            Envelope("done", shapes::ticket()),
        ),
        Name::ContentList => entry(
            "content",
            "The library of songs and stories.",
            Anybody,
            vec![],
            Envelope("Get a list of content resources", list(component("Content"))),
        ),
        Name::AppUploader => entry(
            "voice",
            "A user sends a recording to a friend.",
            Party("user_id", Some(App)),
            vec![must("to_user", id(), RECEIVER), must("user_id", id(), "The sender."), recording("reco_file")],
            Envelope("Upload Success", shapes::uploaded()),
        ),
        Name::ToyUploader => entry(
            "voice",
            "A toy sends a recording to a friend.",
            Party("user_id", Some(Toy)),
            vec![
                must("to_user", id(), RECEIVER),
                must("user_id", id(), "The sender."),
                may("friend_type", text(), "The receiver's kind. Not looked at: the id tells."),
                recording("reco"),
            ],
            Envelope("Upload Success", shapes::uploaded()),
        ),
        Name::AiUploader => entry(
            "voice",
            "A child asks its toy.",
            Party("toy_id", Some(Toy)),
            vec![must("toy_id", id(), "The toy."), recording("reco")],
            Bare(component("AiAnswer")),
        ),
        Name::ChatList => entry(
            "voice",
            "A page of a chat, oldest first. Marks the chat read.",
            Party("to_user", Some(App)),
            vec![
                must("chat_id", id(), "The chat: `friend_chat` of the address book."),
                must("to_user", id(), "The user who reads."),
                may("from_user", text(), "The friend."),
                may("limit", from(1), "How many messages: 100 where nothing is said, 500 at most. Added."),
                may("before", seconds(), "Only messages before this `create_time`. Added."),
                may("before_seq", from(1), "Only messages before this `seq`, exact for every client. Added."),
            ],
            Envelope("Query chat records", list(component("ChatMessage"))),
        ),
        Name::RecvMsg => entry(
            "voice",
            "All unread messages of one sender, oldest first. Marks them read.",
            Party("to_user", None),
            vec![
                may("from_user", text(), "Whose. No id, or nobody who waits: whose messages have waited longest."),
                must("to_user", id(), "The toy or user who hears them."),
            ],
            Bare(list(component("Message"))),
        ),
        Name::ScanQr => entry(
            "toys",
            "Whether a device can be bound. A bound one answers code 2 with its toy.",
            Anybody,
            vec![must("device_key", key(), "What the QR picture says.")],
            Envelope("Successful Scanning of Two-Dimensional Code", shapes::scanned()),
        ),
        Name::BindToy => entry(
            "toys",
            "Makes a device a toy of the user, and the two friends.",
            Party("user_id", Some(App)),
            vec![
                must("toy_name", text(), "The toy's name."),
                must("baby_name", text(), "The child's name."),
                must("remark", text(), "What the toy calls the user."),
                must("user_id", id(), "The owner."),
                must("device_key", key(), "What the QR picture says."),
            ],
            done("Binding Completion"),
        ),
        Name::ToyList => entry(
            "toys",
            "The user's toys with their address books.",
            Party("_id", Some(App)),
            vec![must("_id", id(), ME)],
            Envelope("Obtain Toy list", list(component("Toy"))),
        ),
        Name::OpenToy => entry(
            "toys",
            "A device has started. It always gets a sound to play. A toy at its own connection names no key.",
            Anybody,
            vec![must("device_key", key(), "The device.")],
            Bare(component("OpenedToy")),
        ),
        Name::FriendList => entry(
            "friends",
            "The address book of a user or a toy.",
            Party("_id", None),
            vec![must("_id", id(), ME)],
            Envelope("Friends Inquiry", list(component("Friend"))),
        ),
        Name::AddReq => entry("friends", "Asks to be a friend.", Party("req_user", None), request(), done(ASKED)),
        Name::ReqList => entry(
            "friends",
            "The friend requests to the user and to the user's toys, newest first.",
            Party("_id", Some(App)),
            vec![must("_id", id(), ME)],
            Envelope("Query Friends Request", list(component("FriendRequest"))),
        ),
        Name::RefReq => entry(
            "friends",
            "Refuses a friend request.",
            Answerer,
            vec![must("req_id", id(), REQUEST)],
            done("Refuse to add friends"),
        ),
        Name::AccReq => entry(
            "friends",
            "Accepts a friend request: both have a new entry in their address books.",
            Answerer,
            vec![must("req_id", id(), REQUEST), may("remark", text(), "What to call who asked.")],
            done("Agree to add friends"),
        ),
        Name::Unread => entry(
            "reading",
            "What waits to be heard, without marking it.",
            Connection,
            vec![may("limit", from(1), "How many messages: 50 where nothing is said, 200 at most.")],
            Bare(shapes::unread()),
        ),
        Name::Delivered => entry(
            "reading",
            "This device has a message, and those before it.",
            Connection,
            vec![must("message", id(), "The `_id` of the message.")],
            done("done"),
        ),
        Name::MarkRead => entry(
            "reading",
            "The messages of a friend were heard.",
            Connection,
            vec![
                must("from_user", id(), "The friend."),
                may("message", text(), "Up to the message with this `_id`; all where none is given."),
            ],
            done("done"),
        ),
        Name::UploadState => entry(
            "chunks",
            "How much of a recording has come.",
            Connection,
            vec![must("upload", upload(), UPLOAD)],
            Bare(shapes::upload_state()),
        ),
        Name::DropUpload => entry(
            "chunks",
            "Forgets a recording that has come in part.",
            Connection,
            vec![must("upload", upload(), UPLOAD)],
            done("done"),
        ),
        Name::GetFile => entry(
            "chunks",
            "Publishes chunks of a file on the `file` topic, then answers. Made for MQTT: an app socket is better served \
             by HTTP.",
            Connection,
            vec![
                must("name", file(), "The file."),
                may("kind", one_of(["chat", "music", "image"]), "Of what kind: `chat` where nothing is said."),
                may("chunk_bytes", from(1), "The bytes of a chunk."),
                may("first", whole(), "The first chunk that is wanted: 0 where nothing is said."),
                may("count", whole(), "How many chunks; 0 asks for the size alone."),
            ],
            Bare(shapes::file_sent()),
        ),
    }
}

const ASKED: &str = "Successful Added Friends Request";
const RECEIVER: &str = "The friend who gets it, a user or a toy.";
const REQUEST: &str = "The request: `_id` of /req_list and of the event.";
const UPLOAD: &str = "What its sender calls it.";

fn done(msg: &'static str) -> Answer {
    Answer::Envelope(msg, shapes::nothing())
}

fn password() -> Json {
    text().with("format", "password")
}

/// A scanned key may have capitals, and blanks around it.
fn key() -> Json {
    text().with("pattern", "^\\s*[0-9A-Fa-f]{32}\\s*$")
}

fn recording(name: &'static str) -> Property {
    must(name, text().with("contentMediaType", "application/octet-stream"), "The recording, as a file of the form.")
}

fn registration() -> Vec<Property> {
    vec![
        must("username", text(), "The name to log in with."),
        must("password", password(), ""),
        must("nickname", text(), "The name that others see."),
        may("gender", text(), "\"1\" or \"2\"."),
        may("avatar", text(), "A picture of /get_image/. By gender where none is given."),
    ]
}

fn request() -> Vec<Property> {
    vec![
        must("req_user", id(), "Who asks, a user or a toy."),
        must("add_user", id(), "Who is asked, a user or a toy."),
        may("type", party_kind(), "The kind of who asks. Not looked at: the id tells."),
        may("req_info", text(), "Words to send along."),
        may("remark", text(), "What to call who is asked."),
    ]
}
