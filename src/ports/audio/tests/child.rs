//! The child process: the formats that it decodes, its limits, and that it opens nothing but the recording.

use super::bombs::files;
use super::studio::write_script;
use super::*;

/// A program that notes its start, and fails.
fn noting(folder: &Path) -> (DecodeLimits, PathBuf) {
    let (program, note) = (folder.join("notes"), folder.join("started"));
    // A folder, since a child may not write files.
    write_script(&program, &format!("mkdir '{}'", note.display()));
    (with_program(&program), note)
}

#[test]
fn every_format_of_the_child_keeps_the_speech_its_length_and_its_loudness() {
    let Some(studio) = Studio::get() else { return };
    let speech = studio.speech();
    for file in studio.every_kind_of_the_child() {
        let outcome = decode(&file, &alone());
        let is_refused = matches!(outcome, Err(AudioError::Unsupported(_) | AudioError::Damaged(_)));
        assert!(is_refused, "{file:?} without ffmpeg: {outcome:?}");
        let sound = decode(&file, &limits()).unwrap_or_else(|e| panic!("{file:?}: {e:?}"));
        assert_same_speech(&file.display().to_string(), &sound, &speech);
        assert_same_loudness(&studio, &file, &sound);
        // From memory it is written to a file for the child.
        let (bytes, folder) = (std::fs::read(&file).unwrap().into(), tempfile::tempdir().unwrap());
        assert_eq!(decode(Place::Memory(bytes, folder.path()), &limits()).unwrap(), sound, "{file:?} from memory");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "the file is deleted");
    }
}

#[test]
fn recordings_of_the_child_are_cut_doubled_and_too_long() {
    let Some(studio) = Studio::get() else { return };
    let whole = studio.speech().duration().as_secs_f64();
    for file in studio.every_kind_of_the_child() {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let half = studio.file(&format!("half-{name}"), &bytes[..bytes.len() / 2]);
        match decode(&half, &limits()) {
            Ok(sound) => assert!((0.8..3.5).contains(&sound.duration().as_secs_f64()), "half of {name}"),
            // Their index is at the end, or a block has several seconds.
            Err(AudioError::Damaged(_) | AudioError::Unsupported(_)) => {
                assert!(
                    [".m4a", ".3gp", ".mov", ".caf", ".wv"].iter().any(|end| name.ends_with(end)),
                    "half of {name}"
                );
            }
            Err(error) => panic!("half of {name}: {error:?}"),
        }
        let twice = studio.file(&format!("twice-{name}"), &bytes.repeat(2));
        let seconds = decode(&twice, &limits()).unwrap_or_else(|e| panic!("twice {name}: {e:?}")).duration();
        assert!((whole * 0.9..whole * 2.2).contains(&seconds.as_secs_f64()), "twice {name}: {seconds:?}");
        let short = DecodeLimits { max_seconds: 2, ..limits() };
        let outcome = decode(&file, &short);
        assert!(matches!(outcome, Err(AudioError::TooLong { max_seconds: 2 })), "{name}: {outcome:?}");
    }
}

#[test]
fn several_recordings_are_decoded_at_once() {
    let Some(studio) = Studio::get() else { return };
    let file = studio.recording("plain.aiff", &["-c:a", "pcm_s16be"]);
    let expected = decode(&file, &limits()).unwrap();
    std::thread::scope(|scope| {
        let decoding: Vec<_> = (0..4).map(|_| scope.spawn(|| decode(&file, &limits()).unwrap())).collect();
        assert!(decoding.into_iter().all(|sound| sound.join().unwrap() == expected));
    });
}

#[test]
fn wide_band_amr_is_decoded() {
    let Some(studio) = Studio::get() else { return };
    // Frames of 6.6 kbit/s have 17 octets; any bits are some noise.
    let mut bytes = b"#!AMR-WB\n".to_vec();
    (0..100_u8).for_each(|frame| {
        bytes.push(1 << 2);
        bytes.extend((0..17).map(|octet| frame.wrapping_mul(31).wrapping_add(octet * 57)));
    });
    let wide = studio.file("wide.amr", &bytes);
    assert_eq!(decode(&wide, &limits()).unwrap().duration(), Duration::from_secs(2));
    let short = DecodeLimits { max_seconds: 1, ..limits() };
    assert!(matches!(decode(&wide, &short), Err(AudioError::TooLong { max_seconds: 1 })));
    assert!(matches!(decode(&wide, &alone()), Err(AudioError::Unsupported(_))));
    assert!(matches!(decode_bytes(bytes.into(), &limits()), Err(AudioError::Unsupported(_))), "it needs a file");
}

