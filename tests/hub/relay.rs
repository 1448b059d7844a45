//! A connection to the hub that a test can break.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Forwards connections to the hub, whose address may change, until it is cut.
pub struct Relay {
    address: SocketAddr,
    hub: watch::Sender<Option<SocketAddr>>,
    _serving: JoinSet<()>,
}

impl Relay {
    pub async fn to(hub: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (hub, changes) = watch::channel(Some(hub));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, changes));
        Self { address, hub, _serving: serving }
    }

    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks all connections, also new ones.
    pub fn cut(&self) {
        self.hub.send_replace(None);
    }

    pub fn mend(&self, hub: SocketAddr) {
        self.hub.send_replace(Some(hub));
    }

    /// Breaks all connections; new ones are forwarded.
    pub fn shake(&self) {
        self.hub.send_modify(|_| {});
    }
}

async fn serve(listener: TcpListener, mut changes: watch::Receiver<Option<SocketAddr>>) {
    let mut lines = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                lines.shutdown().await;
            }
            accepted = listener.accept() => {
                let mut near = accepted.unwrap().0;
                let Some(hub) = *changes.borrow() else { continue };
                lines.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(hub).await {
                        // It ends with either side; the clients see how.
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        }
    }
}
