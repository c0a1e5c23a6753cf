//! Requests of real clients, through the binary's own server: see `captures/suite.rs`.

#[path = "captures/suite.rs"]
mod suite;
mod support;
#[path = "release/wire.rs"]
mod wire;
