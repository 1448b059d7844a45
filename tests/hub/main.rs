//! The hub from outside: the real program, the real database, real clients and real sound.
// The database's futures are nested deeper than the compiler follows by itself.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod amr;
mod app_socket;
mod audit;
mod backup;
mod browser;
mod calls;
mod chats;
#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/client.rs"]
mod client;
mod clients;
mod clock;
mod cluster;
mod command_line;
mod console;
mod console_browser;
mod data_folder;
mod discovery;
mod durability;
#[allow(dead_code, reason = "scripts/torture uses more of it")]
#[path = "../engines/mod.rs"]
mod engines;
mod erasure;
mod example_client;
mod example_esp32;
mod example_toy;
mod export;
mod family;
mod flow;
mod full_disk;
mod fuzz_seeds;
mod household;
mod http_bad_input;
mod kept_words;
mod layers;
mod legacy_page;
mod matrix;
mod metrics;
mod moving_in;
mod mqtt;
mod names;
mod odd_text;
mod one_connection;
mod operation;
mod pages;
mod pages_browser;
mod pages_household;
mod passwords;
mod places;
mod progress;
mod promises;
mod proxies;
mod proxy_programs;
mod push;
mod real_model;
mod receipts;
mod recordings;
mod relay;
mod release;
mod reminders;
mod rest;
mod retention;
mod revoked;
mod routes;
mod s3;
mod secrets;
mod service;
mod sessions;
mod small_devices;
mod sound;
mod spec;
mod speech;
mod spoken_model;
mod stock_device;
mod story;
mod tables;
mod takeover;
mod thousandfold;
mod tls;
mod transport;
mod two_families;
mod unread_by_voice;
mod upgrade;
mod voices;
mod world;
mod xiaozhi;
mod xiaozhi_drafts;
mod xiaozhi_figures;
mod xiaozhi_lost;
mod xiaozhi_mqtt;
mod xiaozhi_notify;
mod xiaozhi_tools;
