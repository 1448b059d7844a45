//! The threads on which everything but speech and audio runs.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// The stack of a thread. SurrealDB's parser and executor recurse deeper than the system's default stack.
const STACK_BYTES: usize = 10 * 1024 * 1024;

/// The time slice of a thread, in nanoseconds; the minimum that Linux accepts.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 100_000;

/// Starts the runtime.
pub(super) fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).on_thread_start(shorten_slice).build()
}

/// Shortens the time slice of this thread, but not of threads that it starts.
///
/// Of the threads that share a processor, Linux runs the one whose slice would end first (EEVDF, the setting since version
/// 6.12; before, this has no effect). Routing a message takes microseconds and recognising speech takes seconds: with the
/// shorter slice, the former does not wait for a slice of the latter. Each thread's share of the processor stays the same.
fn shorten_slice() {
    #[cfg(target_os = "linux")]
    if let Err(error) = set_slice() {
        tracing::debug!(%error, "the time slice of a thread stays as it is");
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no crate calls sched_setattr(2) for threads without a deadline")]
fn set_slice() -> io::Result<()> {
    let this_thread: libc::pid_t = 0;
    let nice = rustix::process::getpriority_process(None)?;
    // SAFETY: the call takes a number and returns one.
    let policy = unsafe { libc::sched_getscheduler(this_thread) };
    // An operator who has given the process a policy or a priority wants these, also for the threads that this one starts.
    if policy != libc::SCHED_OTHER || nice < 0 {
        return Ok(());
    }
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).map_err(io::Error::other)?,
        sched_policy: u32::try_from(libc::SCHED_OTHER).map_err(io::Error::other)?,
        sched_flags: u64::try_from(libc::SCHED_FLAG_RESET_ON_FORK).map_err(io::Error::other)?,
        // The call sets this, too.
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    let flags: libc::c_uint = 0;
    // SAFETY: the call reads as many bytes from the pointer as `size` says, which is the size of what it points to, and keeps
    // no copy of it.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, this_thread, std::ptr::from_ref(&attributes), flags) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// The slice of the calling thread in nanoseconds, as Linux says. None before version 6.12.
    fn slice() -> Option<u64> {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(|number| number.parse::<u32>());
        let version = (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap());
        if version < (6, 12) {
            return None;
        }
        let sched = std::fs::read_to_string("/proc/thread-self/sched").ok()?;
        let line = sched.lines().find(|line| line.starts_with("se.slice"))?;
        Some(line.rsplit(' ').next()?.parse().unwrap())
    }

    #[test]
    fn slices_are_short_but_for_the_threads_that_compute() {
        let Some(default) = slice() else { return };
        assert_ne!(default, SLICE_NS);
        let runtime = start().unwrap();
        let worker = runtime.spawn(async { (slice(), std::thread::spawn(slice).join().unwrap()) });
        assert_eq!(runtime.block_on(worker).unwrap(), (Some(SLICE_NS), Some(default)));
    }
}
