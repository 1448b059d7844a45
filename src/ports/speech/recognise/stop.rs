//! Ending a recognition that runs too long: the only unsafe code of the ports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use whisper_rs::{FullParams, WhisperError, WhisperState};

/// The conditions that end a recognition.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) deadline: Instant,
    /// The caller does not wait for the answer any more.
    pub(super) abandoned: Arc<AtomicBool>,
    /// The hub stops.
    pub(super) closing: Arc<AtomicBool>,
}

impl Stop {
    pub(super) fn reached(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
            || self.closing.load(Ordering::Relaxed)
            || Instant::now() >= self.deadline
    }
}

/// Runs the model on the samples; whisper.cpp checks `stop` after its encoder and between words, and then fails with an
/// error.
///
/// The safe setter of `whisper-rs` 0.16 (`set_abort_callback_safe`) passes whisper.cpp a pointer of another type than
/// its callback reads, so it cannot be used.
#[allow(unsafe_code, reason = "whisper-rs has no sound way to give whisper.cpp an abort callback")]
pub(super) fn run_until(
    stop: &Stop,
    state: &mut WhisperState,
    mut params: FullParams<'_, '_>,
    samples: &[f32],
) -> Result<(), WhisperError> {
    unsafe extern "C" fn reached(stop: *mut std::ffi::c_void) -> bool {
        // SAFETY: the pointer is the `stop` of the call below, which outlives that call;
        // it is only read, by a type all of whose parts may be read from any thread.
        unsafe { &*stop.cast::<Stop>() }.reached()
    }
    // SAFETY: whisper.cpp calls back only within `full`, and on this very thread. `params`
    // is used up by it, so no copy of the pointer is left behind that borrow.
    unsafe {
        params.set_abort_callback(Some(reached));
        params.set_abort_callback_user_data(std::ptr::from_ref(stop).cast_mut().cast());
    }
    state.full(params, samples)
}
