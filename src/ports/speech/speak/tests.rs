//! Synthesis by installed programs, and by scripts that fail.

mod piper;

use std::time::Instant;

use super::*;

fn settings(program: impl Into<PathBuf>) -> SpeakerSettings {
    SpeakerSettings {
        program: program.into(),
        arguments: Vec::new(),
        piper: None,
        words_per_minute: 160,
        timeout: Duration::from_secs(10),
        output_cpu_max: Duration::from_secs(10),
        max_text_chars: 500,
        max_parallel: 2,
    }
}

/// The installed engine; `None`, with a note, where there is none.
async fn engine() -> Option<Speaker> {
    let speaker = Speaker::new(settings("espeak-ng"));
    match speaker.check("en").await {
        Err(SpeakError::Missing(_)) => {
            eprintln!("espeak-ng is not installed: nothing was tested");
            None
        }
        version => {
            assert!(version.unwrap().contains("eSpeak"));
            Some(speaker)
        }
    }
}

fn script(folder: &tempfile::TempDir, lines: &str) -> PathBuf {
    let path = folder.path().join("engine");
    script_at(&path, lines);
    path
}

fn script_at(path: &Path, lines: &str) {
    // A child writes it: a file that this process, or a fork of it, holds open for writing could not be started.
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod +x "$0""#;
    let status = std::process::Command::new("sh").args(["-c", write, path.to_str().unwrap(), lines]).status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_sentence_becomes_sound() {
    let Some(speaker) = engine().await else {
        return;
    };
    let sound = speaker.speak("Good night, little bear.", "en").await.unwrap();
    assert!((0.8..4.0).contains(&sound.duration().as_secs_f64()), "{:?}", sound.duration());
    assert!(sound.samples.iter().any(|sample| sample.abs() > 0.1));
    assert!(speaker.speak("你好，小熊", "en").await.is_ok());
    let long = speaker.speak(&"bear ".repeat(10_000), "en").await.unwrap();
    assert!(long.duration() < Duration::from_secs(120));
}

#[tokio::test]
async fn chinese_english_and_both_are_spoken() {
    let Some(speaker) = engine().await else {
        return;
    };
    let seconds = async |text: &str| speaker.speak(text, "en").await.unwrap().duration().as_secs_f64();
    let (chinese, english) = (seconds("妈妈来了").await, seconds("a message").await);
    // Spelled in English, each character would take a second.
    assert!((0.5..2.5).contains(&chinese), "{chinese}");
    let both = seconds("a message 妈妈来了").await;
    assert!((both - chinese - english).abs() < 0.3, "{both} of {chinese} and {english}");
    assert!(seconds("小熊说：hello，小朋友们，晚安！").await > 1.5);
}

#[tokio::test]
async fn another_program_is_given_its_arguments_and_the_text_as_input() {
    let Some(_) = engine().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said");
    let lines =
        format!("printf %s \"$*\" > {0}\ncat > {0}.text\nexec espeak-ng -v en --stdout -f {0}.text", said.display());
    let speaker = Speaker::new(SpeakerSettings {
        arguments: ["--voice", "{voice}", "; touch x", "{words_per_minute}"].map(str::to_owned).into(),
        ..settings(script(&folder, &lines))
    });
    let sound = speaker.speak("$(touch x) `touch x`; good night 小熊", "en").await.unwrap();
    assert!(sound.duration() > Duration::from_millis(500));
    assert_eq!(std::fs::read_to_string(&said).unwrap(), "--voice en ; touch x 160");
    let text = std::fs::read_to_string(folder.path().join("said.text")).unwrap();
    assert_eq!(text, "$(touch x) `touch x`; good night 小熊");
    assert!(!std::path::Path::new("x").exists() && !folder.path().join("x").exists());
    assert!(speaker.check("en").await.unwrap().contains("speaks"));
}

#[tokio::test]
async fn a_voice_that_espeak_does_not_have_is_replaced_by_that_of_the_language() {
    let Some(speaker) = engine().await else {
        return;
    };
    for name in ["joe", "en_US", "nothing+f3"] {
        let absent = Voice { instead: "en", ..name.into() };
        assert!(
            speaker.speak("Good night, little bear.", absent).await.unwrap().duration() > Duration::from_millis(800)
        );
        let fault = speaker.check_voice(absent).await.unwrap_err();
        assert_eq!(fault, format!("espeak-ng has no voice {name}; its voice en speaks instead"));
        speaker.prepare(&[absent]).await;
    }
    let known = Voice { instead: "en", .."en+f3".into() };
    assert_eq!(speaker.check_voice(known).await.unwrap(), "espeak-ng, voice en+f3");
    assert!(matches!(speaker.speak("bear", "joe").await, Err(SpeakError::Failed(_))), "there is no other one");
}

#[tokio::test]
async fn markup_is_not_obeyed() {
    let Some(speaker) = engine().await else {
        return;
    };
    for text in
        ["<speak><break time=\"30s\"/>bear</speak>", "--version bear", "\u{1}1S bear \u{0} bear", "[[h@loU]] bear"]
    {
        let sound = speaker.speak(text, "en").await.unwrap();
        assert!(sound.duration() < Duration::from_secs(6), "{text}: {:?}", sound.duration());
    }
    for text in ["", " \n\t", "<<>>", "...", "\u{1}"] {
        let outcome = speaker.speak(text, "en").await;
        assert!(matches!(outcome, Err(SpeakError::Audio(AudioError::Empty))), "{text:?}");
    }
}

#[tokio::test]
async fn a_missing_a_failing_and_a_silent_program_have_different_errors() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Speaker::new(settings(folder.path().join("nothing")));
    assert!(matches!(missing.speak("bear", "en").await, Err(SpeakError::Missing(_))));
    assert!(matches!(missing.check("en").await, Err(SpeakError::Missing(_))));
    let failing = Speaker::new(settings(script(&folder, "exit 3")));
    assert!(matches!(failing.speak("bear", "en").await, Err(SpeakError::Failed(_))));
    let silent = Speaker::new(settings(script(&folder, "cat > /dev/null")));
    assert!(matches!(silent.speak("bear", "en").await, Err(SpeakError::Audio(_))));
}

#[tokio::test]
async fn a_hanging_program_is_stopped_and_the_queue_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let speaker = Speaker::new(SpeakerSettings {
        timeout: Duration::from_millis(300),
        max_parallel: 1,
        ..settings(script(&folder, "exec sleep 60"))
    });
    let started = Instant::now();
    let (first, second) = tokio::join!(speaker.speak("one", "en"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        timeout(Duration::from_millis(100), speaker.turns.acquire()).await.map(drop)
    });
    assert!(matches!(first, Err(SpeakError::TimedOut)));
    assert!(second.is_err(), "the only turn is taken");
    assert!(started.elapsed() < Duration::from_secs(5));

    let _turn = speaker.turns.acquire().await.unwrap();
    assert!(matches!(speaker.speak("two", "en").await, Err(SpeakError::Busy)));
}
