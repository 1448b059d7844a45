//! toyhub: the self-hosted server behind talking toys.
//!
//! Reading order; each module imports only modules that are listed above it.
//!
//! 1. [`model`]: ids, names, entities and events; plain data.
//! 2. [`ports`]: the database, files, sound, speech, the topic router.
//! 3. [`config`]: `broker.toml` and its variables.
//! 4. [`domain`]: accounts, toys, friends, voice messages; permissions.
//! 5. [`api`]: each call with its request, its answer and its schema.
//! 6. [`edge`]: MQTT, HTTP, the app socket, the control socket of the command line.
//! 7. [`server`]: start and stop of the hub.
//! 8. [`service`]: the hub as a service of the system, its signals and exit codes; [`systemd`] has the notifications.
//! 9. [`command`]: the command line.

#![recursion_limit = "256"]

pub mod api;
pub mod command;
pub mod config;
pub mod domain;
pub mod edge;
pub mod model;
pub mod ports;
pub mod server;
pub mod service;
pub mod systemd;
