//! HAProxy before hubs, with the configuration that docs/cluster.md shows.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::{DEADLINE, answers, free_port, start};

/// Hubs of the page's configuration.
const HUBS: usize = 2;

/// HAProxy. It ends with this value.
pub struct Balancer {
    /// Where it accepts HTTP.
    pub http: SocketAddr,
    /// Where it accepts MQTT.
    pub mqtt: SocketAddr,
    /// Where it accepts older clients, if it was started in turns.
    pub legacy: SocketAddr,
    folder: PathBuf,
    program: Option<Child>,
}

impl Balancer {
    /// A balancer before hubs with these addresses of HTTP and MQTT; its files are in `folder`.
    pub async fn start(folder: &Path, hubs: [[SocketAddr; 2]; HUBS]) -> Self {
        Self::start_with(folder, hubs, None).await
    }

    /// A balancer that gives each connection of HTTP to the next hub, wherever it comes from: no two requests of a client
    /// need be at the same hub. `legacy` are the addresses of the hubs for older clients.
    pub async fn start_in_turns(folder: &Path, hubs: [[SocketAddr; 2]; HUBS], legacy: [SocketAddr; HUBS]) -> Self {
        Self::start_with(folder, hubs, Some(legacy)).await
    }

    async fn start_with(folder: &Path, hubs: [[SocketAddr; 2]; HUBS], in_turns: Option<[SocketAddr; HUBS]>) -> Self {
        let [http, mqtt, legacy] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut balancer = Self { http, mqtt, legacy, folder: folder.to_owned(), program: None };
        balancer.write_settings(hubs, in_turns);
        balancer.start_again().await;
        balancer
    }

    fn write_settings(&self, hubs: [[SocketAddr; 2]; HUBS], in_turns: Option<[SocketAddr; HUBS]>) {
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cluster.md")).unwrap();
        let shown = page.split("```haproxy\n").nth(1).unwrap().split("```").next().unwrap();
        let mut text = format!("global\n    stats socket {}\n{shown}", self.state_socket().display());
        let mut replace = |from: String, to: String| {
            assert!(text.contains(&from), "docs/cluster.md: no {from:?} in {text}");
            text = text.replace(&from, &to);
        };
        replace("bind :9527\n".into(), format!("bind {}\n", self.http));
        replace("bind :1883\n".into(), format!("bind {}\n", self.mqtt));
        for (number, [http, mqtt]) in [11, 12].into_iter().zip(hubs) {
            replace(format!("10.0.0.{number}:9527 "), format!("{http} "));
            replace(format!("10.0.0.{number}:1883 check port 9527"), format!("{mqtt} check port {}", http.port()));
        }
        replace("inter 2s".into(), "inter 200ms".into());
        if let Some(legacy) = in_turns {
            replace("balance source\n    hash-type consistent\n".into(), "balance roundrobin\n".into());
            text += &format!("\nlisten toyhub-legacy\n    bind {}\n    balance roundrobin\n", self.legacy);
            for ((name, [http, _]), legacy) in ["a", "b"].iter().zip(hubs).zip(legacy) {
                text += &format!("    server {name} {legacy} check port {}\n", http.port());
            }
        }
        std::fs::write(self.folder.join("haproxy.cfg"), text).unwrap();
    }

    fn state_socket(&self) -> PathBuf {
        self.folder.join("haproxy.sock")
    }

    /// Starts it (again), with the same addresses, and waits until it accepts connections.
    pub async fn start_again(&mut self) {
        let log = self.folder.join("haproxy.log");
        let mut command = Command::new("haproxy");
        let mut program = start(command.args(["-db", "-f", "haproxy.cfg"]).current_dir(&self.folder), &log);
        let accepts = async || self.states().await.is_some();
        let starts = answers("the balancer", &mut program, accepts).await;
        assert!(starts, "{}", std::fs::read_to_string(log).unwrap());
        self.program = Some(program);
    }

    /// `kill -9`. Connections through it end.
    pub async fn kill(&mut self) {
        self.program.take().unwrap().kill().await.unwrap();
    }

    /// Waits until it gives clients to all hubs.
    pub async fn wait_complete(&self) {
        let complete = async {
            while !self.states().await.is_some_and(|states| states.iter().all(|state| state == "UP")) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, complete).await.is_err() {
            panic!("the balancer has {:?} instead of all hubs", self.states().await);
        }
    }

    /// The state of each hub for HTTP and for MQTT; none if it does not run.
    async fn states(&self) -> Option<Vec<String>> {
        let mut socket = UnixStream::connect(self.state_socket()).await.ok()?;
        socket.write_all(b"show stat\n").await.ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await.ok()?;
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next()?.trim_start_matches("# ").split(',').collect();
        let column = names.iter().position(|name| *name == "status")?;
        let is_hub = |line: &Vec<&str>| matches!(line.get(1), Some(&"a" | &"b"));
        let hubs = lines.map(|line| line.split(',').collect::<Vec<_>>()).filter(is_hub);
        Some(hubs.filter_map(|line| line.get(column).map(|state| (*state).to_owned())).collect())
    }
}
