//! The whisper.cpp state of one worker, which recognises the words in samples, or finds that there are none.
//!
//! A worked example: a recording of 6 s, in which a child says "play the bear song" for 2 s.
//!
//! 1. `gate` selects these 2 s, with a margin. They fit into one window.
//! 2. The first pass uses a shortened window. The mean log probability of its tokens is -0.2: the result is the text with
//!    a confidence of 0.82, which is e to the power of -0.2.
//! 3. With several languages, that pass assumes the first one, and the model tells which one it heard. If that is another,
//!    there is a pass in it.
//! 4. At -1.0, below `DOUBTFUL`, a second pass uses a window of `LONGER`, and the better result counts. At -1.6, below
//!    `UNBELIEVABLE`, the words are rejected as `Unsure`; so are loops, and words where the model finds no speech.
//! 5. The words are no command. Then the model tells how probable the sentences are that this toy understands (`closest`).

use std::sync::Arc;
use std::time::Instant;

use whisper_rs::{FullParams, SamplingStrategy, WhisperContext, WhisperError, WhisperState};

use super::closest::{ComparisonLimits, Parts, Search, SearchLimits};
use super::gate::{self, Spoken};
use super::stop::{Stop, run_until};
use super::transcript::{Expectation, NoTranscript, RATE_HZ, RecogniseError, Seconds, Transcript};
use crate::ports::audio::{Sound, resample};
use crate::ports::speech::grammar::{Grammar, Likely};

/// whisper.cpp reads before its input if that is very short.
const SAMPLES_MIN: usize = RATE_HZ as usize;

/// The maximum input of whisper.cpp.
const WINDOW_MAX_S: u32 = 30;

/// Positions of audio in a second.
const POSITIONS_PER_S: usize = 50;

/// The window of Whisper's own models. They were trained on whole windows only, and need more of it than the sound does.
const WHOLE: usize = 1500;

/// The positions behind the sound that a model with a shorter window needs (scripts/train-command-model).
const BEHIND: usize = 16;

/// The window of the second pass. With `tiny.en` and 180 commands, 120 are right without a second pass, 133 with one in
/// this window, and 136 with one in the full window of 1500, which takes twice as long.
const LONGER: usize = 768;

/// The maximum number of tokens of a command, and of tokens in a second of a longer recording.
const TOKENS_MAX: usize = 48;
const TOKENS_PER_S: usize = 6;

/// Below this mean of the tokens' log probabilities, a recording that was recognised in a shortened window is
/// recognised again in a longer one, …
const DOUBTFUL: f32 = -0.9;
/// … and below this the words are rejected.
const UNBELIEVABLE: f32 = -1.5;

/// How much more probable than the first language another one must be. Of a short sentence the detection is often unsure, and a
/// family speaks the first of its languages most.
const OTHER_LANGUAGE: f32 = 3.0;

/// The minimum probability of no speech, and the maximum probability of words, at which the model's finding of no
/// speech is accepted.
const NO_SPEECH: f32 = 0.6;
const NO_SPEECH_WORDS: f32 = -0.7;

/// The time of a letter at the pace of a slow child, the letters of a syllable of Chinese, and the time of noise around the
/// words. Of 120 recordings in which a message was taken back, beside noise, music or another voice, and the included model
/// wrote the request alone, 113 were longer.
const LETTER_S: f32 = 0.1;
const LETTERS_OF_SYLLABLE: f32 = 3.0;
const AROUND_WORDS_S: f32 = 0.6;

/// How much freer the model chooses in the second pass, where it had lost itself in a loop.
const TEMPERATURE_STEP: f32 = 0.4;
/// It shall not do so for poor words alone: at a higher temperature all probabilities look better.
const NEVER: f32 = -1000.0;

