//! What only the clock brings about, over a real hub.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::*;
use crate::config::Config;
use crate::domain::Registration;
use crate::domain::tests::{World, world};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let config = Config::default();
    let lifetime_s = f64::from(config.accounts.token_ttl_days) * 86_400.0;
    let World { hub, _folder } = world(config.clone()).await;
    let new = Registration {
        username: "mia".into(),
        password: Secret::new("pw"),
        nickname: String::new(),
        gender: String::new(),
        avatar: None,
    };
    hub.register(new, PEER, wire::now()).await.unwrap();
    // Issued so long ago that it is good for two seconds more.
    let issued_at = wire::now() - lifetime_s + 2.0;
    let (_, token) = hub.login("mia", Secret::new("pw"), PEER, issued_at).await.unwrap();
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
