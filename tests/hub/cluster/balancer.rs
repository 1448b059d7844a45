//! Two hubs behind HAProxy, with the configuration that docs/cluster.md shows.

use std::net::IpAddr;

use super::door::Door;
use super::{StoreServer, hub};
use crate::engines::Balancer;
use crate::mqtt::{Raw, V5, connect};
use crate::world::{Toy, World, within};

const SETTINGS: [(&str, &str); 5] = [
    ("TOYHUB_STORE__ANSWER_TIMEOUT_S", "4"),
    ("TOYHUB_CLUSTER__STORE_LOST_CLOSE_S", "2"),
    ("TOYHUB_NET__PROXIES", "127.0.0.1"),
    ("TOYHUB_HTTP__PROXY_PROTOCOL", "true"),
    ("TOYHUB_MQTT__PROXY_PROTOCOL", "true"),
];
/// An address of this machine that is not the proxy's.
const CLIENT: [u8; 4] = [127, 0, 0, 9];

/// A connected toy, on whichever hub.
async fn connect_through(balancer: &Balancer, toy: &Toy) -> Raw {
    within("a hub that accepts the toy", async {
        loop {
            let mut raw = Raw::open(balancer.mqtt).await;
            raw.send(&connect(V5, &toy.id, &toy.device_key, &toy.secret)).await;
            match raw.read_packet().await {
                Some((0x20, body)) if body[1] == 0 => return raw,
                _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    })
    .await
}

/// Its clients come from an address that is not the proxy's.
fn reached_directly(world: &mut World) {
    let (http, mqtt) = (world.http_addr(), world.mqtt_addr());
    world.use_proxy(http, mqtt, IpAddr::from(CLIENT));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn clients_of_a_hub_that_lost_the_store_go_to_the_other() {
    let store = StoreServer::start().await;
    let door = Door::to(store.address()).await;
    let url: &'static str = format!("ws://{}", door.address()).leak();
    let mut a = hub(&store, &[&SETTINGS[..], &[("TOYHUB_STORE__URL", url)]].concat()).await;
    let mut b = hub(&store, &SETTINGS).await;
    let hubs = [&a, &b].map(|world| [world.http_addr(), world.mqtt_addr()]);
    reached_directly(&mut a);
    reached_directly(&mut b);
    let parent = a.user("mia").await;
    let mut toys = Vec::new();
    for number in 0..8 {
        toys.push(a.toy(&parent, &format!("toy-{number}")).await);
    }
    let balancer = Balancer::start(b.folder(), hubs).await;
    let mut clients = Vec::new();
    for toy in &toys {
        clients.push(connect_through(&balancer, toy).await);
    }
    // A toy that connects again is taken over by the same hub: its older connection ends.
    for (toy, raw) in toys.iter().zip(&mut clients) {
        let again = connect_through(&balancer, toy).await;
        let mut older = std::mem::replace(raw, again);
        assert_eq!(within("the take-over", older.read_packet()).await, Some((0xe0, vec![0x8e, 0])), "{}", toy.id);
    }
    let ready = a.client().get(format!("http://{}/readyz", balancer.http)).send().await.unwrap();
    assert_eq!(ready.status(), 200);

    door.close();
    a.wait_ready(false).await;
    assert_eq!(b.watch("/readyz").await.0, 200);
    // Those of A are closed, and find B.
    let mut moved = 0;
    for (toy, raw) in toys.iter().zip(&mut clients) {
        raw.send(&[0xc0, 0]).await;
        loop {
            match within("an answer, or the end", raw.read_packet()).await {
                Some((0xd0, _)) => {
                    // It is at B, or A has not closed it yet.
                    if tokio::time::timeout(std::time::Duration::from_secs(5), raw.read_packet()).await.is_err() {
                        break;
                    }
                }
                Some((0xe0, body)) => assert_eq!(body[0], 0x89),
                Some(_) => {}
                None => {
                    *raw = connect_through(&balancer, toy).await;
                    moved += 1;
                    break;
                }
            }
        }
    }
    assert!((1..8).contains(&moved), "{moved} of 8 were at the hub that lost the store");
    let through = b.client().get(format!("http://{}/readyz", balancer.http));
    assert_eq!(through.send().await.unwrap().status(), 200);

    door.open();
    a.wait_ready(true).await;
    let found = a.ok("/login", serde_json::json!({"username": "mia", "password": "correct horse"})).await;
    assert_eq!(found["code"], 0);
}
