//! A model file, checked before whisper.cpp opens it.
//!
//! whisper.cpp trusts its input: a cut or crafted file overruns its buffers or ends the process. So the file is checked
//! here first, without trusting any part of it: the header's numbers, the vocabulary, and every tensor by name, shape,
//! type and length, up to the last byte. The same pass takes the SHA-256.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use super::shape::ModelKind;
use super::shape::{Quantisation, Shape};
use super::tensors::{Tensor, tensors};

/// The first four bytes of a file in this format, "ggml" as a number.
pub(super) const MAGIC: u32 = 0x6767_6d6c;

/// Whisper's spectra have this many frequencies.
pub(super) const SPECTRUM_BINS: u32 = 201;

/// The maximum length of a word of a vocabulary, in bytes.
const WORD_BYTES_MAX: u32 = 1024;

/// The official models: name, bytes, SHA-256, in a table that `scripts/get-model` reads too.
pub(super) const OFFICIAL: &str = include_str!("../../../../models/official.tsv");

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is no such file.
    #[error("the speech model {} does not exist; scripts/get-model fetches one", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("the speech model {} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file ends too early.
    #[error("the speech model {} is cut off in its {part}; fetch it again", path.display())]
    Cut {
        /// The file.
        path: PathBuf,
        /// The part in which it ends.
        part: String,
    },
    /// The file is something else, or damaged.
    #[error("{} is not a speech model for whisper.cpp: {reason}", path.display())]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The content does not match the expected SHA-256.
    #[error("the speech model {} is damaged: its SHA-256 is {found}, not {expected}; fetch it again", path.display())]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// The SHA-256 in the settings or in the list of official models.
        expected: String,
        /// The SHA-256 of the file.
        found: String,
    },
    /// The processor lacks features that the hub was built for.
    #[error("this processor lacks {0}, which speech recognition needs")]
    Processor(&'static str),
    /// A language that Whisper does not support.
    #[error("the language {0:?} is unknown; write it as in \"en\" or \"zh\"")]
    Language(String),
    /// whisper.cpp could not load a valid file, probably for lack of memory.
    #[error("the speech model could not be loaded: {0}")]
    Refused(String),
}

/// The description of a model, without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDescription {
    /// The name of its file.
    pub name: String,
    /// The size of its file.
    pub bytes: u64,
    /// Its family.
    pub kind: ModelKind,
    /// Whether it supports languages other than English.
    pub multilingual: bool,
    /// Layers of the encoder.
    pub encoder_layers: u32,
    /// Layers of the decoder.
    pub decoder_layers: u32,
    /// The width of a layer.
    pub width: u32,
    /// The format of its weights: `f16`, `q5_1`, …
    pub quantisation: &'static str,
    /// Positions of its audio window, 50 for each second.
    pub audio_positions: u32,
    /// Whether it is one of the official models, byte for byte.
    pub official: bool,
    /// The file's SHA-256.
    pub sha256: String,
}

impl ModelDescription {
    /// Which of these languages it does not support.
    pub fn missing<'a>(&self, languages: &'a [String]) -> Vec<&'a str> {
        let missing = languages.iter().map(String::as_str).filter(|code| !self.multilingual && *code != "en");
        missing.collect()
    }
}

impl fmt::Display for ModelDescription {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: {:.1} MB, {}{}, {}, {} + {} layers of {}, {}, window {} s",
            self.name,
            self.bytes as f64 / 1e6,
            self.kind.as_str(),
            if self.official { ", official" } else { "" },
            if self.multilingual { "many languages" } else { "English" },
            self.encoder_layers,
            self.decoder_layers,
            self.width,
            self.quantisation,
            self.audio_positions / 50,
        )
    }
}

/// A checked file, still open, so that the checked file is the one that is loaded.
#[derive(Debug)]
pub(super) struct CheckedModel {
    pub(super) description: ModelDescription,
    pub(super) file: File,
}

/// Checks the whole file; `sha256` is the expected hash of the settings, if there is one.
pub(super) fn check(path: &Path, sha256: Option<&str>) -> Result<CheckedModel, ModelError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ModelError::Missing(path.to_owned()),
        _ => ModelError::Unreadable { path: path.to_owned(), error },
    };
    // To open a named pipe would wait for a writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(ModelError::NotAModel { path: path.to_owned(), reason: "it is not a file".into() });
    }
    let file = File::open(path).map_err(unreadable)?;
    let facts = file.metadata().map_err(unreadable)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut walk = Walk::new(&file, facts.len());
    let outcome = walk.model();
    let found = hex::encode(walk.hash.finalize());

    let official = official(&name);
    let (shape, quantisation) = outcome.map_err(|fault| match fault {
        Fault::Io(error) => unreadable(error),
        Fault::Cut(part) => ModelError::Cut { path: path.to_owned(), part },
        Fault::Wrong(reason) => ModelError::NotAModel { path: path.to_owned(), reason },
    })?;
    if let Some(expected) = sha256.or(official)
        && !expected.eq_ignore_ascii_case(&found)
    {
        return Err(ModelError::WrongHash { path: path.to_owned(), expected: expected.to_owned(), found });
    }
    let description = ModelDescription {
        name,
        bytes: facts.len(),
        kind: shape.kind(),
        multilingual: shape.is_multilingual(),
        encoder_layers: shape.audio_layers,
        decoder_layers: shape.text_layers,
        width: shape.audio_width,
        quantisation: quantisation.name(),
        audio_positions: shape.audio_positions,
        official: official == Some(found.as_str()),
        sha256: found,
    };
    Ok(CheckedModel { description, file })
}

