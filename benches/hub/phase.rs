//! The times of the measured phases, for `scripts/profile`.

use std::fs::OpenOptions;
use std::io::Write as _;

/// A phase of a measurement: the file that the environment variable `BENCH_PHASES` names gets a line at its end, with
/// its name, the hub's process, and its begin and end in seconds of the system's monotonic clock.
pub struct Phase {
    name: String,
    hub: u32,
    begun: String,
}

impl Phase {
    pub fn begin(name: &str, hub: u32) -> Self {
        Self { name: name.to_owned(), hub, begun: uptime() }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        let Some(path) = std::env::var_os("BENCH_PHASES") else { return };
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the file of phases");
        writeln!(file, "{}\t{}\t{}\t{}", self.name, self.hub, self.begun, uptime()).expect("room for a line");
    }
}

fn uptime() -> String {
    let uptime = std::fs::read_to_string("/proc/uptime").expect("the uptime");
    uptime.split(' ').next().expect("its first number").to_owned()
}
