//! The rows of a measurement, for `scripts/bench all`.

use std::fs::OpenOptions;
use std::io::Write as _;

use serde_json::json;

/// Whether a larger figure is better, as of a rate, or a smaller one, as of a time.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "some measurements have times alone, others rates")]
pub enum Better {
    More,
    Less,
}

/// Appends a row to the file that the environment variable `BENCH_ROWS` names, if there is one: the hub's figure, and
/// that of a peer in the same run.
pub fn record(measurement: &str, name: &str, better: Better, ours: f64, peer: &str, theirs: f64) {
    let Some(path) = std::env::var_os("BENCH_ROWS") else { return };
    let better = match better {
        Better::More => "more",
        Better::Less => "less",
    };
    let row = json!({
        "measurement": measurement, "name": name, "better": better, "toyhub": ours, "peer": peer, "of_peer": theirs,
    });
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the file of rows");
    writeln!(file, "{row}").expect("room for a row");
}
