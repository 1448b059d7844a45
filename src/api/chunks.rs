//! Transfer of recordings and sounds in chunks, for clients with a single connection over an unreliable network.

use super::answer::{Nothing, Positive, answer};
use super::request::{Count, Text, Wanted, request};
use super::schema;
use super::{Call, CallContext, Entry, Facts, Permitted, ServedAt, Subject};
use crate::domain::error::DomainError;
use crate::domain::{Download, FileKind};
use crate::model::UploadName;

/// The calls of this file.
pub const SUBJECT: Subject = Subject {
    name: "chunks",
    about: "Recordings and sounds in chunks.",
    calls: &[Entry::of::<UploadState>(), Entry::of::<DropUpload>(), Entry::of::<GetFile>()],
};

request! {
    /// Reports which chunks of a recording have been received.
    struct UploadState {
        /// The name that the sender gave to the recording.
        upload: UploadName,
    }
}

impl Call for UploadState {
    const FACTS: Facts = Facts::bare("upload_state", Permitted::Connected).only_at(ServedAt::Connection);
    type Answer = Received;

    async fn handle(self, context: &CallContext) -> Result<Received, DomainError> {
        let state = context.hub.upload_state(context.connected()?, &self.upload).await?;
        Ok(Received { received: state.received, first_missing: state.first_missing, finished: state.finished })
    }
}

request! {
    /// Discards an incomplete recording.
    struct DropUpload {
        /// The name that the sender gave to the recording.
        upload: UploadName,
    }
}

impl Call for DropUpload {
    const FACTS: Facts = Facts::new("drop_upload", Permitted::Connected, "done").only_at(ServedAt::Connection);
    type Answer = Nothing;

    async fn handle(self, context: &CallContext) -> Result<Nothing, DomainError> {
        context.hub.drop_upload(context.connected()?, &self.upload).await?;
        Ok(Nothing {})
    }
}

request! {
    /// Publishes chunks of a file on the `file` topic, then answers. Intended for MQTT; a client of the app socket
    /// downloads over HTTP instead.
    struct GetFile {
        /// The file.
        name: Wanted,
        /// The kind of the file. Default: `chat`.
        kind: Option<WantedKind>,
        /// The size of a chunk, in bytes.
        chunk_bytes: Option<Count>,
        /// The first chunk to send. Default: 0.
        first: Option<u64>,
        /// The number of chunks to send; 0 asks for the size only.
        count: Option<u64>,
    }
}

impl Call for GetFile {
    const FACTS: Facts = Facts::bare("get_file", Permitted::Connected).only_at(ServedAt::Connection);
    type Answer = FileSent;

    async fn handle(self, context: &CallContext) -> Result<FileSent, DomainError> {
        let download = Download {
            kind: self.kind.map_or(FileKind::Chat, |kind| kind.0),
            name: self.name.0,
            chunk_bytes: self.chunk_bytes.map(|bytes| bytes.0),
            first: self.first.unwrap_or(0),
            count: self.count,
        };
        let sent = context.hub.send_file(context.connected()?, download).await?;
        let chunk_bytes = Positive(sent.chunk_bytes);
        Ok(FileSent { size: sent.size, chunk_bytes, chunks: sent.chunks, sent: sent.sent })
    }
}

/// The kind of a file that is sent in chunks.
struct WantedKind(FileKind);

impl Text for WantedKind {
    fn schema() -> serde_json::Value {
        schema::one_of(&["chat", "music", "image"])
    }

    fn is_none(text: &str) -> bool {
        text.is_empty()
    }

    fn parse(name: &'static str, text: &str) -> Result<Self, DomainError> {
        match text {
            "chat" => Ok(Self(FileKind::Chat)),
            "music" => Ok(Self(FileKind::Music)),
            "image" => Ok(Self(FileKind::Image)),
            _ => Err(DomainError::invalid(name, "must be chat, music or image")),
        }
    }
}

answer! {
    /// The answer of `upload_state`.
    pub struct Received {
        /// The number of chunks that have been received.
        received: u32,
        /// The first chunk that is missing.
        first_missing: u32,
        /// Whether a request has used the recording.
        finished: bool,
    }
}

answer! {
    /// The answer of `get_file`.
    pub struct FileSent {
        /// The size of the file, in bytes.
        size: u64,
        /// The size of a chunk, in bytes; the last one is shorter.
        chunk_bytes: Positive,
        /// The number of chunks of the file.
        chunks: u64,
        /// The number of chunks that were sent.
        sent: u64,
    }
}
