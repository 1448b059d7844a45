//! Commands for the content library.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use csv::{ReaderBuilder, StringRecord, Trim};

use super::Response;
use super::devices::line_of_record;
use crate::domain::error::DomainError;
use crate::domain::{Hub, NewContent, Progress, Unit};
use crate::edge::wire;
use crate::model::{Content, Malformed};

/// The maximum size of a list of pieces.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Bad lines that are named; of the others only the number is.
const BAD_NAMED_MAX: usize = 100;

/// A piece of the command line, with the paths of its files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) title: String,
    pub(super) sound: PathBuf,
    pub(super) cover: PathBuf,
    /// The name of the sound's file. Default: a random one.
    pub(super) name: Option<String>,
}

pub(super) async fn add(hub: &Hub, piece: Piece) -> Result<Response, DomainError> {
    Ok(Response::Lines(vec![add_piece(hub, piece).await?]))
}

pub(super) async fn list(hub: &Hub) -> Result<Response, DomainError> {
    Ok(Response::Lines(hub.content().await?.into_iter().map(line_of).collect()))
}

/// Adds the pieces of a list, in its order. If a line is no piece, or its files cannot be read, none is added.
pub(super) async fn import(hub: &Hub, path: &Path, progress: &Progress) -> Result<Response, DomainError> {
    let (owned, max_bytes) = (path.to_owned(), hub.content_max_bytes());
    let read =
        tokio::task::spawn_blocking(move || read_list(&owned, max_bytes)).await.map_err(DomainError::internal)?;
    let unreadable = |error| DomainError::invalid("FILE", format!("{} cannot be read: {error}", path.display()));
    let (pieces, bad) = read.map_err(unreadable)?;
    if !bad.is_empty() {
        let mut lines = vec![format!("{}: nothing was imported", path.display())];
        lines.extend(bad.iter().take(BAD_NAMED_MAX).cloned());
        if bad.len() > BAD_NAMED_MAX {
            lines.push(format!("and {} more lines", bad.len() - BAD_NAMED_MAX));
        }
        return Ok(Response::Failed(lines.join("\n")));
    }
    let counter = progress.begin("importing content", Some(pieces.len() as u64), Unit::Items);
    let mut added = Vec::new();
    for (line, piece) in pieces {
        match add_piece(hub, piece).await {
            Ok(piece) => added.push(piece),
            Err(error) if added.is_empty() => {
                return Ok(Response::Failed(format!("line {line}: {error}; nothing was imported")));
            }
            Err(error) => {
                let before = match added.len() {
                    1 => "the piece before it is".to_owned(),
                    count => format!("the {count} pieces before it are"),
                };
                let advice = format!("{before} in the library: remove those lines, and run this again");
                return Ok(Response::Failed(format!("line {line}: {error}; {advice}")));
            }
        }
        counter.add(1);
    }
    Ok(Response::Lines(added))
}

/// Adds a piece, and returns its line in the list of the library.
async fn add_piece(hub: &Hub, piece: Piece) -> Result<String, DomainError> {
    let malformed = |malformed: Malformed| DomainError::invalid("--name", malformed.to_string());
    let name = piece.name.map(|name| name.parse().map_err(malformed)).transpose()?;
    let sound = read("FILE", &piece.sound, hub.content_max_bytes()).await?;
    let cover = read("--cover", &piece.cover, hub.content_max_bytes()).await?;
    let content = hub.add_content(NewContent { title: piece.title, sound, cover, name }, wire::now()).await?;
    Ok(line_of(content))
}

fn line_of(content: Content) -> String {
    format!("{}\t{}\t{}", content.id, content.music, content.title)
}

/// A whole file of at most `max_bytes`.
async fn read(field: &'static str, path: &Path, max_bytes: u64) -> Result<Bytes, DomainError> {
    let refused = |why: String| DomainError::invalid(field, format!("{} {why}", path.display()));
    let facts = tokio::fs::metadata(path).await;
    if let Some(why) = fault_of(facts, max_bytes) {
        return Err(refused(why));
    }
    let unreadable = |error: io::Error| refused(format!("cannot be read: {error}"));
    tokio::fs::read(path).await.map(Bytes::from).map_err(unreadable)
}

