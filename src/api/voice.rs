//! Voice messages between friends.

use super::answer::{File, Id, Kind, Link, Positive, State, answer};
use super::request::{Count, Ignored, Limit, Maybe, request};
use super::rest::Flag;
use super::{Call, CallContext, CallerId, CallersLinks, Entry, Facts, Permitted, Subject};
use crate::domain::error::DomainError;
use crate::domain::{AMR, Before, Recording};
use crate::model::{self, ChatId, FileName, Party, PartyId, PartyKind, Sent, Timestamp, ToyId, UserId};

/// The default number of messages in one answer of `/chat_list`.
const HISTORY_DEFAULT: u64 = 100;
/// The maximum number of messages in one answer of `/chat_list`.
const HISTORY_MAX: u64 = 500;

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "voice",
    about: "Recordings that go to friends.",
    calls: &[Entry::of::<AppUploader>(), Entry::of::<ToyUploader>(), Entry::of::<ChatList>(), Entry::of::<RecvMsg>()],
};

request! {
    /// A user sends a recording to a friend.
    struct AppUploader {
        /// The receiver, a friend of the sender: a user or a toy.
        to_user: PartyId,
        /// The sender.
        caller as "user_id": CallerId<UserId>,
        /// The recording, as a file of the form.
        reco_file: Recording,
        /// Marks an urgent message of a guardian to its toy: the toy's quiet hours are suspended for a while. Added.
        emergency: Flag,
    }
}

impl Call for AppUploader {
    const FACTS: Facts = Facts::new("app_uploader", Permitted::Named, "Upload Success");
    type Answer = Uploaded;

    async fn handle(self, context: &CallContext) -> Result<Uploaded, DomainError> {
        let user = context.acting(self.caller).await?;
        let (hub, to, recording) = (&context.hub, &self.to_user, self.reco_file);
        let links = context.links().await?;
        let sent = if self.emergency.0 {
            hub.send_emergency(&user, to, recording, context.now).await?
        } else {
            hub.send_recording(&user.into(), to, recording, context.now).await?
        };
        Ok(Uploaded::of(sent, &links))
    }
}

request! {
    /// A toy sends a recording to a friend.
    struct ToyUploader {
        /// The receiver, a friend of the sender: a user or a toy.
        to_user: PartyId,
        /// The sender.
        caller as "user_id": CallerId<ToyId>,
        /// The receiver's kind. Ignored: the id determines it.
        _friend_type as "friend_type": Ignored,
        /// The recording, as a file of the form.
        reco: Recording,
    }
}

impl Call for ToyUploader {
    const FACTS: Facts = Facts::new("toy_uploader", Permitted::Named, "Upload Success");
    type Answer = Uploaded;

    async fn handle(self, context: &CallContext) -> Result<Uploaded, DomainError> {
        let sender = Party::Toy(context.acting(self.caller).await?);
        let links = context.links().await?;
        Ok(Uploaded::of(context.hub.send_recording(&sender, &self.to_user, self.reco, context.now).await?, &links))
    }
}

request! {
    /// A page of a chat, oldest first. Marks the chat read.
    struct ChatList {
        /// The chat: `friend_chat` of the address book.
        chat_id: ChatId,
        /// The reader.
        caller as "to_user": CallerId<UserId>,
        /// The friend.
        _from_user as "from_user": Ignored,
        /// The number of messages: 100 by default, 500 at most; a larger number counts as 500. Added.
        limit: Option<Limit<HISTORY_MAX>>,
        /// Only messages before this `create_time`. Added.
        before: Option<Timestamp>,
        /// Only messages before this `seq`, exact for every client. Added.
        before_seq: Option<Count>,
    }
}

impl Call for ChatList {
    const FACTS: Facts = Facts::new("chat_list", Permitted::Named, "Query chat records");
    type Answer = Vec<ChatMessage>;

