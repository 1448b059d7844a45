//! A reply that an endpoint sends in pieces (server-sent events), sentence by sentence.
//!
//! Endpoints send a few letters with each event. A sentence is complete at a full stop, a question mark or an exclamation
//! mark that a blank follows, or at the end. An endpoint that does not know of pieces answers with the whole; its
//! sentences are then known at once.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::timeout;

use super::chat::{ChatEndpoint, event_text, shortened, spoken, whole_text, words_of};
use super::{ReplyEngine, ReplyError, Replying, Sentences};
use crate::ports::outgoing::OpenAnswer;
use crate::ports::speech::languages::Language;

/// A sentence is not divided before so many letters: short parts sound torn.
const LETTERS_MIN: usize = 12;
/// The tags around the reasoning of a model.
const REASONING: (&str, &str) = ("<think>", "</think>");

impl ReplyEngine for ChatEndpoint {
    fn reply<'a>(&'a self, question: &'a str, _: &'static Language) -> Replying<'a> {
        Box::pin(async { timeout(self.timeout(), self.ask(question)).await.map_err(|_| ReplyError::TimedOut)? })
    }

    fn sentences(self: Arc<Self>, question: String, _: &'static Language) -> Sentences {
        let reply = Streamed::new(self, question);
        stream::unfold(reply, |mut reply| async move { Some((reply.next().await?, reply)) }).boxed()
    }
}

/// A reply on its way.
pub(super) struct Streamed {
    endpoint: Arc<ChatEndpoint>,
    question: String,
    state: State,
    text: Text,
    /// Why the rest of the reply does not come.
    failure: Option<ReplyError>,
}

enum State {
    /// The endpoint was not asked.
    New,
    /// Its answer is read.
    Reading(Box<OpenAnswer>, Lines),
    /// There is nothing more to read.
    Ended,
}

impl Streamed {
    pub(super) fn new(endpoint: Arc<ChatEndpoint>, question: String) -> Self {
        let text = Text::new(endpoint.words_max());
        Self { endpoint, question, state: State::New, text, failure: None }
    }

    /// The next sentence; none at the end. After an error there is none.
    pub(super) async fn next(&mut self) -> Option<Result<String, ReplyError>> {
        loop {
            if let Some(sentence) = self.text.sentences.pop_front() {
                return Some(Ok(sentence));
            }
            // After the sentences that came before it.
            if let Some(error) = self.failure.take() {
                return Some(Err(error));
            }
            let read = timeout(self.endpoint.timeout(), self.read()).await;
            match read.unwrap_or(Err(ReplyError::TimedOut)) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.state = State::Ended;
                    self.failure = Some(error);
                }
            }
        }
    }

    /// Reads up to one more sentence; false at the end.
    async fn read(&mut self) -> Result<bool, ReplyError> {
        while self.text.sentences.is_empty() {
            match &mut self.state {
                State::New => {
                    let answer = self.endpoint.open(&self.question).await?;
                    self.state = State::Reading(Box::new(answer), Lines::default());
                }
                State::Reading(answer, lines) => {
                    let piece = answer.next().await.transpose()?;
                    let is_end = piece.is_none() || self.text.is_full();
                    if let Some(piece) = piece {
                        lines.bytes.extend_from_slice(&piece);
                    }
                    if answer.is_event_stream {
                        while let Some(line) = lines.next(is_end) {
                            if let Some(text) = event_text(&line)? {
                                self.text.push(&text);
                            }
                        }
                    } else if is_end {
                        self.text.push(&whole_text(&lines.bytes)?);
                    }
                    if is_end || self.text.is_full() {
                        self.state = State::Ended;
                        self.text.end();
                        if !self.text.has_spoken {
                            return Err(ReplyError::Malformed("it has no words"));
                        }
                    }
                }
                State::Ended => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// The lines of an answer.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    /// The next complete line, or at the end the rest.
    fn next(&mut self, is_end: bool) -> Option<Vec<u8>> {
        let line: Vec<u8> = match self.bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) => self.bytes.drain(..=at).collect(),
            None if is_end && !self.bytes.is_empty() => std::mem::take(&mut self.bytes),
            None => return None,
        };
        Some(line.trim_ascii_end().to_vec())
    }
}

/// The text of a reply, as far as it has come, and its sentences that can be spoken.
struct Text {
    rest: String,
    sentences: VecDeque<String>,
    words_left: usize,
    has_spoken: bool,
    is_over: bool,
}

impl Text {
    fn new(words_max: usize) -> Self {
        Self {
            rest: String::new(),
            sentences: VecDeque::new(),
            words_left: words_max,
            has_spoken: false,
            is_over: false,
        }
    }

