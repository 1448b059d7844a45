//! Piper: a real one where it is installed (`TEST_PIPER`, see scripts/test), and scripts in its place that fail.

use std::fs;
use std::path::Path;

use super::*;
use crate::ports::audio::encode_wav;

/// The voice of the scripts.
const VOICE: &str = "en_US-test-low";

/// A folder of Piper whose interpreter is a script; and a program in place of espeak-ng, of half a second.
struct Place {
    folder: tempfile::TempDir,
    settings: SpeakerSettings,
}

impl Place {
    /// The lines run once for each process. `$0` is the path of the script.
    fn new(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let piper = folder.path().join("piper");
        for part in ["venv/bin", "voices"] {
            fs::create_dir_all(piper.join(part)).unwrap();
        }
        for file in [format!("{VOICE}.onnx"), format!("{VOICE}.onnx.json")] {
            fs::write(piper.join("voices").join(file), "x").unwrap();
        }
        // A second of a tone.
        let tone = |at: i32| ((f64::from(at) * 0.2).sin() * 9000.0) as i16;
        fs::write(folder.path().join("tone"), (0..16_000).flat_map(|at| tone(at).to_le_bytes()).collect::<Vec<_>>())
            .unwrap();
        let started = format!("cd '{}'; echo started >> starts\n{lines}", folder.path().display());
        script_at(&piper.join("venv/bin/python"), &started);
        let half = Sound { rate_hz: 16_000, samples: (0..8_000).map(|at| (at as f32 * 0.2).sin() * 0.3).collect() };
        fs::write(folder.path().join("half.wav"), encode_wav(&half).unwrap()).unwrap();
        let espeak = folder.path().join("espeak");
        let said =
            format!("cd '{}'; echo \"$*\" >> espeak.said; cat >/dev/null; cat half.wav", folder.path().display());
        script_at(&espeak, &said);
        let piper =
            PiperSettings { folder: piper, threads: 1, voices_max: 2, queue_max: 4, timeout: Duration::from_secs(10) };
        let settings = SpeakerSettings { piper: Some(piper), ..settings(espeak) };
        Self { folder, settings }
    }

    fn speaker(&self) -> Speaker {
        Speaker::new(self.settings.clone())
    }

    fn hurried(mut self) -> Self {
        self.settings.piper.as_mut().unwrap().timeout = Duration::from_millis(300);
        self
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn starts(&self) -> usize {
        self.lines("starts").len()
    }
}

/// Answers each request by a second of sound.
const GOOD: &str = r#"while read -r line; do echo "$line" >> asked; echo ok 16000 32000; cat tone; done"#;

fn seconds(sound: &Sound) -> f64 {
    (sound.duration().as_secs_f64() * 10.0).round() / 10.0
}

#[tokio::test]
async fn one_process_speaks_sentence_after_sentence() {
    let place = Place::new(GOOD);
    let speaker = place.speaker();
    let sound = speaker.speak("Hello, \"Tom\"! Good night.", "en").await.unwrap();
    assert_eq!(seconds(&sound), 2.0);
    let slow = Voice { speed_percent: 50, ..VOICE.into() };
    assert_eq!(seconds(&speaker.speak("bear", slow).await.unwrap()), 1.0);
    let asked: Vec<serde_json::Value> =
        place.lines("asked").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = asked.iter().map(|request| request["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["Hello, \"Tom\"!", "Good night.", "bear."]);
    assert!(asked.iter().all(|request| Path::new(request["voice"].as_str().unwrap()).is_file()), "{asked:?}");
    let scale = |at: usize| asked[at]["length_scale"].as_f64().unwrap();
    assert!((scale(0) - 165.0 / 160.0).abs() < 0.01 && (scale(2) - 2.0 * scale(0)).abs() < 0.01, "{asked:?}");
    assert_eq!((place.starts(), place.lines("espeak.said").len()), (1, 0));
}

#[tokio::test]
async fn sentences_come_one_by_one() {
    let place = Place::new(GOOD);
    let speaker = place.speaker();
    let mut sentences = speaker.sentences("One bear. Two bears. 小熊。", "en");
    assert_eq!(seconds(&sentences.next().await.unwrap().unwrap()), 1.0);
    assert_eq!(place.lines("asked").len(), 1, "the second sentence is made when it is wanted");
    assert_eq!(seconds(&sentences.next().await.unwrap().unwrap()), 1.0);
    assert_eq!(seconds(&sentences.next().await.unwrap().unwrap()), 0.5);
    assert!(place.lines("espeak.said")[0].contains(PINYIN_VOICE), "there is no Chinese voice of Piper");
    assert!(sentences.next().await.is_none());
}

#[tokio::test]
async fn a_language_without_a_voice_of_piper_is_spoken_by_espeak() {
    let place = Place::new(GOOD);
    let speaker = place.speaker();
    for (voice, espeak) in [("de", "-v de "), ("en+f3", "-v en+f3 "), ("de_DE-thorsten-medium", "-v de ")] {
        assert_eq!(seconds(&speaker.speak("Gute Nacht. Schlaf gut.", voice).await.unwrap()), 0.5);
        let said = place.lines("espeak.said");
        assert!(said.last().unwrap().starts_with(espeak), "{said:?}");
    }
    assert_eq!(place.starts(), 0);
    let other = SpeakerSettings { arguments: vec!["--voice".into(), "{voice}".into()], ..place.settings.clone() };
    Speaker::new(other).speak("bear", "en").await.unwrap();
    assert_eq!((place.lines("espeak.said").last().unwrap().as_str(), place.starts()), ("--voice en", 0));
}

#[tokio::test]
async fn espeak_goes_on_after_a_process_that_dies_in_the_middle_of_a_sentence() {
    let dies = "read -r line; echo ok 16000 32000; cat tone; read -r line; echo ok 16000 32000; head -c 999 tone; exit";
    let place = Place::new(&format!("[ $(wc -l < starts) -gt 1 ] || {{ {dies}; }}\n{GOOD}"));
    let speaker = place.speaker();
    let sound = speaker.speak("One bear. Two bears. Three bears.", "en").await.unwrap();
    assert_eq!(seconds(&sound), 2.0, "one second by Piper, two halves by espeak-ng");
    let said = place.lines("espeak.said");
    assert!(said.len() == 2 && said[0].starts_with("-v en -s 160 "), "{said:?}");
    // No new process at once; but soon.
    assert_eq!(seconds(&speaker.speak("One bear.", "en").await.unwrap()), 0.5);
    assert_eq!(place.starts(), 1);
    let spoken = async {
        while seconds(&speaker.speak("One bear.", "en").await.unwrap()) != 1.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), spoken).await.unwrap();
    assert_eq!(place.starts(), 2);
}

