//! A login that is revoked at one hub ends the connections to the other.

use serde_json::json;

use super::{StoreServer, hubs};
use crate::mqtt::{Raw, V4, V5};
use crate::world::within;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_login_that_was_revoked_at_one_hub_ends_the_connections_to_the_other() {
    let store = StoreServer::start().await;
    let [a, b] = hubs(&store, &[("TOYHUB_CLUSTER__LOGINS_INTERVAL_S", "1")]).await;
    let (mia, eve) = (a.user("mia").await, a.user("eve").await);
    let (bear, cat) = (a.toy(&mia, "bear").await, a.toy(&eve, "cat").await);
    let (mut app_of_mia, mut app_of_eve) = (a.app(&mia).await, a.app(&eve).await);
    let mut raw_bear = Raw::connected(a.mqtt_addr(), V5, "bear", &bear.device_key, &bear.secret).await;
    let mut raw_cat = Raw::connected(a.mqtt_addr(), V4, "cat", &cat.device_key, &cat.secret).await;

    b.run(&["user", "log-out", "mia"]).await;
    assert_eq!(app_of_mia.close_code().await, 4501);
    let unbound = b.post_as(&b.login(&mia).await, "/unbind_toy", json!({"user_id": mia.id, "toy_id": bear.id})).await;
    assert_eq!(unbound["code"], 0, "{unbound}");
    assert_eq!(within("DISCONNECT", raw_bear.read_packet()).await, Some((0xe0, vec![0x98, 0])));

    // Those of others stay.
    app_of_eve.is_read().await;
    raw_cat.expect_silence().await;
    b.run(&["device", "renew", &cat.device_key]).await;
    assert_eq!(within("the end", raw_cat.read_packet()).await, None, "the secret is another one");
    app_of_eve.is_read().await;
}
