//! The parts of the measurement from end to end.

pub mod count;
pub mod ledgers;
pub mod load;
pub mod memory;
#[path = "../../tests/support/postgres.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
pub mod postgres;
pub mod process;
#[path = "../../tests/support/programs.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
pub mod programs;
pub mod report;
pub mod scanner;
pub mod servers;
pub mod works;
