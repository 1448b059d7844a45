//! What only the clock brings about, over a real hub and a real socket.

use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions, StateError};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::config::Config;
use crate::domain::tests::{World, world};
use crate::edge::wire::now;

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let config = Config::default();
    let world = world(config.clone()).await;
    let (user, token) = world.user_with_token_for(2.0, now()).await;
    let World { hub, _folder } = world;
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
