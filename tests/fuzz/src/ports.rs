#[path = "../../../src/ports/router/mod.rs"]
pub mod router;
#[path = "../../../src/ports/space.rs"]
pub mod space;
