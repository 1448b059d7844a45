//! A ZIP file that is generated while it is read: only a piece of it, and the list of its entries, are in memory.
//!
//! The stored files are compressed already, so entries are added without compression.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

/// The size of a piece, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// Errors of an archive; the usual one is that its reader has left.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The reader has left.
    #[error("the reader of the archive has left")]
    Left,
    /// It could not be written.
    #[error("archive: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// The file to add could not be read.
    #[error("archive: {0}")]
    Io(#[from] io::Error),
}

/// Written bytes that the reader has not got yet.
#[derive(Clone, Default)]
struct Piece(Arc<Mutex<Vec<u8>>>);

impl Piece {
    fn take_if(&self, bytes_min: usize) -> Option<Bytes> {
        let mut piece = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (piece.len() >= bytes_min).then(|| std::mem::take(&mut *piece).into())
    }
}

impl Write for Piece {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An archive that is being written.
pub struct Archive {
    zip: ZipWriter<StreamWriter<Piece>>,
    piece: Piece,
    out: mpsc::Sender<io::Result<Bytes>>,
}

impl Archive {
    /// A new archive, whose bytes go to `out`.
    pub fn new(out: mpsc::Sender<io::Result<Bytes>>) -> Self {
        let piece = Piece::default();
        Self { zip: ZipWriter::new_stream(piece.clone()), piece, out }
    }

    /// Begins an entry. The following writes are its content.
    pub fn begin(&mut self, name: &str) -> Result<(), ArchiveError> {
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o600);
        Ok(self.zip.start_file(name, options)?)
    }

    /// Appends to the entry.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        for part in bytes.chunks(PIECE_BYTES) {
            self.zip.write_all(part)?;
            self.hand_on(PIECE_BYTES).await?;
        }
        Ok(())
    }

    /// Ends the archive.
    pub async fn finish(self) -> Result<(), ArchiveError> {
        let Self { zip, piece, out } = self;
        zip.finish()?;
        match piece.take_if(1) {
            Some(rest) => out.send(Ok(rest)).await.map_err(|_| ArchiveError::Left),
            None => Ok(()),
        }
    }

    async fn hand_on(&self, bytes_min: usize) -> Result<(), ArchiveError> {
        match self.piece.take_if(bytes_min) {
            Some(piece) => self.out.send(Ok(piece)).await.map_err(|_| ArchiveError::Left),
            None => Ok(()),
        }
    }
}
