//! Model files: valid ones of every kind, and invalid ones.

use std::path::Path;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::super::model::OFFICIAL;
use super::super::shape::{Quantisation, Shape};
use super::super::tensors::tensors;
use super::super::{ModelDescription, ModelError, ModelKind, NoTranscript, Recogniser};
use super::author::{Weights, Written, shape, write};
use super::{no_transcript, saved, settings, sounds};

fn inspect(bytes: &[u8]) -> Result<ModelDescription, ModelError> {
    Recogniser::inspect(saved(bytes).path(), None)
}

fn whole() -> Written {
    write(&shape(1), &Weights::Zero)
}

fn with_number(mut bytes: Vec<u8>, at: usize, number: u32) -> Vec<u8> {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Each is loaded and run by whisper.cpp itself, which makes its own checks.
#[tokio::test]
async fn every_quantisation_is_known_and_runs() {
    for (file_type, width, name) in [
        (1, 64, "f16"),
        (2, 64, "q4_0"),
        (2003, 64, "q4_1"),
        (2007, 64, "q8_0"),
        (2008, 64, "q5_0"),
        (2009, 64, "q5_1"),
        (2010, 256, "q2_k"),
        (2011, 256, "q3_k"),
        (2012, 256, "q4_k"),
        (2013, 256, "q5_k"),
        (2014, 256, "q6_k"),
    ] {
        let wide = Shape { audio_width: width, text_width: width, audio_layers: 3, ..shape(file_type) };
        let written = write(&wide, &Weights::Zero).bytes;
        let file = saved(&written);
        let recogniser = Recogniser::load(settings(file.path())).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(no_transcript(&recogniser, sounds::babble(1.0)).await, NoTranscript::NoWords);
        let found = recogniser.describe();
        assert_eq!((found.quantisation, found.kind, found.official), (name, ModelKind::Own, false));
        assert_eq!((found.encoder_layers, found.decoder_layers, found.width), (3, 2, width));
        assert_eq!((found.bytes, found.multilingual), (written.len() as u64, false));
        assert_eq!(found.sha256, hex::encode(Sha256::digest(&written)));
    }
    // Loaded, it would end the process at the first recording.
    assert!(
        matches!(inspect(&with_number(whole().bytes, 44, 0)), Err(ModelError::NotAModel { reason, .. }) if reason.contains("type 0"))
    );
    let line = inspect(&write(&shape(2009), &Weights::Zero).bytes).unwrap().to_string();
    assert!(line.ends_with("MB, own, English, 2 + 2 layers of 64, q5_1, window 10 s"), "{line}");
}

/// None of the official files is here; but their sizes are known to the byte, and the walk has to add up to them.
#[test]
fn the_weights_that_are_expected_make_up_the_official_sizes() {
    let mut checked = 0;
    for line in OFFICIAL.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let (name, quantisation) = fields[0].split_once('-').unwrap_or((fields[0], "f16"));
        let english = name.ends_with(".en");
        let (layers, width) = match name.trim_end_matches(".en") {
            "tiny" => (4, 384),
            "base" => (6, 512),
            _ => (12, 768),
        };
        let file_type = match quantisation {
            "q5_1" => 9,
            "q8_0" => 7,
            _ => 1,
        };
        let shape = Shape {
            vocabulary: if english { 51_864 } else { 51_865 },
            audio_positions: 1500,
            audio_width: width,
            audio_layers: layers,
            text_width: width,
            text_layers: layers,
            ..shape(file_type)
        };
        let storage = Quantisation::of_file_type(file_type).unwrap();
        let weights: u64 = tensors(&shape, storage)
            .iter()
            .map(|tensor| {
                let sides = tensor.size.iter().rposition(|side| *side > 1).unwrap() + 1;
                (12 + 4 * sides + tensor.name.len()) as u64 + tensor.bytes()
            })
            .sum();
        // The magic, eleven numbers, the filters; and the vocabulary, of which there are two.
        let head = 4 + 44 + 8 + 80 * 201 * 4 + if english { 521_859 } else { 508_089 };
        assert_eq!(fields[1].parse(), Ok(head + weights), "{}", fields[0]);
        checked += 1;
    }
    assert_eq!(checked, 10);
}

#[test]
fn a_model_is_official_by_its_name_and_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let inspect_as = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, whole().bytes).unwrap();
        Recogniser::inspect(&path, None)
    };
    assert!(matches!(inspect_as("ggml-tiny.en.bin"), Err(ModelError::WrongHash { .. })));
    for name in ["ggml-ours.bin", "tiny.en.bin"] {
        assert!(!inspect_as(name).unwrap().official, "{name}");
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let Written { bytes, parts } = whole();
    let last = bytes.len();
    let cuts = parts.iter().flat_map(|at| [*at, at + 1, at + 6]).chain([1, 3, 4, last - 1]).filter(|at| *at < last);
    let mut count = 0;
    for cut in cuts {
        let outcome = inspect(&bytes[..cut]);
        assert!(matches!(outcome, Err(ModelError::Cut { .. })), "{cut} of {last}: {outcome:?}");
        count += 1;
    }
    assert!(count > 2000, "the header, each word and each tensor: {count}");
    let outcome = Recogniser::load(settings(saved(&bytes[..last - 1]).path()));
    assert!(matches!(outcome, Err(ModelError::Cut { .. })));
}

