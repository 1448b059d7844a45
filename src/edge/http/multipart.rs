//! `multipart/form-data` (RFC 7578): text fields are read into memory, the recording is written to the hub's spool as
//! it arrives.
//!
//! Clients choose the order of the parts: a recording may precede the fields that name its sender; the gate then
//! decides whether it is accepted. `multer` parses the parts, with two pitfalls: it buffers unparsed bytes without a
//! limit, and it reads as long as bytes are available. [`Metered`] bounds both.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::Stream;
use hyper::header::CONTENT_DISPOSITION;
use multer::{Field, Multipart};
use serde_json::Value;

use super::failure::Failure;
use super::gate::{Admitted, Gate, Held};
use super::parameters::parameter;
use super::reading::BodyReader;
use crate::api::request::Given;
use crate::domain::Recording;
use crate::edge::body;
use crate::edge::net::AddressPlace;
use crate::edge::status::RequestFault;

/// The names that clients give to the recording.
pub const RECORDING_FIELDS: [&str; 4] = ["reco_file", "reco", "record", "blob"];
/// The maximum number of parts of one body; the documented forms have up to four.
const PARTS_MAX: usize = 64;
/// The maximum number of bytes that the parser buffers: the head of a part, or a chunk of its data.
const HELD_MAX_BYTES: u64 = 128 * 1024;

const MALFORMED: RequestFault = RequestFault::BadBody("its parts are cut or malformed");

/// The limits of one body.
pub(super) struct Limits<'g> {
    /// Names and texts of all fields together, in bytes.
    pub(super) text_max_bytes: u64,
    /// Decides whether the recording is accepted; none for a request without a recording.
    pub(super) gate: Option<&'g Gate<'g>>,
}

/// The bytes of a body that are passed to the parser, and the number of those that it has not returned.
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
                // The parser was called and found no part in all these bytes.
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

/// The recording of a body.
enum Taken {
    /// It is on disk.
    Admitted(Box<Admitted>),
    /// Its sender is not known yet.
    Held(Held),
}

/// Reads all parts, and the bytes after the last one. A recording is returned with its place among the uploads of its
/// address.
pub(super) async fn receive(
    reader: &mut BodyReader,
    boundary: String,
    limits: Limits<'_>,
) -> Result<(Given, Option<AddressPlace>), Failure> {
    let received = receive_parts(reader, boundary, &limits).await;
    if let Err(failure) = &received
        && failure.is_refusal()
    {
        // Some clients read the answer only after they have sent the whole body.
        reader.drain().await?;
    }
    let (mut given, taken) = received?;
    reader.drain().await?;
    let admitted = match (taken, limits.gate) {
        (Some(Taken::Held(held)), Some(gate)) => {
            let mut admitted = gate.admit_named(&given).await?;
            admitted.upload.write(&held.bytes.into()).await?;
            Some(admitted)
        }
        (Some(Taken::Admitted(admitted)), _) => Some(*admitted),
        _ => None,
    };
    let (upload, place) = admitted.map(|Admitted { upload, place }| (upload, place)).unzip();
    given.recording = upload.map(Recording::from);
    Ok((given, place))
}

async fn receive_parts(
    reader: &mut BodyReader,
    boundary: String,
    limits: &Limits<'_>,
) -> Result<(Given, Option<Taken>), Failure> {
    let mut given = Given::default();
    let mut taken = None;
    let mut text_bytes = 0;
    let held = Arc::new(AtomicU64::new(0));
    let metered = Metered { reader, held: Arc::clone(&held), is_full: false };
    let mut parts = Multipart::new(metered, boundary);
    for count in 0.. {
        let Some(field) = parts.next_field().await.map_err(fault)? else { break };
        if count == PARTS_MAX {
            return Err(RequestFault::BadBody("it has too many parts").into());
        }
        let disposition = field.headers().get(CONTENT_DISPOSITION);
        // A file's name need not be ASCII.
        let disposition = disposition.map_or(Cow::default(), |value| body::text(value.as_bytes()));
        let name = parameter(&disposition, "name").unwrap_or_default();
        let is_file = parameter(&disposition, "filename").is_some();
        let mut part = Part { field, held: &held };
        match limits.gate {
            Some(gate) if RECORDING_FIELDS.contains(&name.as_str()) => {
                if taken.is_some() {
                    return Err(RequestFault::BadBody("it has more than one recording").into());
                }
                taken = Some(take_in(part, gate, &given).await?);
            }
            _ if is_file => while part.chunk().await?.is_some() {},
            _ => {
                let text = text(part, &name, &mut text_bytes, limits.text_max_bytes).await?;
                given.fields.insert(name, Value::String(text));
            }
        }
    }
    Ok((given, taken))
}

/// Receives the recording, if its sender may send it.
async fn take_in(mut part: Part<'_, '_>, gate: &Gate<'_>, given: &Given) -> Result<Taken, Failure> {
    let Some(mut admitted) = gate.admit(given).await? else {
        let mut held = gate.hold()?;
        while let Some(chunk) = part.chunk().await? {
            held.push(&chunk)?;
        }
        return Ok(Taken::Held(held));
    };
    while let Some(chunk) = part.chunk().await? {
        admitted.upload.write(&chunk).await?;
    }
    Ok(Taken::Admitted(Box::new(admitted)))
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
    let text = body::text(&bytes).into_owned();
    // Bytes that are not UTF-8 become longer.
    *text_bytes += text.len().saturating_sub(bytes.len()) as u64;
    if *text_bytes > max_bytes {
        return Err(RequestFault::TooLarge { max_bytes });
    }
    Ok(text)
}

/// An error of the reader is passed through the parser; any other error concerns the parts.
fn fault(error: multer::Error) -> RequestFault {
    match error {
        multer::Error::StreamReadFailed(cause) => cause.downcast().map_or(MALFORMED, |fault| *fault),
        _ => MALFORMED,
    }
}
