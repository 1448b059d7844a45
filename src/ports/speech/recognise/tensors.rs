//! Which weights a Whisper model of some shape has: names, sizes, how they are stored.

use super::model::Shape;

/// How numbers are stored in a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantisation(&'static Storage);

#[derive(Debug, PartialEq, Eq)]
struct Storage {
    name: &'static str,
    /// The number of the whole file's type, and that of one tensor's.
    file_type: u32,
    ggml_type: u32,
    /// So many numbers make a block of so many bytes.
    block: u32,
    block_bytes: u32,
}

const fn storage(name: &'static str, file_type: u32, ggml_type: u32, block: u32, block_bytes: u32) -> Storage {
    Storage { name, file_type, ggml_type, block, block_bytes }
}

/// For tables that are small or delicate. A whole file of it (type 0) loads, and then ends the process:
/// whisper.cpp's convolutions take nothing but `f16`.
static F32: Storage = storage("f32", 0, 0, 1, 4);
static F16: Storage = storage("f16", 1, 1, 1, 2);
static QUANTISED: [Storage; 10] = [
    storage("q4_0", 2, 2, 32, 18),
    storage("q4_1", 3, 3, 32, 20),
    storage("q8_0", 7, 8, 32, 34),
    storage("q5_0", 8, 6, 32, 22),
    storage("q5_1", 9, 7, 32, 24),
    storage("q2_k", 10, 10, 256, 84),
    storage("q3_k", 11, 11, 256, 110),
    storage("q4_k", 12, 12, 256, 144),
    storage("q5_k", 13, 13, 256, 176),
    storage("q6_k", 14, 14, 256, 210),
];

impl Quantisation {
    pub(super) fn of_file_type(file_type: u32) -> Option<Self> {
        [&F16].into_iter().chain(&QUANTISED).find(|storage| storage.file_type == file_type).map(Self)
    }

    pub(super) fn name(self) -> &'static str {
        self.0.name
    }

    pub(super) fn ggml_type(self) -> u32 {
        self.0.ggml_type
    }

    /// A row must be a multiple of this.
    pub(super) fn block(self) -> u32 {
        self.0.block
    }
}

/// One table of weights.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    /// The innermost side first; 1 where there is none.
    pub(super) size: [u32; 3],
    pub(super) storage: Quantisation,
}

impl Tensor {
    pub(super) fn bytes(&self) -> u64 {
        let numbers: u64 = self.size.iter().map(|side| u64::from(*side)).product();
        numbers / u64::from(self.storage.0.block) * u64::from(self.storage.0.block_bytes)
    }
}

/// All weights that whisper.cpp expects of this shape: every one, and no other.
pub(super) fn tensors(shape: &Shape, weights: Quantisation) -> Vec<Tensor> {
    let (plain, convolution) = (Quantisation(&F32), Quantisation(&F16));
    let width = shape.audio_width;
    let mut list = Vec::new();
    let mut add = |name: String, size: [u32; 3], storage| list.push(Tensor { name, size, storage });

    add("encoder.positional_embedding".into(), [width, shape.audio_positions, 1], plain);
    add("encoder.conv1.weight".into(), [3, shape.mel_bands, width], convolution);
    add("encoder.conv1.bias".into(), [1, width, 1], plain);
    add("encoder.conv2.weight".into(), [3, width, width], convolution);
    add("encoder.conv2.bias".into(), [1, width, 1], plain);
    add("decoder.positional_embedding".into(), [width, shape.text_positions, 1], plain);
    add("decoder.token_embedding.weight".into(), [width, shape.vocabulary, 1], weights);
    for norm in ["encoder.ln_post", "decoder.ln"] {
        add(format!("{norm}.weight"), [width, 1, 1], plain);
        add(format!("{norm}.bias"), [width, 1, 1], plain);
    }
    let sides =
        [("encoder", shape.audio_layers, &["attn"][..]), ("decoder", shape.text_layers, &["attn", "cross_attn"])];
    for (side, layers, attentions) in sides {
        for layer in 0..layers {
            let block = format!("{side}.blocks.{layer}");
            for attention in attentions {
                add(format!("{block}.{attention}_ln.weight"), [width, 1, 1], plain);
                add(format!("{block}.{attention}_ln.bias"), [width, 1, 1], plain);
                for part in ["query", "key", "value", "out"] {
                    add(format!("{block}.{attention}.{part}.weight"), [width, width, 1], weights);
                    // Whisper's keys have no bias.
                    if part != "key" {
                        add(format!("{block}.{attention}.{part}.bias"), [width, 1, 1], plain);
                    }
                }
            }
            add(format!("{block}.mlp_ln.weight"), [width, 1, 1], plain);
            add(format!("{block}.mlp_ln.bias"), [width, 1, 1], plain);
            add(format!("{block}.mlp.0.weight"), [width, 4 * width, 1], weights);
            add(format!("{block}.mlp.0.bias"), [4 * width, 1, 1], plain);
            add(format!("{block}.mlp.2.weight"), [4 * width, width, 1], weights);
            add(format!("{block}.mlp.2.bias"), [width, 1, 1], plain);
        }
    }
    list
}
