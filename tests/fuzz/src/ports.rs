#[path = "../../../src/ports/audio/mod.rs"]
pub mod audio;
#[path = "../../../src/ports/clock.rs"]
pub mod clock;
#[path = "../../../src/ports/router/mod.rs"]
pub mod router;
#[path = "../../../src/ports/space.rs"]
pub mod space;
