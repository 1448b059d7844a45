//! Three NATS servers as one cluster, which serve MQTT 3.1.1 as the bus of hubs. A message that they have acknowledged
//! is on the disks of two of them.

use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{free_port, start, within};

/// Servers of the cluster: it goes on without one of them.
pub const NODES: usize = 3;

/// The servers. They end with this value.
pub struct Nats {
    nodes: [Node; NODES],
    folder: TempDir,
    client: reqwest::Client,
}

struct Node {
    program: Option<Child>,
    /// For clients, the other servers, MQTT and the state.
    ports: [u16; 4],
}

impl Nats {
    /// A cluster that serves everybody.
    pub async fn start() -> Self {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
        let nodes = std::array::from_fn(|_| Node { program: None, ports: std::array::from_fn(|_| free_port()) });
        let mut nats = Self { nodes, folder: tempfile::tempdir().unwrap(), client };
        for node in 0..NODES {
            nats.write_settings(node);
            nats.launch(node);
        }
        for node in 0..NODES {
            nats.wait_ready(node).await;
        }
        nats
    }

    fn write_settings(&self, node: usize) {
        let routes = self.nodes.iter().map(|node| format!("\"nats-route://127.0.0.1:{}\"", node.ports[1]));
        let routes = routes.collect::<Vec<_>>().join(", ");
        let [clients, servers, mqtt, state] = self.nodes[node].ports;
        let data = self.folder.path().join(format!("data-{node}"));
        let text = format!(
            "server_name: n{node}\n\
             listen: \"127.0.0.1:{clients}\"\n\
             http: \"127.0.0.1:{state}\"\n\
             jetstream {{ store_dir: \"{}\", sync_interval: always }}\n\
             cluster {{ name: bus, listen: \"127.0.0.1:{servers}\", routes: [{routes}] }}\n\
             mqtt {{ listen: \"127.0.0.1:{mqtt}\", stream_replicas: {NODES} }}\n",
            data.display()
        );
        std::fs::write(self.folder.path().join(format!("node-{node}.conf")), text).unwrap();
    }

    fn launch(&mut self, node: usize) {
        let clients = std::env::var("TEST_CLIENTS").expect("run this with scripts/test cluster");
        let mut command = Command::new(format!("{clients}/venv/bin/nats-server"));
        command.arg("-c").arg(self.folder.path().join(format!("node-{node}.conf")));
        self.nodes[node].program = Some(start(&mut command, &self.folder.path().join(format!("log-{node}"))));
    }

    /// Waits until a server has all that the others have.
    async fn wait_ready(&mut self, node: usize) {
        let url = format!("http://127.0.0.1:{}/healthz", self.nodes[node].ports[3]);
        let ready = async {
            loop {
                let asked = self.client.get(&url).send().await;
                if asked.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("a server of NATS", ready).await;
    }

    /// `kill -9` of one server.
    pub async fn kill(&mut self, node: usize) {
        self.nodes[node].program.take().unwrap().kill().await.unwrap();
    }

    /// Starts one again, and waits until it has caught up with the others.
    pub async fn start_again(&mut self, node: usize) {
        self.launch(node);
        self.wait_ready(node).await;
    }

    /// The addresses as `cluster.bus`, beginning with those of this server.
    pub fn urls(&self, first: usize) -> String {
        let url = |node: usize| format!("mqtt://127.0.0.1:{}", self.nodes[(first + node) % NODES].ports[2]);
        (0..NODES).map(url).collect::<Vec<_>>().join(",")
    }
}
