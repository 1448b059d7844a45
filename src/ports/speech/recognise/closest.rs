//! The sentences of a [`Grammar`] that a recording is most like, by the model's own probabilities.
//!
//! The decoder writes a sentence of the grammar word by word, while the model tells at each part of a word how much less
//! probable it is than the one that the model would write there. The sum of these differences is the regret of the sentence:
//! 0 if the model would have written it by itself. The sentences are searched depth first, the most probable part first, as
//! whisper.cpp remembers the way to one place only.
//!
//! The sound was encoded before, which is most of the work: a step here is one run of the decoder for one token.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use whisper_rs::{WhisperContext, WhisperError, WhisperState};

use super::stop::Stop;
use crate::ports::speech::grammar::{Grammar, Likely, Place, plain_part};

/// The maximum regret of a sentence, as a natural logarithm. Chosen with all of models/evaluation.tsv and `tiny.en`: no half
/// of it is unseen.
const REGRET_MAX: f32 = 6.0;

/// How much larger than the least regret that of another sentence may be: only nearer ones are rivals.
const MARGIN: f32 = 3.0;

/// The maximum number of tokens of a sentence.
const TOKENS_MAX: usize = 48;

/// The limits of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct ComparisonLimits {
    /// The maximum number of steps; 0 for no comparison.
    pub steps_max: usize,
    /// How long it may take. The result of a longer one does not count.
    pub time_max: Duration,
}

/// The limits of one search.
pub(super) struct SearchLimits<'a> {
    pub(super) steps_max: usize,
    pub(super) until: Instant,
    pub(super) stop: &'a Stop,
}

impl SearchLimits<'_> {
    /// Whether the search is out of time.
    fn reached(&self) -> bool {
        Instant::now() >= self.until || self.stop.reached()
    }
}

/// The parts of words that a model knows, by their tokens, in the form of a grammar's sentences.
pub(super) struct Parts(Vec<Option<Box<[u8]>>>);

impl Parts {
    pub(super) fn of(context: &WhisperContext) -> Self {
        let part = |token| context.token_to_bytes(token).ok().and_then(plain_part).map(Vec::into_boxed_slice);
        Self((0..context.token_eot()).map(part).collect())
    }
}

/// A search in the sound that a state has encoded last.
pub(super) struct Search<'a> {
    state: &'a mut WhisperState,
    threads: usize,
    parts: &'a Parts,
    grammar: &'a Grammar,
    limits: SearchLimits<'a>,
    steps: usize,
    least: f32,
    /// The beginnings that were tried: there are several ways to cut the same words.
    tried: HashSet<String>,
    found: Vec<Likely>,
}

/// A part of a word that continues a sentence.
struct Next {
    token: i32,
    letters: Vec<u8>,
    place: Place,
    regret: f32,
}

/// What the model makes of the place behind a sentence's beginning.
struct Outlook {
    /// The regret of ending here.
    end: f32,
    next: Vec<Next>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        state: &'a mut WhisperState,
        threads: usize,
        parts: &'a Parts,
        grammar: &'a Grammar,
        limits: SearchLimits<'a>,
    ) -> Self {
        let (tried, found) = (HashSet::new(), Vec::new());
        Self { state, threads, parts, grammar, limits, steps: 0, least: f32::INFINITY, tried, found }
    }

    /// The sentences with the least regret, that with the least first. `start` are the tokens before a text.
    pub(super) fn run(mut self, start: &[i32]) -> Result<Vec<Likely>, WhisperError> {
        if let Some((last, before)) = start.split_last() {
            if !before.is_empty() {
                self.state.decode(before, 0, self.threads)?;
            }
            let nothing = Likely { text: String::new(), regret: 0.0 };
            self.follow(*last, before.len(), start.len() + TOKENS_MAX, &self.grammar.start(), &nothing)?;
        }
        // A sentence that is nearer may be among those that were not tried.
        if self.limits.reached() {
            return Ok(Vec::new());
        }
        let limit = self.limit();
        self.found.retain(|likely| likely.regret <= limit);
        self.found.sort_by(|one, other| one.regret.total_cmp(&other.regret));
        Ok(self.found)
    }

    /// The maximum regret that a sentence may have now.
    fn limit(&self) -> f32 {
        REGRET_MAX.min(self.least + MARGIN)
    }

    /// Goes on from the token at `at`, behind the words of `so_far`.
    fn follow(
        &mut self,
        token: i32,
        at: usize,
        end: usize,
        place: &Place,
        so_far: &Likely,
    ) -> Result<(), WhisperError> {
        if at >= end || self.steps >= self.limits.steps_max || self.limits.reached() {
            return Ok(());
        }
        self.steps += 1;
        self.state.decode(&[token], at, self.threads)?;
        let outlook = self.outlook(place, so_far)?;
        let regret = so_far.regret + outlook.end;
        if self.grammar.may_end(place) && regret <= self.limit() {
            self.least = self.least.min(regret);
            self.found.push(Likely { text: so_far.text.trim().to_owned(), regret });
        }
        for next in outlook.next {
            let regret = so_far.regret + next.regret;
            if regret > self.limit() {
                break;
            }
            let text = format!("{}{}", so_far.text, String::from_utf8_lossy(&next.letters));
            if self.tried.insert(text.clone()) {
                self.follow(next.token, at + 1, end, &next.place, &Likely { text, regret })?;
            }
        }
        Ok(())
    }

    /// The ways on from the token that was decoded last, that with the least regret first.
    fn outlook(&self, place: &Place, so_far: &Likely) -> Result<Outlook, WhisperError> {
        let logits = self.state.get_logits()?;
        let count = self.parts.0.len();
        // Behind the parts of words is the end; what follows it are signs of Whisper that no text has.
        let end = logits.get(count).copied().unwrap_or(f32::NEG_INFINITY);
        let words = || self.parts.0.iter().zip(logits);
        let largest = words().filter(|(part, _)| part.is_some()).map(|(_, logit)| *logit).fold(end, f32::max);
        let limit = self.limit() - so_far.regret;
        let mut ending = (end - largest).exp();
        let mut next: Vec<Next> = Vec::new();
        for (token, (part, logit)) in words().enumerate() {
            let regret = largest - logit;
            let Some(part) = part.as_deref().filter(|_| regret <= limit) else { continue };
            if part.is_empty() {
                // A full stop, mostly: the end follows it.
                ending += (-regret).exp();
                continue;
            }
            // The first word may come without its blank.
            let first = so_far.text.is_empty() && !part.starts_with(b" ");
            let letters: Vec<u8> = first.then_some(b' ').into_iter().chain(part.iter().copied()).collect();
            let place = self.grammar.walk(place, &letters);
            if !place.is_nowhere() {
                next.push(Next { token: token as i32, letters, place, regret });
            }
        }
        next.sort_by(|one, other| one.regret.total_cmp(&other.regret));
        Ok(Outlook { end: (-ending.ln()).max(0.0), next })
    }
}
