//! What only the clock brings about, over a real hub and a real socket.

use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions, StateError};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::config::Config;
use crate::domain::Registration;
use crate::domain::tests::{World, world};
use crate::edge::wire::now;
use crate::model::Secret;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

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
    let user = hub.register(new, PEER, now()).await.unwrap();
    // Issued so long ago that it is good for two seconds more.
    let issued_at = now() - lifetime_s + 2.0;
    let (_, token) = hub.login("mia", Secret::new("pw"), PEER, issued_at).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(Listeners::new(listener), Arc::new(hub), Arc::new(config.mqtt), shutdown.clone()));

    let mut options = MqttOptions::new("app", "127.0.0.1", port);
    options.set_credentials(user.to_string(), token.reveal());
    let (_client, mut events) = AsyncClient::new(options, 4);
    let mut is_accepted = false;
    let told = async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => is_accepted = true,
                Ok(_) => {}
                Err(ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. })) => {
                    return reason_code;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let told = timeout(Duration::from_secs(2 + 5), told).await.expect("within five seconds of its end");
    assert_eq!(told, DisconnectReasonCode::AdministrativeAction);
    assert!(is_accepted);
    shutdown.cancel();
    serving.await.unwrap();
}