#[test]
fn a_child_that_hangs_or_works_too_long_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let wide = folder.path().join("wide.amr");
    std::fs::write(&wide, b"#!AMR-WB\n").unwrap();
    let program = folder.path().join("program");
    let within = |limits: &DecodeLimits, timeout: Duration| {
        let ffmpeg = limits.ffmpeg.clone().map(|ffmpeg| Ffmpeg { timeout, ..ffmpeg });
        DecodeLimits { cpu_max: Duration::from_secs(1), ffmpeg, ..limits.clone() }
    };
    let long = Duration::from_secs(600);
    for (script, timeout) in [
        ("exec sleep 60", Duration::from_millis(200)),
        // It has closed its output, and does not end.
        ("exec sleep 60 >&-", Duration::from_millis(200)),
        // Its output never ends.
        ("exec cat /dev/zero", long),
        ("while :; do :; done", long),
    ] {
        write_script(&program, script);
        let limits = within(&with_program(&program), timeout);
        let started = std::time::Instant::now();
        let outcome = decode(&wide, &limits);
        assert!(matches!(outcome, Err(AudioError::TooCostly | AudioError::Unsupported(_))), "{script}: {outcome:?}");
        assert!(started.elapsed() < Duration::from_secs(30), "{script}");
    }
    let outcome = decode(&wide, &with_program(&folder.path().join("missing")));
    assert!(matches!(outcome, Err(AudioError::Unsupported(_))), "{outcome:?}");
}

#[test]
fn the_memory_of_the_child_is_limited() {
    let Some(studio) = Studio::get() else { return };
    let file = studio.recording("plain.aiff", &["-c:a", "pcm_s16be"]);
    let little = limits().ffmpeg.map(|ffmpeg| Ffmpeg { memory_max_bytes: 1024 * 1024, ..ffmpeg });
    let outcome = decode(&file, &DecodeLimits { ffmpeg: little, ..limits() });
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(decode(&file, &limits()).is_ok());
}

#[test]
fn the_child_gets_no_environment() {
    let Some(studio) = Studio::get() else { return };
    let file = studio.recording("plain.aiff", &["-c:a", "pcm_s16be"]);
    let program = studio.path("environment");
    // cargo sets this variable for tests.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    write_script(&program, "test -z \"$CARGO_MANIFEST_DIR\" && exec ffmpeg \"$@\"");
    assert!(decode(&file, &with_program(&program)).is_ok());
    write_script(&program, "test -n \"$CARGO_MANIFEST_DIR\" && exec ffmpeg \"$@\"");
    assert!(decode(&file, &with_program(&program)).is_err());
}

#[test]
fn the_child_is_started_for_damaged_recordings_and_for_none_beyond_a_limit() {
    let Some(studio) = Studio::get() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (limits, note) = noting(folder.path());
    let starts = |name: &str, bytes: &[u8], limits: &DecodeLimits| {
        let outcome = decode(&studio.file(name, bytes), limits);
        let started = std::fs::remove_dir(&note).is_ok();
        (started, outcome)
    };
    let good = std::fs::read(studio.path("speech.wav")).unwrap();
    let m4a = std::fs::read(studio.recording("voice.m4a", &["-c:a", "aac", "-ar", "44100"])).unwrap();
    for (name, bytes) in [("cut.m4a", &m4a[..m4a.len() / 2]), ("wide.amr", b"#!AMR-WB\n")] {
        let (started, outcome) = starts(name, bytes, &limits);
        assert!(started && outcome.is_err(), "{name}: {outcome:?}");
    }
    let short = DecodeLimits { max_seconds: 1, ..limits.clone() };
    let costly = DecodeLimits { cpu_max: Duration::ZERO, ..limits.clone() };
    let mut cases = vec![
        ("good", good.clone(), &limits),
        ("too long", good.clone(), &short),
        ("too costly", good, &costly),
        ("tracks", files::mp4(100, 5), &limits),
        ("codebooks", files::vorbis(200), &limits),
        ("frames", files::amr(1_000_000), &limits),
        ("a text", b"Dear grandmother".to_vec(), &limits),
    ];
    cases.extend(playlists(Path::new("/etc/passwd")).into_iter().map(|(name, bytes)| (name, bytes, &limits)));
    for (name, bytes, limits) in cases {
        let (started, outcome) = starts(name, &bytes, limits);
        assert!(!started, "{name}: {outcome:?}");
        assert_eq!(outcome.is_ok(), name == "good", "{name}: {outcome:?}");
    }
}

