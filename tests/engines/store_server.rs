//! A SurrealDB server as a process that tests can stop, kill and pause.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{answers, free_port, start, within};

/// The root user.
pub const USERNAME: &str = "root";
/// The password of the root user.
pub const PASSWORD: &str = "the password of the store";

/// A SurrealDB server, with its data in a folder of its own. It ends with this value.
pub struct StoreServer {
    program: Option<Child>,
    port: u16,
    folder: TempDir,
    client: reqwest::Client,
}

impl StoreServer {
    /// A server with an empty folder.
    pub async fn start() -> Self {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
        let mut server = Self { program: None, port: 0, folder: tempfile::tempdir().unwrap(), client };
        // Another process may take the port before the server has it.
        for _ in 0..10 {
            server.port = free_port();
            if server.launch().await {
                return server;
            }
        }
        panic!("the store server does not start, see {}", server.folder.path().join("log").display());
    }

    /// Starts a stopped or killed server again, on the same port and folder.
    pub async fn start_again(&mut self) {
        assert!(self.program.is_none(), "the store server runs");
        assert!(self.launch().await, "the store server does not start again");
    }

    /// Starts the program, and waits until it answers. Returns whether it does; otherwise it has ended.
    async fn launch(&mut self) -> bool {
        let program = std::env::var("TEST_STORE_SERVER").expect("run this with scripts/test cluster");
        let address = format!("127.0.0.1:{}", self.port);
        let data = format!("surrealkv://{}?sync=every", self.folder.path().join("data").display());
        let mut command = Command::new(program);
        command.args(["start", "--bind", &address, "--username", USERNAME, "--password", PASSWORD, &data]);
        let mut program = start(command.current_dir(self.folder.path()), &self.folder.path().join("log"));
        let is_healthy = async || {
            let asked = self.client.get(format!("http://{address}/health")).send().await;
            asked.is_ok_and(|answer| answer.status().is_success())
        };
        let answers = answers("the store server", &mut program, is_healthy).await;
        self.program = answers.then_some(program);
        answers
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.program.take().unwrap().kill().await.unwrap();
    }

    /// Stops it in order.
    pub async fn stop(&mut self) {
        self.signal("TERM").await;
        within("the store server to stop", self.program.take().unwrap().wait()).await.unwrap();
    }

    /// Stops its work (SIGSTOP): it accepts connections, and does not answer.
    pub async fn pause(&self) {
        self.signal("STOP").await;
    }

    /// Continues after [`Self::pause`].
    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.program.as_ref().and_then(Child::id).expect("the store server runs")
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its address as `store.url`.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// The settings of a hub over it, as its root user.
    pub fn settings(&self) -> Vec<(&'static str, &'static str)> {
        let url: &'static str = self.url().leak();
        vec![("TOYHUB_STORE__URL", url), ("TOYHUB_STORE__USERNAME", USERNAME), ("TOYHUB_STORE__PASSWORD", PASSWORD)]
    }

    /// Imports an export into the database of the hubs.
    pub async fn import(&self, export: Vec<u8>) {
        let request = self.client.post(format!("http://127.0.0.1:{}/import", self.port)).body(export);
        let request = request.basic_auth(USERNAME, Some(PASSWORD)).timeout(Duration::from_secs(60));
        let request = request.header("surreal-ns", "toyhub").header("surreal-db", "toyhub");
        let answer = request.header("accept", "application/json").send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success() && !text.contains("\"ERR\""), "{status}: {text}");
    }

    /// Executes SurrealQL as the root user, in the database of the hubs; the results of the statements.
    pub async fn sql(&self, text: &str) -> Value {
        let request = self.client.post(format!("http://127.0.0.1:{}/sql", self.port)).body(text.to_owned());
        let request = request.basic_auth(USERNAME, Some(PASSWORD)).header("accept", "application/json");
        let answer = request.header("surreal-ns", "toyhub").header("surreal-db", "toyhub").send().await.unwrap();
        let text = answer.text().await.unwrap();
        let results: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
        assert!(results.as_array().is_some_and(|all| all.iter().all(|one| one["status"] == "OK")), "{results}");
        results
    }
}