#[test]
fn files_that_are_not_models_are_refused() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\x02\0\0\0";
    let mut longer = whole().bytes;
    longer.push(0);
    for bytes in [&b""[..], png, b"GGUF\x03\0\0\0", &[0; 4096], &longer] {
        let outcome = inspect(bytes);
        assert!(matches!(outcome, Err(ModelError::NotAModel { .. })), "{outcome:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Recogniser::inspect(folder.path(), None), Err(ModelError::NotAModel { .. })));
    // Without a writer, to open it would never end.
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(matches!(Recogniser::inspect(&pipe, None), Err(ModelError::NotAModel { .. })));
    for missing in [folder.path().join("none.bin"), Path::new("").to_owned()] {
        let outcome = Recogniser::load(settings(&missing));
        assert!(matches!(&outcome, Err(ModelError::Missing(path)) if *path == missing), "{outcome:?}");
        assert!(outcome.unwrap_err().to_string().contains("scripts/get-model"));
    }
}

#[test]
fn impossible_numbers_are_refused() {
    let Written { bytes, parts } = whole();
    let wrong = [0, 7, 63, 65, 100_000, u32::MAX, i32::MAX as u32];
    // The eleven numbers of the header, the two of the filters, the vocabulary's and a word's.
    for at in parts[..11].iter().chain([&parts[11], &(parts[11] + 4), &parts[13], &parts[14]]) {
        for number in wrong {
            let outcome = inspect(&with_number(bytes.clone(), *at, number));
            let fine = number == u32::from_le_bytes(bytes[*at..at + 4].try_into().unwrap());
            assert!(fine || outcome.is_err(), "{number} at {at}");
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let Written { bytes, parts } = whole();
    // The first tensor's header: sides, length of the name, type, size, name.
    let first = parts[14 + 600];
    let name = first + 20;
    for (at, number) in
        [(first, 0), (first, 4), (first + 4, 0), (first + 4, 129), (first + 8, 1), (first + 8, 99), (first + 12, 128)]
    {
        let outcome = inspect(&with_number(bytes.clone(), at, number));
        assert!(matches!(outcome, Err(ModelError::NotAModel { .. })), "{number} at {at}: {outcome:?}");
    }
    let mut renamed = bytes.clone();
    renamed[name] ^= 1;
    assert!(matches!(inspect(&renamed), Err(ModelError::NotAModel { reason, .. }) if reason.contains("unknown")));
    // The first tensor twice, and never the second, which is as long.
    let (second, third) = (parts[14 + 602], parts[14 + 604]);
    let mut doubled = bytes[..second].to_vec();
    doubled.extend_from_slice(&bytes[first..second]);
    doubled.extend_from_slice(&bytes[third..]);
    assert!(matches!(inspect(&doubled), Err(ModelError::NotAModel { reason, .. }) if reason.contains("repeated")));
}

#[test]
fn a_hash_that_differs_is_refused() {
    let bytes = whole().bytes;
    let right = hex::encode_upper(Sha256::digest(&bytes));
    let file = saved(&bytes);
    assert!(Recogniser::inspect(file.path(), Some(&right)).is_ok());
    let mut damaged = bytes.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let outcome = Recogniser::inspect(saved(&damaged).path(), Some(&right));
    assert!(matches!(outcome, Err(ModelError::WrongHash { .. })), "{outcome:?}");

    // A file with an official name has to be that file, unless the settings know better.
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("ggml-base.en-q5_1.bin");
    std::fs::write(&named, &bytes).unwrap();
    let outcome = Recogniser::inspect(&named, None);
    assert!(matches!(&outcome, Err(ModelError::WrongHash { expected, .. }) if expected.starts_with("4baf70dd")));
    assert!(!Recogniser::inspect(&named, Some(&right)).unwrap().official);
}

proptest! {
    /// The check ends with a result, whatever bytes change in the parts that control it.
    #[test]
    fn damaged_bytes_never_crash_the_check(changes in prop::collection::vec((0usize..80_000, any::<u8>()), 1..6)) {
        static WHOLE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let mut bytes = whole().bytes;
            bytes.truncate(400_000);
            bytes
        });
        let mut bytes = WHOLE.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        prop_assert!(inspect(&bytes).is_err());
    }
}