#[tokio::test]
async fn espeak_speaks_for_a_process_that_hangs() {
    for lines in ["exec sleep 60", "read -r line; echo ok 16000 32000; exec sleep 60"] {
        let place = Place::new(lines).hurried();
        let started = Instant::now();
        assert_eq!(seconds(&place.speaker().speak("One bear. Two bears.", "en").await.unwrap()), 1.0);
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!(place.lines("espeak.said").len(), 2);
    }
}

#[tokio::test]
async fn a_process_that_hangs_with_a_loaded_voice_is_soon_replaced_in_the_background() {
    // The first process hangs at its second sentence, the second one at once, the third one never.
    let lines = format!(
        "case $(wc -l < starts) in 1) read -r line; echo ok 16000 32000; cat tone; exec sleep 600;; 2) exec sleep 600;; esac
         {GOOD}"
    );
    let mut place = Place::new(&lines);
    place.settings.piper.as_mut().unwrap().timeout = Duration::from_secs(600);
    let speaker = place.speaker();
    assert_eq!(seconds(&speaker.speak("One bear.", "en").await.unwrap()), 1.0);
    let started = Instant::now();
    assert_eq!(seconds(&speaker.speak("Two bears.", "en").await.unwrap()), 0.5, "espeak-ng");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    // Another process is started without a further sentence; one that hangs lets no sentence wait.
    let again = async {
        while place.starts() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), again).await.unwrap();
    let started = Instant::now();
    assert_eq!(seconds(&speaker.speak("Three bears. Four bears.", "en").await.unwrap()), 1.0);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_process_is_started_again_with_its_voice_before_the_next_sentence() {
    let place = Place::new(&format!("[ $(wc -l < starts) -gt 1 ] || {{ read -r line; exit 1; }}\n{GOOD}"));
    let speaker = place.speaker();
    assert_eq!(seconds(&speaker.speak("One bear.", "en").await.unwrap()), 0.5, "espeak-ng");
    let again = async {
        while speaker.piper.as_ref().unwrap().resting_process_id().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), again).await.unwrap();
    assert_eq!(place.lines("asked").len(), 1);
    assert!(place.lines("asked")[0].contains("\"text\":\"\""), "the voice is loaded: {:?}", place.lines("asked"));
    assert_eq!(seconds(&speaker.speak("Two bears.", "en").await.unwrap()), 1.0);
    assert_eq!(place.starts(), 2);
}