/// Why a file is not read.
fn fault_of(facts: io::Result<std::fs::Metadata>, max_bytes: u64) -> Option<String> {
    match facts {
        Err(error) => Some(format!("cannot be read: {error}")),
        Ok(facts) if !facts.is_file() => Some("is not a file".into()),
        Ok(facts) if facts.len() > max_bytes => {
            Some(format!("has more than {max_bytes} bytes (audio.content_max_bytes)"))
        }
        Ok(_) => None,
    }
}

/// The pieces of a list with their lines, and the faults of the other lines.
type Parsed = (Vec<(u64, Piece)>, Vec<String>);

fn read_list(path: &Path, max_bytes: u64) -> io::Result<Parsed> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB; split it"));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let (pieces, mut bad) = parse(&text, folder);
    for (line, piece) in &pieces {
        for file in [&piece.sound, &piece.cover] {
            if let Some(why) = fault_of(std::fs::metadata(file), max_bytes) {
                bad.push(format!("line {line}: {} {why}", file.display()));
            }
        }
    }
    Ok((pieces, bad))
}

/// The pieces of a text: sound, cover and title, separated by tabs, and optionally a name. Paths are relative to
/// `folder`.
fn parse(text: &str, folder: &Path) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .quoting(false)
        .delimiter(b'\t')
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let (mut pieces, mut bad, mut record) = (Vec::new(), Vec::new(), StringRecord::new());
    // The text is UTF-8 and without quotes, so every record can be read.
    while reader.read_record(&mut record).unwrap_or_default() {
        let line = record.position().map_or(0, |position| line_of_record(text.as_bytes(), position));
        let fields: Vec<&str> = record.iter().collect();
        match fields[..] {
            [""] => {}
            [sound, cover, title] | [sound, cover, title, _]
                if [sound, cover, title].iter().all(|field| !field.is_empty()) =>
            {
                let name = fields.get(3).filter(|name| !name.is_empty()).map(|name| (*name).to_owned());
                let [sound, cover] = [sound, cover].map(|file| folder.join(file));
                pieces.push((line, Piece { title: title.to_owned(), sound, cover, name }));
            }
            _ => bad.push(format!(
                "line {line}: needs a sound, a picture and a title, separated by tabs, and at most a name"
            )),
        }
    }
    if pieces.is_empty() && bad.is_empty() {
        bad.push("the list has no piece".to_owned());
    }
    (pieces, bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_pieces_is_read_line_by_line() {
        let text = "\u{feff}a.mp3\ta.jpg\tThe \"Bear's\" Waltz\n\n/b.m4a\tb.png\tFrère, Jacques\tjacques.m4a\r\n";
        let piece = |sound: &str, cover: &str, title: &str, name: Option<&str>| Piece {
            title: title.into(),
            sound: sound.into(),
            cover: cover.into(),
            name: name.map(str::to_owned),
        };
        let (pieces, bad) = parse(text, Path::new("/songs"));
        let expected = vec![
            (1, piece("/songs/a.mp3", "/songs/a.jpg", "The \"Bear's\" Waltz", None)),
            (3, piece("/b.m4a", "/songs/b.png", "Frère, Jacques", Some("jacques.m4a"))),
        ];
        assert_eq!((pieces, bad), (expected, vec![]));
    }

    #[test]
    fn lines_that_are_no_pieces_are_named() {
        let (pieces, bad) = parse("a\tb\tc\na\tb\n\ta\tb\na\tb\tc\td\te\n", Path::new(""));
        assert_eq!(pieces.len(), 1);
        assert_eq!(bad.iter().map(|line| &line[..7]).collect::<Vec<_>>(), ["line 2:", "line 3:", "line 4:"]);
        for text in ["", "\n\n"] {
            assert_eq!(parse(text, Path::new("")).1, ["the list has no piece"]);
        }
    }
}
