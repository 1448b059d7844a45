//! `[speech]`

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::settings::settings;

/// The codes of the languages that the hub supports, which have texts in `ports/speech/languages`.
pub(crate) const LANGUAGES: [&str; 3] = ["en", "zh", "de"];

settings! {
    /// Speech recognition, replies and speech synthesis.
    pub struct Speech {
        /// File of the speech model, in whisper.cpp's format; scripts/get-model fetches one. "" for the included model,
        /// models/toyhub-commands-en.bin, if it exists. Without a model, /ai_uploader answers code 16.
        model: PathBuf = PathBuf::new() => Everyday;
        /// Expected SHA-256 of the model file, in hex; "" for any. Official models are always checked.
        model_sha256: String = String::new();
        /// Languages that children speak, such as ["de", "en"]; [] for all languages of the model. English models know
        /// English only. The first one is the language of notices and opening sounds, and the one that is meant where the
        /// model is unsure. The hub supports "en", "zh" and "de"; it logs others, and does without them.
        languages: Vec<String> = vec!["en".into()] => Everyday;
        /// Recordings that are recognised at once; each needs its own memory, about 150 MB with the model "base". 0 is
        /// one for every two processors of the machine, and four at most.
        workers: usize = 0 => MayBeZero;
        /// Threads for each of them. 0 is two if the machine has two processors for each of them, otherwise one.
        threads: usize = 0 => MayBeZero;
        /// Recordings that may wait for recognition. Beyond that, a toy with several waiting recordings gets code 17
        /// (busy).
        queue_max: usize = 64;
        /// Seconds that a recording may wait.
        wait_timeout_s: u64 = 30;
        /// Seconds that the recognition of one recording may take.
        recognise_timeout_s: u64 = 20;
        /// Steps in which a recording whose words are no clear command is compared with the sentences that its toy
        /// understands. Each is a run of the model's decoder for one part of a word. 0 compares none.
        compare_steps_max: usize = 28 => MayBeZero;
        /// Milliseconds that this comparison may take. After that, the words alone count.
        compare_ms_max: u64 = 1500;
        /// Titles and names of friends in these sentences. A recording for a toy with more of them is not compared.
        compare_names_max: usize = 2000;
        /// Seconds that a recording to the hub may last.
        command_max_s: u32 = 30;
        /// Milliseconds of silence after which a sentence that a device streams has ended, unless its client says when.
        /// With a lower number the answer comes sooner, and a child that thinks in the middle is cut off.
        end_silence_ms: u64 = 600;
        /// Milliseconds of silence after which its recognition begins. If the child speaks on, the result is dropped, and
        /// recognition begins again.
        pause_ms: u64 = 250;
        /// Devices that stream speech at once. Each needs up to two megabytes.
        turns_max: usize = 64;
        /// Whether recordings to the hub are kept, in ai-recordings in data_dir. Otherwise they are deleted before they
        /// are recognised. The recognised text is never logged.
        keep_ai_recordings: bool = false;
        /// Whether a guardian may turn on, by /keep_words, that the recognised text of a toy's child is kept in the
        /// database, with what the hub did, for retention.words_days. Guardians of the toy can read it. At a start with
        /// false, what was kept is deleted.
        keep_words: bool = false;
        /// Seconds for which the hub remembers a question of its own, such as "do you mean this, or that?". 0 remembers
        /// none.
        question_timeout_s: u64 = 60 => MayBeZero;
        /// Offset of the family's time zone from UTC in minutes (60 for UTC+1, -300 for UTC-5). 0 is UTC.
        utc_offset_minutes: i32 = 0 => Everyday => MayBeZero;
        /// Source of replies to speech that is not a command. "": a few built-in sentences. Or the address of an
        /// OpenAI-compatible chat endpoint, such as "http://127.0.0.1:11434/v1", to which the recognised text is sent.
        reply_url: String = String::new() => Everyday;
        /// PEM file of certificates that are trusted in addition to the public ones, for an https endpoint of your own;
        /// "" for none.
        reply_certificates: PathBuf = PathBuf::new();
        /// Model of the chat endpoint.
        reply_model: String = String::new();
        /// Environment variable that holds the endpoint's key; "" for none.
        reply_key_env: String = String::new();
        /// System prompt for the endpoint.
        reply_prompt: String = "You are a friendly soft toy that talks with a small child. Answer in the child's language, \
                           in one to three short and simple sentences, without lists or emoji. Be kind, truthful and \
                           calm. Speak of nothing that is frightening, violent or for adults; of such a thing, say \
                           kindly that the child can ask its parents. Ask for no names, places or secrets."
                .into();
        /// Seconds in which the endpoint must answer, or send the next sentence; after that, or after any failure, the
        /// hub uses a built-in reply.
        reply_timeout_s: u64 = 8;
        /// Bytes of the endpoint's answer; a longer one counts as a failure.
        reply_max_bytes: usize = 256 * 1024;
        /// Whether a child that has spoken a message on a device that streams is asked whether to send it.
        confirm_messages: bool = true;
        /// Words of a reply; a longer one is cut at the end of a sentence.
        reply_words_max: usize = 60;
        /// Whether the endpoint is asked to send replies in pieces: a device that streams then speaks the first sentence
        /// while the rest is made. Turn it off for a model that sends its reasoning without the tag <think>.
        reply_stream: bool = true;
        /// Seconds that the sound of an answer is kept.
        answer_age_max_s: u64 = 24 * 3600;
        /// Speech synthesis program, a name or a path: espeak-ng, or any program that reads a text and writes a WAV
        /// file.
        synthesiser: String = "espeak-ng".into();
        /// Arguments of another program than espeak-ng, such as ["--model", "en.onnx", "--output_file", "-"] for piper.
        /// It gets the text on its standard input. "{voice}" and "{words_per_minute}" stand for these two keys.
        synthesiser_arguments: Vec<String> = Vec::new();
        /// Folder of Piper and its voices, which sound more human than those of espeak-ng; scripts/get-voice makes one.
        /// Piper speaks the languages that it has a voice for, and espeak-ng the others, and where Piper fails. "" for the
        /// folder piper in the working directory, if it exists. Unused with synthesiser_arguments.
        piper: PathBuf = PathBuf::new();
        /// Threads of Piper for one sentence.
        piper_threads: usize = 1;
        /// Voices of Piper in memory, about 150 MB each.
        piper_voices_max: usize = 3;
        /// Sentences that Piper speaks or that wait for it. Beyond that, espeak-ng speaks.
        piper_queue_max: usize = 8;
        /// Seconds that a sentence may wait for Piper, and then that Piper may take for it. After that, espeak-ng speaks.
        /// With a loaded voice, Piper has 3 seconds, and twice as long as so many characters have taken before.
        piper_timeout_s: u64 = 10;
        /// Voice for the first language: one of Piper, such as "en_US-joe-medium"; or one of the speech synthesis program,
        /// such as "en+f3" ("espeak-ng --voices" lists them). "" for the first voice of Piper in the language, or else the
        /// program's. Other languages, and Chinese characters in any text, have other voices.
        voice: String = String::new() => Everyday;
        /// Words per minute of speech synthesis, about.
        words_per_minute: u32 = 150;
        /// Format of notices and answers: "mp3", or "wav" for toys that cannot decode MP3. Recordings and music are MP3
        /// in any case.
        format: SpokenFormat = SpokenFormat::Mp3;
        /// Seconds that the synthesis of one sentence may take.
        timeout_s: u64 = 10;
        /// Seconds of CPU time that reading the output of the program may take.
        output_cpu_max_s: u64 = 60;
        /// Characters of one text to speak.
        text_max_chars: usize = 600;
        /// Sentences spoken at once.
        parallel_max: usize = 2;
    }
}

