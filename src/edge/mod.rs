//! The protocols that clients speak. Edges turn bytes into types, call the domain, and turn
//! its answers into bytes; they know neither each other nor the ports. All serve the calls of [`api`](crate::api). What
//! else they share stands in `net` (the way in for all clients), `body` (from bytes to fields), `request` (numbered
//! requests), `dialect`, `tasks`, `wire` and `status`. `spec` describes them all, for programs. `schedule` is no protocol: there
//! the clock asks for what is due.

mod body;
pub mod control;
mod dialect;
pub mod http;
pub mod mqtt;
pub mod net;
mod request;
pub mod schedule;
pub mod spec;
pub mod status;
pub mod tasks;
pub mod wire;
pub mod ws;