/// The model and settings that all workers share.
///
/// No prompt with the titles and friends of a toy: real models write its names into sentences without them, and "tell me
/// a story" becomes a message to Mia.
pub(super) struct Model {
    pub(super) context: WhisperContext,
    pub(super) parts: Parts,
    /// The languages to choose from, each with its settings: setters of text leak, so they are called once.
    pub(super) languages: Vec<(&'static str, FullParams<'static, 'static>)>,
    /// Whether the first of them was chosen, and does not only stand first in Whisper's list.
    pub(super) prefers_first: bool,
    pub(super) audio_positions: usize,
    pub(super) threads: usize,
    pub(super) comparison: ComparisonLimits,
}

impl Model {
    /// The settings for short commands in one language.
    pub(super) fn params(language: &'static str, threads: usize) -> FullParams<'static, 'static> {
        // One candidate: with more, whisper.cpp rebuilds its cache, and frees it twice if that fails.
        let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
        params.set_language(Some(language));
        params.set_n_threads(i32::try_from(threads).unwrap_or(1));
        params.set_no_context(true);
        params.set_single_segment(true);
        params.set_no_timestamps(true);
        params.set_suppress_nst(true);
        // The model must be able to report that there is no speech.
        params.set_suppress_blank(false);
        params.set_print_special(false);
        params.set_print_progress(false);
        params.set_print_realtime(false);
        params.set_print_timestamps(false);
        params
    }

    /// The longest sound that the model hears at once, in samples. A model with a shorter window than Whisper's needs the
    /// silence behind it that it was trained with, or it repeats the last words.
    fn window(&self) -> usize {
        let silence = if self.audio_positions < WHOLE { BEHIND } else { 0 };
        let samples = (self.audio_positions.saturating_sub(silence)) * RATE_HZ as usize / POSITIONS_PER_S;
        samples.clamp(SAMPLES_MIN, (WINDOW_MAX_S * RATE_HZ) as usize)
    }
}

/// The positions that so many samples need, of all that a model has. Too few, and words are repeated or dropped.
fn positions(samples: usize, all: usize) -> usize {
    // A model with a shorter window was trained on windows that are hardly longer than the sound.
    let (more, least) = if all < WHOLE { (BEHIND, 128) } else { (128, 384) };
    let needed = (samples * POSITIONS_PER_S).div_ceil(RATE_HZ as usize) + more;
    needed.next_multiple_of(64).max(least).min(all)
}

/// One state of whisper.cpp, used again and again.
pub(super) struct Engine {
    model: Arc<Model>,
    state: WhisperState,
}

/// The result of one run of the model.
#[derive(Debug, Default)]
struct Pass {
    text: String,
    tokens: Vec<i32>,
    /// The probability of the least certain token with a letter or digit.
    weakest: f32,
    /// The mean of the tokens' log probabilities, the end's included.
    log_probability: f32,
    full: bool,
}

impl Pass {
    /// It came to no end.
    fn lost(&self) -> bool {
        self.full || loops(&self.tokens)
    }

    fn better_than(&self, other: &Self) -> bool {
        let worth = |pass: &Self| (!pass.lost(), !pass.tokens.is_empty());
        (worth(self), self.log_probability) > (worth(other), other.log_probability)
    }
}

impl Engine {
    pub(super) fn new(model: Arc<Model>) -> Result<Self, WhisperError> {
        let state = model.context.create_state()?;
        Ok(Self { model, state })
    }

