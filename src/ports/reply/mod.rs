//! Replies to what is no command: built in, or from a chat endpoint that the owner names.
//!
//! A reply is a text to be spoken to a child. What was asked and what is replied is never logged.

mod built_in;
mod chat;
mod connection;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

pub use built_in::BuiltIn;
pub use chat::{ChatEndpoint, ChatSettings};

use super::speech::languages::Language;

/// A reply on its way.
pub type Replying<'a> = Pin<Box<dyn Future<Output = Result<String, ReplyError>> + Send + 'a>>;

/// Who makes replies.
pub trait ReplyEngine: Send + Sync {
    /// A short text in answer to `question`, which was asked in this language.
    fn reply<'a>(&'a self, question: &'a str, language: &'static Language) -> Replying<'a>;
}

/// Why there is no reply. Nothing of the question or of an answer is in it.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The address of the settings is none.
    #[error("the address of the chat endpoint is wrong: {0}")]
    Address(String),
    /// The file of its certificates is of no use.
    #[error("the certificates for the chat endpoint cannot be used: {}: {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The endpoint cannot be reached, or the connection broke.
    #[error("the chat endpoint cannot be reached: {0}")]
    Unreachable(String),
    /// It refuses.
    #[error("the chat endpoint answered with status {0}")]
    Status(u16),
    /// It answers something else than the protocol says.
    #[error("the chat endpoint's answer cannot be read: {0}")]
    Malformed(&'static str),
    /// It takes too long.
    #[error("the chat endpoint took too long")]
    TimedOut,
}

/// An engine, and the built-in one for when it fails.
pub struct WithFallback<E> {
    engine: E,
    otherwise: BuiltIn,
}

impl<E> WithFallback<E> {
    /// Asks `engine` first.
    pub fn new(engine: E) -> Self {
        Self { engine, otherwise: BuiltIn }
    }
}

impl<E: ReplyEngine> ReplyEngine for WithFallback<E> {
    fn reply<'a>(&'a self, question: &'a str, language: &'static Language) -> Replying<'a> {
        Box::pin(async move {
            match self.engine.reply(question, language).await {
                Err(error) => {
                    tracing::warn!(%error, "no reply from the chat endpoint, the built-in one is given");
                    self.otherwise.reply(question, language).await
                }
                reply => reply,
            }
        })
    }
}
