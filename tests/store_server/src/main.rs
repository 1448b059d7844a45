//! The SurrealDB server, as its project publishes it: `store-server start --bind … "surrealkv://FOLDER?sync=every"`.

// The server's futures are nested deeper than the compiler follows by itself.
#![recursion_limit = "512"]

use std::process::ExitCode;

fn main() -> ExitCode {
    surrealdb_server::init(surrealdb_core::CommunityComposer())
}