    /// The words of a recording that is within the limit.
    pub(super) fn recognise(
        &mut self,
        sound: &Sound,
        expectation: Option<Expectation>,
        stop: &Stop,
    ) -> Result<Transcript, RecogniseError> {
        let mut seconds = Seconds::default();
        let started = Instant::now();
        let sound = resample(sound, RATE_HZ).map_err(|error| RecogniseError::Failed(error.to_string()))?;
        let speech = gate::speech(&sound.samples);
        seconds.gate = started.elapsed();
        let Spoken { range, has_pause, seconds: spoken_s } =
            speech.ok_or(RecogniseError::NoTranscript(NoTranscript::NoSpeech))?;
        let speech = &sound.samples[range];

        let mut said = Vec::new();
        let mut failure = NoTranscript::NoWords;
        let mut language = None;
        let pieces = windows(speech, self.model.window());
        for window in &pieces {
            let mut samples = window.to_vec();
            samples.resize(samples.len().max(SAMPLES_MIN), 0.0);
            match self.window(&samples, &mut language, stop, &mut seconds) {
                Ok(pass) => said.push(pass),
                Err(RecogniseError::NoTranscript(why)) => failure = why,
                Err(error) => return Err(error),
            }
        }
        let tokens: usize = said.iter().map(|pass| pass.tokens.len()).sum();
        let log_probability = said.iter().map(|pass| pass.log_probability * pass.tokens.len() as f32).sum::<f32>();
        let text = said.iter().map(|pass| pass.text.trim()).collect::<Vec<_>>().join(" ");
        if !text.contains(char::is_alphanumeric) {
            return Err(RecogniseError::NoTranscript(failure));
        }
        let language = language.unwrap_or_default();
        let code = self.model.languages[language].0;
        let started = Instant::now();
        // Commands are short.
        let is_compared = pieces.len() == 1 && self.model.comparison.steps_max > 0;
        let grammar = expectation.filter(|_| is_compared).and_then(|expectation| expectation(&text, code));
        let likely = match grammar {
            Some(grammar) => self.closest(&grammar, language, started, stop)?,
            None => Vec::new(),
        };
        seconds.comparison = started.elapsed();
        let may_lack_words = has_pause || spoken_s > longest_s(&text);
        Ok(Transcript {
            text,
            language: code,
            weakest: said.iter().map(|pass| pass.weakest).fold(1.0, f32::min),
            may_lack_words,
            likely,
            confidence: (log_probability / tokens.max(1) as f32).exp(),
            seconds,
        })
    }

    /// The words of one window: a quick pass, and if its result is poor, a thorough one. The first window decides on the
    /// language of the recording.
    fn window(
        &mut self,
        samples: &[f32],
        language: &mut Option<usize>,
        stop: &Stop,
        seconds: &mut Seconds,
    ) -> Result<Pass, RecogniseError> {
        let tokens_max = TOKENS_MAX.max(TOKENS_PER_S * samples.len() / RATE_HZ as usize);
        let positions = positions(samples.len(), self.model.audio_positions);
        let params = |model: &Model, language: usize, positions: usize| {
            let mut params: FullParams<'_, '_> = model.languages[language].1.clone();
            params.set_max_tokens(tokens_max as i32);
            params.set_audio_ctx(positions as i32);
            params
        };
        let quick = |model: &Model, language: usize| {
            let mut params = params(model, language, positions);
            params.set_temperature_inc(0.0);
            params
        };
        let started = Instant::now();
        let likely = language.unwrap_or_default();
        let mut best = self.pass(quick(&self.model, likely), samples, tokens_max, stop)?;
        let found = match *language {
            Some(known) => known,
            None => *language.insert(self.language(stop)?),
        };
        if found == likely {
            seconds.first_pass += started.elapsed();
        } else {
            seconds.language = started.elapsed();
            let started = Instant::now();
            best = self.pass(quick(&self.model, found), samples, tokens_max, stop)?;
            seconds.first_pass += started.elapsed();
        }

        let shortened = positions < LONGER.min(self.model.audio_positions);
        let poor = best.tokens.is_empty() || best.log_probability < DOUBTFUL;
        if best.lost() || shortened && poor {
            let started = Instant::now();
            let mut params = params(&self.model, found, positions.max(LONGER).min(self.model.audio_positions));
            // The same pass would give the same result.
            params.set_temperature(if shortened { 0.0 } else { TEMPERATURE_STEP });
            params.set_temperature_inc(TEMPERATURE_STEP);
            params.set_logprob_thold(NEVER);
            let second = self.pass(params, samples, tokens_max, stop)?;
            if second.better_than(&best) {
                best = second;
            }
            seconds.second_pass += started.elapsed();
        }
        self.believe(best)
    }

