//! Clocks that differ are named: the bus has the times of all hubs.

use super::StoreServer;
use super::broker::Broker;
use super::bus::{bus_is, hub_of};
use crate::chats::fake_clock;
use crate::world::within;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs scripts/test cluster"]
async fn a_hub_whose_clock_is_ahead_is_named() {
    let (store, broker) = (StoreServer::start().await, Broker::start().await);
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "+1").unwrap();
    let (file, library): (&'static str, &'static str) =
        (clock.to_str().unwrap().to_owned().leak(), fake_clock().leak());
    let fake = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let a = hub_of(&store, "a", &broker.url(), &[("TOYHUB_SERVER__LOG", "info")]).await;
    let b = hub_of(&store, "b", &broker.url(), &fake).await;
    // Within the limit of 2 s.
    for hub in [&a, &b] {
        bus_is(hub, "ok").await;
    }
    std::fs::write(&clock, "+30").unwrap();
    let reason = bus_is(&a, "degraded").await;
    assert!(
        reason.contains("the clock of another hub is ahead") && reason.contains("cluster.clock_skew_max_s"),
        "{reason}"
    );
    let log = || std::fs::read_to_string(a.log()).unwrap();
    let line = log().lines().find(|line| line.contains("ahead_s=")).unwrap_or_default().to_owned();
    assert!(line.contains("hub=\"b\"") && (line.contains("ahead_s=30") || line.contains("ahead_s=29")), "{line}");
    bus_is(&b, "ok").await;

    std::fs::write(&clock, "+0").unwrap();
    bus_is(&a, "ok").await;
    within("the end of it in the log", async {
        while !log().contains("agrees with this one's again") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let warnings = log().lines().filter(|line| line.contains("ahead_s=")).count();
    assert_eq!(warnings, 1, "once: {}", log());
}
