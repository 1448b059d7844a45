//! A store behind TLS: HAProxy encrypts before the server, and looks at the host that requests name.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::StoreServer;
use super::broker::Broker;
use super::store::{program, refused, works};
use crate::engines::{answers, free_port, start};
use crate::transport::{make_ca, make_certificate};
use crate::world::{World, within};

/// HAProxy before the store, with a certificate for localhost. It ends with this value.
struct Terminator {
    program: Option<Child>,
    port: u16,
    folder: TempDir,
}

impl Terminator {
    async fn before(store: &StoreServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_ca(folder.path(), "ca");
        make_ca(folder.path(), "stranger");
        make_certificate(folder.path(), "ca", "store");
        let part = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join("both.pem"), [part("store.pem"), part("store.key")].concat()).unwrap();
        let port = free_port();
        let settings = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  timeout tunnel 1h\n\
             listen store\n  bind 127.0.0.1:{port},127.0.0.2:{port} ssl crt both.pem\n\
             http-request deny unless {{ req.hdr(host) -i localhost:{port} }}\n  server store {}\n",
            store.address()
        );
        std::fs::write(folder.path().join("haproxy.cfg"), settings).unwrap();
        let mut terminator = Self { program: None, port, folder };
        terminator.start_again().await;
        terminator
    }

    async fn start_again(&mut self) {
        let log = self.folder.path().join("log");
        let mut command = Command::new("haproxy");
        let mut program = start(command.args(["-db", "-f", "haproxy.cfg"]).current_dir(self.folder.path()), &log);
        let port = self.port;
        let accepts = async || TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        assert!(answers("HAProxy", &mut program, accepts).await, "{}", std::fs::read_to_string(log).unwrap());
        self.program = Some(program);
    }

    async fn kill(&mut self) {
        self.program.take().unwrap().kill().await.unwrap();
    }

    /// The settings of a hub that connects to this host, and trusts this authority.
    fn settings(&self, store: &StoreServer, host: &str, authority: Option<&str>) -> Vec<(&'static str, &'static str)> {
        let leaked = |text: String| -> &'static str { text.leak() };
        let path = |name: &str| leaked(self.folder.path().join(name).display().to_string());
        let mut settings = store.settings().to_vec();
        settings.push(("TOYHUB_STORE__URL", leaked(format!("wss://{host}:{}", self.port))));
        settings.push(("TOYHUB_STORE__CERTIFICATES", authority.map_or("", path)));
        settings
    }
}

/// What `toyhub doctor` says of a part.
async fn doctor(folder: &Path, part: &str, settings: &[(&'static str, &'static str)]) -> String {
    let output = within("the command", program(folder, &["doctor"], settings).output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let part = format!(" {part}: ");
    text.lines().find(|line| line.contains(&part)).unwrap_or_else(|| panic!("no{part}in {text}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_hub_works_over_tls_and_comes_back_after_its_loss() {
    let store = StoreServer::start().await;
    let mut terminator = Terminator::before(&store).await;
    let settings = terminator.settings(&store, "localhost", Some("ca.pem"));
    let timeout = [("TOYHUB_STORE__ANSWER_TIMEOUT_S", "4")];
    let world = World::start_with(&[&settings[..], &timeout].concat()).await;
    works(&world, "mia").await;
    let line = doctor(&tempfile::tempdir().unwrap().keep(), "store", &settings).await;
    assert!(line.starts_with("ok") && line.contains(": signed in after "), "{line}");
    // The export of a backup is HTTPS.
    let backups = world.folder().join("backups");
    let printed = world.run(&["backup", backups.to_str().unwrap()]).await;
    assert!(printed.contains("1 users, 1 toys, 1 messages"), "{printed}");

    terminator.kill().await;
    world.wait_ready(false).await;
    terminator.start_again().await;
    world.wait_ready(true).await;
    works(&world, "tom").await;
    // The server is restarted behind the terminator, which stays.
    let mut store = store;
    store.kill().await;
    world.wait_ready(false).await;
    store.start_again().await;
    world.wait_ready(true).await;
    works(&world, "ann").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_certificate_that_is_not_right_is_refused_by_name() {
    let store = StoreServer::start().await;
    let terminator = Terminator::before(&store).await;
    let folder = tempfile::tempdir().unwrap();
    for (host, authority, reason) in [
        ("localhost", None, "UnknownIssuer"),
        ("localhost", Some("stranger.pem"), "UnknownIssuer"),
        ("127.0.0.2", Some("ca.pem"), "127.0.0.2"),
    ] {
        let settings = terminator.settings(&store, host, authority);
        let expected = format!(
            "store.url: wss://{host}:{}: cannot open the database: the certificate of the server is refused (",
            terminator.port
        );
        let why = refused(folder.path(), &settings).await;
        assert!(why.contains(&expected) && why.contains(reason) && why.contains("store.certificates"), "{why}");
        let line = doctor(folder.path(), "store", &settings).await;
        assert!(!line.starts_with("ok") && line.contains("the certificate of the server is refused"), "{line}");
    }
    let settings = terminator.settings(&store, "localhost", Some("missing.pem"));
    let why = refused(folder.path(), &settings).await;
    assert!(why.contains("store.certificates: ") && why.contains("missing.pem"), "{why}");
    // A port without TLS, and one where nobody listens.
    for port in [store.address().port(), free_port()] {
        let url: &'static str = format!("wss://localhost:{port}").leak();
        let settings = [&settings[..], &[("TOYHUB_STORE__URL", url), ("TOYHUB_STORE__CERTIFICATES", "")]].concat();
        let began = Instant::now();
        let why = refused(folder.path(), &settings).await;
        assert!(why.contains(&format!("store.url: {url}: ")), "{why}");
        assert!(began.elapsed() < Duration::from_secs(15), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn addresses_with_tls_and_without_it_that_are_mixed_up_are_named() {
    let store = StoreServer::start().await;
    let terminator = Terminator::before(&store).await;
    let certificates = terminator.folder.path().display();
    let lines = format!("allow_anonymous true\ncertfile {certificates}/store.pem\nkeyfile {certificates}/store.key\n");
    let (plain, encrypted) = (Broker::start().await, Broker::start_with(&lines).await);
    let settings = terminator.settings(&store, "localhost", Some("ca.pem"));
    for (part, key, url, expected) in [
        ("store", "TOYHUB_STORE__URL", format!("wss://{}", store.address()), "set ws:// in store.url"),
        ("store", "TOYHUB_STORE__URL", format!("ws://127.0.0.1:{}", terminator.port), "set wss:// in store.url"),
        ("bus", "TOYHUB_CLUSTER__BUS", plain.url().replace("mqtt:", "mqtts:"), "set mqtt:// in cluster.bus"),
        ("bus", "TOYHUB_CLUSTER__BUS", encrypted.url(), "set mqtts:// in cluster.bus"),
    ] {
        let own = [("TOYHUB_CLUSTER__HUB", "a"), (key, url.leak())];
        let folder = tempfile::tempdir().unwrap();
        let line = doctor(folder.path(), part, &[&settings[..], &own].concat()).await;
        assert!(line.starts_with("MISSING") && line.contains(expected), "{line}");
    }
}
