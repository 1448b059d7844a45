//! The seeds and findings of the fuzzer, sent to a real hub, which must still serve other clients.

use std::path::{Path, PathBuf};

use crate::mqtt::{Raw, V4, V5, connect_with};
use crate::world::World;

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!seeds.is_empty());
    seeds
}

#[tokio::test]
async fn no_seed_of_the_fuzzer_harms_the_hub() {
    let world = World::start_with(&[("TOYHUB_MQTT__CONFORMANCE_LISTEN", "127.0.0.1:0")]).await;
    for path in seeds("connect") {
        let seed = std::fs::read(path).unwrap();
        let door = if seed[0] & 1 == 1 { world.conformance_addr() } else { world.mqtt_addr() };
        let mut raw = Raw::open(door).await;
        raw.send(&seed[1..]).await;
    }
    for path in seeds("session") {
        let seed = std::fs::read(&path).unwrap();
        let level = if seed[0] & 1 == 0 { V4 } else { V5 };
        let mut raw = Raw::open(world.conformance_addr()).await;
        raw.send(&connect_with(level, 2, 60, &[], "seed", &[], "", "")).await;
        assert_eq!(raw.packet().await.0, 0x20, "{}", path.display());
        raw.send(&seed[1..]).await;
        let mut other = Raw::open(world.conformance_addr()).await;
        other.send(&connect_with(level, 2, 60, &[], "other", &[], "", "")).await;
        assert_eq!(other.packet().await.0, 0x20, "{}", path.display());
        other.expect_silence().await;
    }
}
