//! What only the clock brings about, over a real hub.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::*;
use crate::config::Config;
use crate::domain::tests::{World, world};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let config = Config::default();
    let world = world(config.clone()).await;
    let (_, token) = world.user_with_token_for(2.0, wire::now()).await;
    let World { hub, _folder } = world;
    let apps = Apps::new(Arc::new(hub), Arc::new(config.ws));
    let (near, far) = tokio::io::duplex(4096);
    let handshake = Handshake { token: Some(token), ticket: None, after: None, peer: PEER };
    let serving = tokio::spawn(Arc::clone(&apps).serve(near, handshake));
    let mut client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    let closed = async {
        loop {
            if let Message::Close(close) = client.next().await.expect("open").expect("a frame") {
                return close.expect("a reason").code;
            }
        }
    };
    let code = timeout(Duration::from_secs(2 + 5), closed).await.expect("within five seconds of its end");
    assert_eq!(u16::from(code), 4503);
    drop(client);
    serving.await.unwrap();
}
