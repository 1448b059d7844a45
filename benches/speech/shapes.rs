//! The time of the official models on this machine: models of their exact shapes, with random weights.

#[path = "../../src/ports/speech/recognise/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "../../src/ports/speech/recognise/shape.rs"]
#[allow(dead_code)]
mod shape;
#[path = "../../src/ports/speech/recognise/tensors.rs"]
mod tensors;
#[path = "../../tests/hub/spoken_model/tests.rs"]
mod tests;

use std::time::Instant;

use shape::Shape;
use tests::author::{Weights, write};

use crate::Times;
use crate::stages::Direct;

const RUNS: usize = 9;
const THREADS: usize = 2;
/// The length of a command, and the number of its tokens.
const SECONDS: usize = 4;
const TOKENS: i32 = 12;
const WHOLE_WINDOW: usize = 1500;

/// Name, width, heads, layers of each side.
const OFFICIAL: [(&str, u32, u32, u32); 2] = [("tiny", 384, 6, 4), ("base", 512, 8, 6)];
const STORED: [(&str, u32); 3] = [("f16", 1), ("q8_0", 7), ("q5_1", 9)];

pub fn print() {
    println!("\nrandom weights in the shapes of official models, {THREADS} threads, p50 of {RUNS}, milliseconds");
    println!("{:16}{:>18}{:>24}{:>24}", "", "30 s, one token", "4 s, one token", "4 s, 12 tokens");
    let samples: Vec<f32> = (0..SECONDS * 16_000).map(|at| (at as f32 * 0.07).sin() * 0.3).collect();
    for (name, width, heads, layers) in OFFICIAL {
        for (storage, file_type) in STORED {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("random.bin");
            std::fs::write(&file, write(&shape(width, heads, layers, file_type), &Weights::Random).bytes).unwrap();
            let mut direct = Direct::new(&file, THREADS);
            let whole = p50(|| direct.tokens_in(&samples, WHOLE_WINDOW, 1));
            let [one, command] = [1, TOKENS].map(|tokens| p50(|| direct.tokens(&samples, tokens)));
            println!("{:16}{whole:>18.0}{one:>24.0}{command:>24.0}", format!("{name} {storage}"));
        }
    }
}

fn p50(mut work: impl FnMut()) -> f64 {
    let mut times = Times::default();
    work();
    for _ in 0..RUNS {
        let started = Instant::now();
        work();
        times.add(started.elapsed());
    }
    times.percentile(50)
}

fn shape(width: u32, heads: u32, layers: u32, file_type: u32) -> Shape {
    Shape {
        vocabulary: 51_865,
        audio_positions: 1500,
        audio_width: width,
        audio_heads: heads,
        audio_layers: layers,
        text_positions: 448,
        text_width: width,
        text_heads: heads,
        text_layers: layers,
        mel_bands: 80,
        file_type,
    }
}
