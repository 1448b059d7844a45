//! Voice commands and questions of a child to its toy.

use super::answer::{File, Id, Kind, Link, answer, one_of, words};
use super::request::request;
use super::{Call, CallContext, CallerId, CallersLinks, Entry, Facts, Permitted, Subject};
use crate::domain::Recording;
use crate::domain::error::DomainError;
use crate::model::{Answer, ToyId};

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "assistant",
    about: "Voice commands and questions of a child to its toy.",
    calls: &[Entry::of::<AiUploader>()],
};

request! {
    /// Recognises a child's recording and answers it.
    struct AiUploader {
        /// The toy.
        caller as "toy_id": CallerId<ToyId>,
        /// The recording, as a file of the form.
        reco: Recording,
    }
}

impl Call for AiUploader {
    const FACTS: Facts = Facts::bare("ai_uploader", Permitted::Named);
    type Answer = AiAnswer;

    async fn handle(self, context: &CallContext) -> Result<AiAnswer, DomainError> {
        let toy = context.acting(self.caller).await?;
        let links = context.links().await?;
        Ok(AiAnswer::of(context.hub.ask(&toy, self.reco, context.now).await?, &links))
    }
}

words! {
    Ai = "ai";
}

answer! {
    /// The toy plays a piece of the library.
    pub struct Music {
        from_user: Ai,
        /// The sound to play, of /get_music/.
        music: File,
    }
}

answer! {
    /// The toy plays a spoken reply.
    pub struct SpokenReply {
        from_user: Ai,
        /// A spoken reply, of /get_chat/.
        chat: File,
        /// A link to `chat` for players, if the call has a token. Added.
        url: Option<Link>,
    }
}

answer! {
    /// The child starts a message to a friend.
    pub struct StartMessage {
        /// The friend who receives the next recording.
        from_user: Id,
        /// The prompt to play first, of /get_chat/.
        chat: File,
        /// The friend's kind.
        friend_type: Kind,
        /// A link to `chat` for players, if the call has a token. Added.
        url: Option<Link>,
    }
}

one_of! {
    /// The answer of `/ai_uploader`, in its three documented shapes.
    pub enum AiAnswer as "AiAnswer" { Music, SpokenReply, StartMessage, }
}

impl AiAnswer {
    fn of(answer: Answer, links: &CallersLinks) -> Self {
        match answer {
            Answer::Music(music) => Self::Music(Music { from_user: Ai, music: (&music).into() }),
            Answer::Reply(chat) => {
                Self::SpokenReply(SpokenReply { from_user: Ai, url: links.to(&chat), chat: (&chat).into() })
            }
            Answer::StartMessage { friend, prompt } => Self::StartMessage(StartMessage {
                from_user: (&friend).into(),
                chat: (&prompt).into(),
                url: links.to(&prompt),
                friend_type: Kind(friend.kind()),
            }),
        }
    }
}
