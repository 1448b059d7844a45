//! Songs and stories.

use super::answer::{File, Id, answer};
use super::request::request;
use super::{Authority, Call, CallContext, Entry, Facts, Permitted, Subject};
use crate::domain::error::DomainError;
use crate::model::{self, Party};

/// The calls of this file.
pub const SUBJECT: Subject =
    Subject { name: "content", about: "Songs and stories.", calls: &[Entry::of::<ContentList>()] };

request! {
    /// The library of songs and stories. For a toy that plays only approved content, the approved part of it.
    struct ContentList {}
}

impl Call for ContentList {
    const FACTS: Facts = Facts::new("content_list", Permitted::Anybody, "Get a list of content resources");
    type Answer = Vec<Content>;

    async fn handle(self, context: &CallContext) -> Result<Vec<Content>, DomainError> {
        let toy = match &context.authority {
            Authority::Party(Party::Toy(toy)) => Some(toy.clone()),
            Authority::Token(Some(token)) => context.hub.toy_of_token(token, context.now).await?,
            Authority::Party(Party::User(_)) | Authority::Token(None) => None,
        };
        let content = match toy {
            Some(toy) => context.hub.content_for(&toy).await?,
            None => context.hub.content().await?,
        };
        Ok(content.into_iter().map(Content::from).collect())
    }
}

answer! {
    /// An entry of `/content_list`.
    pub struct Content as "Content" {
        id as "_id": Id,
        /// The sound, of /get_music/.
        music: File,
        /// The picture, of /get_image/.
        cover: File,
        title: String,
    }
}

impl From<model::Content> for Content {
    fn from(content: model::Content) -> Self {
        Self {
            id: (&content.id).into(),
            music: (&content.music).into(),
            cover: (&content.cover).into(),
            title: content.title,
        }
    }
}
