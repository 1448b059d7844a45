//! Turns of a device that streams: real speech, the included model, real packets.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::*;
use crate::domain::turn::{Answered, EndedBy, Expected, Heard, Packet, Telling, Turn, Unanswered};
use crate::ports::audio::{
    DecodeLimits, OPUS_OUT_HZ, OpusReader, OpusWriter, Sound, decode_bytes, encode_mp3, resample,
};
use crate::ports::speech::languages::Line;
use crate::ports::speech::{ComparisonLimits, Likely, Recogniser, RecogniserSettings, Speaker, Transcript};

const NOW: Timestamp = 1_760_000_000.0;
const DEADLINE: Duration = Duration::from_secs(60);

fn model() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/toyhub-commands-en.bin")
}

/// A hub with the included model, and a toy.
async fn hub(config: Config) -> (Arc<Hub>, ToyId, TempDir) {
    let mut world = world(config).await;
    world.hub.speaker = Speaker::new(SpeakerSettings {
        program: "espeak-ng".into(),
        arguments: Vec::new(),
        piper: None,
        words_per_minute: 150,
        timeout: DEADLINE,
        output_cpu_max: DEADLINE,
        max_text_chars: 600,
        max_parallel: 2,
    });
    world.hub.set_recogniser(recogniser().await);
    let (toy, ..) = world.toy_with_secret().await;
    let World { hub, _folder } = world;
    (Arc::new(hub), toy, _folder)
}

async fn recogniser() -> Recogniser {
    let settings = RecogniserSettings {
        model: model(),
        sha256: None,
        languages: vec!["en".into()],
        workers: 1,
        threads: 1,
        queue_max: 8,
        wait_limit: DEADLINE,
        time_limit: DEADLINE,
        comparison: ComparisonLimits { steps_max: 28, time_max: DEADLINE },
        max_seconds: 30,
    };
    tokio::task::spawn_blocking(|| Recogniser::load(settings)).await.unwrap().unwrap()
}

/// A spoken text at the rate of packets.
fn spoken(text: &str) -> Vec<f32> {
    let output = Command::new("espeak-ng").args(["-v", "en-us", "-s", "140", "--stdout", text]).output().unwrap();
    let limits = DecodeLimits { max_seconds: 60, cpu_max: DEADLINE, ffmpeg: None };
    resample(&decode_bytes(output.stdout.into(), &limits).unwrap(), OPUS_OUT_HZ).unwrap().samples
}

/// A recognised text.
fn words(text: &str) -> Heard {
    let transcript = Transcript {
        text: text.into(),
        language: "en",
        confidence: 1.0,
        weakest: 1.0,
        may_lack_words: false,
        likely: Vec::new(),
        seconds: Default::default(),
    };
    Heard::Words(transcript.into())
}

fn silence(seconds: f32) -> Vec<f32> {
    vec![0.0; (seconds * OPUS_OUT_HZ as f32) as usize]
}

fn packets(sound: &[f32]) -> Vec<Bytes> {
    let (mut writer, mut packets) = (OpusWriter::new().unwrap(), Vec::new());
    writer.write(sound, &mut packets).unwrap();
    writer.flush(&mut packets).unwrap();
    packets
}

/// Pushes all packets, polling in between as an edge does, and gives what was said, and after how many packets.
async fn speak(turn: &mut Turn, packets: &[Bytes]) -> (Heard, usize) {
    for (at, packet) in packets.iter().enumerate() {
        turn.push(Packet::Opus(packet));
        if turn.has_ended() {
            return (timeout(DEADLINE, turn.heard()).await.unwrap().unwrap(), at);
        }
        assert!(futures_util::poll!(std::pin::pin!(turn.heard())).is_pending());
    }
    turn.stop();
    (timeout(DEADLINE, turn.heard()).await.unwrap().unwrap(), packets.len())
}

