//! Gates as they run in earnest, processes on sockets, and faults that are caused: gates are
//! killed, clients vanish, connections to the channel break, the database stops or moves to
//! its standby, the disk is full. What is owed stays right to the last job.
//!
//! | variable | meaning |
//! |---|---|
//! | `TOLLGATE_KILLS` | how many times each thing is killed (6) |
#![forbid(unsafe_code)]

#[path = "fleet/again.rs"]
mod again;
#[path = "fleet/asleep.rs"]
mod asleep;
#[path = "fleet/away.rs"]
mod away;
#[path = "fleet/books.rs"]
mod books;
#[path = "fleet/breaks.rs"]
mod breaks;
#[path = "fleet/crashes.rs"]
mod crashes;
#[path = "fleet/encrypted.rs"]
mod encrypted;
#[path = "fleet/failover.rs"]
mod failover;
#[path = "fleet/forwarder.rs"]
mod forwarder;
#[path = "fleet/full.rs"]
mod full;
#[path = "fleet/health.rs"]
mod health;
#[path = "fleet/limits.rs"]
mod limits;
#[path = "fleet/process.rs"]
mod process;
#[path = "fleet/stage.rs"]
mod stage;
#[path = "fleet/storm.rs"]
mod storm;
mod support;
#[path = "fleet/vanished.rs"]
mod vanished;
