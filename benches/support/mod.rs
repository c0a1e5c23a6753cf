//! The parts of the measurement from end to end.

pub mod count;
pub mod load;
pub mod memory;
pub mod process;
pub mod report;
pub mod scanner;
pub mod servers;
pub mod works;