/// Files that make a player read another one.
fn playlists(other: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let other = other.display();
    let url = "http://127.0.0.1:9/secret.wav";
    let texts = [
        ("m3u", format!("#EXTM3U\n{other}\n")),
        ("m3u of a host", format!("#EXTM3U\n{url}\n")),
        ("hls", format!("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{other}\n#EXT-X-ENDLIST\n")),
        ("concat", format!("ffconcat version 1.0\nfile '{other}'\n")),
        ("pls", format!("[playlist]\nFile1={url}\nNumberOfEntries=1\n")),
        ("sdp", "v=0\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n".to_owned()),
        ("dash", format!("<?xml version=\"1.0\"?><MPD><BaseURL>{url}</BaseURL></MPD>")),
        ("asx", format!("<asx><entry><ref href=\"{url}\"/></entry></asx>")),
        ("windows media", format!("[Reference]\nRef1={url}\n")),
    ];
    texts.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()
}

/// The demultiplexers that the hub starts.
const DEMULTIPLEXERS: [&str; 20] = [
    "wav", "flac", "ogg", "matroska", "mov", "mp3", "aac", "amr", "aiff", "caf", "asf", "au", "mpegts", "avi", "flv",
    "wv", "voc", "w64", "ac3", "eac3",
];

#[test]
fn a_reference_to_another_file_is_not_followed_by_any_demultiplexer() {
    let Some(studio) = Studio::get() else { return };
    let Some(ffmpeg) = limits().ffmpeg else { return };
    let secret = studio.path("speech.wav");
    for (name, bytes) in playlists(&secret) {
        let file = studio.file("reference", &bytes);
        for demultiplexer in DEMULTIPLEXERS {
            let outcome = super::super::ffmpeg::decode(&ffmpeg, demultiplexer, &file, &limits());
            assert!(outcome.is_err(), "{name} as {demultiplexer}: {outcome:?}");
        }
    }
}

#[test]
fn a_movie_does_not_get_samples_of_another_file() {
    let Some(studio) = Studio::get() else { return };
    const SECRET: [u8; 2] = 0x1234_i16.to_le_bytes();
    let secret = studio.file("secret.raw", &SECRET.repeat(100));
    let movie = studio.file("reference.mov", &files::mp4_of_another_file(secret.to_str().unwrap(), 8000));
    let mut permitted = std::process::Command::new("ffmpeg");
    permitted.args(["-nostdin", "-loglevel", "error", "-enable_drefs", "1", "-use_absolute_path", "1", "-i"]);
    let output = permitted.arg(&movie).args(["-f", "s16le", "-"]).output().unwrap();
    assert_eq!(output.stdout, SECRET.repeat(8000), "ffmpeg follows the reference if it is permitted");
    let Some(ffmpeg) = limits().ffmpeg else { return };
    for outcome in [decode(&movie, &limits()), super::super::ffmpeg::decode(&ffmpeg, "mov", &movie, &limits())] {
        let is_told = |sound: &Sound| sound.samples.iter().any(|sample| (sample * 32_768.0).round() == 0x1234 as f32);
        assert!(!outcome.as_ref().is_ok_and(is_told), "{outcome:?}");
    }
}

#[test]
fn a_program_is_found_as_the_system_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tool");
    assert_eq!(find_program(&path), None);
    std::fs::write(&path, "").unwrap();
    assert_eq!(find_program(&path), None, "it is no program");
    write_script(&path, "true");
    assert_eq!(find_program(&path), Some(path));
    assert!(find_program(Path::new("sh")).is_some_and(|path| path.is_absolute()));
    assert_eq!(find_program(Path::new("no-such-program-anywhere")), None);
}
