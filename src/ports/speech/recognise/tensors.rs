//! The weights of a Whisper model of a given shape: names, sizes and formats.

use super::shape::{Quantisation, Shape};

/// One table of weights.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    /// The innermost dimension first; 1 for a missing one.
    pub(super) size: [u32; 3],
    pub(super) storage: Quantisation,
}

impl Tensor {
    pub(super) fn bytes(&self) -> u64 {
        let numbers: u64 = self.size.iter().map(|side| u64::from(*side)).product();
        self.storage.bytes(numbers)
    }
}

/// Exactly the weights that whisper.cpp expects of this shape.
pub(super) fn tensors(shape: &Shape, weights: Quantisation) -> Vec<Tensor> {
    let (plain, convolution) = (Quantisation::F32, Quantisation::F16);
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
