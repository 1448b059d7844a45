//! Replies from an OpenAI-compatible chat endpoint.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_rustls::TlsConnector;

use super::ReplyError;
use crate::model::Secret;
use crate::ports::outgoing::{OpenAnswer, Post, Target, connector};

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
    /// Whether it is asked for replies in pieces, where a reply is spoken sentence by sentence.
    pub streams: bool,
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

/// A piece of an answer.
#[derive(Deserialize)]
struct CompletionPiece {
    choices: Vec<PieceChoice>,
}

#[derive(Deserialize)]
struct PieceChoice {
    delta: CompletionMessage,
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

    /// Asks for the whole reply.
    pub(super) async fn ask(&self, question: &str) -> Result<String, ReplyError> {
        let authorization = self.authorization();
        let answer = self.target.post(self.posted(self.question(question, false)?, authorization.as_deref())).await?;
        if answer.status != 200 {
            return Err(ReplyError::Status(answer.status));
        }
        let text = shortened(&spoken(&whole_text(&answer.body)?), self.settings.words_max);
        if text.chars().any(char::is_alphanumeric) { Ok(text) } else { Err(ReplyError::Malformed("it has no words")) }
    }

    /// Asks for a reply in pieces.
    pub(super) async fn open(&self, question: &str) -> Result<OpenAnswer, ReplyError> {
        let question = self.question(question, self.settings.streams)?;
        let authorization = self.authorization();
        let answer = self.target.open(self.posted(question, authorization.as_deref())).await?;
        if answer.status == 200 { Ok(answer) } else { Err(ReplyError::Status(answer.status)) }
    }

    /// The longest time up to the next sentence.
    pub(super) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// The words of a reply.
    pub(super) fn words_max(&self) -> usize {
        self.settings.words_max
    }

    fn question(&self, question: &str, stream: bool) -> Result<Vec<u8>, ReplyError> {
        let settings = &self.settings;
        let question = Question {
            model: &settings.model,
            messages: [Said { role: "system", content: &settings.prompt }, Said { role: "user", content: question }],
            max_tokens: settings.words_max.saturating_mul(TOKENS_PER_WORD),
            stream,
        };
        serde_json::to_vec(&question).map_err(|_| ReplyError::Malformed("the question has no JSON"))
    }

    fn authorization(&self) -> Option<String> {
        self.settings.key.as_ref().map(|key| format!("Bearer {}", key.reveal()))
    }

    fn posted<'a>(&'a self, body: Vec<u8>, authorization: Option<&'a str>) -> Post<'a> {
        let mut headers = vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        headers.extend(authorization.map(|value| ("authorization", value)));
        Post {
            headers,
            body,
            tls: &self.tls,
            // The operator has chosen the endpoint.
            is_permitted: |_| true,
            answer_max_bytes: self.settings.answer_max_bytes,
        }
    }
}

/// The text of a whole answer.
pub(super) fn whole_text(body: &[u8]) -> Result<String, ReplyError> {
    let answer: Completion =
        serde_json::from_slice(body).map_err(|_| ReplyError::Malformed("it is not the JSON of a chat"))?;
    let text = answer.choices.into_iter().find_map(|choice| choice.message.content);
    text.ok_or(ReplyError::Malformed("it has no text"))
}

/// The text of a line of an answer in pieces, if it has any.
pub(super) fn event_text(line: &[u8]) -> Result<Option<String>, ReplyError> {
    // Other fields and comments have no text; the last event is no JSON.
    let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii).filter(|data| *data != b"[DONE]") else {
        return Ok(None);
    };
    let piece: CompletionPiece =
        serde_json::from_slice(data).map_err(|_| ReplyError::Malformed("it is not the JSON of a chat"))?;
    Ok(piece.choices.into_iter().find_map(|choice| choice.delta.content))
}

/// The part of a text that can be spoken: without markup, emoji and the reasoning of a model.
pub(super) fn spoken(text: &str) -> String {
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
pub(super) fn shortened(text: &str, words_max: usize) -> String {
    let mut words = 0;
    let mut before = None;
    let mut sentence_end = None;
    for (at, letter) in text.char_indices() {
        if begins_word(before.replace(letter), letter) {
            words += 1;
            if words > words_max {
                return text[..sentence_end.unwrap_or(at)].trim_end().to_owned();
            }
        }
        if matches!(letter, '.' | '!' | '?' | '。' | '！' | '？') {
            sentence_end = Some(at + letter.len_utf8());
        }
    }
    text.to_owned()
}

/// The words of a text, as [`shortened`] counts them.
pub(super) fn words_of(text: &str) -> usize {
    let mut before = None;
    text.chars().filter(|letter| begins_word(before.replace(*letter), *letter)).count()
}

fn begins_word(before: Option<char>, letter: char) -> bool {
    let is_chinese = |letter| ('\u{3400}'..='\u{9fff}').contains(&letter);
    let is_letter = |letter: char| letter.is_alphanumeric() || matches!(letter, '\'' | '’');
    let is_inside = before.is_some_and(|before| is_letter(before) && !is_chinese(before));
    is_chinese(letter) || (is_letter(letter) && !is_inside)
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
