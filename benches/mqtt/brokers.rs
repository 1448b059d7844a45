//! The brokers that are measured, each a process of its own on a free port.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The timeout until a broker listens.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Broker {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Where the hub serves its figures.
    pub console: Option<SocketAddr>,
    child: Child,
    _folder: TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Broker {
    /// Bytes of memory that are resident.
    pub fn resident(&self) -> u64 {
        memory_of(self.child.id(), "VmRSS")
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn new(name: &'static str, address: SocketAddr, child: Child, folder: TempDir) -> Self {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < PATIENCE, "{name} does not listen on {address}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { name, address, console: None, child, _folder: folder }
    }

    /// The hub, as it is delivered; its limits on connections are raised, and the listener is the one for test suites.
    pub fn toyhub(program: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(program)
            .arg("serve")
            .current_dir(folder.path())
            .envs([
                ("TOYHUB_HTTP__LISTEN", "127.0.0.1:0"),
                ("TOYHUB_HTTP__LEGACY_LISTEN", "127.0.0.1:0"),
                ("TOYHUB_CONSOLE__LISTEN", "127.0.0.1:0"),
                ("TOYHUB_MQTT__LISTEN", "127.0.0.1:0"),
                ("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0"),
                ("TOYHUB_MQTT__CONNECTIONS_MAX", "50000"),
                ("TOYHUB_MQTT__CONNECTIONS_PER_ADDRESS_MAX", "50000"),
                ("TOYHUB_SERVER__LOG", "error"),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("toyhub starts");
        // Before it, the hub prints the password of its console.
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines().map_while(Result::ok);
        let ready = lines.find(|line| line.starts_with("toyhub ready")).expect("its addresses");
        let found = |name: &str| {
            let address = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
            address.and_then(|address| address.parse().ok())
        };
        let address = found("conformance=").expect("conformance=ADDRESS");
        let mut hub = Self::new("toyhub", address, child, folder);
        hub.console = found("console=");
        hub
    }

    /// Mosquitto as Debian packages it, without persistence, and with queues that drop nothing.
    pub fn mosquitto() -> Self {
        Self::mosquitto_with("")
    }

    /// The same over TLS, with the certificate of this folder.
    pub fn mosquitto_with_tls(tls: &Path) -> Self {
        Self::mosquitto_with(&Self::certified(tls))
    }

    /// The same with two listeners, of which the second is over TLS. Returns the address of that, too.
    pub fn mosquitto_with_both(tls: &Path) -> (Self, SocketAddr) {
        let second = free_address();
        let broker = Self::mosquitto_with(&format!("listener {} 127.0.0.1\n{}", second.port(), Self::certified(tls)));
        (broker, second)
    }

    /// The lines of a listener with the certificate of this folder.
    fn certified(tls: &Path) -> String {
        let tls = tls.display();
        // Another user could not read the key.
        format!("certfile {tls}/hub.pem\nkeyfile {tls}/hub.key\nuser root\n")
    }

    fn mosquitto_with(of_listener: &str) -> Self {
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
        let config = format!(
            "listener {} 127.0.0.1\n{of_listener}allow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
             max_queued_messages 0\nmax_inflight_messages 200\nlog_dest none\n",
            address.port()
        );
        let path = folder.path().join("mosquitto.conf");
        std::fs::write(&path, config).expect("its configuration");
        let program = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|path| Path::new(path).exists());
        let child = Command::new(program.unwrap_or("mosquitto")).arg("-c").arg(path).spawn().expect("mosquitto starts");
        Self::new("mosquitto", address, child, folder)
    }

    /// `rumqttd` as it is published, with the settings of its example; this program again, see [`serve_rumqttd`].
    pub fn rumqttd() -> Self {
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args(["--rumqttd", &address.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        Self::new("rumqttd", address, command.spawn().expect("rumqttd starts"), folder)
    }
}

/// Bytes of memory of a process, by the name of their line in its status.
pub fn memory_of(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("the line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") * 1024
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Never returns.
pub fn serve_rumqttd(address: SocketAddr) {
    let router = rumqttd::RouterConfig {
        max_connections: 20_000,
        max_outgoing_packet_count: 200,
        max_segment_size: 100 * 1024 * 1024,
        max_segment_count: 10,
        ..rumqttd::RouterConfig::default()
    };
    let connections = rumqttd::ConnectionSettings {
        connection_timeout_ms: 60_000,
        max_payload_size: 20_480,
        max_inflight_count: 200,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = rumqttd::ServerSettings {
        name: "v4".into(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let v4 = Some(HashMap::from([("v4".to_owned(), server)]));
    let config = rumqttd::Config { id: 0, router, v4, ..rumqttd::Config::default() };
    rumqttd::Broker::new(config).start().expect("rumqttd serves");
}
