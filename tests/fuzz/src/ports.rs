#[path = "../../../src/ports/audio/mod.rs"]
pub mod audio;
#[path = "../../../src/ports/clock.rs"]
pub mod clock;
#[path = "../../../src/ports/metrics.rs"]
pub mod metrics;
#[path = "../../../src/ports/router/mod.rs"]
pub mod router;
#[path = "../../../src/ports/space.rs"]
pub mod space;
/// Stands for the file store, which no target has.
pub mod files {
    /// Whether the cause of an error is a file store that does not work at the moment.
    pub fn is_unavailable(_cause: &(dyn std::error::Error + 'static)) -> bool {
        false
    }
}
