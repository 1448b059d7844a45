//! `[speech]`

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::settings::settings;

settings! {
    /// What the hub hears, answers and says.
    pub struct Speech {
        /// File of the speech model, in whisper.cpp's format; scripts/get-model fetches one. "" for the model in the
        /// box, models/toyhub-commands-en.bin, if that is there. Without a model, /ai_uploader answers code 16.
        model: PathBuf = PathBuf::new() => Everyday;
        /// SHA-256 that the file of the model must have, in hex; "" for any. Official models must have theirs in any case.
        model_sha256: String = String::new();
        /// Languages that children speak, such as ["de", "en"]; [] for all that the model knows. English models know
        /// English only. The first one is the families' own: notices and opening sounds are in it. The hub has words of
        /// "en", "zh" and "de".
        languages: Vec<String> = vec!["en".into()] => Everyday;
        /// Recordings that are listened to at once; each takes its own memory, about 150 MB with the model "base".
        workers: usize = 1;
        /// Cores for each of them.
        threads: usize = 2;
        /// Recordings that may wait for their turn; at one more, a toy that has several there hears that the hub is
        /// busy.
        queue_max: usize = 64;
        /// Seconds that one may wait.
        wait_timeout_s: u64 = 30;
        /// Seconds that listening to one may take.
        recognise_timeout_s: u64 = 20;
        /// Seconds that a recording to the hub may last.
        command_max_s: u32 = 30;
        /// Whether recordings to the hub are kept, in ai-recordings in data_dir. Otherwise they are deleted before they
        /// are listened to. What was said is neither kept nor logged in any case.
        keep_ai_recordings: bool = false;
        /// Seconds that the hub remembers to have asked "do you mean this, or that?". 0 remembers nothing.
        question_timeout_s: u64 = 60 => MayBeZero;
        /// Minutes that the family's clock is before UTC (60 for UTC+1) or behind it (-300 for UTC-5). 0 is UTC.
        utc_offset_minutes: i32 = 0 => Everyday => MayBeZero;
        /// Who makes replies to what is no command. "": the hub itself, a few kind sentences. Or the address of an
        /// OpenAI-compatible chat endpoint, such as "http://127.0.0.1:11434/v1": what the child said is sent there.
        reply_url: String = String::new() => Everyday;
        /// PEM file of certificates that are trusted beside the public ones, for an https endpoint of your own; "" for
        /// none.
        reply_certificates: PathBuf = PathBuf::new();
        /// Model of the chat endpoint.
        reply_model: String = String::new();
        /// Environment variable that holds the endpoint's key; "" for none.
        reply_key_env: String = String::new();
        /// What the endpoint is told before each question.
        reply_prompt: String = "You are a friendly soft toy that talks with a small child. Answer in the child's language, \
                           in one to three short and simple sentences, without lists or emoji. Be kind, truthful and \
                           calm. Speak of nothing that is frightening, violent or for adults; of such a thing, say \
                           kindly that the child can ask its parents. Ask for no names, places or secrets."
                .into();
        /// Seconds that it may take; after that, or after any failure, the hub replies itself.
        reply_timeout_s: u64 = 8;
        /// Words of a reply; at the end of a sentence, what is more is left out.
        reply_words_max: usize = 60;
        /// Seconds that the sound of an answer is kept.
        answer_age_max_s: u64 = 24 * 3600;
        /// Program that speaks notices and answers, a name or a path: espeak-ng, or any that reads a text and writes a
        /// WAV file.
        synthesiser: String = "espeak-ng".into();
        /// Arguments of another program than espeak-ng, such as ["--model", "en.onnx", "--output_file", "-"] for piper.
        /// It is given the text on its standard input. "{voice}" and "{words_per_minute}" stand for these two keys.
        synthesiser_arguments: Vec<String> = Vec::new();
        /// Voice of the program that speaks, for the families' language; "espeak-ng --voices" lists them; "" for the one that it
        /// has for the language. espeak-ng speaks other languages, and Chinese characters in any text, with voices of
        /// their own.
        voice: String = String::new() => Everyday;
        /// Words per minute.
        words_per_minute: u32 = 150;
        /// What notices and answers are: "mp3", or "wav" for toys that decode no MP3. Recordings and music are MP3 in
        /// any case.
        format: SpokenFormat = SpokenFormat::Mp3;
        /// Seconds that one sentence may take.
        timeout_s: u64 = 10;
        /// Characters of one text to speak.
        text_max_chars: usize = 600;
        /// Sentences spoken at once.
        parallel_max: usize = 2;
    }
}

/// As what the hub's own words are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpokenFormat {
    /// Small; every toy plays it.
    Mp3,
    /// Ten times as large, for toys that decode nothing.
    Wav,
}

impl SpokenFormat {
    /// The end of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
        }
    }
}

/// Where the model in the box is looked for, from the folder that the hub is started in.
const MODEL_IN_THE_BOX: &str = "models/toyhub-commands-en.bin";

impl Speech {
    /// The model to listen with: that of the settings, or else the one in the box, if it is there.
    pub fn model_file(&self) -> Option<PathBuf> {
        let in_the_box = Path::new(MODEL_IN_THE_BOX);
        match self.names_no_model() {
            false => Some(self.model.clone()),
            true => in_the_box.exists().then(|| in_the_box.to_owned()),
        }
    }

    /// Whether the model is left to be that in the box.
    pub fn names_no_model(&self) -> bool {
        self.model.as_os_str().is_empty()
    }

    pub(super) fn faults(&self) -> Vec<&'static str> {
        let is_web = ["http://", "https://"].iter().any(|scheme| self.reply_url.starts_with(scheme));
        let (has_url, day) = (!self.reply_url.is_empty(), 24 * 60);
        [
            (has_url && !is_web).then_some(
                "speech.reply_url is no web address; set http://… or https://…, or \"\" for built-in replies",
            ),
            (has_url && self.reply_model.is_empty())
                .then_some("speech.reply_model is empty, which speech.reply_url needs; name a model of that endpoint"),
            (!(-day..=day).contains(&self.utc_offset_minutes))
                .then_some("speech.utc_offset_minutes is more than a day; set 60 for UTC+1, -300 for UTC-5"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