    /// Whether the reply is as long as it may be.
    fn is_full(&self) -> bool {
        self.is_over
    }

    fn push(&mut self, piece: &str) {
        self.rest.push_str(piece);
        if self.leaves_reasoning() {
            while let Some(end) = sentence_end(&self.rest) {
                let sentence: String = self.rest.drain(..end).collect();
                self.speak(&sentence);
            }
        }
    }

    fn end(&mut self) {
        if self.leaves_reasoning() {
            let rest = std::mem::take(&mut self.rest);
            self.speak(&rest);
        }
    }

    /// Leaves out the reasoning at the beginning; false while it may go on.
    fn leaves_reasoning(&mut self) -> bool {
        let (open, close) = REASONING;
        if let Some(at) = self.rest.rfind(close) {
            self.rest.drain(..at + close.len());
        }
        let begun = self.rest.trim_start();
        !begun.starts_with(open) && (begun.is_empty() || !open.starts_with(begun))
    }

    /// Adds a sentence, unless it has no words or is too long; the first one is cut.
    fn speak(&mut self, sentence: &str) {
        let sentence = spoken(sentence);
        let words = words_of(&sentence);
        if words == 0 || self.is_over {
            return;
        }
        if words > self.words_left {
            self.is_over = true;
            if !self.has_spoken {
                self.has_spoken = true;
                self.sentences.push_back(shortened(&sentence, self.words_left));
            }
            return;
        }
        self.words_left -= words;
        (self.is_over, self.has_spoken) = (self.words_left == 0, true);
        self.sentences.push_back(sentence);
    }
}

/// Where the first sentence ends that is not torn, if its end has come.
fn sentence_end(text: &str) -> Option<usize> {
    let mut letters = 0;
    let mut all = text.char_indices().peekable();
    while let Some((at, letter)) = all.next() {
        letters += usize::from(letter.is_alphanumeric());
        let is_end = match letter {
            '。' | '！' | '？' => true,
            '.' | '!' | '?' => all.peek().is_some_and(|(_, next)| next.is_whitespace()),
            '\n' => true,
            _ => false,
        };
        if is_end && letters >= LETTERS_MIN {
            return Some(at + letter.len_utf8());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sentences of a text that comes in pieces of so many letters.
    fn sentences(text: &str, size: usize, words_max: usize) -> Vec<String> {
        let mut found = Text::new(words_max);
        let letters: Vec<char> = text.chars().collect();
        letters.chunks(size).for_each(|piece| found.push(&piece.iter().collect::<String>()));
        found.end();
        found.sentences.into()
    }

    #[test]
    fn sentences_do_not_depend_on_the_pieces() {
        let text = "<think>A child. It asks.</think>\n\nBears **sleep** in winter. Yes! They are 2.5 metres long. Bye";
        let expected = ["Bears sleep in winter.", "Yes! They are 2.5 metres long.", "Bye"];
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(sentences(text, size, 60), expected, "{size}");
            assert_eq!(
                sentences("小熊冬天的时候都在睡觉呢。它们在做梦", size, 60),
                ["小熊冬天的时候都在睡觉呢。", "它们在做梦"]
            );
            assert_eq!(sentences("< 3 is less than three.", size, 60), ["3 is less than three."]);
        }
        assert!(sentences("<think>never ends. It goes on and on.", 3, 60).is_empty());
    }

    #[test]
    fn a_long_reply_ends_with_a_sentence() {
        let text = "Bears sleep in winter. They eat a lot before that. Then they dream of honey all day long.";
        assert_eq!(sentences(text, 4, 12), ["Bears sleep in winter.", "They eat a lot before that."]);
        assert_eq!(sentences(text, 4, 3), ["Bears sleep in"]);
        assert_eq!(sentences(" 🐻 ** ", 1, 3), Vec::<String>::new());
    }

    #[test]
    fn lines_end_with_both_line_ends_and_the_last_one_needs_none() {
        let mut lines = Lines { bytes: b"data: a\r\n\ndata".to_vec() };
        let next = |lines: &mut Lines, is_end| lines.next(is_end).map(|line| String::from_utf8(line).unwrap());
        assert_eq!(next(&mut lines, false).as_deref(), Some("data: a"));
        assert_eq!(next(&mut lines, false).as_deref(), Some(""));
        assert_eq!(next(&mut lines, false), None);
        assert_eq!(next(&mut lines, true).as_deref(), Some("data"));
        assert_eq!(next(&mut lines, true), None);
    }
}
