//! moto, which serves S3 from its memory.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::within;

/// A server with the bucket `sounds`. It ends with this value.
pub struct S3Server {
    _program: Child,
    /// Its address, as `files.endpoint`.
    pub endpoint: String,
    /// The id of a key that may do everything, and its secret.
    pub key: (String, String),
}

impl S3Server {
    /// A server with these arguments of tests/clients/s3.py.
    pub async fn start(arguments: &[&str]) -> Self {
        let clients = std::env::var("TEST_CLIENTS").expect("run this with scripts/test");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/s3.py");
        let mut command = Command::new(format!("{clients}/venv/bin/python"));
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut program = command.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let line = within("the S3 server", lines.next_line()).await.unwrap().expect("the S3 server ended early");
        let [endpoint, id, secret] = line.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        Self { _program: program, endpoint, key: (id, secret) }
    }
}
