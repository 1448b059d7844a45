//! Replies from an OpenAI-compatible chat endpoint.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{ReplyEngine, ReplyError, Replying};
use crate::model::Secret;
use crate::ports::outgoing::{Post, Target, connector};
use crate::ports::speech::languages::Language;

/// The maximum average number of tokens for a word, in the languages of the hub.
const TOKENS_PER_WORD: usize = 3;

/// The settings of an endpoint.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// Its address, with or without `/chat/completions`.
    pub url: String,
    /// A PEM file of certificates that are trusted in addition to the public ones, for `https`.
    pub certificates: Option<PathBuf>,
    /// Its model.
    pub model: String,
    /// Its key.
    pub key: Option<Secret>,
    /// The system prompt.
    pub prompt: String,
    /// The timeout of a reply.
    pub timeout: Duration,
    /// The maximum size of the endpoint's answer, in bytes.
    pub answer_max_bytes: usize,
    /// The maximum number of words of a reply.
    pub words_max: usize,
}

/// An endpoint.
pub struct ChatEndpoint {
    target: Target,
    tls: TlsConnector,
    settings: ChatSettings,
}

// Written by hand, so that a key in the address is not shown.
impl fmt::Debug for ChatEndpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ChatEndpoint").field("model", &self.settings.model).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: [Said<'a>; 2],
    max_tokens: usize,
    stream: bool,
}

#[derive(Serialize)]
struct Said<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: CompletionMessage,
}

#[derive(Deserialize)]
struct CompletionMessage {
    content: Option<String>,
}

impl ChatEndpoint {
    /// Creates an endpoint, without connecting.
    ///
    /// # Errors
    /// [`ReplyError::Address`], [`ReplyError::Certificates`] and, without TLS, [`ReplyError::Unreachable`].
    pub fn new(settings: ChatSettings) -> Result<Self, ReplyError> {
        let base = settings.url.trim_end_matches('/');
        let suffix = if base.ends_with("/chat/completions") { "" } else { "/chat/completions" };
        let target = Target::parse(&format!("{base}{suffix}"))?;
        let tls = connector(settings.certificates.as_deref().filter(|_| target.is_https()))?;
        Ok(Self { target, tls, settings })
    }

    async fn ask(&self, question: &str) -> Result<String, ReplyError> {
        let settings = &self.settings;
        let question = Question {
            model: &settings.model,
            messages: [Said { role: "system", content: &settings.prompt }, Said { role: "user", content: question }],
            max_tokens: settings.words_max.saturating_mul(TOKENS_PER_WORD),
            stream: false,
        };
        let body = serde_json::to_vec(&question).map_err(|_| ReplyError::Malformed("the question has no JSON"))?;
        let authorization = settings.key.as_ref().map(|key| format!("Bearer {}", key.reveal()));
        let mut headers = vec![("content-type", "application/json"), ("accept", "application/json")];
        headers.extend(authorization.iter().map(|value| ("authorization", value.as_str())));
        let post = Post {
            headers,
            body,
            tls: &self.tls,
            // The operator has chosen the endpoint.
            is_permitted: |_| true,
            answer_max_bytes: settings.answer_max_bytes,
        };
        let answered = self.target.post(post).await?;
        if answered.status != 200 {
            return Err(ReplyError::Status(answered.status));
        }
        let answer: Completion = serde_json::from_slice(&answered.body)
            .map_err(|_| ReplyError::Malformed("it is not the JSON of a chat"))?;
        let text = answer.choices.into_iter().find_map(|choice| choice.message.content);
        let text = shortened(&spoken(&text.ok_or(ReplyError::Malformed("it has no text"))?), settings.words_max);
        if text.chars().any(char::is_alphanumeric) { Ok(text) } else { Err(ReplyError::Malformed("it has no words")) }
    }
}

impl ReplyEngine for ChatEndpoint {
    fn reply<'a>(&'a self, question: &'a str, _: &'static Language) -> Replying<'a> {
        Box::pin(async { timeout(self.settings.timeout, self.ask(question)).await.map_err(|_| ReplyError::TimedOut)? })
    }
}

/// The part of a text that can be spoken: without markup, emoji and the reasoning of a model.
fn spoken(text: &str) -> String {
    let text = text.rsplit_once("</think>").map_or(text, |(_, after)| after);
    let said = |letter: char| match letter {
        '*' | '_' | '#' | '`' | '~' | '|' | '>' | '<' => ' ',
        letter if letter.is_control() => ' ',
        letter if letter.is_alphanumeric() || !is_picture(letter) => letter,
        _ => ' ',
    };
    text.chars().map(said).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_picture(letter: char) -> bool {
    matches!(letter, '\u{2190}'..='\u{2bff}' | '\u{fe00}'..='\u{fe0f}' | '\u{200d}' | '\u{1f000}'..='\u{1faff}')
}

/// The sentences that fit into the limit of words; if the first one does not, a part of it. A Chinese character counts
/// as a word.
fn shortened(text: &str, words_max: usize) -> String {
    let mut words = 0;
    let mut is_inside = false;
    let mut sentence_end = None;
    for (at, letter) in text.char_indices() {
        let is_chinese = ('\u{3400}'..='\u{9fff}').contains(&letter);
        let is_letter = letter.is_alphanumeric() || matches!(letter, '\'' | '’');
        if is_chinese || (is_letter && !is_inside) {
            words += 1;
            if words > words_max {
                return text[..sentence_end.unwrap_or(at)].trim_end().to_owned();
            }
        }
        is_inside = is_letter && !is_chinese;
        if matches!(letter, '.' | '!' | '?' | '。' | '！' | '？') {
            sentence_end = Some(at + letter.len_utf8());
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_cut_at_a_sentence() {
        for (text, words, expected) in [
            ("One two. Three four.", 4, "One two. Three four."),
            ("One two. Three four.", 3, "One two."),
            ("One two three four", 3, "One two three"),
            ("It's fine! Don't cry", 2, "It's fine!"),
            ("你好。我是小熊。", 5, "你好。"),
            ("你好小熊", 3, "你好小"),
            ("", 3, ""),
        ] {
            assert_eq!(shortened(text, words), expected, "{text}");
        }
    }

    #[test]
    fn unspeakable_parts_are_left_out() {
        assert_eq!(spoken("<think>a child?</think>\n**Hello** 🐻!\n- _you_"), "Hello ! - you");
        assert_eq!(spoken("2 + 2 = 4, 好"), "2 + 2 = 4, 好");
    }
}
