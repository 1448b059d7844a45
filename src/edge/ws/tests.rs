//! Effects of the clock, of revocations and of waits, with a real hub.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ::bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::config::Config;
use crate::domain::erasure::Device;
use crate::domain::tests::{World, world};
use crate::model::{Party, UserId};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    tokio::join!(ends_with_its_token(Way::Token), ends_with_its_token(Way::Ticket), ends_with_its_token(Way::Legacy));
}

async fn ends_with_its_token(way: Way) {
    let config = Config::default();
    let world = world(config.clone()).await;
    let (user, token) = world.user_with_token_for(4.0, wire::now()).await;
    let World { hub, _folder } = world;
    let ticket = hub.issue_ticket(&token, PEER, wire::now()).await.unwrap();
    let apps = Apps::new(Arc::new(hub), Arc::new(config.ws), Tasks::default(), CancellationToken::new());
    let (near, far) = tokio::io::duplex(4096);
    let serving = serve(&apps, way, &user, token, ticket, near);
    let mut client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    let closed = async {
        loop {
            if let Message::Close(close) = client.next().await.expect("open").expect("a frame") {
                return close.expect("a reason").code;
            }
        }
    };
    let code = timeout(Duration::from_secs(60), closed).await.expect("the end of the token");
    assert_eq!(u16::from(code), 4503, "{way:?}");
    drop(client);
    serving.await.unwrap();
}

/// The credential of a client.
#[derive(Debug, Clone, Copy)]
enum Way {
    Token,
    Ticket,
    Legacy,
}

/// Serves a client with this kind of credential.
fn serve(apps: &Arc<Apps>, way: Way, user: &UserId, token: Secret, ticket: Secret, io: DuplexStream) -> JoinHandle<()> {
    let apps = Arc::clone(apps);
    let (token, ticket) = match way {
        Way::Legacy => return tokio::spawn(apps.serve_legacy(io, format!("/app/{user}"), Some(token), PEER.into())),
        Way::Token => (Some(token), None),
        Way::Ticket => (None, Some(ticket)),
    };
    tokio::spawn(apps.serve(io, Handshake { token, ticket, after: None, peer: PEER }))
}

#[tokio::test]
async fn a_login_that_crosses_a_revocation_is_refused() {
    for way in [Way::Token, Way::Ticket, Way::Legacy] {
        let config = Config::default();
        let world = world(config.clone()).await;
        let (user, token) = world.user_with_token_for(1000.0, wire::now()).await;
        let World { hub, _folder } = world;
        let hub = Arc::new(hub);
        let ticket = hub.issue_ticket(&token, PEER, wire::now()).await.unwrap();
        let apps = Apps::new(Arc::clone(&hub), Arc::new(config.ws), Tasks::default(), CancellationToken::new());
        let (near, far) = tokio::io::duplex(4096);
        let (is_stopped, open) = hub.gate.shut();
        let serving = serve(&apps, way, &user, token, ticket, near);
        let mut client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        // The token was good, and there is no mailbox yet that could be closed.
        timeout(Duration::from_secs(60), is_stopped).await.expect("a login").unwrap();
        hub.log_out_everywhere(&Party::User(user)).await.unwrap();
        open.send(()).unwrap();
        let first = timeout(Duration::from_secs(60), client.next()).await.expect("an answer").expect("a frame");
        let Message::Close(Some(close)) = first.unwrap() else { panic!("{way:?}: let in") };
        assert_eq!(u16::from(close.code), 4500, "{way:?}");
        drop(client);
        serving.await.unwrap();
        assert_eq!(hub.figures().connections, 0);
    }
}

#[tokio::test]
async fn an_older_client_of_a_toy_that_is_unbound_in_between_is_refused() {
    let config = Config::default();
    let world = world(config.clone()).await;
    let (toy, key, secret) = world.toy_with_secret().await;
    let World { hub, _folder } = world;
    let hub = Arc::new(hub);
    let apps = Apps::new(Arc::clone(&hub), Arc::new(config.ws), Tasks::default(), CancellationToken::new());
    let (near, far) = tokio::io::duplex(4096);
    let (is_stopped, open) = hub.gate.shut();
    // It needs no token where the toy has proved itself.
    hub.open_toy(&key, Some(&secret), PEER, wire::now()).await.unwrap();
    let serving = tokio::spawn(Arc::clone(&apps).serve_legacy(near, format!("/toy/{toy}"), None, PEER.into()));
    let mut client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    timeout(Duration::from_secs(60), is_stopped).await.expect("a login").unwrap();
    hub.erase_toy(None, &toy, Device::NewSecret, wire::now()).await.unwrap();
    open.send(()).unwrap();
    let first = timeout(Duration::from_secs(60), client.next()).await.expect("an answer").expect("a frame");
    assert!(matches!(first.unwrap(), Message::Close(Some(close)) if u16::from(close.code) == 4500));
    drop(client);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_waits_delays_later_answers_and_nothing_else() {
    let config = Config::default();
    let world = world(config.clone()).await;
    let (user, token) = world.user_with_token_for(1000.0, wire::now()).await;
    let World { hub, _folder } = world;
    let hub = Arc::new(hub);
    let ticket = hub.issue_ticket(&token, PEER, wire::now()).await.unwrap();
    let apps = Apps::new(Arc::clone(&hub), Arc::new(config.ws), Tasks::default(), CancellationToken::new());
    let (near, far) = tokio::io::duplex(4096);
    let serving = serve(&apps, Way::Token, &user, token, ticket, near);
    let mut client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    let next = async |client: &mut WebSocketStream<DuplexStream>| {
        timeout(Duration::from_secs(60), client.next()).await.expect("a frame").expect("an open socket").unwrap()
    };
    assert!(next(&mut client).await.to_text().unwrap().contains("welcome"));
    let subscribe = |id: u32| Message::text(format!(r#"{{"id":{id},"do":"subscribe","topic":"app/{user}/in"}}"#));

    let (is_stopped, open) = hub.gate.shut();
    client.send(subscribe(2)).await.unwrap();
    timeout(Duration::from_secs(60), is_stopped).await.expect("a subscription").unwrap();
    client.send(Message::text(r#"{"id":3,"do":"ping"}"#)).await.unwrap();
    client.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    assert_eq!(next(&mut client).await, Message::Pong(Bytes::from_static(b"there?")), "before the answers");
    open.send(()).unwrap();
    for id in [2, 3] {
        let answer = next(&mut client).await;
        assert!(answer.to_text().unwrap().starts_with(&format!(r#"{{"id":{id},"code":0,"#)), "{answer}");
    }

    let (is_stopped, _open) = hub.gate.shut();
    client.send(subscribe(4)).await.unwrap();
    timeout(Duration::from_secs(60), is_stopped).await.expect("a subscription").unwrap();
    let revoking = async { hub.log_out_everywhere(&Party::User(user)).await.unwrap() };
    let ((), last) = tokio::join!(revoking, next(&mut client));
    let Message::Close(Some(close)) = last else { panic!("{last}") };
    assert_eq!(u16::from(close.code), 4501);
    drop(client);
    serving.await.unwrap();
}
