//! Transfer of recordings and sounds in chunks, for clients with a single connection over an unreliable network.
//!
//! Upload: chunks arrive in any order and possibly more than once ([`Hub::keep_chunks`]), until a call uses the
//! complete recording and stores its outcome. A repeated call, whose first answer was lost, gets that outcome and
//! changes nothing. Download: a client requests a number of chunks of a sound and receives them on a topic of its own
//! ([`Hub::send_file`]).

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;

use super::error::DomainError;
use super::housekeeping::system_time;
use super::live::hub_message;
use super::{FileKind, Hub, Upload, clock};
use crate::config::seconds;
use crate::model::{FileName, Outcome, Party, Timestamp, UploadName};
use crate::ports::chunks::{Chunks, ChunksError, UploadState};

/// The recording of a call.
pub enum Recording {
    /// It has come with the call.
    Whole(Box<Upload>),
    /// It has come before.
    InChunks {
        /// What its sender calls it.
        name: UploadName,
        /// How many chunks it has.
        chunks: u32,
    },
}

impl From<Upload> for Recording {
    fn from(upload: Upload) -> Self {
        Self::Whole(Box::new(upload))
    }
}

/// The part of a file that a client requests.
#[derive(Debug)]
pub struct Download {
    /// The kind of the file.
    pub kind: FileKind,
    /// The name of the file.
    pub name: FileName,
    /// The size of a chunk, in bytes. Default: the maximum.
    pub chunk_bytes: Option<u64>,
    /// The number of the first chunk, from 0.
    pub first: u64,
    /// The number of chunks. Default: the maximum of one request. 0 asks for the size only.
    pub count: Option<u64>,
}

/// The result of a download request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunksSent {
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of each chunk but the last.
    pub chunk_bytes: u64,
    /// Chunks of the file.
    pub chunks: u64,
    /// Chunks that were sent.
    pub sent: u64,
}

impl Hub {
    /// Stores chunks of a recording. They are on disk when this returns. Errors: `Invalid`, `UploadTooLarge`,
    /// `DiskFull`, `Busy`.
    pub async fn keep_chunks(
        &self,
        party: &Party,
        upload: &UploadName,
        chunks: Vec<(u32, Bytes)>,
    ) -> Result<(), DomainError> {
        self.space.take(chunks.iter().map(|(_, chunk)| chunk.len() as u64).sum())?;
        self.with_chunks(party, upload, move |port, party, upload| port.keep(party, upload, &chunks)).await
    }

    /// The state of an upload.
    pub async fn upload_state(&self, party: &Party, upload: &UploadName) -> Result<UploadState, DomainError> {
        self.with_chunks(party, upload, |port, party, upload| Ok(port.state(party, upload)?)).await
    }

    /// Calls `used` with a recording, once: if a recording in chunks was used before, its stored outcome is returned.
    /// Errors: those of `used`; `ChunksMissing`, also if the chunks were used by another kind of call; `Invalid`.
    pub(super) async fn use_once<T, Used>(
        &self,
        party: &Party,
        recording: Recording,
        used: impl FnOnce(Upload) -> Used,
    ) -> Result<T, DomainError>
    where
        T: Clone + Into<Outcome> + TryFrom<Outcome>,
        Used: Future<Output = Result<T, DomainError>>,
    {
        let (upload, name) = match recording {
            Recording::Whole(upload) => (*upload, None),
            Recording::InChunks { name, chunks } => {
                let known = |port: &Chunks, party: &Party, upload: &UploadName| Ok(port.outcome(party, upload)?);
                if let Some(outcome) = self.with_chunks(party, &name, known).await? {
                    return outcome.try_into().map_err(|_| DomainError::ChunksMissing { first: 0 });
                }
                (self.assemble(party, &name, chunks).await?, Some(name))
            }
        };
        let outcome = used(upload).await?;
        if let Some(name) = name {
            let kept: Outcome = outcome.clone().into();
            let finish =
                move |port: &Chunks, party: &Party, upload: &UploadName| Ok(port.finish(party, upload, &kept)?);
            if let Err(error) = self.with_chunks(party, &name, finish).await {
                // Such as a full disk. The call was executed all the same; a repeated call finds its stored result.
                tracing::warn!(?error, "the outcome of a recording in chunks was not kept");
            }
        }
        Ok(outcome)
    }