#[tokio::test]
async fn a_voice_that_is_not_installed_is_replaced_by_that_of_the_language() {
    let place = Place::new(GOOD);
    let speaker = place.speaker();
    for name in ["de_DE-none-low", "fr_FR-none-low"] {
        let absent = Voice { instead: "de", ..name.into() };
        assert_eq!(seconds(&speaker.speak("Gute Nacht.", absent).await.unwrap()), 0.5);
        assert!(place.lines("espeak.said").last().unwrap().starts_with("-v de "), "{:?}", place.lines("espeak.said"));
        let fault = speaker.check_voice(absent).await.unwrap_err();
        assert!(fault.contains(&format!("{name} is not installed")) && fault.contains("voice de, speaks"), "{fault}");
    }
    assert_eq!(place.starts(), 0);
}

#[tokio::test]
async fn espeak_speaks_for_a_process_that_answers_garbage() {
    for answer in [
        "echo hello",
        "yes | tr -d '\\n'",
        "printf '\\377\\376\\n'",
        "echo ok",
        "echo ok 16000",
        "echo ok 16000 -2",
        "echo ok 16000 31999; cat tone",
        "echo ok 16000 99999999999",
        "echo ok 1 32000; cat tone",
        "echo fatal No module named piper",
    ] {
        let place = Place::new(&format!("read -r line; {answer}")).hurried();
        let speaker = place.speaker();
        let sound = speaker.speak("One bear.", "en").await.unwrap();
        assert_eq!((seconds(&sound), place.starts()), (0.5, 1), "{answer}");
        let fault = speaker.check_voice("en").await.unwrap_err();
        assert!(fault.contains(VOICE) && fault.contains("espeak"), "{fault}");
    }
}

#[tokio::test]
async fn a_refused_voice_is_named_and_the_process_goes_on() {
    let lines = "while read -r line; do echo error the voice cannot be loaded: KeyError; done";
    let place = Place::new(lines);
    let speaker = place.speaker();
    for _ in 0..3 {
        assert_eq!(seconds(&speaker.speak("One bear.", "en").await.unwrap()), 0.5);
    }
    assert_eq!(place.starts(), 1);
    assert!(speaker.check_voice("en").await.unwrap_err().contains("KeyError"));
    assert!(speaker.check_voice("de_DE-thorsten-medium").await.unwrap_err().contains("not installed"));
    assert!(speaker.check_voice("de").await.unwrap().ends_with("voice de"));
}

#[tokio::test]
async fn languages_that_espeak_speaks_beside_piper_are_named() {
    let place = Place::new(GOOD);
    let wanted = ["en", "de", "de", VOICE].map(Voice::from);
    assert_eq!(Vec::from_iter(place.speaker().without_piper(&wanted)), ["de"]);
    fs::remove_file(place.folder.path().join(format!("piper/voices/{VOICE}.onnx.json"))).unwrap();
    let speaker = place.speaker();
    assert_eq!(Vec::from_iter(speaker.without_piper(&wanted)), ["de", "en"]);
    let fault = speaker.check_voice(VOICE).await.unwrap_err();
    assert!(fault.contains(&format!("{VOICE} has no configuration {VOICE}.onnx.json; ")), "{fault}");
    assert!(fault.contains("voice en, speaks instead"), "{fault}");
    assert!(speaker.faults()[0].contains("configuration"), "{:?}", speaker.faults());
}

#[tokio::test]
async fn a_missing_interpreter_is_named() {
    let place = Place::new(GOOD);
    fs::remove_file(place.folder.path().join("piper/venv/bin/python")).unwrap();
    let speaker = place.speaker();
    assert_eq!(seconds(&speaker.speak("One bear.", "en").await.unwrap()), 0.5);
    let place = Place::new(GOOD);
    fs::remove_file(place.folder.path().join("piper/venv/bin/python")).unwrap();
    let fault = place.speaker().check_voice("en").await.unwrap_err();
    assert!(fault.contains("venv/bin/python cannot be started"), "{fault}");
}

