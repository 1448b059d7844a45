//! File descriptors: each connection and each open file of the process takes one of those that the system grants it.
//!
//! When none is left, the database cannot open its files and new connections are not even accepted. So the process takes
//! all that it can get, and serves only as many connections as leave the reserve of `[server] descriptors_reserved`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as the system lets this process, and gives it.
pub(super) fn raise() -> u64 {
    // The engine of the database looks at its own memory and processor load by `sysinfo`, which keeps files of /proc
    // open, up to half of the limit, unless it is told not to.
    sysinfo::set_open_files_limit(0);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, limit = current, "the limit on file descriptors is not raised");
        return current.unwrap_or(u64::MAX);
    }
    maximum.unwrap_or(u64::MAX)
}

/// How many connections leave the reserve, of all addresses and of one.
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
    fn one_address_gets_half_of_what_the_reserve_leaves() {
        assert_eq!(connections(1024, 512), (512, 256));
        assert_eq!(connections(524_288, 512), (523_776, 261_888));
        assert_eq!(connections(256, 512), (64, 32), "a small limit");
        assert_eq!(connections(1, 512), (1, 1));
    }
}
