//! Writes small models, with weights that are random, empty, or made to return given words.

use super::super::model::{MAGIC, SPECTRUM_BINS};
use super::super::shape::{Quantisation, Shape};
use super::super::tensors::{Tensor, tensors};

/// The words that a test's model knows besides bytes and numbers.
#[rustfmt::skip]
pub const WORDS: [&str; 30] = [
    " play", " the", " bear", " song", " a", " another", " dad", " elephant", " give", " grandma", " hello", " is", " it",
    " louder", " me", " message", " music", " one", " other", " purple", " send", " some", " something", " stop", " tell",
    " time", " to", " two", " what", " who",
];

/// English tokens without a word.
pub const END: usize = 50_256;
pub const NO_SPEECH: usize = 50_361;
/// "zh" and "en" of a model with many languages, the end of whose text is one further.
pub const CHINESE: usize = 50_260;
pub const ENGLISH_TOKEN: usize = 50_259;

/// The width of the models; it is the number of distinguishable positions of text.
const WIDTH: u32 = 64;

/// The content of the weights.
pub enum Weights<'a> {
    Zero,
    /// In files of `f16`, `q8_0` and `q5_1`.
    Random,
    /// At each position of the text that is named here, the token, and how strongly; in files of `f16`.
    Says(&'a [(usize, usize, f32)]),
}

/// The shape that the tests use: two layers on each side, a window of ten seconds.
pub(in super::super) fn shape(file_type: u32) -> Shape {
    Shape {
        vocabulary: 51_864,
        audio_positions: 500,
        audio_width: WIDTH,
        audio_heads: 2,
        audio_layers: 2,
        text_positions: 448,
        text_width: WIDTH,
        text_heads: 2,
        text_layers: 2,
        mel_bands: 80,
        file_type,
    }
}

/// The token of one of [`WORDS`].
pub fn token(word: &str) -> usize {
    256 + WORDS.iter().position(|known| *known == word).unwrap()
}

/// Weights that make an English model return these words and then end.
pub fn says(words: &[&str], strength: f32) -> Vec<(usize, usize, f32)> {
    // Before them stand the start, and "no timestamps", behind which the first word is due.
    let mut said: Vec<_> = words.iter().enumerate().map(|(at, word)| (at + 1, token(word), strength)).collect();
    said.push((words.len() + 1, END, strength));
    said
}

/// A model file, and where each of its parts begins.
pub struct Written {
    pub bytes: Vec<u8>,
    pub parts: Vec<usize>,
}

impl Written {
    fn number(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn part(&mut self) {
        self.parts.push(self.bytes.len());
    }
}

/// Writes a model.
pub(in super::super) fn write(shape: &Shape, weights: &Weights<'_>) -> Written {
    let mut file = Written { bytes: Vec::new(), parts: Vec::new() };
    file.number(MAGIC);
    for number in [
        shape.vocabulary,
        shape.audio_positions,
        shape.audio_width,
        shape.audio_heads,
        shape.audio_layers,
        shape.text_positions,
        shape.text_width,
        shape.text_heads,
        shape.text_layers,
        shape.mel_bands,
        shape.file_type,
    ] {
        file.part();
        file.number(number);
    }
    file.part();
    file.number(shape.mel_bands);
    file.number(SPECTRUM_BINS);
    file.part();
    for at in 0..shape.mel_bands * SPECTRUM_BINS {
        // Each band covers two neighbouring frequencies.
        let (band, bin) = (at / SPECTRUM_BINS, at % SPECTRUM_BINS);
        file.number(f32::to_bits(if bin / 2 == band { 0.01 } else { 0.0 }));
    }
    file.part();
    file.number(600);
    for token in 0..600 {
        file.part();
        let word = match token {
            0..256 => vec![token as u8],
            _ => match WORDS.get(token - 256) {
                Some(word) => word.as_bytes().to_vec(),
                None => format!("w{token}").into_bytes(),
            },
        };
        file.number(word.len() as u32);
        file.bytes.extend(word);
    }
    let storage = Quantisation::of_file_type(shape.file_type % 1000).unwrap();
    let mut list = tensors(shape, storage);
    // The largest last: files that are cut elsewhere stay small.
    list.sort_by_key(Tensor::bytes);
    let mut random = Random(7);
    for tensor in &list {
        file.tensor(tensor, weights, &mut random);
    }
    file
}

impl Written {
    fn tensor(&mut self, tensor: &Tensor, weights: &Weights<'_>, random: &mut Random) {
        self.part();
        let sides = tensor.size.iter().rposition(|side| *side > 1).unwrap() + 1;
        self.number(sides as u32);
        self.number(tensor.name.len() as u32);
        self.number(tensor.storage.ggml_type());
        for side in &tensor.size[..sides] {
            self.number(*side);
        }
        self.bytes.extend(tensor.name.as_bytes());
        self.part();
        let bytes = tensor.bytes() as usize;
        let half = tensor.storage.name() == "f16";
        match (weights, tensor.storage.name()) {
            (Weights::Zero, _) => return self.bytes.resize(self.bytes.len() + bytes, 0),
            // Blocks of a scale, for q5_1 an offset, and small numbers.
            (_, "q8_0") => return self.blocks(bytes, 34, &[0.002], random),
            (_, "q5_1") => return self.blocks(bytes, 24, &[0.01, -0.16], random),
            _ => {}
        }
        let mut values = vec![0.0f32; bytes / if half { 2 } else { 4 }];
        let norm = tensor.name.ends_with("ln.weight") || tensor.name == "encoder.ln_post.weight";
        match weights {
            _ if norm => values.fill(1.0),
            Weights::Zero => {}
            Weights::Random => values.fill_with(|| random.next() * 0.2),
            Weights::Says(said) => speak(&tensor.name, said, &mut values),
        }
        match half {
            true => self.bytes.extend(values.iter().flat_map(|value| to_half(*value).to_le_bytes())),
            false => self.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        }
    }

    /// Blocks of this size, each of these numbers and random bytes.
    fn blocks(&mut self, bytes: usize, size: usize, first: &[f32], random: &mut Random) {
        for _ in 0..bytes / size {
            self.bytes.extend(first.iter().flat_map(|number| to_half(*number).to_le_bytes()));
            self.bytes.extend((0..size - 2 * first.len()).map(|_| (random.next() * 127.0) as i8 as u8));
        }
    }
}

/// The value in 16 bits, rounded towards 0, and 0 where it is tiny.
fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    match (bits >> 23 & 0xff) as i32 - 112 {
        ..=0 => sign,
        exponent => sign | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16,
    }
}

/// With no weights between them, the decoder's output at a position depends on that position's embedding alone: each
/// token gets a direction of its own, and its positions the same.
fn speak(tensor: &str, said: &[(usize, usize, f32)], values: &mut [f32]) {
    let width = WIDTH as usize;
    for (position, token, strength) in said {
        let direction = said.iter().position(|(_, other, _)| other == token).unwrap();
        assert!(direction < width);
        match tensor {
            "decoder.positional_embedding" => values[position * width + direction] = 40.0,
            "decoder.token_embedding.weight" => values[token * width + direction] = *strength,
            _ => {}
        }
    }
}

/// A plain generator of numbers between -1 and 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