#[tokio::test]
async fn the_queue_is_bounded_and_an_abandoned_sentence_is_not_taken_for_a_later_one() {
    // The first answer is half a second, all others are a whole one.
    let mut place = Place::new(
        "read -r line; while [ ! -e go ]; do sleep 0.05; done; echo ok 16000 16000; head -c 16000 tone; \
         while read -r line; do echo ok 16000 32000; cat tone; done",
    );
    place.settings.piper.as_mut().unwrap().queue_max = 2;
    let speaker = place.speaker();
    let mut abandoned = Box::pin(speaker.speak("One bear.", "en"));
    while place.starts() == 0 {
        assert!(timeout(Duration::from_millis(50), &mut abandoned).await.is_err());
    }
    // Its device has gone.
    drop(abandoned);
    let mut first = std::pin::pin!(speaker.speak("Two bears.", "en"));
    assert!(timeout(Duration::from_millis(200), &mut first).await.is_err(), "it waits for the process");
    assert_eq!(seconds(&speaker.speak("Three bears.", "en").await.unwrap()), 0.5, "espeak-ng, as the queue is full");
    fs::write(place.folder.path().join("go"), "").unwrap();
    assert_eq!(seconds(&first.await.unwrap()), 1.0);
    assert_eq!(place.starts(), 1);
}

/// The installed Piper, with espeak-ng in its place if it fails; `None`, with a note, where there is none.
async fn installed(folder: Option<&Path>) -> Option<Speaker> {
    let Some(piper) = std::env::var_os("TEST_PIPER").filter(|folder| !folder.is_empty()) else {
        eprintln!("Piper is not installed, see scripts/get-voice: nothing was tested");
        return None;
    };
    engine().await?;
    let piper = PiperSettings {
        folder: folder.map_or_else(|| piper.into(), Path::to_owned),
        threads: 1,
        voices_max: 2,
        queue_max: 4,
        timeout: Duration::from_secs(60),
    };
    Some(Speaker::new(SpeakerSettings { piper: Some(piper), ..settings("espeak-ng") }))
}

#[tokio::test]
async fn a_real_piper_speaks_and_is_started_again_after_it_was_killed_or_stopped() {
    let Some(speaker) = installed(None).await else { return };
    let line = speaker.check_voice("en").await.unwrap();
    assert!(line.starts_with("Piper, voice en_"), "{line}");
    let long = async |text: &str, percent| {
        let voice = Voice { speed_percent: percent, .."en".into() };
        speaker.speak(text, voice).await.unwrap().duration().as_secs_f64()
    };
    let usual = long("Good night, little bear.", 100).await;
    assert!((0.8..4.0).contains(&usual), "{usual}");
    let slow = long("Good night, little bear.", 60).await;
    assert!(slow > usual * 1.3, "{slow} of {usual}");
    // Markup and quotes are text.
    assert!(long("<speak>[[b@r]] \"bear\" \u{1}\\n</speak>", 100).await < 6.0);

    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::STOP] {
        let resting = speaker.piper.as_ref().unwrap().resting_process_id().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(resting).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let start = Instant::now();
        assert!(long("Good night, little bear.", 100).await > 0.5, "espeak-ng");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(40), "long before the limit of 60 s: {signal:?} {took:?}");
        let again = async {
            while speaker.check_voice("en").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(60), again).await.unwrap();
        assert_ne!(speaker.piper.as_ref().unwrap().resting_process_id(), Some(resting), "{signal:?}");
    }
}

#[tokio::test]
async fn a_real_piper_names_a_voice_whose_configuration_is_damaged_or_gone() {
    let Some(from) = std::env::var_os("TEST_PIPER") else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("voices")).unwrap();
    let Some(speaker) = installed(None).await else { return };
    let installed_voice = speaker.voices.get("en").unwrap().file.clone();
    std::os::unix::fs::symlink(Path::new(&from).join("venv"), folder.path().join("venv")).unwrap();
    let voice = folder.path().join("voices/en_US-broken-low.onnx");
    std::os::unix::fs::symlink(installed_voice, &voice).unwrap();
    let configuration = voice.with_extension("onnx.json");
    fs::write(&configuration, "{\"audio\": {}}").unwrap();
    let speaker = installed(Some(folder.path())).await.unwrap();
    let fault = speaker.check_voice("en").await.unwrap_err();
    assert!(fault.contains("en_US-broken-low") && fault.contains("cannot be loaded"), "{fault}");
    assert!(speaker.speak("Good night.", "en").await.is_ok(), "espeak-ng");
    fs::remove_file(&configuration).unwrap();
    assert!(speaker.check_voice("en").await.unwrap_err().contains("FileNotFoundError"));
    let Some(speaker) = installed(Some(folder.path())).await else { return };
    assert!(speaker.faults()[0].contains("configuration"), "{:?}", speaker.faults());
    assert!(speaker.check_voice("en").await.is_ok(), "espeak-ng, as there is no other voice");
}
