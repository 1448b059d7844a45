//! The time that decoders take.

use std::cell::Cell;
use std::io;
use std::time::Duration;

/// The time of a decoder between two looks at its clock.
const STEP: Duration = Duration::from_micros(100);

thread_local! {
    static LOOKS: Cell<u32> = const { Cell::new(0) };
}

/// Stands for the clock of a thread's CPU time, which the hub uses. That one would take a third of the fuzzer's time, and
/// what an input does would depend on the load of the machine. libFuzzer itself reports an input that takes long.
#[derive(Debug, Clone, Copy)]
pub struct ThreadTime(Duration);

impl ThreadTime {
    pub fn try_now() -> io::Result<Self> {
        let looks = LOOKS.get().wrapping_add(1);
        LOOKS.set(looks);
        Ok(Self(STEP * looks))
    }

    pub fn as_duration(&self) -> Duration {
        self.0
    }

    pub fn try_elapsed(&self) -> io::Result<Duration> {
        Ok(Self::try_now()?.0.saturating_sub(self.0))
    }
}
