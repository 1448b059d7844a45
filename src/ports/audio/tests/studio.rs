//! The test recordings, made with `espeak-ng` and `ffmpeg`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

use codec_core::codecs::amr::AmrCodec;
use codec_core::types::{CodecConfig, VariableRateCodec};
use tempfile::TempDir;

use super::{Sound, decode, limits, resample};

fn ran(program: &str, arguments: &[&str]) -> bool {
    let status =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Writes a shell script. A child writes it: a file that this process, or a
/// fork of it, holds open for writing could not be started.
pub(super) fn write_script(path: &Path, lines: &str) {
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod +x "$0""#;
    assert!(ran("sh", &["-c", write, path.to_str().unwrap(), lines]));
}

pub(super) fn ffmpeg(arguments: &[&str]) {
    let all = [&["-nostdin", "-y", "-loglevel", "error"], arguments].concat();
    assert!(ran("ffmpeg", &all), "ffmpeg {arguments:?}");
}

/// A spoken sentence as 16 bit mono WAV of 22,050 Hz.
pub(super) struct Studio {
    folder: TempDir,
    /// Held while a recording is made.
    making: Mutex<()>,
}

impl Studio {
    /// The studio, which concurrent tests share; its folder is deleted after the last of them. `None` without the
    /// programs.
    pub(super) fn get() -> Option<Arc<Studio>> {
        static SHARED: Mutex<Weak<Studio>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        if let Some(studio) = shared.upgrade() {
            return Some(studio);
        }
        if !ran("espeak-ng", &["--version"]) || !ran("ffmpeg", &["-version"]) {
            eprintln!("espeak-ng or ffmpeg is not installed: nothing was tested");
            return None;
        }
        let studio = Arc::new(Studio { folder: tempfile::tempdir().unwrap(), making: Mutex::new(()) });
        let speech = studio.path("speech.wav");
        let text = "Good night, little bear. Tomorrow we will play in the garden again.";
        assert!(ran("espeak-ng", &["-w", speech.to_str().unwrap(), text]));
        *shared = Arc::downgrade(&studio);
        Some(studio)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn speech(&self) -> Sound {
        decode(&self.path("speech.wav"), &limits()).unwrap()
    }

    /// The sentence in another format, made once.
    pub(super) fn recording(&self, name: &str, codec: &[&str]) -> PathBuf {
        let _making = self.making.lock().unwrap();
        let path = self.path(name);
        if !path.exists() {
            let speech = self.path("speech.wav");
            let (speech, target) = (speech.to_str().unwrap(), path.to_str().unwrap());
            ffmpeg(&[&["-i", speech], codec, &[target]].concat());
        }
        path
    }

    pub(super) fn amr(&self) -> PathBuf {
        let path = self.path("speech.amr");
        let _making = self.making.lock().unwrap();
        if path.exists() {
            return path;
        }
        let speech = resample(&self.speech(), 8_000).unwrap();
        let mut codec = AmrCodec::new(&CodecConfig::amr_nb()).unwrap();
        codec.set_mode(7).unwrap();
        let mut file = b"#!AMR\n".to_vec();
        for chunk in speech.samples.chunks_exact(160) {
            let frame: Vec<i16> = chunk.iter().map(|s| (s * 32_767.0) as i16).collect();
            file.push(7 << 3 | 1 << 2);
            file.extend(codec.encode_frame(&frame).unwrap().data);
        }
        std::fs::write(&path, file).unwrap();
        path
    }

    /// One small file of every kind that the child process decodes.
    pub(super) fn every_kind_of_the_child(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = OF_THE_CHILD.iter().map(|(name, codec)| self.recording(name, codec)).collect();
        let (amr, phone) = (self.amr(), self.path("phone.3gp"));
        let _making = self.making.lock().unwrap();
        if !phone.exists() {
            ffmpeg(&["-i", amr.to_str().unwrap(), "-c", "copy", phone.to_str().unwrap()]);
        }
        files.push(phone);
        files
    }

    /// The channels of a recording, by ffmpeg.
    pub(super) fn channels(&self, file: &Path) -> Vec<Sound> {
        let _making = self.making.lock().unwrap();
        let wav = self.path("channels.wav");
        ffmpeg(&["-i", file.to_str().unwrap(), "-c:a", "pcm_f32le", wav.to_str().unwrap()]);
        let reader = hound::WavReader::open(wav).unwrap();
        let format = reader.spec();
        let count = usize::from(format.channels);
        let samples: Vec<f32> = reader.into_samples().map(Result::unwrap).collect();
        let channel = |at: usize| samples.iter().skip(at).step_by(count).copied().collect();
        (0..count).map(|at| Sound { rate_hz: format.sample_rate, samples: channel(at) }).collect()
    }

    /// A file of these bytes.
    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// One small file of every kind that is decoded in this process.
    pub(super) fn every_kind(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = RECORDINGS.iter().map(|(name, codec)| self.recording(name, codec)).collect();
        files.push(self.path("speech.wav"));
        files.push(self.amr());
        files
    }
}

/// Formats that this process decodes.
const RECORDINGS: &[(&str, &[&str])] = &[
    ("u8.wav", &["-c:a", "pcm_u8", "-ar", "8000"]),
    ("s24.wav", &["-c:a", "pcm_s24le", "-ac", "2"]),
    ("s32.wav", &["-c:a", "pcm_s32le", "-ar", "96000"]),
    ("f32.wav", &["-c:a", "pcm_f32le"]),
    ("alaw.wav", &["-c:a", "pcm_alaw", "-ar", "8000"]),
    ("mulaw.wav", &["-c:a", "pcm_mulaw", "-ar", "8000"]),
    ("ima.wav", &["-c:a", "adpcm_ima_wav", "-ar", "16000", "-block_size", "256"]),
    ("ms.wav", &["-c:a", "adpcm_ms", "-ar", "16000", "-ac", "2", "-block_size", "256"]),
    ("six.wav", &["-c:a", "pcm_s16le", "-ac", "6"]),
    ("mpeg1.mp3", &["-c:a", "libmp3lame", "-ar", "44100", "-ac", "2", "-metadata", "title=Bear"]),
    ("mpeg2.mp3", &["-c:a", "libmp3lame", "-ar", "16000", "-id3v2_version", "0"]),
    ("mpeg25.mp3", &["-c:a", "libmp3lame", "-ar", "8000", "-write_id3v1", "1"]),
    ("plain.aac", &["-c:a", "aac", "-f", "adts"]),
    ("voice.m4a", &["-c:a", "aac", "-ar", "44100"]),
    ("fast.m4a", &["-c:a", "aac", "-movflags", "+faststart"]),
    ("pieces.mp4", &["-c:a", "aac", "-movflags", "empty_moov", "-frag_duration", "400000"]),
    ("vorbis.ogg", &["-c:a", "libvorbis"]),
    ("opus.ogg", &["-c:a", "libopus", "-b:a", "24k"]),
    ("opus.webm", &["-c:a", "libopus", "-ac", "2"]),
    ("live.webm", &["-c:a", "libopus", "-f", "webm", "-live", "1"]),
    ("vorbis.mkv", &["-c:a", "libvorbis"]),
    ("lossless.flac", &["-c:a", "flac"]),
];

/// Formats that only the child process decodes.
const OF_THE_CHILD: &[(&str, &[&str])] = &[
    ("plain.aiff", &["-c:a", "pcm_s16be"]),
    ("float.aifc", &["-c:a", "pcm_f32be", "-f", "aiff"]),
    ("plain.caf", &["-c:a", "pcm_s16le"]),
    ("alac.caf", &["-c:a", "alac", "-ac", "2"]),
    ("alac.m4a", &["-c:a", "alac"]),
    ("ima.mov", &["-c:a", "adpcm_ima_qt"]),
    ("media.wma", &["-c:a", "wmav2", "-b:a", "64k", "-ac", "2"]),
    ("sun.au", &["-c:a", "pcm_mulaw", "-ar", "8000"]),
    ("long.wav", &["-c:a", "pcm_s16le", "-rf64", "always"]),
    ("telephone.wav", &["-c:a", "libgsm_ms", "-ar", "8000"]),
    ("speex.ogg", &["-c:a", "libspeex", "-ar", "16000"]),
    ("stream.ts", &["-c:a", "aac", "-f", "mpegts"]),
    ("layer2.mkv", &["-c:a", "mp2", "-ar", "44100"]),
    ("layer2.mp2", &["-c:a", "mp2", "-ar", "44100"]),
    ("half-rate.mp2", &["-c:a", "mp2", "-ar", "16000"]),
    ("camera.avi", &["-c:a", "pcm_s16le"]),
    ("camera-mp3.avi", &["-c:a", "libmp3lame", "-ar", "44100"]),
    ("browser.flv", &["-c:a", "nellymoser", "-ar", "22050"]),
    ("browser-adpcm.flv", &["-c:a", "adpcm_swf", "-ar", "22050"]),
    ("lossless.wv", &["-c:a", "wavpack"]),
    ("blaster.voc", &["-c:a", "pcm_u8", "-ar", "8000"]),
    ("sony.w64", &["-c:a", "pcm_s16le"]),
    ("film.ac3", &["-c:a", "ac3", "-ar", "48000", "-b:a", "96k"]),
    ("film-44.ac3", &["-c:a", "ac3", "-ar", "44100", "-b:a", "96k"]),
    ("film.eac3", &["-c:a", "eac3", "-ar", "48000", "-b:a", "96k"]),
];