    /// The most probable language of the sound that was encoded last, as a place in the list of those to choose from; the
    /// family's first one counts more. Encoding the sound is most of the work, so the first pass guesses the language.
    fn language(&mut self, stop: &Stop) -> Result<usize, RecogniseError> {
        let Model { context, languages, prefers_first, threads, .. } = &*self.model;
        if languages.len() == 1 {
            return Ok(0);
        }
        self.state.decode(&[context.token_sot()], 0, *threads).map_err(|error| failure(error, stop))?;
        let logits = self.state.get_logits().map_err(|error| failure(error, stop))?;
        let weight = |at: &usize| {
            let id = whisper_rs::get_lang_id(languages[*at].0).map(|id| context.token_lang(id));
            let logit = id.and_then(|id| logits.get(usize::try_from(id).ok()?)).copied();
            let more = if *at == 0 && *prefers_first { OTHER_LANGUAGE.ln() } else { 0.0 };
            logit.unwrap_or(f32::NEG_INFINITY) + more
        };
        Ok((0..languages.len()).max_by(|one, other| weight(one).total_cmp(&weight(other))).unwrap_or_default())
    }

    fn pass(
        &mut self,
        params: FullParams<'_, '_>,
        samples: &[f32],
        tokens_max: usize,
        stop: &Stop,
    ) -> Result<Pass, RecogniseError> {
        run_until(stop, &mut self.state, params, samples).map_err(|error| failure(error, stop))?;
        let end = self.model.context.token_eot();
        let mut text = Vec::new();
        let mut tokens = Vec::new();
        let mut weakest = 1.0f32;
        let (mut sum, mut count) = (0.0, 0);
        for segment in self.state.as_iter() {
            // A character may be split over tokens: bytes first, text then.
            text.extend_from_slice(segment.to_bytes().unwrap_or_default());
            for token in (0..segment.n_tokens()).filter_map(|at| segment.get_token(at)) {
                sum += token.token_data().plog;
                count += 1;
                if token.token_id() < end {
                    tokens.push(token.token_id());
                    // Of punctuation no model is sure. A part of a character is one, too.
                    let is_letter = |letter: char| letter.is_alphanumeric() || letter == char::REPLACEMENT_CHARACTER;
                    if token.to_str_lossy().is_ok_and(|part| part.contains(is_letter)) {
                        weakest = weakest.min(token.token_data().plog.exp());
                    }
                }
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let mean = sum / count.max(1) as f32;
        // A damaged model may produce NaN.
        let log_probability = if mean.is_nan() { f32::NEG_INFINITY } else { mean };
        Ok(Pass { text, weakest, full: tokens.len() >= tokens_max, tokens, log_probability })
    }

    /// The sentences of the grammar that the last window is most like.
    fn closest(
        &mut self,
        grammar: &Grammar,
        language: usize,
        started: Instant,
        stop: &Stop,
    ) -> Result<Vec<Likely>, RecogniseError> {
        let Model { context, parts, threads, comparison, .. } = &*self.model;
        let mut start = vec![context.token_sot()];
        if context.is_multilingual() {
            let id = whisper_rs::get_lang_id(self.model.languages[language].0).unwrap_or_default();
            start.extend([context.token_lang(id), context.token_transcribe()]);
        }
        start.push(context.token_not());
        let limits = SearchLimits { steps_max: comparison.steps_max, until: started + comparison.time_max, stop };
        let search = Search::new(&mut self.state, *threads, parts, grammar, limits);
        search.run(&start).map_err(|error| failure(error, stop))
    }

    /// Whether the words are plausible speech.
    fn believe(&mut self, pass: Pass) -> Result<Pass, RecogniseError> {
        if pass.tokens.is_empty() {
            return Err(RecogniseError::NoTranscript(NoTranscript::NoWords));
        }
        if loops(&pass.tokens) {
            return Err(RecogniseError::NoTranscript(NoTranscript::Repetition));
        }
        if pass.log_probability < UNBELIEVABLE {
            return Err(RecogniseError::NoTranscript(NoTranscript::Unsure));
        }
        if pass.log_probability < NO_SPEECH_WORDS && self.no_speech_probability() > NO_SPEECH {
            return Err(RecogniseError::NoTranscript(NoTranscript::NoSpeech));
        }
        Ok(pass)
    }

    /// The model's probability that there is no speech. It was trained to report this at the first position;
    /// whisper.cpp reads the value after the start tokens, where it means little.
    fn no_speech_probability(&mut self) -> f32 {
        let context = &self.model.context;
        let (start, no_speech) = (context.token_sot(), context.token_nosp());
        let logits = match self.state.decode(&[start], 0, self.model.threads) {
            Ok(()) => self.state.get_logits().unwrap_or_default(),
            Err(_) => return 0.0,
        };
        let Some(own) = usize::try_from(no_speech).ok().and_then(|at| logits.get(at)) else { return 0.0 };
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        (own - largest).exp() / logits.iter().map(|logit| (logit - largest).exp()).sum::<f32>()
    }
}

/// The longest time in seconds in which these words are said. In a longer recording, a second voice or the end of a sentence
/// may be missing.
fn longest_s(text: &str) -> f32 {
    let letters = |letter: char| match letter.is_alphanumeric() {
        true if letter.is_ascii() => 1.0,
        // An umlaut counts as a syllable, which does no harm.
        true => LETTERS_OF_SYLLABLE,
        false => 0.0,
    };
    AROUND_WORDS_S + LETTER_S * text.chars().map(letters).sum::<f32>()
}

fn failure(error: WhisperError, stop: &Stop) -> RecogniseError {
    if stop.reached() { RecogniseError::TimedOut } else { RecogniseError::Failed(error.to_string()) }
}

/// Whether the last tokens are the same few over and over: four times, and twelve tokens at least.
fn loops(tokens: &[i32]) -> bool {
    (1..=12).any(|size| {
        let span = size * 4usize.max(12usize.div_ceil(size));
        tokens.len() >= span && tokens[tokens.len() - span..].windows(size + 1).all(|window| window[0] == window[size])
    })
}

/// The recording in pieces that fit the model, split at its quietest points.
fn windows(samples: &[f32], window: usize) -> Vec<&[f32]> {
    let mut pieces = Vec::new();
    let mut rest = samples;
    while rest.len() > window {
        let step = RATE_HZ as usize / 10;
        // In the last third, so that pieces stay long and a pause is likely.
        let softest = (window * 2 / 3..window - step).step_by(step).min_by(|one, other| {
            let energy = |at: usize| rest[at..at + step].iter().map(|sample| sample * sample).sum::<f32>();
            energy(*one).total_cmp(&energy(*other))
        });
        let (piece, more) = rest.split_at(softest.map_or(window, |at| at + step / 2));
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_distinguished_from_a_child_that_repeats() {
        assert!(loops(&[7; 12]) && loops(&[1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]));
        assert!(loops(&[5, 6].repeat(6)) && loops(&[1, 2, 3, 4, 5].repeat(4)));
        assert!(!loops(&[7; 11]) && !loops(&[5, 6].repeat(5)) && !loops(&[1, 2, 3, 4, 5].repeat(3)));
        assert!(!loops(&[]) && !loops(&(0..40).collect::<Vec<_>>()));
        let mut ended = vec![7; 12];
        ended.push(8);
        assert!(!loops(&ended), "it found its way out");
    }

    #[test]
    fn the_window_is_shortened_for_short_recordings_and_never_beyond_the_models() {
        for (seconds, all, expected) in
            [(1, 1500, 384), (5, 1500, 384), (6, 1500, 448), (8, 1500, 576), (28, 1500, 1500), (30, 1500, 1500)]
                .into_iter()
                .chain([(1, 500, 128), (3, 500, 192), (10, 500, 500), (1, 64, 64), (1, 600, 128), (12, 600, 600)])
        {
            assert_eq!(positions(seconds * RATE_HZ as usize, all), expected, "{seconds} s of {all}");
        }
    }

    #[test]
    fn a_long_recording_is_split_at_its_pause_and_nothing_is_lost() {
        let mut samples = vec![0.5; 250_000];
        samples[130_000..134_000].fill(0.0);
        let pieces = windows(&samples, 160_000);
        assert_eq!(pieces.len(), 2);
        assert!((130_000..134_000).contains(&pieces[0].len()), "{}", pieces[0].len());
        assert_eq!(pieces.concat(), samples);
        assert_eq!(windows(&samples, 250_000).len(), 1);
        assert_eq!(windows(&[], 16_000), [&[] as &[f32]]);
        assert!(windows(&samples, 16_000).iter().all(|piece| piece.len() <= 16_000));
    }
}
