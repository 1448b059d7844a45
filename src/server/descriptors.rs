//! File descriptors: each connection and each open file of the process uses one, up to a limit of the system.
//!
//! When none is left, the database cannot open its files and new connections are not even accepted. So the process
//! raises its limit as far as possible, and limits its connections to the rest after `[server] descriptors_reserved`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as the system permits, and returns it.
pub(super) fn raise() -> u64 {
    // The engine of the database reads its own memory and processor load by `sysinfo`, which by default keeps files of
    // /proc open, up to half of the limit.
    sysinfo::set_open_files_limit(0);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, limit = current, "the limit of file descriptors could not be raised");
        return current.unwrap_or(u64::MAX);
    }
    maximum.unwrap_or(u64::MAX)
}

/// The numbers of connections that leave the reserve, for all addresses and for one.
pub(super) fn connections(limit: u64, reserved: u64) -> (usize, usize) {
    // A process with hardly any descriptors serves a few connections all the same.
    let all = limit.saturating_sub(reserved).max(limit / 4).max(1);
    let all = usize::try_from(all).unwrap_or(usize::MAX);
    (all, (all / 2).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_half_of_the_connections() {
        assert_eq!(connections(1024, 512), (512, 256));
        assert_eq!(connections(524_288, 512), (523_776, 261_888));
        assert_eq!(connections(256, 512), (64, 32), "a small limit");
        assert_eq!(connections(1, 512), (1, 1));
    }
}
