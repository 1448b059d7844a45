#[path = "../../../src/ports/router/mod.rs"]
pub mod router;
