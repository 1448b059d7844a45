//! Built-in replies: a few friendly sentences for small children, without general knowledge.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};

use super::{ReplyEngine, Replying, Sentences};
use crate::ports::speech::languages::Language;

/// Replies without any network.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuiltIn;

impl ReplyEngine for BuiltIn {
    fn reply<'a>(&'a self, question: &'a str, language: &'static Language) -> Replying<'a> {
        let replies = &language.replies;
        let found = replies.table.iter().find(|(words, _)| language.has_word(question, words));
        let text = found.map_or(replies.otherwise, |(_, reply)| reply);
        Box::pin(async move { Ok(text.to_owned()) })
    }

    fn sentences(self: Arc<Self>, question: String, language: &'static Language) -> Sentences {
        stream::once(async move { self.reply(&question, language).await }).boxed()
    }
}
