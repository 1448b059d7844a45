//! Commands for the equipment library.

use std::io::{self, Read as _};
use std::path::Path;

use csv::{ByteRecord, Position, ReaderBuilder, Trim};

use super::{DEVICES_MAX, DeviceLine, LIST_MAX, Response, device_text};
use crate::domain::error::DomainError;
use crate::domain::{BadLine, Hub, MovingDevice, NewDevice};
use crate::edge::wire;
use crate::model::{Device, DeviceKey, Secret};

/// The maximum size of a file of devices.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// The maximum number of devices of a file.
const IMPORTED_MAX: usize = 20_000;
/// Bad lines that are named; of the others only the number is.
const BAD_NAMED_MAX: usize = 100;
/// What stands in the first field of a heading.
const HEADINGS: [&str; 3] = ["key", "device_key", "device key"];

pub(super) async fn add(hub: &Hub, count: usize, key: Option<String>) -> Result<Response, DomainError> {
    if let Some(key) = key {
        let key = DeviceKey::parse_lenient(&key)
            .map_err(|_| DomainError::invalid("--key", "must have 32 hexadecimal digits"))?;
        let device = hub.add_device_of(key, wire::now()).await?;
        return Ok(Response::Devices(vec![line_of(device)]));
    }
    let devices = hub.add_devices(count.min(DEVICES_MAX), wire::now()).await?;
    Ok(Response::Devices(devices.into_iter().map(line_of).collect()))
}

fn line_of(device: NewDevice) -> DeviceLine {
    DeviceLine { key: device.key.to_string(), secret: device.secret.reveal().to_owned() }
}

pub(super) async fn remove(hub: &Hub, keys: &[String]) -> Result<Response, DomainError> {
    for key in keys {
        hub.remove_device(&key.parse().map_err(|_| DomainError::UnknownDevice)?).await?;
    }
    Ok(Response::Lines(Vec::new()))
}

pub(super) async fn list(hub: &Hub) -> Result<Response, DomainError> {
    let line = |Device { key, toy, name }: Device| {
        let toy = toy.map_or_else(|| "unbound".to_owned(), |toy| format!("toy {toy}"));
        let name = name.map(|name| format!("\t{name}")).unwrap_or_default();
        format!("{key}\t{toy}{name}")
    };
    Ok(Response::Lines(hub.devices(LIST_MAX).await?.into_iter().map(line).collect()))
}

pub(super) async fn renew(hub: &Hub, key: &str) -> Result<Response, DomainError> {
    let key = DeviceKey::parse_lenient(key).map_err(|_| DomainError::UnknownDevice)?;
    let device = hub.renew_device(&key, wire::now()).await?;
    Ok(Response::Lines(vec![device_text(&device)]))
}

/// Imports all devices of a file, or none. Secrets are not repeated in the answer.
pub(super) async fn import(hub: &Hub, path: &Path) -> Result<Response, DomainError> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&owned)).await.map_err(DomainError::internal)?;
    let read =
        read.map_err(|error| DomainError::invalid("FILE", format!("{} cannot be read: {error}", path.display())));
    let (devices, mut bad) = parse(&read?);
    if bad.is_empty() {
        match hub.import_devices(devices, wire::now()).await? {
            Ok(count) => return Ok(Response::Lines(vec![format!("{count} devices imported")])),
            Err(faults) => bad = faults,
        }
    }
    bad.sort();
    let mut lines = vec![format!("{}: nothing was imported", path.display())];
    lines.extend(bad.iter().take(BAD_NAMED_MAX).map(|BadLine { line, fault }| format!("line {line}: {fault}")));
    if bad.len() > BAD_NAMED_MAX {
        lines.push(format!("and {} more lines", bad.len() - BAD_NAMED_MAX));
    }
    Ok(Response::Failed(lines.join("\n")))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 4 MiB; split it"));
    }
    Ok(bytes)
}

