#[path = "../../../src/edge/body.rs"]
pub mod body;
#[path = "../../../src/edge/frame.rs"]
pub mod frame;
pub mod http;
#[path = "../../../src/edge/status.rs"]
pub mod status;
pub mod ws;

pub mod net {
    pub struct AddressPlace;
}
