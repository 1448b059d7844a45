//! The SurrealDB server, as its project publishes it: `store-server start --bind … "surrealkv://FOLDER?sync=every"`.

use std::process::ExitCode;

fn main() -> ExitCode {
    surrealdb_server::init(surrealdb_core::CommunityComposer())
}
