//! Limits the CPU time of decoding a file, and records whether the file itself could be read.
//!
//! A few bytes can declare millions of samples or thousands of tracks. So each decoding has a deadline in CPU time of
//! its thread, which is independent of other load. It is checked at each packet and at each read of the file, which
//! also ends the loops inside a demultiplexer.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cpu_time::ThreadTime;
use symphonia::core::io::MediaSource;

use super::AudioError;

/// The watch over one decoding. It belongs to the thread that made it.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<State>);

#[derive(Debug)]
struct State {
    /// On the clock of the thread.
    deadline: Duration,
    is_over: AtomicBool,
    /// The first I/O error of the file, as opposed to faults of its content.
    failure: OnceLock<io::Error>,
}

impl Watch {
    /// Starts a watch now.
    pub(super) fn start(cpu_max: Duration) -> io::Result<Self> {
        let deadline = ThreadTime::try_now()?.as_duration() + cpu_max;
        Ok(Self(Arc::new(State { deadline, is_over: AtomicBool::new(false), failure: OnceLock::new() })))
    }

    /// Errors: `TooCostly` after the deadline, of the kind `Other`.
    pub(super) fn check(&self) -> io::Result<()> {
        if ThreadTime::try_now()?.as_duration() > self.0.deadline {
            self.0.is_over.store(true, Ordering::Relaxed);
            return Err(io::Error::other("the decoder's time is over"));
        }
        Ok(())
    }

    /// The reason that ended the decoding, other than the content of the file.
    pub(super) fn verdict(self) -> Option<AudioError> {
        if self.0.is_over.load(Ordering::Relaxed) {
            return Some(AudioError::TooCostly);
        }
        let failure = self.0.failure.get()?;
        Some(AudioError::Io(io::Error::new(failure.kind(), failure.to_string())))
    }

    /// The file, read with this watch.
    pub(super) fn over(&self, source: Box<dyn MediaSource>) -> Box<dyn MediaSource> {
        Box::new(Watched { source, watch: self.clone() })
    }

    /// Records an I/O error of the file. A position that does not exist is not one: it was computed from the content.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            let is_of_content = matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof | io::ErrorKind::Interrupted
            );
            if !is_of_content {
                let _ = self.0.failure.set(io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

struct Watched {
    source: Box<dyn MediaSource>,
    watch: Watch,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.watch.check()?;
        self.watch.note(self.source.read(buffer))
    }
}

impl Seek for Watched {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.watch.check()?;
        self.watch.note(self.source.seek(position))
    }
}

impl MediaSource for Watched {
    fn is_seekable(&self) -> bool {
        self.source.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.source.byte_len()
    }
}
