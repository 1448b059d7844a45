//! Several hubs over one store, with real engines: `scripts/test cluster` builds and starts what they need.
//!
//! ```text
//! let store = StoreServer::start().await;
//! let [a, b] = hubs(&store, &[]).await;
//! ```

mod asked;
mod backup;
mod balancer;
mod behind;
mod broker;
mod bucket;
mod bus;
mod clocks;
mod costs;
mod door;
mod erase;
mod fencing;
mod figures;
mod moving;
mod outbox;
mod retained;
mod revoked;
mod rules;
mod store;
mod taken;
mod through;
mod tickets;
mod tls;
mod upgrade;

use serde_json::json;

pub use crate::engines::StoreServer;
use crate::sound;
use crate::world::World;

/// Hubs over one store, each with a data folder of its own, and with these settings in addition. The first one creates
/// the tables. Sounds are in the folder of each, unless the settings have a bucket (`s3::S3::settings`).
pub async fn hubs<const N: usize>(store: &StoreServer, settings: &[(&'static str, &'static str)]) -> [World; N] {
    let mut hubs = Vec::with_capacity(N);
    for _ in 0..N {
        hubs.push(hub(store, settings).await);
    }
    hubs.try_into().unwrap_or_else(|_| unreachable!())
}

/// One hub over the store.
pub async fn hub(store: &StoreServer, settings: &[(&'static str, &'static str)]) -> World {
    World::start_with(&[&store.settings()[..], settings].concat()).await
}

#[test]
fn the_store_server_has_the_version_of_the_hubs_database() {
    let version = |manifest: &str, name: &str| {
        let line = manifest.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap().to_owned();
        line.split('"').find(|part| part.starts_with('=')).unwrap().to_owned()
    };
    let hub = version(include_str!("../../Cargo.toml"), "surrealdb");
    assert_eq!(hub, version(include_str!("../store_server/Cargo.toml"), "surrealdb-server"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn two_hubs_share_accounts_and_messages() {
    let store = StoreServer::start().await;
    let [a, b] = hubs(&store, &[]).await;
    let parent = a.user("mia").await;
    let toy = a.toy(&parent, "bear").await;
    let fields = [("user_id", toy.id.as_str()), ("to_user", parent.id.as_str()), ("friend_type", "app")];
    for (number, hub) in [&a, &b].into_iter().enumerate() {
        let sent = hub.upload("/toy_uploader", "reco", sound::tone(number as u32 + 1), &fields).await;
        assert_eq!(sent["code"], 0, "{sent}");
    }
    for hub in [&a, &b] {
        let unread = hub.unread(&hub.login(&parent).await).await;
        assert_eq!(unread["count"], json!(2), "{unread}");
    }
}