    async fn handle(self, context: &CallContext) -> Result<Vec<ChatMessage>, DomainError> {
        let reader = context.acting(self.caller).await?;
        let limit = self.limit.map_or(HISTORY_DEFAULT, |limit| limit.0);
        let before = Before { time: self.before, seq: self.before_seq.map(|seq| seq.0) };
        // Before the messages are marked as read: if this fails, nothing has changed.
        let links = context.links().await?;
        let messages = context.hub.history(&reader, &self.chat_id, limit as usize, before).await?;
        let read = messages.iter().map(|(message, _)| message);
        context.hub.note_reading(&reader, &self.chat_id, read, context.now).await;
        let entry = |(mut message, state): (model::Message, _)| {
            // Not every app plays a recording that is stored as it came.
            message.sound = as_mp3(message.sound);
            ChatMessage { seq: Positive(message.seq), message: Message::of(&message, &links), state: State(state) }
        };
        Ok(messages.into_iter().map(entry).collect())
    }
}

/// The name under which a recording is downloaded as MP3.
fn as_mp3(sound: FileName) -> FileName {
    if sound.extension() == AMR { sound.with_extension("mp3") } else { sound }
}

request! {
    /// All unread messages of one sender, oldest first. They are marked as read when the answer has been sent.
    struct RecvMsg {
        /// The sender. Without an id, or if this sender has no unread messages: the sender of the oldest unread
        /// message.
        from_user: Maybe,
        /// The receiver, a toy or a user.
        caller as "to_user": CallerId<Party>,
    }
}

impl Call for RecvMsg {
    const FACTS: Facts = Facts::bare("recv_msg", Permitted::Named);
    type Answer = Vec<Message>;

    async fn handle(self, context: &CallContext) -> Result<Vec<Message>, DomainError> {
        let receiver = context.acting(self.caller).await?;
        // Before the messages are handed over: if this fails, they are not lost.
        let links = context.links().await?;
        let (messages, handover) = context.hub.hand_over(&receiver, self.from_user.0.as_ref()).await?;
        context.hands_over(handover);
        Ok(messages.iter().map(|message| Message::of(message, &links)).collect())
    }
}

answer! {
    /// The answer of the uploaders. A toy plays the notice first, which names the sender; an app shows the sender
    /// itself and plays the message.
    pub struct Uploaded {
        /// If the receiver is a toy, the notice that it plays first, of /get_chat/; if it is an app, the recording.
        filename: File,
        /// The receiver's kind.
        friend_type: Kind,
        /// The id of the message, which its receipts refer to. Added.
        id as "_id": Id,
        /// A link to `filename` for players, if the call has a token. Added.
        url: Option<Link>,
    }
}

impl Uploaded {
    fn of(sent: Sent, links: &CallersLinks) -> Self {
        let filename = match (sent.receiver, &sent.notice) {
            (PartyKind::Toy, Some(notice)) => notice,
            (PartyKind::Toy, None) | (PartyKind::App, _) => &sent.sound,
        };
        let url = links.to(filename);
        Self { filename: filename.into(), friend_type: Kind(sent.receiver), id: (&sent.message).into(), url }
    }
}

answer! {
    /// An entry of `/recv_msg`.
    pub struct Message as "Message" {
        /// The sender.
        from_user: Id,
        /// The recording, of /get_chat/.
        message: File,
        /// When it was accepted, in seconds since 1970.
        create_time: Timestamp,
        /// The message's id, by which clients drop duplicates. Added.
        id as "_id": Id,
        /// A link to the recording for players, if the call has a token. Added.
        url: Option<Link>,
    }
}

impl Message {
    /// The entry of a message.
    pub(super) fn of(message: &model::Message, links: &CallersLinks) -> Self {
        Self {
            from_user: (&message.from).into(),
            message: (&message.sound).into(),
            create_time: message.created_at,
            id: (&message.id).into(),
            url: links.to(&message.sound),
        }
    }
}

answer! {
    /// An entry of `/chat_list`.
    pub struct ChatMessage as "ChatMessage" {
        ..message: Message,
        /// The state of delivery. Added.
        state: State,
        /// Its number in the chat, for `before_seq`. Added.
        seq: Positive,
    }
}
