#[path = "../../../src/domain/error.rs"]
pub mod error;

pub mod live {
    pub use crate::ports::router::{ReplayRetained, Subscription};
}

/// A recording, of which only the length counts here.
#[derive(Default)]
pub struct Recording(pub u64);
