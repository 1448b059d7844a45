//! Recognition with models that the tests write, and with generated or synthesised sounds.

mod author;
mod download;
mod files;
mod sounds;

use std::io::Write;
use std::sync::Mutex;

use tempfile::NamedTempFile;
use tokio::time::timeout;

use super::*;
use crate::ports::audio::resample;
use crate::ports::speech::grammar::Grammar;
use crate::ports::speech::languages::ENGLISH;
use author::{CHINESE, END, ENGLISH_TOKEN, NO_SPEECH, Weights, says, shape, write};
use transcript::RATE_HZ;

/// Stronger than any doubt.
const SURE: f32 = 4.0;

const COMPARISON: ComparisonLimits = ComparisonLimits { steps_max: 28, time_max: Duration::from_secs(60) };

fn saved(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn settings(model: &Path) -> RecogniserSettings {
    RecogniserSettings {
        model: model.to_owned(),
        sha256: None,
        languages: vec!["en".into()],
        workers: 1,
        threads: 1,
        queue_max: 8,
        wait_limit: Duration::from_secs(60),
        time_limit: Duration::from_secs(60),
        comparison: COMPARISON,
        max_seconds: 30,
    }
}

/// A recogniser whose model returns these words for any input.
fn saying(said: &[(usize, usize, f32)]) -> Recogniser {
    let file = saved(&write(&shape(1), &Weights::Says(said)).bytes);
    Recogniser::load(settings(file.path())).unwrap()
}

async fn no_transcript(recogniser: &Recogniser, sound: Sound) -> NoTranscript {
    match recogniser.recognise("toy", sound).await {
        Err(RecogniseError::NoTranscript(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn words_come_with_their_confidence_and_the_time_of_each_step() {
    let recogniser = saying(&says(&[" play", " the", " bear", " song"], SURE));
    let heard = recogniser.recognise("toy", sounds::babble(2.0)).await.unwrap();
    assert_eq!(heard.text, "play the bear song");
    assert_eq!(heard.language, "en");
    assert!((0.99..=1.0).contains(&heard.confidence), "{heard:?}");
    assert!(heard.seconds.first_pass > Duration::ZERO && heard.seconds.second_pass == Duration::ZERO, "{heard:?}");
    assert!(!format!("{heard:?}").contains("bear"), "what was said must not get into a log");

    // The same state again, at another rate, longer than the model's window.
    let long = resample(&sounds::babble(14.0), 22_050).unwrap();
    let heard = recogniser.recognise("toy", long).await.unwrap();
    assert_eq!(heard.text, "play the bear song play the bear song");
    let too_long = recogniser.recognise("toy", sounds::babble(30.1)).await;
    assert_eq!(too_long, Err(RecogniseError::TooLong { max_seconds: 30 }));
}

#[tokio::test]
async fn doubtful_words_are_not_passed_on() {
    let speech = || sounds::babble(2.0);
    assert_eq!(no_transcript(&saying(&says(&[], SURE)), speech()).await, NoTranscript::NoWords);
    let endless: Vec<_> = (0..448).map(|at| (at, author::token(" bear"), SURE)).collect();
    assert_eq!(no_transcript(&saying(&endless), speech()).await, NoTranscript::Repetition);

    let weakest = says(&[" play", " bear"], 1.13);
    assert_eq!(no_transcript(&saying(&weakest), speech()).await, NoTranscript::Unsure);
    // Words of a medium probability are accepted, unless the model finds no speech.
    let weak = says(&[" play", " bear"], 1.32);
    let heard = saying(&weak).recognise("toy", speech()).await.unwrap();
    assert!((0.3..0.5).contains(&heard.confidence), "{heard:?}");
    let nobody: Vec<_> = weak.into_iter().chain([(0, NO_SPEECH, SURE)]).collect();
    assert_eq!(no_transcript(&saying(&nobody), speech()).await, NoTranscript::NoSpeech);

    let random = saved(&write(&shape(1), &Weights::Random).bytes);
    let random = Recogniser::load(settings(random.path())).unwrap();
    assert_ne!(no_transcript(&random, speech()).await, NoTranscript::NoSpeech);
}

#[tokio::test]
async fn poor_words_in_a_short_window_are_recognised_again_in_a_longer_one() {
    let large = shape::Shape { audio_positions: 1500, ..shape(1) };
    for (strength, again) in [(SURE, false), (1.28, true)] {
        let file = saved(&write(&large, &Weights::Says(&says(&[" bear"], strength))).bytes);
        let recogniser = Recogniser::load(settings(file.path())).unwrap();
        let heard = recogniser.recognise("toy", sounds::babble(2.0)).await.unwrap();
        assert_eq!(heard.text, "bear");
        assert_eq!(heard.seconds.second_pass > Duration::ZERO, again, "{heard:?}");
    }
}

#[tokio::test]
async fn the_language_is_chosen_among_those_of_the_settings() {
    // Behind the start stand the language, the task and "no timestamps"; all special tokens are one further.
    let said = [(0, CHINESE, SURE), (3, author::token(" bear"), SURE), (4, END + 1, SURE)];
    let many = shape::Shape { vocabulary: 51_865, ..shape(1) };
    let file = saved(&write(&many, &Weights::Says(&said)).bytes);
    for (languages, chosen) in [(vec!["en", "zh"], "zh"), (vec!["en"], "en"), (vec![], "zh"), (vec!["de"], "de")] {
        let languages: Vec<String> = languages.into_iter().map(str::to_owned).collect();
        let recogniser = Recogniser::load(RecogniserSettings { languages, ..settings(file.path()) }).unwrap();
        assert!(recogniser.describe().multilingual);
        let heard = recogniser.recognise("toy", sounds::babble(2.0)).await.unwrap();
        assert_eq!((heard.language, heard.text.as_str()), (chosen, "bear"));
    }
    // Where the model is unsure, the first language counts more.
    let unsure = [&[(0, ENGLISH_TOKEN, 3.75), (0, CHINESE, 3.8)], &said[1..]].concat();
    let unsure = saved(&write(&many, &Weights::Says(&unsure)).bytes);
    for (languages, chosen) in
        [(vec!["en", "zh"], "en"), (vec!["zh", "en"], "zh"), (vec!["de", "zh"], "zh"), (vec![], "zh")]
    {
        let languages: Vec<String> = languages.into_iter().map(str::to_owned).collect();
        let recogniser = Recogniser::load(RecogniserSettings { languages, ..settings(unsure.path()) }).unwrap();
        let heard = recogniser.recognise("toy", sounds::babble(2.0)).await.unwrap();
        assert_eq!((heard.language, heard.text.as_str()), (chosen, "bear"));
    }
    for wrong in ["xx", "", "EN", "e\0n"] {
        let languages = vec![wrong.to_owned()];
        let outcome = Recogniser::load(RecogniserSettings { languages, ..settings(file.path()) });
        assert!(matches!(outcome, Err(ModelError::Language(code)) if code == wrong));
    }
}

#[tokio::test]
async fn unclear_words_are_compared_with_the_sentences_of_a_grammar() {
    let english = says(&[" play", " the", " bear"], SURE);
    // Two words that the model finds less probable, one of which no sentence has.
    let english = [english, vec![(3, author::token(" elephant"), 3.6), (3, author::token(" purple"), 3.8)]].concat();
    // Behind the start stand the language, the task and "no timestamps"; all special tokens are one further.
    let german: Vec<_> = english.iter().map(|(at, token, strength)| (at + 2, token + token / END, *strength)).collect();
    let many = shape::Shape { vocabulary: 51_865, ..shape(1) };
    for (shape, said, language) in [(shape(1), english, "en"), (many, german, "de")] {
        let file = saved(&write(&shape, &Weights::Says(&said)).bytes);
        let languages = vec![language.to_owned()];
        let recogniser = Recogniser::load(RecogniserSettings { languages, ..settings(file.path()) }).unwrap();
        let expectation: Expectation = Box::new(move |text, code| {
            assert_eq!((text, code), ("play the bear", language));
            Grammar::new(&ENGLISH, ["The Elephant", "The Other Bear", "Purple"], ["Dad"])
        });
        let heard = recogniser.recognise_expecting("toy", sounds::babble(2.0), Some(expectation)).await.unwrap();
        let [only] = &heard.likely[..] else { panic!("{:?}", heard.likely) };
        assert_eq!((heard.text.as_str(), only.text.as_str()), ("play the bear", "play the elephant"));
        assert!((1.0..6.0).contains(&only.regret), "{only:?}");
        assert!(heard.seconds.comparison > Duration::ZERO);

        let expectation: Expectation = Box::new(|_, _| None);
        let heard = recogniser.recognise_expecting("toy", sounds::babble(2.0), Some(expectation)).await.unwrap();
        assert_eq!(heard.likely, [], "the words are clear");
        // A comparison that ends too early says nothing.
        for comparison in [
            ComparisonLimits { steps_max: 0, ..COMPARISON },
            ComparisonLimits { steps_max: 2, ..COMPARISON },
            ComparisonLimits { time_max: Duration::ZERO, ..COMPARISON },
        ] {
            let languages = vec![language.to_owned()];
            let limited = RecogniserSettings { languages, comparison, ..settings(file.path()) };
            let recogniser = Recogniser::load(limited).unwrap();
            let expectation: Expectation =
                Box::new(|_, _| Grammar::new(&ENGLISH, ["The Elephant", "The Other Bear", "Purple"], ["Dad"]));
            let heard = recogniser.recognise_expecting("toy", sounds::babble(2.0), Some(expectation)).await.unwrap();
            assert_eq!((heard.text.as_str(), &heard.likely[..]), ("play the bear", &[][..]), "{comparison:?}");
        }
        // More words than one command has.
        let expectation: Expectation = Box::new(|_, _| unreachable!("a long recording is not compared"));
        recogniser.recognise_expecting("toy", sounds::babble(14.0), Some(expectation)).await.unwrap();
    }
}

#[tokio::test]
async fn silence_noise_hum_and_music_never_reach_the_model() {
    // It would return its words for any input.
    let recogniser = saying(&says(&[" play"], SURE));
    for (name, sound) in sounds::without_speech() {
        assert_eq!(no_transcript(&recogniser, sound).await, NoTranscript::NoSpeech, "{name}");
    }
    for samples in [vec![], vec![0.5], vec![1.0; 300], vec![f32::NAN; 20_000], vec![f32::INFINITY; 20_000]] {
        assert_eq!(no_transcript(&recogniser, Sound { rate_hz: 16_000, samples }).await, NoTranscript::NoSpeech);
    }
}

#[test]
fn speech_passes_the_gate_soft_noisy_and_fast() {
    for (name, sound) in sounds::spoken() {
        let sound = resample(&sound, RATE_HZ).unwrap();
        let (measures, _) = gate::measure(&sound.samples);
        let speech = gate::speech(&sound.samples).unwrap_or_else(|| panic!("{name}: {measures:?}"));
        // Nothing but pauses is cut off.
        let cut: f32 = [&sound.samples[..speech.range.start], &sound.samples[speech.range.end..]]
            .concat()
            .iter()
            .map(|x| x * x)
            .sum();
        assert!(cut < 0.01 * sound.samples.iter().map(|x| x * x).sum::<f32>(), "{name}");
    }
}

#[test]
fn a_long_pause_between_words_is_noticed_and_a_click_is_none() {
    let words = resample(&sounds::babble(1.0), RATE_HZ).unwrap().samples;
    let silence = |seconds: f32| vec![0.0; (seconds * RATE_HZ as f32) as usize];
    let has_pause = |parts: &[&[f32]]| gate::speech(&parts.concat()).unwrap().has_pause;
    assert!(has_pause(&[&words, &silence(1.2), &words]));
    assert!(has_pause(&[&words, &silence(1.2), &words[..words.len() / 2]]));
    assert!(!has_pause(&[&words, &silence(0.3), &words]));
    assert!(!has_pause(&[&silence(1.0), &words, &silence(2.0)]));
    let click = vec![0.5; 300];
    assert!(!has_pause(&[&click, &silence(1.0), &words]));
    let seconds = |parts: &[&[f32]]| gate::speech(&parts.concat()).unwrap().seconds;
    let alone = seconds(&[&words]);
    assert!((0.7..1.1).contains(&alone), "{alone}");
    let with_button = seconds(&[&click, &silence(0.5), &words, &silence(0.5), &click]);
    assert!((with_button - alone).abs() < 0.1, "{with_button}");
    assert!(seconds(&[&words, &silence(0.3), &words]) > 2.0 * alone);
    // Beside noise that is 15 dB softer than the words.
    let level = (words.iter().map(|x| x * x).sum::<f32>() / words.len() as f32).sqrt();
    let mut hiss = sounds::noise();
    let mut noise =
        |seconds: f32| -> Vec<f32> { (0..(seconds * RATE_HZ as f32) as u32).map(|_| hiss() * level * 0.3).collect() };
    let pause_s = |parts: &[&[f32]]| gate::measure(&parts.concat()).0.pause as f32 * 0.016;
    assert!(pause_s(&[&noise(0.5), &words, &noise(1.2), &words, &noise(0.5)]) > 1.0);
    assert!(pause_s(&[&noise(1.0), &words, &noise(1.0)]) < 0.5);
}

#[test]
fn the_abort_is_heeded_and_the_state_is_good_afterwards() {
    let file = saved(&write(&shape(1), &Weights::Says(&says(&[" bear"], SURE))).bytes);
    let context = WhisperContext::new_with_params(file.path(), WhisperContextParameters::default()).unwrap();
    let mut state = context.create_state().unwrap();
    let samples = sounds::babble(2.0).samples;
    let stop = |deadline, abandoned: bool, closing: bool| Stop {
        deadline,
        abandoned: Arc::new(abandoned.into()),
        closing: Arc::new(closing.into()),
    };
    let later = Instant::now() + Duration::from_secs(600);
    for (stop, goes_on) in [
        (stop(later, false, false), true),
        (stop(Instant::now(), false, false), false),
        (stop(later, true, false), false),
        (stop(later, false, false), true),
        (stop(later, false, true), false),
        (stop(later, false, false), true),
    ] {
        let outcome = stop::run_until(&stop, &mut state, Model::params("en", 1), &samples);
        assert_eq!(outcome.is_ok(), goes_on, "{stop:?}: {outcome:?}");
        assert_eq!(state.full_n_segments(), i32::from(goes_on));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn recognition_has_a_lower_priority_than_messages() {
    let recogniser = saying(&says(&[" play"], SURE));
    recogniser.recognise("toy", sounds::babble(1.0)).await.unwrap();
    let mut priorities = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        // A thread of another test may have ended.
        let Ok(stat) = std::fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let (name, fields) = stat.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
        let nice: i32 = fields.split(' ').nth(16).unwrap().parse().unwrap();
        priorities.push((name.to_owned(), nice));
    }
    let own = rustix::process::getpriority_process(None).unwrap();
    assert!(priorities.contains(&("recognise".into(), own + NICE)), "{own}: {priorities:?}");
    assert!(priorities.iter().all(|(name, nice)| name == "recognise" || *nice == own), "{own}: {priorities:?}");
}

#[tokio::test]
async fn a_recognition_that_takes_too_long_is_stopped_and_the_next_is_served() {
    let file = saved(&write(&shape(1), &Weights::Random).bytes);
    let hurried = RecogniserSettings { time_limit: Duration::from_millis(1), ..settings(file.path()) };
    let recogniser = Recogniser::load(hurried).unwrap();
    for _ in 0..3 {
        let outcome = recogniser.recognise("toy", sounds::babble(9.0));
        let outcome = timeout(Duration::from_secs(60), outcome).await.expect("an end");
        assert_eq!(outcome, Err(RecogniseError::TimedOut));
    }

    let impatient = RecogniserSettings { wait_limit: Duration::ZERO, ..settings(file.path()) };
    let recogniser = Recogniser::load(impatient).unwrap();
    assert_eq!(recogniser.recognise("toy", sounds::babble(1.0)).await, Err(RecogniseError::Busy));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_recordings_are_all_answered_in_turns() {
    let file = saved(&write(&shape(1), &Weights::Says(&says(&[" play"], SURE))).bytes);
    let two = RecogniserSettings { workers: 2, queue_max: 10, ..settings(file.path()) };
    let recogniser = Arc::new(Recogniser::load(two).unwrap());
    // One toy sends 46, and four others one each.
    let senders = (0..46).map(|_| "eager").chain(["one", "two", "three", "four"]);
    // Made beforehand: they have to come faster than they are worked on.
    let babble = sounds::babble(3.0);
    let asked: Vec<_> = senders
        .map(|sender| {
            let (recogniser, sound) = (Arc::clone(&recogniser), babble.clone());
            tokio::spawn(async move { (sender, recogniser.recognise(sender, sound).await) })
        })
        .collect();
    let mut heard = Vec::new();
    let mut busy = 0;
    for answer in asked {
        match answer.await.unwrap() {
            (sender, Ok(words)) if words.text == "play" => heard.push(sender),
            ("eager", Err(RecogniseError::Busy)) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    for sender in ["eager", "one", "two", "three", "four"] {
        assert!(heard.contains(&sender), "{sender} was not served");
    }
    assert!(busy > 0, "the queue has a bound");
    assert_eq!(heard.len() + busy, 50);
}

#[tokio::test]
async fn a_dropped_caller_frees_the_worker_and_a_stop_answers_waiting_callers() {
    let endless: Vec<_> = (0..448).map(|at| (at, author::token(" bear"), SURE)).collect();
    let recogniser = Arc::new(saying(&endless));
    {
        let mut gone = std::pin::pin!(recogniser.recognise("toy", sounds::babble(9.0)));
        assert!(futures_util::poll!(&mut gone).is_pending());
    }
    assert_eq!(no_transcript(&recogniser, sounds::babble(1.0)).await, NoTranscript::Repetition);

    let mut asked = std::pin::pin!(recogniser.recognise("toy", sounds::babble(9.0)));
    assert!(futures_util::poll!(&mut asked).is_pending());
    recogniser.closing.store(true, Ordering::Relaxed);
    recogniser.queue.close();
    assert!(matches!(asked.await, Err(RecogniseError::Failed(_) | RecogniseError::TimedOut)));
}

/// All log lines during recognition, including those of whisper.cpp.
#[test]
fn words_are_never_logged() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    // For all threads: one without a subscriber may turn lines off for those with one.
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(concat!("whisper_rs=trace,", env!("CARGO_CRATE_NAME"), "=trace"));
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    whisper_rs::install_logging_hooks();
    let file = saved(&write(&shape(1), &Weights::Says(&says(&[" play", " the", " bear"], SURE))).bytes);
    let context = WhisperContext::new_with_params(file.path(), WhisperContextParameters::default()).unwrap();
    let model = Model {
        parts: closest::Parts::of(&context),
        context,
        languages: vec![("en", Model::params("en", 1))],
        prefers_first: false,
        audio_positions: 500,
        threads: 1,
        comparison: COMPARISON,
    };
    let mut engine = Engine::new(Arc::new(model)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(600);
    let stop = Stop { deadline, abandoned: Arc::default(), closing: Arc::default() };
    assert_eq!(engine.recognise(&sounds::babble(2.0), None, &stop).unwrap().text, "play the bear");
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("loading model"), "whisper.cpp's lines arrive: {log}");
    assert!(!log.contains("bear"), "{log}");
}