/// The sentences of what is told, and its sound in seconds.
async fn told(mut telling: Telling) -> (Vec<String>, f32) {
    let (mut sentences, mut samples, mut reader) = (Vec::new(), 0, OpusReader::new().unwrap());
    while let Some(piece) = timeout(DEADLINE, telling.next()).await.unwrap() {
        let piece = piece.unwrap();
        sentences.extend(piece.text);
        for packet in piece.packets {
            samples += reader.read(&packet).unwrap().len();
        }
    }
    (sentences, samples as f32 / 16_000.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoken_sum_is_answered_in_packets() {
    let (hub, toy, _folder) = hub(Config::default()).await;
    let sound = [silence(0.8), spoken("what is two plus three"), silence(3.0)].concat();
    let packets = packets(&sound);
    let mut turn = hub.begin_turn(&toy, EndedBy::Silence).unwrap();
    let (heard, at) = speak(&mut turn, &packets).await;
    assert_eq!(heard.text(), Some("what is two plus three"));
    assert!(packets.len() - at > 30, "it has ended long before the silence: {at} of {}", packets.len());
    let Answered { telling, expected } = hub.answer_turn(&toy, &heard, NOW).await.unwrap();
    assert!(matches!(expected, Expected::Anything));
    let (sentences, seconds) = told(telling).await;
    assert!(sentences.len() == 1 && sentences[0].contains('5'), "{sentences:?}");
    assert!((0.5..4.0).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_ends_a_turn_and_a_pause_does_not() {
    let (hub, toy, _folder) = hub(Config::default()).await;
    let sound = [spoken("what is"), silence(1.5), spoken("two plus three")].concat();
    let mut turn = hub.begin_turn(&toy, EndedBy::Client).unwrap();
    let (heard, at) = speak(&mut turn, &packets(&sound)).await;
    assert_eq!(at, packets(&sound).len());
    assert!(heard.text().is_some_and(|text| text.contains("two plus three")), "{:?}", heard.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_waits_for_the_model_that_is_being_loaded() {
    let (hub, toy, _folder) = hub(Config::default()).await;
    let packets = packets(&spoken("what is two plus three"));
    for is_loaded in [true, false] {
        hub.note_recogniser_loading();
        assert_eq!(hub.speech_state(), PartState::Loading);
        let mut turn = hub.begin_turn(&toy, EndedBy::Client).unwrap();
        packets.iter().for_each(|packet| turn.push(Packet::Opus(packet)));
        turn.stop();
        assert!(futures_util::poll!(std::pin::pin!(turn.heard())).is_pending());
        if is_loaded {
            hub.set_recogniser(recogniser().await);
            let heard = timeout(DEADLINE, turn.heard()).await.unwrap().unwrap();
            assert_eq!(heard.text(), Some("what is two plus three"));
        } else {
            hub.note_recogniser_failed();
            let heard = timeout(DEADLINE, turn.heard()).await.unwrap();
            assert!(matches!(heard, Err(DomainError::NoSpeechModel)), "{heard:?}");
            assert!(matches!(hub.begin_turn(&toy, EndedBy::Client), Err(DomainError::NoSpeechModel)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_speech_is_nothing_and_needs_no_answer() {
    let (hub, toy, _folder) = hub(Config::default()).await;
    let mut turn = hub.begin_turn(&toy, EndedBy::Client).unwrap();
    assert!(matches!(speak(&mut turn, &packets(&silence(2.0))).await.0, Heard::Nothing));
    let mut turn = hub.begin_turn(&toy, EndedBy::Client).unwrap();
    turn.stop();
    assert!(matches!(timeout(DEADLINE, turn.heard()).await.unwrap().unwrap(), Heard::Nothing), "not a single packet");
    // Bytes that are no packets are left out.
    let mut turn = hub.begin_turn(&toy, EndedBy::Client).unwrap();
    for junk in [&[][..], &[0x03, 0x00], &[0xff; 1500]] {
        turn.push(Packet::Opus(junk));
        turn.push(Packet::Pcm(junk));
    }
    turn.stop();
    assert!(matches!(timeout(DEADLINE, turn.heard()).await.unwrap().unwrap(), Heard::Nothing));
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_are_limited_and_a_finished_one_makes_room() {
    let mut config = Config::default();
    config.speech.turns_max = 1;
    let (hub, toy, _folder) = hub(config).await;
    let turn = hub.begin_turn(&toy, EndedBy::Silence).unwrap();
    assert!(matches!(hub.begin_turn(&toy, EndedBy::Silence), Err(DomainError::Busy)));
    drop(turn);
    hub.begin_turn(&toy, EndedBy::Silence).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn music_is_told_piece_by_piece() {
    let (hub, toy, _folder) = hub(Config::default()).await;
    let samples = (0..24_000 * 4).map(|n| 0.3 * (n as f32 * 0.1).sin()).collect();
    let song = encode_mp3(&Sound { rate_hz: 24_000, samples }, 64).unwrap();
    let name = FileName::random("mp3");
    hub.files.put(FileKind::Music, &name, song).await.unwrap();
    let telling = hub.tell_music(&toy, name, NOW);
    let (sentences, seconds) = told(telling).await;
    assert!(sentences.is_empty() && (3.9..4.4).contains(&seconds), "{sentences:?}, {seconds}");
    let missing = hub.tell_music(&toy, FileName::random("mp3"), NOW).next().await;
    assert!(matches!(missing, Some(Err(DomainError::UnknownFile))));
}

#[tokio::test(flavor = "multi_thread")]
async fn music_that_was_interrupted_goes_on_a_little_before() {
    let (hub, toy, _folder) = hub(Config::default()).await;
    // Each second has a tone of its own.
    let hz = |second: usize| 200.0 + 50.0 * second as f32;
    let samples = (0..24_000 * 16).map(|n| 0.3 * (n as f32 * std::f32::consts::TAU * hz(n / 24_000) / 24_000.0).sin());
    let song = encode_mp3(&Sound { rate_hz: 24_000, samples: samples.collect() }, 64).unwrap();
    let (music, cover) = (FileName::random("mp3"), FileName::random("jpg"));
    hub.files.put(FileKind::Music, &music, song).await.unwrap();
    let content = crate::model::Content {
        id: crate::model::ContentId::random(),
        title: "The Long Story".into(),
        music: music.clone(),
        cover,
    };
    hub.store.add_content(&content, 1.0).await.unwrap();
    let answer = async |text: &str| hub.answer_turn(&toy, &words(text), NOW).await.unwrap().telling;

    let mut telling = answer("play the long story").await;
    let mut made = 0.0;
    while made < 10.0 {
        made += telling.next().await.unwrap().unwrap().packets.len() as f64 * 0.06;
    }
    // The child interrupts it, and asks for something else first.
    drop(telling);
    told(answer("what is two plus three").await).await;
    let mut rest = answer("go on with the story").await;
    let (mut reader, mut heard, mut seconds) = (OpusReader::new().unwrap(), Vec::new(), 0.0);
    while let Some(piece) = rest.next().await {
        for packet in piece.unwrap().packets {
            heard.extend_from_slice(reader.read(&packet).unwrap());
            seconds += 0.06;
        }
    }
    let expected = 16.0 - (made - 5.0);
    assert!((expected - 0.2..expected + 0.4).contains(&seconds), "{seconds} s of {expected} s");
    // Its first half second is the tone of that place, at 16 kHz.
    let crossings = heard[1600..9600].windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count() as f32 * 2.0;
    let place = (made - 5.0) as usize;
    assert!((hz(place) - 60.0..hz(place + 1) + 10.0).contains(&crossings), "{crossings} Hz at {place} s");
    // It was played to its end: now it begins again.
    let (_, whole) = told(answer("go on with the story").await).await;
    assert!((15.9..16.4).contains(&whole), "{whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_when_the_child_says_so() {
    for (answers, is_sent) in [
        (&["send it"][..], true),
        (&["yes please"], true),
        (&["no"], false),
        (&["do not send it"], false),
        (&["let me hear it", "send it please"], true),
        (&["the moon is round", "yes"], true),
        (&["the moon is round", "the sun is hot", "the sea is deep"], false),
        (&["again", "", "send it"], true),
    ] {
        let (hub, toy, _folder) = hub(Config::default()).await;
        let friends = hub.store.friends(&Party::from(toy.clone())).await.unwrap();
        let friend = friends.first().expect("the one who has bound it").party.clone();
        let message = Sound { rate_hz: OPUS_OUT_HZ, samples: spoken("good night mum") };
        let seconds = message.duration().as_secs_f32();
        let mut answered = hub.draft_turn(&toy, friend.clone(), message.clone(), NOW).await.unwrap();
        for answer in answers {
            let Answered { telling, expected } = answered;
            let (sentences, _) = told(telling).await;
            answered = match expected {
                Expected::Answer(draft) => {
                    assert!(sentences.concat().contains("Shall I send"), "{sentences:?}");
                    let answered = hub.answer_draft(&toy, draft, &words(answer), NOW).await.unwrap();
                    if *answer == "let me hear it" {
                        let Answered { telling, expected } = answered;
                        let (sentences, played) = told(telling).await;
                        assert!(played > seconds + 0.5, "{played} s with the message of {seconds} s: {sentences:?}");
                        Answered { telling: hub.tell_line(&toy, &Line::ShallISend("x"), NOW), expected }
                    } else {
                        answered
                    }
                }
                // Spoken again.
                Expected::Message { friend: again, .. } => {
                    assert_eq!(again, friend);
                    assert!(sentences.concat().contains("say your message"), "{sentences:?}");
                    hub.draft_turn(&toy, again, message.clone(), NOW).await.unwrap()
                }
                Expected::Anything => panic!("{answers:?}: it is over before {answer}"),
            };
        }
        assert!(matches!(answered.expected, Expected::Anything), "{answers:?}");
        let (sentences, _) = told(answered.telling).await;
        let unread = hub.store.unread_messages(&friend, 10).await.unwrap();
        assert_eq!(unread.len(), usize::from(is_sent), "{answers:?}: {sentences:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_is_asked_about_if_a_word_of_the_sentence_is_uncertain() {
    let (hub, toy, _folder) = hub(Config::default()).await;
    let friend = hub.store.friends(&Party::from(toy.clone())).await.unwrap()[0].party.clone();
    let is_for_friend =
        |answered: &Answered| matches!(&answered.expected, Expected::Message { friend: party, .. } if *party == friend);
    let heard = |weakest| match words("call Rosa") {
        Heard::Words(spoken) => Heard::Words(Transcript { weakest, ..spoken.transcript }.into()),
        other => other,
    };
    assert!(is_for_friend(&hub.answer_turn(&toy, &heard(0.95), NOW).await.unwrap()));
    let asked = hub.answer_turn(&toy, &heard(0.2), NOW).await.unwrap();
    assert!(matches!(asked.expected, Expected::Anything));
    let (sentences, _) = told(asked.telling).await;
    assert!(sentences.concat().contains("for Rosa?"), "{sentences:?}");
    assert!(is_for_friend(&hub.answer_turn(&toy, &words("yes"), NOW).await.unwrap()));
}

/// Recognised words, and a sentence that the recording is as like as its words.
fn unclear(text: &str, sentence: &str) -> Heard {
    let Heard::Words(spoken) = words(text) else { unreachable!() };
    let likely = vec![Likely { text: sentence.into(), regret: 0.0 }];
    Heard::Words(Transcript { likely, ..spoken.transcript }.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn unclear_words_are_the_sentence_that_the_recording_is_like_and_a_message_is_asked_about() {
    let (hub, toy, _folder) = hub(Config::default()).await;
    let friend = hub.store.friends(&Party::from(toy.clone())).await.unwrap()[0].party.clone();
    let answer = async |heard: Heard| {
        let Answered { telling, expected } = hub.answer_turn(&toy, &heard, NOW).await.unwrap();
        (told(telling).await.0.concat(), expected)
    };
    let (said, expected) = answer(unclear("who argue", "who are you")).await;
    assert!(said.contains("I am") && matches!(expected, Expected::Anything), "{said}");
    for (text, sentence) in [("where is my ball", "call rosa"), ("and the massage thumb", "send a message to rosa")] {
        let (said, expected) = answer(unclear(text, sentence)).await;
        assert!(said.contains("for Rosa?") && matches!(expected, Expected::Anything), "{text}: {said}");
    }
    let (_, expected) = answer(words("yes")).await;
    assert!(matches!(expected, Expected::Message { friend: party, .. } if party == friend));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_sent_now_is_given_back() {
    for confirm_messages in [true, false] {
        let mut config = Config::default();
        config.speech.confirm_messages = confirm_messages;
        config.rates.uploads_per_party_per_minute = 1;
        let (hub, toy, _folder) = hub(config).await;
        let friend = hub.store.friends(&Party::from(toy.clone())).await.unwrap()[0].party.clone();
        hub.answer_turn(&toy, &words("send a message"), NOW).await.unwrap();
        let message = Sound { rate_hz: OPUS_OUT_HZ, samples: spoken("good night mum") };
        let mut expected = match hub.draft_turn(&toy, friend.clone(), message, NOW).await {
            Ok(answered) => answered.expected,
            Err(Unanswered { error, expected }) => {
                assert!(!confirm_messages && matches!(error, DomainError::RateLimited { .. }), "{error:?}");
                expected
            }
        };
        for _ in 0..2 {
            let Expected::Answer(draft) = expected else { panic!("{confirm_messages}: the message is lost") };
            let Err(unanswered) = hub.answer_draft(&toy, draft, &words("send it"), NOW).await else {
                panic!("it was sent")
            };
            assert!(matches!(unanswered.error, DomainError::RateLimited { .. }), "{:?}", unanswered.error);
            expected = unanswered.expected;
        }
        assert_eq!(hub.store.unread_messages(&friend, 10).await.unwrap().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_nobody_is_not_given_back() {
    let (hub, toy, _folder) = hub(Config::default()).await;
    let message = Sound { rate_hz: OPUS_OUT_HZ, samples: spoken("good night mum") };
    let nobody = Party::User(crate::model::UserId::random());
    let Err(Unanswered { error, expected }) = hub.draft_turn(&toy, nobody, message, NOW).await else {
        panic!("there is nobody")
    };
    assert!(matches!((error, expected), (DomainError::NotFriends, Expected::Anything)));
}
