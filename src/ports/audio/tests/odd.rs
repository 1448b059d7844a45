//! Recordings that are not as their format wants it: other bytes before the first frame, damaged frames, HE-AAC, and
//! channels of opposite signs.

use super::super::sbr;
use super::*;

/// The beginning of an ID3 tag that declares so many bytes.
fn tag(declared: usize) -> Vec<u8> {
    let size = [21, 14, 7, 0].map(|shift| (declared >> shift & 0x7f) as u8);
    [&b"ID3\x03\0\0"[..], &size].concat()
}

/// MP3 files whose beginning is wrong.
fn odd_mp3s(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let picture = [&b"APIC\0\0\x10\0\0\0image/png\0\x03\0"[..], &[0x55; 4096]].concat();
    let mut noise = Dice(5);
    let junk: Vec<u8> = (0..3000).map(|_| noise.below(256) as u8).collect();
    vec![
        ("a tag with a length that is too small", [tag(20), picture.clone(), good.to_vec()].concat()),
        ("a tag that declares nothing", [tag(0), picture.clone(), good.to_vec()].concat()),
        ("a tag that leads into the frames", [tag(picture.len() + 700), picture.clone(), good.to_vec()].concat()),
        ("a tag that leads behind the file", [tag(200_000_000), picture, good.to_vec()].concat()),
        ("zeros", [&[0; 5000][..], good].concat()),
        ("junk", [&junk[..], good].concat()),
        ("a line of text", [&b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\n\r\n"[..], good].concat()),
        ("the middle of a frame", good[good.len() / 50 + 5..].to_vec()),
    ]
}

#[test]
fn mp3_is_found_behind_whatever_comes_first() {
    let Some(studio) = Studio::get() else { return };
    let speech = studio.speech();
    let plain: &[&str] = &["-c:a", "libmp3lame", "-ar", "16000", "-id3v2_version", "0", "-write_xing", "0"];
    let good = std::fs::read(studio.recording("odd.mp3", plain)).unwrap();
    assert_eq!(extension_of(&good), Some("mp3"));
    for (name, bytes) in odd_mp3s(&good) {
        let file = studio.file("first.mp3", &bytes);
        for limits in [&alone(), &limits()] {
            let sound = decode(&file, limits).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            assert_same_speech(name, &sound, &speech);
        }
        assert_eq!(extension_of(&bytes), None, "{name}: other players may not find it");
        let half = decode_bytes(bytes[..bytes.len() / 2].to_vec().into(), &alone());
        let half = half.unwrap_or_else(|e| panic!("half of {name}: {e:?}")).duration().as_secs_f64();
        assert!((0.8..3.5).contains(&half), "half of {name}: {half} s");
        // What comes first stands in the middle, too.
        let twice = decode_bytes(bytes.repeat(2).into(), &alone());
        let twice = twice.unwrap_or_else(|e| panic!("twice {name}: {e:?}")).duration().as_secs_f64();
        assert!((speech.duration().as_secs_f64() * 1.8..9.0).contains(&twice), "twice {name}: {twice} s");
    }
    std::thread::scope(|scope| {
        for (name, bytes) in odd_mp3s(&good) {
            scope.spawn(move || assert!(decode_bytes(bytes.into(), &alone()).is_ok(), "{name}, at once"));
        }
    });
}

#[test]
fn an_aac_stream_may_begin_in_the_middle_of_a_frame() {
    let Some(studio) = Studio::get() else { return };
    let good = std::fs::read(studio.recording("plain.aac", &["-c:a", "aac", "-f", "adts"])).unwrap();
    let sound = decode_bytes(good[30..].to_vec().into(), &alone()).unwrap();
    assert_same_speech("the middle of a frame", &sound, &studio.speech());
}

#[test]
fn damage_of_any_byte_of_an_aac_stream_is_decoded_around() {
    let Some(studio) = Studio::get() else { return };
    let small: &[&str] = &["-c:a", "aac", "-ar", "16000", "-b:a", "16k", "-t", "1.2"];
    for (file, min_of_100) in [
        (studio.recording("small.aac", &[small, &["-f", "adts"]].concat()), 99),
        (studio.recording("small.m4a", small), 60),
    ] {
        let good = std::fs::read(&file).unwrap();
        let whole = decode(&file, &alone()).unwrap().duration();
        let (mut decoded, mut by_the_child) = (0, 0);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0xff;
            let outcome = decode_bytes(bytes.clone().into(), &alone());
            match &outcome {
                Ok(sound) => {
                    decoded += usize::from(sound.duration() > whole.mul_f64(0.8));
                    // What is stored is MP3: nothing that was decoded may fail there.
                    if at % 97 == 0 {
                        encode_mp3(sound, 48).unwrap_or_else(|e| panic!("{file:?} at {at}: {e:?}"));
                    }
                }
                Err(AudioError::NotSound | AudioError::Damaged(_) | AudioError::Unsupported(_) | AudioError::Empty) => {
                }
                Err(error) => panic!("{file:?} at {at}: {error:?}"),
            }
            if outcome.is_err() && by_the_child < 20 {
                by_the_child += 1;
                let outcome = decode(&studio.file("damaged", &bytes), &limits());
                let is_judged = matches!(
                    outcome,
                    Ok(_)
                        | Err(AudioError::NotSound
                            | AudioError::Damaged(_)
                            | AudioError::Unsupported(_)
                            | AudioError::Empty)
                );
                assert!(is_judged, "{file:?} at {at}: {outcome:?}");
            }
        }
        println!("{file:?}: {decoded} of {} with one damaged byte are decoded by this process", good.len());
        assert!(decoded * 100 >= good.len() * min_of_100, "{file:?}: {decoded} of {}", good.len());
    }
}

/// The position of the configuration of the decoder in an M4A file of ffmpeg: AAC, with the note that there is no HE.
fn configuration(m4a: &[u8]) -> usize {
    m4a.windows(3).position(|bytes| bytes == [0x56, 0xe5, 0x00]).unwrap() - 2
}

#[test]
fn he_aac_is_decoded_with_its_whole_spectrum() {
    let Some(studio) = Studio::get() else { return };
    let speech = studio.speech();
    let m4a = std::fs::read(studio.recording("core.m4a", &["-c:a", "aac", "-ar", "24000", "-ac", "1"])).unwrap();
    let at = configuration(&m4a);
    // AAC LC, 24 kHz, mono; then HE with 48 kHz, as newer and as older files announce it.
    assert_eq!(m4a[at..at + 2], [0x13, 0x08]);
    let compatible = [0x13, 0x08, 0x56, 0xe5, 0x98];
    let explicit = [0x2b, 0x09, 0x88, 0, 0];
    for (name, announced, is_half_decoded) in [("compatible", compatible, true), ("explicit", explicit, false)] {
        let mut bytes = m4a.clone();
        bytes[at..at + 5].copy_from_slice(&announced);
        let file = studio.file("he.m4a", &bytes);
        match decode(&file, &alone()) {
            Ok(sound) => assert!(is_half_decoded && sound.rate_hz == 24_000, "{name}"),
            Err(AudioError::Unsupported(_)) => assert!(!is_half_decoded, "{name}"),
            Err(error) => panic!("{name}: {error:?}"),
        }
        let sound = decode(&file, &limits()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(sound.rate_hz, 48_000, "{name}");
        assert_same_speech(name, &sound, &speech);
    }

    // A stream announces nothing; its packets have the description of the upper half.
    let plain = studio.recording("core.aac", &["-c:a", "aac", "-ar", "24000", "-ac", "1", "-f", "adts"]);
    let file = studio.file("he.aac", &with_descriptions(&std::fs::read(&plain).unwrap()));
    for (file, with, rate_hz) in [(&plain, limits(), 24_000), (&file, alone(), 24_000), (&file, limits(), 48_000)] {
        let sound = decode(file, &with).unwrap();
        assert_eq!(sound.rate_hz, rate_hz, "{file:?}");
        assert_same_speech(&file.display().to_string(), &sound, &speech);
    }
}

/// The AAC stream with a description in each packet, as HE-AAC has.
fn with_descriptions(stream: &[u8]) -> Vec<u8> {
    let (mut described, mut rest) = (Vec::new(), stream);
    while let [_, _, _, fourth, fifth, sixth, _, ..] = rest {
        let len = usize::from(fourth & 3) << 11 | usize::from(*fifth) << 3 | usize::from(sixth >> 5);
        let (frame, more) = rest.split_at(len);
        let packet = sbr::with_description(&frame[7..]).unwrap();
        let len = packet.len() + 7;
        let mut header: Vec<u8> = frame[..7].to_vec();
        header[3] = header[3] & 0xfc | (len >> 11) as u8;
        header[4] = (len >> 3) as u8;
        header[5] = (len << 5) as u8 | header[5] & 0x1f;
        described.extend(header);
        described.extend(packet);
        rest = more;
    }
    described
}

#[test]
fn a_recording_whose_channels_have_opposite_signs_keeps_its_sound() {
    let Some(studio) = Studio::get() else { return };
    let speech = studio.speech();
    let opposite = ["-af", "pan=stereo|c0=c0|c1=-1*c0"];
    let left_alone = ["-af", "pan=stereo|c0=c0|c1=0*c0"];
    for (case, channels) in [("opposite", opposite), ("left", left_alone)] {
        for (end, codec) in [
            ("wav", &["-c:a", "pcm_s16le"][..]),
            ("mp3", &["-c:a", "libmp3lame", "-b:a", "128k"]),
            ("m4a", &["-c:a", "aac", "-b:a", "128k"]),
            ("ogg", &["-c:a", "libopus", "-b:a", "96k"]),
            ("flac", &["-c:a", "flac"]),
            ("aiff", &["-c:a", "pcm_s16be"]),
            ("wma", &["-c:a", "wmav2", "-b:a", "128k"]),
        ] {
            let file = studio.recording(&format!("{case}.{end}"), &[&channels[..], codec].concat());
            let sound = decode(&file, &limits()).unwrap();
            assert_same_speech(&format!("{case}.{end}"), &sound, &speech);
            assert_same_loudness(&studio, &file, &sound);
        }
    }
}
