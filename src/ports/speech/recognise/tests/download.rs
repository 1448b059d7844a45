//! `scripts/get-model` against a server that misbehaves.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The behaviour of the server at the next request.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Sends the requested part.
    Good,
    /// Closes the connection after this many bytes.
    BreaksAfter(usize),
    /// Sends the whole file, whatever part is requested.
    KnowsNoRanges,
    /// Sends other bytes, as many.
    Damaged,
    /// Sends the login page of a hotel.
    AnotherPage,
    NotFound,
}

/// A folder to fetch into, and a server for it.
struct Place {
    folder: TempDir,
    model: Vec<u8>,
    manners: Arc<Mutex<Vec<Manner>>>,
    /// The range that each request asked for.
    asked: Arc<Mutex<Vec<Option<String>>>>,
    url: String,
}

impl Place {
    fn new() -> Self {
        let model: Vec<u8> = (0..200_000u32).map(|at| (at * 31 % 251) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        let list = format!("# name, bytes, hash\nsmall\t{}\t{}\n", model.len(), hex::encode(Sha256::digest(&model)));
        std::fs::write(folder.path().join("list"), list).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let place = Self { folder, model, manners: Arc::default(), asked: Arc::default(), url };
        let (model, manners, asked) = (place.model.clone(), Arc::clone(&place.manners), Arc::clone(&place.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let manner = manners.lock().unwrap().pop().unwrap_or(Manner::Good);
                let range = answer(&stream.unwrap(), &model, manner);
                asked.lock().unwrap().push(range);
            }
        });
        place
    }

    fn fetch(&self, manners: &[Manner]) -> (bool, String) {
        *self.manners.lock().unwrap() = manners.iter().rev().copied().collect();
        self.run("small", &self.url)
    }

    fn run(&self, name: &str, url: &str) -> (bool, String) {
        self.run_after(":", name, url)
    }

    /// After this command of bash, such as one that limits what the script may write.
    fn run_after(&self, before: &str, name: &str, url: &str) -> (bool, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/get-model");
        let Output { status, stderr, .. } = Command::new("bash")
            .args(["-c", &format!("{before} && exec \"$0\" \"$@\"")])
            .arg(script)
            .arg(name)
            .arg(self.folder.path().join("models"))
            .env("MODELS_URL", url)
            .env("MODELS_LIST", self.folder.path().join("list"))
            .env("no_proxy", "127.0.0.1")
            .output()
            .unwrap();
        (status.success(), String::from_utf8(stderr).unwrap())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("models/ggml-small.bin")
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("models/ggml-small.bin.part")
    }

    /// The file is whole and nothing else is left.
    fn is_whole(&self) -> bool {
        !self.part().exists() && std::fs::read(self.file()).unwrap() == self.model
    }
}

/// Answers one request as configured, and returns its range.
fn answer(mut stream: &TcpStream, model: &[u8], manner: Manner) -> Option<String> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let range = lines.filter_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned)).last();
    let from: usize = range.as_deref().and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0);
    let (status, body) = match manner {
        Manner::NotFound => ("404 Not Found", b"no".to_vec()),
        Manner::AnotherPage => ("200 OK", b"<html>please log in</html>".to_vec()),
        Manner::KnowsNoRanges => ("200 OK", model.to_vec()),
        Manner::Damaged => ("200 OK", vec![7; model.len()]),
        _ if from > 0 => ("206 Partial Content", model[from..].to_vec()),
        _ => ("200 OK", model.to_vec()),
    };
    let place = format!("Content-Range: bytes {from}-{}/{}\r\n", model.len() - 1, model.len());
    let place = if status.starts_with("206") { place } else { String::new() };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{place}Connection: close\r\n\r\n", body.len());
    let sent = if let Manner::BreaksAfter(bytes) = manner { &body[..bytes] } else { &body };
    // The client may close the connection first.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
    let _ = stream.shutdown(Shutdown::Write);
    range
}