/// The format of synthesised speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpokenFormat {
    /// Small, and supported by most toys.
    Mp3,
    /// Ten times as large, for toys that cannot decode MP3.
    Wav,
}

impl SpokenFormat {
    /// The extension of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
        }
    }
}

/// The path of the included model, relative to the working directory of the hub.
const MODEL_IN_THE_BOX: &str = "models/toyhub-commands-en.bin";
/// The folder of Piper, relative to the working directory of the hub.
const PIPER: &str = "piper";

fn is_known(language: &str) -> bool {
    LANGUAGES.contains(&language)
}

fn included_model() -> Option<PathBuf> {
    let model = Path::new(MODEL_IN_THE_BOX);
    model.exists().then(|| model.to_owned())
}

impl Speech {
    /// The model file: that of the settings, or else the included one, if it exists.
    pub fn model_file(&self) -> Option<PathBuf> {
        if self.names_no_model() { included_model() } else { Some(self.model.clone()) }
    }

    /// The settings of the included model, if it exists and another one is configured.
    pub fn instead(&self) -> Option<(Self, PathBuf)> {
        let model = included_model().filter(|_| !self.names_no_model())?;
        Some((Self { model: PathBuf::new(), model_sha256: String::new(), ..self.clone() }, model))
    }

    /// The folder of Piper: that of the settings, or else the usual one, if it exists.
    pub fn piper_folder(&self) -> Option<PathBuf> {
        match self.piper.as_os_str().is_empty() {
            false => Some(self.piper.clone()),
            true => Path::new(PIPER).is_dir().then(|| PIPER.into()),
        }
    }

    /// The languages that children speak and the hub supports, or English if it supports none of them. Empty for all
    /// languages of the model.
    pub fn known_languages(&self) -> Vec<String> {
        let known: Vec<String> = self.languages.iter().filter(|code| is_known(code)).cloned().collect();
        if known.is_empty() && !self.languages.is_empty() { vec![LANGUAGES[0].into()] } else { known }
    }

    /// The fault that the settings have languages which the hub does not support, with those that it speaks instead.
    pub fn fault_of_languages(&self) -> Option<String> {
        let unknown: Vec<_> = self.languages.iter().filter(|code| !is_known(code)).collect();
        let fault = || {
            format!(
                "speech.languages has unknown languages: {unknown:?}; set some of \"en\", \"zh\" and \"de\", such as \
                 [\"de\", \"en\"]; until then the hub speaks and hears {:?}",
                self.known_languages()
            )
        };
        (!unknown.is_empty()).then(fault)
    }

    /// Whether the settings name no model, so that the included one is used.
    pub fn names_no_model(&self) -> bool {
        self.model.as_os_str().is_empty()
    }

    pub(super) fn faults(&self) -> Vec<String> {
        let is_web = ["http://", "https://"].iter().any(|scheme| self.reply_url.starts_with(scheme));
        let (has_url, day) = (!self.reply_url.is_empty(), 24 * 60);
        let faults = [
            (has_url && !is_web).then_some(
                "speech.reply_url is not a web address; set http://… or https://…, or \"\" for built-in replies",
            ),
            (has_url && self.reply_model.is_empty())
                .then_some("speech.reply_model is empty, which speech.reply_url needs; name a model of that endpoint"),
            (!(-day..=day).contains(&self.utc_offset_minutes))
                .then_some("speech.utc_offset_minutes is more than a day; set 60 for UTC+1, -300 for UTC-5"),
        ];
        faults.into_iter().flatten().map(str::to_owned).collect()
    }
}
