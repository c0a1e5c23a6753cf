//! What an operator meets: limits of the system, signals, commands and messages.

#[path = "operating/gate.rs"]
mod gate;
#[path = "operating/open_files.rs"]
mod open_files;
mod support;
