//! The protocols that clients speak. Edges turn bytes into types, call the domain, and turn
//! its answers into bytes; they know neither each other nor the ports. What they share stands in `net` (the way in for all
//! clients), `calls` (the documented calls), `wire` and `status`. `spec` describes them all, for programs. `schedule` is no
//! protocol: there the clock asks for what is due.

mod calls;
pub mod control;
pub mod http;
pub mod mqtt;
pub mod net;
pub mod schedule;
pub mod spec;
pub mod status;
pub mod wire;
pub mod ws;
