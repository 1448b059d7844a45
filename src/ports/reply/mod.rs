//! Replies to speech that is not a command: built-in, or from a chat endpoint of the operator.
//!
//! A reply is a text that is spoken to a child. Questions and replies are never logged.

mod built_in;
mod chat;
mod streamed;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};

pub use built_in::BuiltIn;
pub use chat::{ChatEndpoint, ChatSettings};

use super::outgoing::OutgoingError;
use super::speech::languages::Language;

/// A future reply.
pub type Replying<'a> = Pin<Box<dyn Future<Output = Result<String, ReplyError>> + Send + 'a>>;

/// The sentences of a reply, while they are made. After an error there is none.
pub type Sentences = BoxStream<'static, Result<String, ReplyError>>;

/// A source of replies.
pub trait ReplyEngine: Send + Sync {
    /// A short text in answer to `question`, which was asked in this language.
    fn reply<'a>(&'a self, question: &'a str, language: &'static Language) -> Replying<'a>;

    /// As [`Self::reply`], sentence by sentence.
    fn sentences(self: Arc<Self>, question: String, language: &'static Language) -> Sentences;
}

/// Why there is no reply. It contains no part of the question or of an answer.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The address in the settings is invalid.
    #[error("the address of the chat endpoint is wrong: {0}")]
    Address(String),
    /// The file of its certificates is invalid.
    #[error("the certificates for the chat endpoint cannot be used: {}: {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The endpoint cannot be reached, or the connection broke.
    #[error("the chat endpoint cannot be reached: {0}")]
    Unreachable(String),
    /// It answered with an error status.
    #[error("the chat endpoint answered with status {0}")]
    Status(u16),
    /// Its answer does not follow the protocol.
    #[error("the chat endpoint's answer cannot be read: {0}")]
    Malformed(&'static str),
    /// It did not answer in time.
    #[error("the chat endpoint took too long")]
    TimedOut,
}

impl From<OutgoingError> for ReplyError {
    fn from(error: OutgoingError) -> Self {
        match error {
            OutgoingError::Address(reason) => Self::Address(reason.to_owned()),
            OutgoingError::Certificates { path, reason } => Self::Certificates { path, reason },
            OutgoingError::Unreachable(reason) => Self::Unreachable(reason),
            OutgoingError::Malformed(reason) => Self::Malformed(reason),
            error @ (OutgoingError::NotPermitted | OutgoingError::Untrusted(_) | OutgoingError::NoTls(_)) => {
                Self::Unreachable(error.to_string())
            }
        }
    }
}

/// An engine, with the built-in one as a fallback.
pub struct WithFallback<E> {
    engine: Arc<E>,
    otherwise: BuiltIn,
}

impl<E> WithFallback<E> {
    /// Uses `engine` first.
    pub fn new(engine: E) -> Self {
        Self { engine: Arc::new(engine), otherwise: BuiltIn }
    }
}

impl<E: ReplyEngine + 'static> ReplyEngine for WithFallback<E> {
    fn reply<'a>(&'a self, question: &'a str, language: &'static Language) -> Replying<'a> {
        Box::pin(async move {
            match self.engine.reply(question, language).await {
                Err(error) => {
                    tracing::warn!(%error, "no reply from the chat endpoint, using a built-in reply");
                    self.otherwise.reply(question, language).await
                }
                reply => reply,
            }
        })
    }

    /// An error after the first sentence ends the reply.
    fn sentences(self: Arc<Self>, question: String, language: &'static Language) -> Sentences {
        let engine = Arc::clone(&self.engine).sentences(question.clone(), language);
        let state = Some((engine, false));
        stream::unfold(state, move |state| {
            let (this, question) = (Arc::clone(&self), question.clone());
            async move {
                let (mut engine, has_spoken) = state?;
                match engine.next().await? {
                    Ok(sentence) => Some((Ok(sentence), Some((engine, true)))),
                    Err(error) if has_spoken => {
                        tracing::warn!(%error, "a reply of the chat endpoint breaks off");
                        None
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no reply from the chat endpoint, using a built-in reply");
                        Some((this.otherwise.reply(&question, language).await, None))
                    }
                }
            }
        })
        .boxed()
    }
}
