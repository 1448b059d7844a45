//! The two servers that are measured, each a process of its own on free ports, with the same families.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A user with one toy.
pub struct Family {
    pub user: String,
    pub token: String,
    pub toy: String,
    pub key: String,
    pub secret: String,
}

pub struct Peer {
    /// Where toys are served, by MQTT.
    pub mqtt: SocketAddr,
    /// Where apps are served, by WebSocket.
    pub web: SocketAddr,
    program: String,
    child: Child,
    folder: TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// Bytes of memory that are resident.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line of VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") * 1024
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The hub with its default settings, except for limits above the load of one machine and one family.
    pub fn toyhub(program: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child =
            hub_command(program, folder.path()).arg("serve").stdout(Stdio::piped()).spawn().expect("toyhub starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut ready).expect("its first line");
        let address = |name: &str| {
            let word = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.and_then(|address| address.parse().ok()).expect("an address")
        };
        Self { mqtt: address("mqtt="), web: address("http="), program: program.into(), child, folder }
    }

    /// Mosquitto as Debian packages it, without persistence, with its own WebSocket listener.
    pub fn mosquitto() -> Self {
        let (folder, mqtt, web) = (tempfile::tempdir().expect("a folder"), free_address(), free_address());
        let config = format!(
            "listener {} 127.0.0.1\nlistener {} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n\
             persistence false\nset_tcp_nodelay true\nmax_queued_messages 0\nlog_dest none\n",
            mqtt.port(),
            web.port()
        );
        let path = folder.path().join("mosquitto.conf");
        std::fs::write(&path, config).expect("its configuration");
        let program = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|path| Path::new(path).exists());
        let program = program.unwrap_or("mosquitto");
        let child = Command::new(program).arg("-c").arg(path).spawn().expect("mosquitto starts");
        let began = Instant::now();
        while TcpStream::connect(mqtt).and(TcpStream::connect(web)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { mqtt, web, program: program.into(), child, folder }
    }

    /// Posts JSON to the hub.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let sent = reqwest::Client::new().post(format!("http://{}{path}", self.web)).json(&body).send().await;
        serde_json::from_str(&sent.expect("an answer").text().await.expect("a body")).expect("JSON")
    }

    /// Creates `count` families on the hub.
    pub async fn families(&self, count: usize) -> Vec<Family> {
        let mut add = hub_command(&self.program, self.folder.path());
        let printed = add.args(["device", "add", "--count", &count.to_string()]).output().expect("devices").stdout;
        let printed = String::from_utf8(printed).expect("text");
        let mut families = Vec::new();
        for (number, line) in printed.lines().enumerate() {
            let (key, secret) = line.split_once('\t').expect("key and secret");
            let name = format!("user-{number}");
            let new = json!({"username": name, "password": "correct horse", "nickname": name, "gender": "2"});
            self.post("/reg", new).await;
            let data =
                self.post("/login", json!({"username": name, "password": "correct horse"})).await["data"].clone();
            let user = data["_id"].as_str().expect("an id").to_owned();
            let binding = json!({
                "toy_name": "T", "baby_name": "B", "remark": "R", "user_id": user, "device_key": key,
            });
            self.post("/bind_toy", binding).await;
            let toy =
                self.post("/open_toy", json!({"device_key": key})).await["toy_id"].as_str().expect("an id").to_owned();
            let token = data["token"].as_str().expect("a token").to_owned();
            families.push(Family { user, token, toy, key: key.into(), secret: secret.into() });
        }
        families
    }
}

fn hub_command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stderr(Stdio::null()).envs([
        ("TOYHUB_HTTP__LISTEN", "127.0.0.1:0"),
        ("TOYHUB_HTTP__LEGACY_LISTEN", ""),
        ("TOYHUB_CONSOLE__LISTEN", ""),
        ("TOYHUB_HTTP__CONNECTIONS_MAX", "50000"),
        ("TOYHUB_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "50000"),
        ("TOYHUB_MQTT__LISTEN", "127.0.0.1:0"),
        ("TOYHUB_MQTT__CONNECTIONS_PER_ADDRESS_MAX", "50000"),
        ("TOYHUB_WS__CONNECTIONS_PER_USER_MAX", "50000"),
        ("TOYHUB_ACCOUNTS__PASSWORD_MEMORY_KIB", "8"),
        ("TOYHUB_ACCOUNTS__PASSWORD_PASSES", "1"),
        ("TOYHUB_RATES__REGISTRATIONS_PER_ADDRESS_PER_MINUTE", "1000000"),
        ("TOYHUB_RATES__CONNECTS_PER_ADDRESS_PER_MINUTE", "1000000"),
        ("TOYHUB_RATES__UPLOADS_PER_PARTY_PER_MINUTE", "1000000"),
        ("TOYHUB_SERVER__LOG", "error"),
        // One recording is sent many times.
        ("TOYHUB_CHATS__RETRY_WINDOW_S", "0"),
    ]);
    command
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}
