//! The hub's own replies: a few kind sentences for what small children say, and no knowledge of the world.

use super::{ReplyEngine, Replying};
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
}
