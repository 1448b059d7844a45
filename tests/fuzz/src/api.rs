//! The types of requests.

/// As in the hub.
macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}
pub(crate) use wire_name;

#[path = "../../../src/api/request.rs"]
pub mod request;
#[path = "../../../src/api/schema.rs"]
pub mod schema;
