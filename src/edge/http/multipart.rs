//! `multipart/form-data` (RFC 7578): text fields into memory, the recording to the hub's spool as it comes.
//!
//! The order of the parts is the client's: a recording may come before the fields that name its sender, so that all
//! parts are received first. `multer` finds the parts, with two habits to guard against: it buffers what it has not yet
//! understood without a limit, and it reads on as long as bytes are at hand. [`Metered`] bounds both.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::Stream;
use multer::{Field, Multipart};
use serde_json::Value;

use super::reading::BodyReader;
use super::reply::Failure;
use crate::api::request::Given;
use crate::domain::{Hub, Upload};
use crate::edge::status::RequestFault;

/// The names that clients give to the recording.
pub const RECORDING_FIELDS: [&str; 4] = ["reco_file", "reco", "record", "blob"];
/// Parts of one body; the documented forms have four at most.
const PARTS_MAX: usize = 64;
/// Bytes that the parser may hold at a time: the head of a part, or a chunk of its data.
const HELD_MAX_BYTES: u64 = 128 * 1024;

const MALFORMED: RequestFault = RequestFault::BadBody("its parts are cut or malformed");

/// How much one body may carry.
pub(super) struct Limits {
    /// Names and texts of all fields together.
    pub(super) text_max_bytes: u64,
    /// The recording; 0 where none is taken.
    pub(super) recording_max_bytes: u64,
}

/// The bytes of a body on their way into the parser, and how many the parser has not given back.
struct Metered<'a> {
    reader: &'a mut BodyReader,
    held: Arc<AtomicU64>,
    is_full: bool,
}

impl Stream for Metered<'_> {
    type Item = Result<bytes::Bytes, RequestFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.held.load(Ordering::Relaxed) >= HELD_MAX_BYTES {
            if self.is_full {
                // The parser has had its chance and found nothing in all these bytes.
                return Poll::Ready(Some(Err(MALFORMED)));
            }
            self.is_full = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_full = false;
        let chunk = std::task::ready!(Pin::new(&mut *self.reader).poll_next(cx));
        if let Some(Ok(chunk)) = &chunk {
            self.held.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        Poll::Ready(chunk)
    }
}

/// The chunks of one part.
struct Part<'a, 'r> {
    field: Field<'r>,
    held: &'a AtomicU64,
}

impl Part<'_, '_> {
    async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, RequestFault> {
        let chunk = self.field.chunk().await.map_err(fault)?;
        if let Some(chunk) = &chunk {
            self.held.fetch_sub(chunk.len() as u64, Ordering::Relaxed);
        }
        Ok(chunk)
    }
}

/// Reads all parts, and what follows the last one.
pub(super) async fn receive(
    hub: &Hub,
    reader: &mut BodyReader,
    boundary: String,
    limits: Limits,
) -> Result<Given, Failure> {
    let mut given = Given::default();
    let mut text_bytes = 0;
    let held = Arc::new(AtomicU64::new(0));
    let metered = Metered { reader: &mut *reader, held: Arc::clone(&held), is_full: false };
    let mut parts = Multipart::new(metered, boundary);
    for count in 0.. {
        let Some(field) = parts.next_field().await.map_err(fault)? else { break };
        if count == PARTS_MAX {
            return Err(RequestFault::BadBody("it has too many parts").into());
        }
        let name = field.name().unwrap_or_default().to_owned();
        let is_file = field.file_name().is_some();
        let mut part = Part { field, held: &held };
        if limits.recording_max_bytes > 0 && RECORDING_FIELDS.contains(&name.as_str()) {
            if given.recording.is_some() {
                return Err(RequestFault::BadBody("it has more than one recording").into());
            }
            let upload = hub.begin_upload(limits.recording_max_bytes).await?;
            given.recording = Some(spool(part, upload).await?);
        } else if is_file {
            while part.chunk().await?.is_some() {}
        } else {
            let text = text(part, &name, &mut text_bytes, limits.text_max_bytes).await?;
            given.fields.insert(name, Value::String(text));
        }
    }
    drop(parts);
    reader.drain().await?;
    Ok(given)
}

async fn spool(mut part: Part<'_, '_>, mut upload: Upload) -> Result<Upload, Failure> {
    while let Some(chunk) = part.chunk().await? {
        upload.write(&chunk).await?;
    }
    Ok(upload)
}

/// The text of a part; `text_bytes` counts those of all parts.
async fn text(
    mut part: Part<'_, '_>,
    name: &str,
    text_bytes: &mut u64,
    max_bytes: u64,
) -> Result<String, RequestFault> {
    *text_bytes += name.len() as u64;
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await? {
        *text_bytes += chunk.len() as u64;
        if *text_bytes > max_bytes {
            return Err(RequestFault::TooLarge { max_bytes });
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| RequestFault::BadBody("a text field is not UTF-8"))
}

/// The reader's own fault passes through the parser; any other is about the parts.
fn fault(error: multer::Error) -> RequestFault {
    match error {
        multer::Error::StreamReadFailed(cause) => cause.downcast().map_or(MALFORMED, |fault| *fault),
        _ => MALFORMED,
    }
}
