//! What an operator meets: limits of the system, signals, commands and messages.

#[path = "operating/admin.rs"]
mod admin;
#[path = "operating/certificates.rs"]
mod certificates;
#[path = "operating/channel_log.rs"]
mod channel_log;
#[path = "operating/charge_log.rs"]
mod charge_log;
#[path = "operating/check.rs"]
mod check;
#[path = "operating/client_log.rs"]
mod client_log;
#[path = "operating/ends.rs"]
mod ends;
#[path = "operating/gate.rs"]
mod gate;
#[path = "operating/keys.rs"]
mod keys;
#[path = "operating/open_files.rs"]
mod open_files;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "operating/readiness.rs"]
mod readiness;
#[path = "operating/reload.rs"]
mod reload;
#[path = "operating/secrets.rs"]
mod secrets;
mod support;
#[path = "support/upstream.rs"]
mod upstream;
