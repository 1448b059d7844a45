//! Reads an export back: the number of rows of each table, and the files that they name.
//!
//! The engine writes a heading before the rows of each table, and up to a thousand rows as one `INSERT` on one line:
//! line ends within values are escaped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use sha2::{Digest, Sha256};

const HEADING: &[u8] = b"-- TABLE DATA: ";
const INSERT: &[u8] = b"INSERT [";

/// The content of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// The number of rows by table.
    pub rows: BTreeMap<String, u64>,
}

/// Reads an export from disk. `text_of` is called with each text value directly in a row: table, field, value.
pub fn read_dump(path: &Path, mut text_of: impl FnMut(&str, &str, &str)) -> io::Result<Dump> {
    let mut file = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let (mut digest, mut bytes, mut rows) = (Sha256::new(), 0, BTreeMap::new());
    let (mut line, mut table) = (Vec::new(), String::new());
    loop {
        line.clear();
        let read = file.read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(Dump { bytes, sha256: hex::encode(digest.finalize()), rows });
        }
        bytes += read as u64;
        digest.update(&line);
        if let Some(name) = line.strip_prefix(HEADING) {
            table = String::from_utf8_lossy(name).trim().to_owned();
            rows.entry(table.clone()).or_default();
        } else if line.starts_with(INSERT) {
            *rows.entry(table.clone()).or_default() += scan_rows(&line, |field, value| text_of(&table, field, value));
        }
    }
}

/// Counts the objects of an `INSERT [ {…}, {…} ];`.
fn scan_rows(line: &[u8], mut text_of: impl FnMut(&str, &str)) -> u64 {
    /// Inside the list, and inside a row of it.
    const LIST: u32 = 1;
    const ROW: u32 = 2;
    let (mut rows, mut depth, mut at) = (0, 0, 0);
    // The start of a field name, and the field whose value begins now.
    let (mut name_from, mut field) = (None, None);
    while let Some(&byte) = line.get(at) {
        at += 1;
        match byte {
            b'\'' | b'"' | b'`' => {
                let end = end_of_quoted(line, at, byte);
                if let Some(field) = field.take()
                    && let (Ok(field), Ok(value)) = (std::str::from_utf8(field), std::str::from_utf8(&line[at..end]))
                {
                    text_of(field, value);
                }
                at = end + 1;
            }
            b'[' | b'{' | b'(' => {
                rows += u64::from(byte == b'{' && depth == LIST);
                depth += 1;
                name_from = (byte == b'{' && depth == ROW).then_some(at);
                field = None;
            }
            b']' | b'}' | b')' => depth = u32::saturating_sub(depth, 1),
            b',' => name_from = (depth == ROW).then_some(at),
            b':' => field = name_from.take().map(|from: usize| line[from..at - 1].trim_ascii()),
            b' ' => {}
            _ => field = None,
        }
    }
    rows
}

/// The index of the quote that ends a text which begins at `from`.
fn end_of_quoted(line: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while let Some(&byte) = line.get(at) {
        match byte {
            b'\\' => at += 2,
            _ if byte == quote => return at,
            _ => at += 1,
        }
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_and_their_texts_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("database.surql");
        let text = concat!(
            "OPTION IMPORT;\n\n",
            "DEFINE FUNCTION fn::tell() {\n\tLET $quote = \"'\";\n\tINSERT [ { no: 'row' } ];\n};\n",
            "-- TABLE DATA: message\n",
            "INSERT [ { id: message:['c', 1], sound: 'a.mp3', deep: { sound: 'no.mp3' } }, ",
            "{ id: message:['c', 2], kind: \"it's \\\" ], { sound: 'no.mp3' }\", sound: 'b.mp3', n: 1f } ];\n",
            "INSERT [ { id: message:['c', 3], notice: NONE, sound: 'c.mp3' } ];\n",
            "-- TABLE DATA: user\n\n",
            "-- TABLE DATA: user_name\n",
            "INSERT [ { id: user_name:`mia's } , {`, user: '5c' } ];\n",
        );
        std::fs::write(&path, text).unwrap();
        let mut found = Vec::new();
        let dump = read_dump(&path, |table, field, value| {
            if field == "sound" || table == "user_name" {
                found.push(format!("{table}.{field}={value}"));
            }
        });
        let dump = dump.unwrap();
        assert_eq!(found, ["message.sound=a.mp3", "message.sound=b.mp3", "message.sound=c.mp3", "user_name.user=5c"]);
        assert_eq!(dump.rows, [("message".into(), 3), ("user".into(), 0), ("user_name".into(), 1)].into());
        assert_eq!((dump.bytes, dump.sha256), (text.len() as u64, hex::encode(Sha256::digest(text))));
    }
}