    /// The complete recording of `count` chunks.
    async fn assemble(&self, party: &Party, name: &UploadName, count: u32) -> Result<Upload, DomainError> {
        let assemble = move |port: &Chunks, party: &Party, upload: &UploadName| port.assemble(party, upload, count);
        let whole = self.with_chunks(party, name, assemble).await?;
        let mut recording = self.begin_upload(self.config.http.upload_max_bytes).await?;
        recording.write(&whole).await?;
        // The recording may be sent again for as long as its chunks are kept.
        recording.set_name(party, name, self.config.chunks.upload_age_max_s);
        Ok(recording)
    }

    /// Deletes a recording that its sender has cancelled.
    pub async fn drop_upload(&self, party: &Party, upload: &UploadName) -> Result<(), DomainError> {
        self.with_chunks(party, upload, |port, party, upload| Ok(port.forget(party, upload)?)).await
    }

    /// Deletes abandoned recordings.
    pub async fn sweep_uploads(&self, now: Timestamp) -> Result<(), DomainError> {
        let (chunks, age_max) = (Arc::clone(&self.chunks), seconds(self.config.chunks.upload_age_max_s));
        if clock::settled_for() <= age_max {
            return Ok(());
        }
        let swept = self.disk_workers.run(move || chunks.sweep(system_time(now), age_max)).await?;
        let swept = swept.map_err(DomainError::internal)?;
        if swept > 0 {
            tracing::info!(swept, "abandoned uploads deleted");
        }
        Ok(())
    }

    /// Deletes all recordings of an erased party.
    pub(super) async fn forget_uploads(&self, party: &Party) -> Result<(), DomainError> {
        let (chunks, party) = (Arc::clone(&self.chunks), party.clone());
        self.disk_workers.run(move || chunks.forget_party(&party)).await?.map_err(DomainError::internal)
    }

    /// The parties with uploads in progress, or answers to used ones.
    pub(super) async fn parties_of_uploads(&self) -> Result<Vec<Party>, DomainError> {
        let chunks = Arc::clone(&self.chunks);
        self.disk_workers.run(move || chunks.parties()).await?.map_err(DomainError::internal)
    }

    async fn with_chunks<T: Send + 'static>(
        &self,
        party: &Party,
        upload: &UploadName,
        job: impl FnOnce(&Chunks, &Party, &UploadName) -> Result<T, ChunksError> + Send + 'static,
    ) -> Result<T, DomainError> {
        let (chunks, owner, upload) = (Arc::clone(&self.chunks), party.clone(), upload.clone());
        let done = self.disk_workers.run_of(party, move || job(&chunks, &owner, &upload)).await?;
        done.map_err(|error| match error {
            ChunksError::TooManyChunks(max) => DomainError::invalid("chunks", format!("must be at most {max}")),
            ChunksError::TooLarge(max_bytes) => DomainError::UploadTooLarge { max_bytes },
            ChunksError::Missing(first) => DomainError::ChunksMissing { first },
            ChunksError::Io(error) => DomainError::internal(error),
        })
    }

    /// Publishes chunks of a file to `party` alone, on the topics `<its topics>/file/<name>/<number>`. Errors:
    /// `UnknownFile`, `Invalid`.
    pub async fn send_file(&self, party: &Party, wanted: Download) -> Result<ChunksSent, DomainError> {
        let limits = &self.config.chunks;
        let file = self.open_file_as(party, wanted.kind, &wanted.name).await?;
        let chunk_bytes = wanted.chunk_bytes.unwrap_or(limits.download_chunk_bytes_max);
        if chunk_bytes == 0 || chunk_bytes > limits.download_chunk_bytes_max {
            let expected = format!("must be a number from 1 to {}", limits.download_chunk_bytes_max);
            return Err(DomainError::invalid("chunk_bytes", expected));
        }
        let chunks = file.size.div_ceil(chunk_bytes);
        let first = wanted.first.min(chunks);
        let count = wanted.count.unwrap_or(u64::MAX).min(limits.download_chunks_max).min(chunks - first);
        let (start, end) = (first * chunk_bytes, ((first + count) * chunk_bytes).min(file.size));
        let mut part = Vec::new();
        if start < end {
            let mut pieces = self.read_file(&file, start..end).await?;
            while let Some(piece) = pieces.next().await {
                part.extend_from_slice(&piece.map_err(DomainError::internal)?);
            }
        }
        let mut part = Bytes::from(part);
        for number in first..first + count {
            let chunk = part.split_to(part.len().min(usize::try_from(chunk_bytes).unwrap_or(usize::MAX)));
            self.router.publish(hub_message(party.chunk_topic(&wanted.name, number), chunk));
        }
        Ok(ChunksSent { size: file.size, chunk_bytes, chunks, sent: count })
    }
}
