//! One client id, one connection, at whichever hub.

use super::StoreServer;
use super::broker::Broker;
use super::bus::{NEVER, bus_is, pair};
use crate::mqtt::{Raw, V4, V5};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_client_that_connects_to_another_hub_ends_its_earlier_connection() {
    let (store, mut broker) = (StoreServer::start().await, Broker::start().await);
    let [a, b] = pair(&store, &broker, &NEVER).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let hubs = [&a, &b];
    let connect = async |at: usize, level, id: &'static str| {
        Raw::connected(hubs[at].mqtt_addr(), level, id, &toy.device_key, &toy.secret).await
    };
    let mut other = connect(0, V4, "other").await;
    let mut last = connect(0, V5, "line").await;
    for at in [1, 0, 1] {
        let new = connect(at, V5, "line").await;
        // DISCONNECT: session taken over.
        let (kind, body) = last.packet().await;
        assert_eq!((kind, body[0]), (0xe0, 0x8e));
        last.expect_end().await;
        last = new;
    }
    last.expect_silence().await;
    other.expect_silence().await;

    // Without the broker, it ends when that is there again.
    broker.stop().await;
    for hub in hubs {
        bus_is(hub, "degraded").await;
    }
    let mut newest = connect(0, V4, "line").await;
    last.expect_silence().await;
    broker.start_again().await;
    let (kind, body) = crate::world::within("the end", last.read_packet()).await.expect("a reason");
    assert_eq!((kind, body[0]), (0xe0, 0x8e));
    newest.expect_silence().await;
    other.expect_silence().await;
}
