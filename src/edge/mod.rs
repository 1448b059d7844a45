//! The client protocols. Edges parse bytes into types, call the domain, and encode its answers; they import neither
//! each other nor the ports, except for the counters of `ports/metrics`. All serve the calls of
//! [`api`](crate::api). They share `net` (listeners for all clients), `body` (parsing of bodies), `request` and `frame`
//! (numbered requests), `repeats` (log lines), `label` (the connection in log lines), `dialect`, `tasks`, `line`
//! (messages of devices with stock firmware between `mqtt` and `xiaozhi`), `wire` and `status`. `spec` documents them for
//! programs. `console` is the operator's listener; it and `http` share `pages`, and `discovery` announces the hub in the network. `schedule` is not a
//! protocol: it runs periodic tasks.

mod body;
pub mod console;
pub mod control;
mod dialect;
pub mod discovery;
mod frame;
pub mod http;
pub mod label;
pub mod line;
pub mod mqtt;
pub mod net;
mod pages;
mod repeats;
mod request;
pub mod schedule;
pub mod spec;
pub mod status;
pub mod tasks;
pub mod wire;
pub mod ws;
pub mod xiaozhi;
