//! The progress of commands: bars on a terminal, lines elsewhere, and nothing of it in their output.

use std::path::Path;
use std::process::Output;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::sound;
use crate::world::{World, within};

/// What a terminal gets from a command, with its control sequences.
async fn on_a_terminal(command: &Command) -> String {
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap().replace('\'', "'\\''"));
    let command = command.as_std();
    let words: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
    // From util-linux, which every Debian has.
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]).env("TERM", "xterm");
    terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        terminal.current_dir(folder);
    }
    let output = within("the terminal", terminal.stdin(std::process::Stdio::null()).output()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// A family with a toy, and messages between them.
async fn family(world: &World, name: &str, messages: u32) {
    let parent = world.user(name).await;
    let toy = world.toy(&parent, "Fluffy").await;
    for tone in 0..messages {
        let fields = [("user_id", parent.id.as_str()), ("to_user", &toy.id)];
        assert_eq!(world.upload("/app_uploader", "reco_file", sound::tone(tone), &fields).await["code"], 0);
    }
}

/// A list of pieces in a new folder.
pub fn songs(folder: &Path, count: u32) {
    std::fs::create_dir(folder).unwrap();
    let mut list = String::new();
    for number in 0..count {
        std::fs::write(folder.join(format!("{number}.wav")), sound::tone(number)).unwrap();
        list.push_str(&format!("{number}.wav\tcover.png\tSong \"{number}\"\n"));
    }
    let mut cover = Vec::new();
    image::DynamicImage::new_rgb8(2, 2)
        .write_to(&mut std::io::Cursor::new(&mut cover), image::ImageFormat::Png)
        .unwrap();
    std::fs::write(folder.join("cover.png"), cover).unwrap();
    std::fs::write(folder.join("songs.tsv"), list).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_report_their_steps_as_lines() {
    let mut world = World::start().await;
    family(&world, "mia", 3).await;
    family(&world, "tom", 1).await;
    songs(&world.folder().join("songs"), 3);
    let steps = async |world: &World, arguments: &[&str]| {
        let Output { status, stdout, stderr } = within("the command", world.command(arguments).output()).await.unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{arguments:?}: {said}");
        (String::from_utf8(stdout).unwrap(), said)
    };
    // By the running hub, and without one.
    for turn in ["with", "without"] {
        let (archive, backups) = (format!("{turn}.zip"), format!("{turn}-backups"));
        let (out, said) = steps(&world, &["content", "import", "songs/songs.tsv"]).await;
        assert!(out.lines().count() == 3 && out.contains("\tSong \"2\""), "{out}");
        assert!(said.contains("importing content: 3 of 3\n"), "{said}");
        let (out, said) = steps(&world, &["user", "export", "mia", "--out", &archive]).await;
        assert!(out.lines().count() == 1 && said.contains("exporting messages: 3 of 3\n"), "{out}{said}");
        let (out, said) = steps(&world, &["backup", &backups]).await;
        assert!(out.lines().count() == 3 && out.contains("new files"), "{out}");
        assert!(said.contains("copying the database: ") && said.contains(" MB\n"), "{said}");
        let files = said.lines().find_map(|line| line.strip_prefix("copying sounds and pictures: ")).unwrap();
        let (done, total) = files.split_once(" of ").unwrap();
        assert!(done == total && done.parse::<u32>().unwrap() > 10, "{files}");
        if turn == "with" {
            assert_eq!(world.stop().await, Some(0));
        }
    }
    // Two accounts, two toys, and a chat of one message.
    let (out, said) = steps(&world, &["user", "erase", "tom"]).await;
    let line = said.lines().find_map(|line| line.strip_prefix("erasing messages and accounts: ")).expect(&said);
    let (done, total) = line.split_once(" of ").unwrap();
    assert!(out == "erased\n" && done == total && done.parse::<u32>().unwrap() >= 4, "{said}");

    std::fs::rename(world.data_dir(), world.folder().join("before")).unwrap();
    let (out, said) = steps(&world, &["restore", "without-backups"]).await;
    assert!(out.contains("2 users, 2 toys, 4 messages"), "{out}");
    assert!(said.contains("restoring the database: ") && said.contains("copying sounds and pictures: "), "{said}");
    world.start_hub().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_draw_bars_on_a_terminal() {
    let world = World::start().await;
    family(&world, "mia", 2).await;
    songs(&world.folder().join("songs"), 12);
    let drawn = on_a_terminal(&world.command(&["content", "import", "songs/songs.tsv"])).await;
    assert!(drawn.contains("importing content [") && drawn.contains(" of 12, "), "{drawn:?}");
    // What is left on the screen is the output.
    assert!(drawn.ends_with("Song \"11\"\r\n") && !drawn.contains("12 of 12\r\n"), "{drawn:?}");
    let drawn = on_a_terminal(&world.command(&["backup", "backups"])).await;
    assert!(drawn.contains("copying") && drawn.contains("new files"), "{drawn:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_a_wrong_line_imports_nothing() {
    let world = World::start().await;
    songs(&world.folder().join("songs"), 2);
    let list = world.folder().join("songs/songs.tsv");
    let good = std::fs::read_to_string(&list).unwrap();
    let import = async || {
        let output = within("the command", world.command(&["content", "import", "songs/songs.tsv"]).output()).await;
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    for (more, fault) in [
        ("2.wav\tcover.png\n", "line 3: needs a sound, a picture and a title"),
        ("missing.wav\tcover.png\tSong\n", "line 3: "),
        (".\tcover.png\tSong\n", "is not a file"),
    ] {
        std::fs::write(&list, format!("{good}{more}")).unwrap();
        let said = import().await;
        assert!(said.contains("nothing was imported") && said.contains(fault), "{said}");
        assert_eq!(world.run(&["content", "list"]).await, "");
    }
    // A file with a sound's name that is no sound.
    std::fs::write(world.folder().join("songs/2.wav"), "no sound at all").unwrap();
    std::fs::write(&list, format!("{good}2.wav\tcover.png\tNoise\n")).unwrap();
    let said = import().await;
    assert!(said.contains("line 3: ") && said.contains("the 2 pieces before it are in the library"), "{said}");
    assert_eq!(world.run(&["content", "list"]).await.lines().count(), 2);
    assert!(world.command(&["content", "import", "none.tsv"]).output().await.unwrap().status.code() == Some(1));
}

/// Answers one request with a body that comes in two halves, two seconds apart, or with 404.
async fn serve_slowly() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                if !head.starts_with(b"GET /file ") {
                    let none = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    stream.write_all(none).await.unwrap();
                    return;
                }
                let half = vec![7; 1_500_000];
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\nConnection: close\r\n\r\n";
                stream.write_all(&[head.as_slice(), &half].concat()).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                stream.write_all(&half).await.unwrap();
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_show_a_bar_on_a_terminal_and_lines_elsewhere() {
    let (folder, url) = (tempfile::tempdir().unwrap(), serve_slowly().await);
    let fetch = |path: &str, to: &str| {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fetch"));
        command.arg(format!("{url}/{path}")).arg(folder.path().join(to)).env("FETCH_PAUSE_S", "1");
        command
    };
    let output = within("the download", fetch("file", "lines").output()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.lines().any(|line| line == "lines: 1 MB"), "{said}");
    assert!(output.stdout.is_empty());
    let drawn = on_a_terminal(&fetch("file", "bar")).await;
    assert!(drawn.contains("###") && drawn.contains("100.0%"), "{drawn:?}");
    for name in ["lines", "bar"] {
        assert_eq!(std::fs::metadata(folder.path().join(name)).unwrap().len(), 3_000_000);
    }
    let output = within("the download", fetch("nothing", "none").output()).await.unwrap();
    assert_eq!(output.status.code(), Some(22), "{}", String::from_utf8_lossy(&output.stderr));
}