/// The hash of the official model that has this file name. One of another name may have the same size: a family's own
/// model, with the weights of an official one adapted.
fn official(file_name: &str) -> Option<&'static str> {
    let name = file_name.strip_prefix("ggml-")?.strip_suffix(".bin")?;
    OFFICIAL.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = line.split('\t');
        let (official, _size, hash) = (fields.next()?, fields.next()?, fields.next()?);
        (official == name).then_some(hash)
    })
}

/// A fault that ended the check.
#[derive(Debug)]
enum Fault {
    Io(io::Error),
    Cut(String),
    Wrong(String),
}

/// A check through a file, from front to back.
struct Walk<'a> {
    file: BufReader<&'a File>,
    left: u64,
    hash: Sha256,
}

impl<'a> Walk<'a> {
    fn new(file: &'a File, bytes: u64) -> Self {
        Self { file: BufReader::with_capacity(1 << 16, file), left: bytes, hash: Sha256::new() }
    }

    fn model(&mut self) -> Result<(Shape, Quantisation), Fault> {
        if self.left == 0 {
            return Err(Fault::Wrong("it is empty".into()));
        }
        if self.number("first bytes")? != MAGIC {
            return Err(Fault::Wrong("it does not begin as one".into()));
        }
        let mut numbers = [0; Shape::NUMBERS];
        for number in &mut numbers {
            *number = self.number("header")?;
        }
        let shape = Shape::of(numbers);
        let quantisation = shape.check().map_err(Fault::Wrong)?;
        self.mel_filters(&shape)?;
        self.vocabulary(&shape)?;
        self.tensors(&shape, quantisation)?;
        Ok((shape, quantisation))
    }

    fn mel_filters(&mut self, shape: &Shape) -> Result<(), Fault> {
        if (self.number("filters")?, self.number("filters")?) != (shape.mel_bands, SPECTRUM_BINS) {
            return Err(Fault::Wrong("its filters do not fit its header".into()));
        }
        self.skip(u64::from(shape.mel_bands * SPECTRUM_BINS) * 4, "filters")
    }

    fn vocabulary(&mut self, shape: &Shape) -> Result<(), Fault> {
        let words = self.number("vocabulary")?;
        if words == 0 || words > shape.vocabulary {
            return Err(Fault::Wrong(format!("a vocabulary of {words} words")));
        }
        for _ in 0..words {
            let bytes = self.number("vocabulary")?;
            if bytes > WORD_BYTES_MAX {
                return Err(Fault::Wrong(format!("a word of {bytes} bytes in its vocabulary")));
            }
            self.skip(u64::from(bytes), "vocabulary")?;
        }
        Ok(())
    }

    /// Each tensor once, in any order, and nothing after them.
    fn tensors(&mut self, shape: &Shape, quantisation: Quantisation) -> Result<(), Fault> {
        let mut awaited: HashMap<String, Tensor> =
            tensors(shape, quantisation).into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        while !awaited.is_empty() {
            if self.left == 0 {
                return Err(Fault::Cut(format!("weights, {} of which are missing", awaited.len())));
            }
            let [sides, name_bytes, kind] = [self.number("weights")?, self.number("weights")?, self.number("weights")?];
            if !(1..=3).contains(&sides) || name_bytes > 128 {
                return Err(Fault::Wrong("its weights are scrambled".into()));
            }
            let mut size = [1; 3];
            for side in size.iter_mut().take(sides as usize) {
                *side = self.number("weights")?;
            }
            let mut name = vec![0; name_bytes as usize];
            self.read(&mut name, "weights")?;
            let name = String::from_utf8_lossy(&name);
            let Some(tensor) = awaited.remove(name.as_ref()) else {
                return Err(Fault::Wrong(format!("unknown or repeated weights {name:?}")));
            };
            if size != tensor.size || kind != tensor.storage.ggml_type() {
                return Err(Fault::Wrong(format!("the weights {name:?} do not fit its header")));
            }
            self.skip(tensor.bytes(), &tensor.name)?;
        }
        match self.left {
            0 => Ok(()),
            more => Err(Fault::Wrong(format!("{more} bytes follow its last weights"))),
        }
    }

    fn number(&mut self, part: &str) -> Result<u32, Fault> {
        let mut bytes = [0; 4];
        self.read(&mut bytes, part)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn read(&mut self, into: &mut [u8], part: &str) -> Result<(), Fault> {
        self.left = self.left.checked_sub(into.len() as u64).ok_or_else(|| Fault::Cut(part.to_owned()))?;
        self.file.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Cut(part.to_owned()),
            _ => Fault::Io(error),
        })?;
        self.hash.update(into);
        Ok(())
    }

    fn skip(&mut self, bytes: u64, part: &str) -> Result<(), Fault> {
        if bytes > self.left {
            return Err(Fault::Cut(part.to_owned()));
        }
        let mut block = [0; 1 << 15];
        let mut to_do = bytes;
        while to_do > 0 {
            let step = to_do.min(block.len() as u64) as usize;
            self.read(&mut block[..step], part)?;
            to_do -= step as u64;
        }
        Ok(())
    }
}
