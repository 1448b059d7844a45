#[path = "../../../src/domain/error.rs"]
pub mod error;

pub mod live {
    pub use crate::ports::router::{ReplayRetained, Subscription};
}
