//! A real broker (mosquitto) as a process that tests can kill, and brokers that do not do their work.

use std::net::TcpListener;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, PubAck, SubAck, SubscribeReasonCode};
use rumqttc::mqttbytes::{Error as CodecError, QoS};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::engines::{answers, start};
use crate::world::within;

/// mosquitto. It ends with this value.
pub struct Broker {
    program: Option<Child>,
    port: u16,
    folder: TempDir,
}

impl Broker {
    /// A broker that serves everybody.
    pub async fn start() -> Self {
        Self::start_with("allow_anonymous true\n").await
    }

    /// A broker with these lines of configuration.
    pub async fn start_with(lines: &str) -> Self {
        let mut broker = Self { program: None, port: 0, folder: tempfile::tempdir().unwrap() };
        // Another process may take the port before the broker has it.
        for _ in 0..10 {
            broker.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            // As root, mosquitto would become a user that may not read the folder.
            let folder = broker.folder.path().display();
            let own = format!("user root\nlistener {} 127.0.0.1\nmax_queued_messages 0\n", broker.port);
            let sessions = format!("persistence true\npersistence_location {folder}/\n");
            let file = broker.folder.path().join("mosquitto.conf");
            std::fs::write(file, [own.as_str(), &sessions, lines].concat()).unwrap();
            if broker.launch().await {
                return broker;
            }
        }
        panic!("mosquitto does not start");
    }

    async fn launch(&mut self) -> bool {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.folder.path().join("mosquitto.conf"));
        let mut program = start(&mut command, &self.folder.path().join("log"));
        let accepts = async || TcpStream::connect(("127.0.0.1", self.port)).await.is_ok();
        let listens = answers("mosquitto", &mut program, accepts).await;
        self.program = listens.then_some(program);
        listens
    }

    /// Stops it in order: it keeps the sessions of the hubs.
    pub async fn stop(&mut self) {
        let mut program = self.program.take().unwrap();
        let id = program.id().expect("the broker runs").to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().await.unwrap().success());
        within("the broker to stop", program.wait()).await.unwrap();
    }

    /// `kill -9`. Everything that it has kept since it was started is lost.
    pub async fn kill(&mut self) {
        self.program.take().unwrap().kill().await.unwrap();
    }

    /// Starts it again on the same port.
    pub async fn start_again(&mut self) {
        assert!(self.launch().await, "mosquitto does not start again");
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.program.as_ref().and_then(Child::id).expect("the broker runs")
    }

    /// Its address as one of `cluster.bus`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

/// A fault of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerFault {
    /// It refuses subscriptions.
    RefusesFilters,
    /// It acknowledges messages, and delivers none.
    Loses,
}

/// A broker that accepts connections, and has a fault. It ends with this value.
pub struct BadBroker {
    port: u16,
    serving: JoinHandle<()>,
}

impl Drop for BadBroker {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl BadBroker {
    pub async fn start(fault: BrokerFault) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, fault));
            }
        });
        Self { port, serving }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

async fn serve(mut stream: TcpStream, fault: BrokerFault) -> Option<()> {
    let (mut read, mut write) = (BytesMut::new(), BytesMut::new());
    loop {
        let packet = match Packet::read(&mut read, 1 << 20) {
            Ok(packet) => packet,
            Err(CodecError::InsufficientBytes(_)) => {
                if stream.read_buf(&mut read).await.ok()? == 0 {
                    return None;
                }
                continue;
            }
            Err(_) => return None,
        };
        let answer = match packet {
            Packet::Connect(_) => Packet::ConnAck(ConnAck { session_present: false, code: ConnectReturnCode::Success }),
            Packet::Subscribe(wanted) => {
                let code = match fault {
                    BrokerFault::RefusesFilters => SubscribeReasonCode::Failure,
                    BrokerFault::Loses => SubscribeReasonCode::Success(QoS::AtLeastOnce),
                };
                Packet::SubAck(SubAck { pkid: wanted.pkid, return_codes: vec![code; wanted.filters.len()] })
            }
            Packet::Publish(publish) => Packet::PubAck(PubAck { pkid: publish.pkid }),
            _ => continue,
        };
        answer.write(&mut write, 1 << 20).ok()?;
        stream.write_all_buf(&mut write).await.ok()?;
    }
}
