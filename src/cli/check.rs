//! `tollgate check`

use std::path::Path;
use std::process::ExitCode;

use crate::config;

pub(super) fn run(path: &Path) -> ExitCode {
    match config::load(path) {
        Err(error) => super::fail(error),
        Ok(config) => {
            println!(
                "{}: in order (channels: {}, models: {}, groups: {}, keys: {})",
                path.display(),
                config.channels.len(),
                config.catalog.models().count(),
                config.groups.len(),
                config.keys.len()
            );
            ExitCode::SUCCESS
        }
    }
}