/// The devices of a file: the key, a secret and a name, of which the last two may be missing; and the lines that are
/// none. Spreadsheets write a heading, a mark before it, and semicolons in some countries.
fn parse(bytes: &[u8]) -> (Vec<MovingDevice>, Vec<BadLine>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let delimiter = if first.contains(&b';') && !first.contains(&b',') { b';' } else { b',' };
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter).from_reader(bytes);
    let (mut devices, mut bad, mut record, mut is_first) = (Vec::new(), Vec::new(), ByteRecord::new(), true);
    let mut no_device = |line, fault: &str| bad.push(BadLine { line, fault: fault.to_owned() });
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                let line = error.position().map_or(0, |position| position.line());
                no_device(line, "is not CSV");
                break;
            }
        }
        let line = record.position().map_or(0, |position| line_of_record(bytes, position));
        let Ok(fields) = record.iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>() else {
            no_device(line, "the text is not UTF-8");
            continue;
        };
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        if std::mem::take(&mut is_first) && HEADINGS.contains(&field(0).to_ascii_lowercase().as_str()) {
            continue;
        }
        if fields.iter().all(|field| field.is_empty()) {
            continue;
        }
        if fields.len() > 3 {
            no_device(line, "has more than a device key, a secret and a name");
            continue;
        }
        if devices.len() >= IMPORTED_MAX {
            no_device(line, "is one device too many for one file; split it");
            break;
        }
        devices.push(MovingDevice {
            line,
            key: field(0).to_owned(),
            secret: Secret::new(field(1)),
            name: field(2).to_owned(),
        });
    }
    if devices.is_empty() && bad.is_empty() {
        bad.push(BadLine { line: 1, fault: "the file has no device".to_owned() });
    }
    (devices, bad)
}

/// The line in which a record begins: its position is that of the blank lines before it.
pub(super) fn line_of_record(bytes: &[u8], position: &Position) -> u64 {
    let from = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let blank = bytes.iter().skip(from).take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + blank.filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "bc557bcc9570069a494a64eb38698d35";

    /// Line, key, secret and name of a device.
    type Shown = (u64, String, String, String);

    fn parsed(text: &str) -> (Vec<Shown>, Vec<u64>) {
        let (devices, bad) = parse(text.as_bytes());
        let shown = |device: MovingDevice| (device.line, device.key, device.secret.reveal().to_owned(), device.name);
        (devices.into_iter().map(shown).collect(), bad.into_iter().map(|bad| bad.line).collect())
    }

    #[test]
    fn files_of_spreadsheets_are_read() {
        let device = |line, secret: &str, name: &str| (line, KEY.to_owned(), secret.to_owned(), name.to_owned());
        for (text, expected) in [
            (KEY.to_owned(), vec![device(1, "", "")]),
            (format!("{KEY},,\r\n"), vec![device(1, "", "")]),
            (
                format!("Key,Secret,Name\n{KEY},s,n\n\n {KEY} , s , n m \n"),
                vec![device(2, "s", "n"), device(4, "s", "n m")],
            ),
            (
                format!("\u{feff}device_key;secret;name\r\n{KEY};s,s;\"n;\"\"m\"\"\"\r\n"),
                vec![device(2, "s,s", "n;\"m\"")],
            ),
            (format!("{KEY},s\n,,\n{KEY},,n"), vec![device(1, "s", ""), device(3, "", "n")]),
        ] {
            assert_eq!(parsed(&text), (expected, vec![]), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_device_is_named_by_its_line() {
        assert_eq!(parsed("").1, [1]);
        assert_eq!(parsed("key,secret,name\n").1, [1]);
        let (devices, bad) = parsed(&format!("{KEY}\na,b,c,d\n{KEY},\"s\n{KEY}"));
        assert_eq!((devices.len(), bad), (2, vec![2]), "an open quotation mark takes the rest, and makes a bad secret");
        let (devices, bad) = parse(b"bc557bcc9570069a494a64eb38698d35,\xff\xfe\n");
        assert_eq!((devices.len(), bad.len(), bad[0].line), (0, 1, 1));
        let many = format!("{KEY}\n").repeat(IMPORTED_MAX + 2);
        assert_eq!(parsed(&many).1, [IMPORTED_MAX as u64 + 1]);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        for seed in 0..2000_u32 {
            let byte = |n: u32| (seed.wrapping_mul(2_654_435_761).wrapping_add(n.wrapping_mul(40_503)) >> 13) as u8;
            let signs = b",;\"\n\r \xff\x00aA0";
            let bytes: Vec<u8> = (0..seed % 97).map(|n| signs[usize::from(byte(n)) % signs.len()]).collect();
            let (devices, bad) = parse(&bytes);
            assert!(!devices.is_empty() || !bad.is_empty(), "{bytes:?}");
        }
    }
}