#[test]
fn a_model_is_fetched_once_and_verified() {
    let place = Place::new();
    let (fine, said) = place.fetch(&[]);
    assert!(fine && said.contains("is whole"), "{said}");
    assert!(place.is_whole());
    let (fine, said) = place.fetch(&[Manner::NotFound]);
    assert!(fine && said.contains("there already"), "{said}");
    assert_eq!(place.asked.lock().unwrap().len(), 1, "the second time nothing is asked");

    std::fs::write(place.file(), "damaged on disk").unwrap();
    let (fine, said) = place.fetch(&[]);
    assert!(fine && said.contains("is damaged"), "{said}");
    assert!(place.is_whole());
}

#[test]
fn a_broken_connection_continues_where_it_broke() {
    let place = Place::new();
    let (fine, said) = place.fetch(&[Manner::BreaksAfter(70_000)]);
    assert!(!fine && said.contains("70000 of 200000 bytes are kept"), "{said}");
    assert!(!place.file().exists(), "no half file under the final name");
    let (fine, said) = place.fetch(&[Manner::BreaksAfter(50_000)]);
    assert!(!fine && said.contains("120000 of 200000 bytes are kept"), "{said}");
    let (fine, said) = place.fetch(&[]);
    assert!(fine, "{said}");
    assert!(place.is_whole());
    let asked = place.asked.lock().unwrap().clone();
    assert_eq!(asked, [None, Some("70000-".to_owned()), Some("120000-".to_owned())]);
}

/// A limit on the size of files stands for a disk that is full: a write fails in the same way.
#[test]
fn a_full_disk_is_named_and_the_download_continues_later() {
    let place = Place::new();
    let (fine, said) = place.run_after("trap '' XFSZ && ulimit -f 80", "small", &place.url);
    assert!(!fine && said.contains("cannot be written: is the disk full?"), "{said}");
    assert!(said.contains("81920 of 200000 bytes are kept"), "{said}");
    assert!(!place.file().exists());
    let (fine, said) = place.fetch(&[]);
    assert!(fine && said.contains("going on after 81920"), "{said}");
    assert!(place.is_whole());
}

#[test]
fn a_server_without_ranges_sends_it_from_the_start() {
    let place = Place::new();
    assert!(!place.fetch(&[Manner::BreaksAfter(70_000)]).0);
    let (fine, said) = place.fetch(&[Manner::KnowsNoRanges, Manner::KnowsNoRanges]);
    assert!(fine && said.contains("from the start"), "{said}");
    assert!(place.is_whole());
}

#[test]
fn other_bytes_never_get_the_models_name() {
    let place = Place::new();
    for manner in [Manner::Damaged, Manner::AnotherPage] {
        let (fine, said) = place.fetch(&[manner]);
        assert!(!fine && said.contains("wrong"), "{manner:?}: {said}");
        assert!(said.trim_end().ends_with("the hub uses the included model, which knows English only"), "{said}");
        assert!(!place.file().exists() && !place.part().exists(), "{manner:?}");
    }
    // A damaged part is detected at the end, and is not continued again.
    std::fs::write(place.part(), vec![1; 50_000]).unwrap();
    assert!(!place.fetch(&[]).0);
    assert!(!place.file().exists() && !place.part().exists());
    // A part that is too long, and one that is whole.
    std::fs::write(place.part(), vec![1; 300_000]).unwrap();
    assert!(place.fetch(&[]).0 && place.is_whole());
    std::fs::rename(place.file(), place.part()).unwrap();
    assert!(place.fetch(&[Manner::NotFound]).0 && place.is_whole());
}

#[test]
fn missing_requirements_are_reported() {
    let place = Place::new();
    let (fine, said) = place.fetch(&[Manner::NotFound]);
    assert!(!fine && said.contains("no such file"), "{said}");
    // A port without a listener, and a name that does not exist.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("http://{closed}"), "http://models.invalid".to_owned()] {
        let (fine, said) = place.run("small", &url);
        assert!(!fine && said.contains("there is no network") && said.contains("another machine"), "{said}");
        let last = said.lines().last().unwrap();
        assert_eq!(last, "get-model: without small, the hub uses the included model, which knows English only");
    }
    assert!(!place.file().exists() && !place.part().exists());
    let (fine, said) = place.run("enormous", &place.url);
    assert!(!fine && said.contains("no official model is called enormous") && said.contains("small"), "{said}");
}
