#![forbid(unsafe_code)]
//! The binary: see `tollgate --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate::cli::main()
}
