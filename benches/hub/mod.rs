//! A hub of its own for a measurement, in a temporary folder.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A hub without users.
#[allow(dead_code, reason = "each measurement needs other addresses")]
pub struct Hub {
    program: String,
    pub folder: TempDir,
    settings: Vec<(&'static str, String)>,
    child: Child,
    pub http: SocketAddr,
    pub mqtt: SocketAddr,
    pub console: SocketAddr,
    /// If the settings say so.
    pub mqtts: Option<SocketAddr>,
    /// The listener for any topic, if the settings say so.
    pub conformance: Option<SocketAddr>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Hub {
    /// Starts the program, with these settings in addition to its own.
    pub fn start(program: String, settings: &[(&'static str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings.to_vec();
        let mut serve = command(&program, &folder, &settings);
        let mut child = serve.arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        // Before it, the hub prints the password of its console.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let ready = lines.find(|line| line.starts_with("toyhub ready")).unwrap();
        let found = |name: &str| {
            let address = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
            address.map(|address| address.parse::<SocketAddr>().unwrap())
        };
        let [http, mqtt, console] = ["http=", "mqtt=", "console="].map(|name| found(name).unwrap());
        Self {
            http,
            mqtt,
            console,
            mqtts: found("mqtts="),
            conformance: found("conformance="),
            program,
            folder,
            settings,
            child,
        }
    }

    /// The hub's process.
    #[allow(dead_code, reason = "not every measurement has phases")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The output of the program with these arguments, on the folder of this hub.
    pub fn run(&self, arguments: &[&str]) -> String {
        let ran = command(&self.program, &self.folder, &self.settings).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}");
        String::from_utf8(ran.stdout).unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let address = format!("http://{}{path}", self.http);
        let sent = reqwest::Client::new().post(address).json(&body).send().await.unwrap();
        serde_json::from_str(&sent.text().await.unwrap()).unwrap()
    }

    /// A user's id, and a toy's id, key and secret.
    pub async fn family(&self) -> [String; 4] {
        self.family_of("mia").await
    }

    /// The same, for a user of this name.
    pub async fn family_of(&self, name: &str) -> [String; 4] {
        let new = json!({"username": name, "password": "correct horse", "nickname": "Mia", "gender": "2"});
        self.post("/reg", new).await;
        let user = self.post("/login", json!({"username": name, "password": "correct horse"})).await;
        let user = user["data"]["_id"].as_str().unwrap().to_owned();
        let printed = self.run(&["device", "add"]);
        let (key, secret) = printed.trim().split_once('\t').unwrap();
        let binding = json!({
            "toy_name": "Fluffy", "baby_name": "Emma", "remark": "Mum", "user_id": user, "device_key": key,
        });
        self.post("/bind_toy", binding).await;
        let toy = self.post("/open_toy", json!({"device_key": key})).await["toy_id"].as_str().unwrap().to_owned();
        [user, toy, key.to_owned(), secret.to_owned()]
    }
}

fn command(program: &str, folder: &TempDir, settings: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder.path()).stderr(Stdio::null()).envs([
        ("TOYHUB_HTTP__LISTEN", "127.0.0.1:0"),
        ("TOYHUB_HTTP__LEGACY_LISTEN", "127.0.0.1:0"),
        ("TOYHUB_CONSOLE__LISTEN", "127.0.0.1:0"),
        ("TOYHUB_MQTT__LISTEN", "127.0.0.1:0"),
        ("TOYHUB_SERVER__LOG", "error"),
        // One recording is sent many times.
        ("TOYHUB_CHATS__RETRY_WINDOW_S", "0"),
    ]);
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command
}
