//! `tollgate mock`: runs a mock channel. `tollgate demo`: runs a gate with a mock channel behind it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::config::{self, Config, Loaded};
use crate::mock::{self, Options};

/// The default credential of the mock channel.
pub(super) const CREDENTIAL: &str = "mock-channel-key";
/// The environment variable from which the demonstration's configuration reads the mock's credential.
const CREDENTIAL_VARIABLE: &str = "TOLLGATE_MOCK_CREDENTIAL";
/// The address at which the demonstration's configuration expects the mock channel.
const MOCK_ADDRESS: &str = "127.0.0.1:8081";

pub(super) fn run_mock(
    listen: &[SocketAddr],
    credential: String,
    render_seconds: u64,
    fault: Option<&str>,
) -> ExitCode {
    let faults = match fault.map(str::parse).transpose() {
        Ok(fault) => fault.into_iter().collect(),
        Err(error) => return super::fail(format!("--fault: {error}")),
    };
    let options = Options {
        credential,
        rendering: Duration::from_secs(render_seconds),
        faults,
        ..Options::default()
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(error),
    };
    let served: io::Result<()> = runtime.block_on(async {
        let mut channels = JoinSet::new();
        for address in listen {
            let listener = listen_on("--listen", *address).await?;
            log::info!(target: mock::LOG, "listens on {}", listener.local_addr()?);
            channels.spawn(mock::run(listener, options.clone()));
        }
        while channels.join_next().await.is_some() {}
        Ok(())
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(error),
    }
}

pub(super) fn run(path: &Path) -> ExitCode {
    super::serve::run_with(path, load, |config| {
        let hints = hints(config);
        async move {
            let address = MOCK_ADDRESS.parse().map_err(io::Error::other)?;
            let listener = listen_on("the mock channel", address).await?;
            let options = Options {
                credential: credential(std::env::var(CREDENTIAL_VARIABLE).ok()),
                ..Options::default()
            };
            tokio::spawn(mock::run(listener, options));
            println!("{hints}");
            Ok(())
        }
    })
}

/// Reads the configuration. If the environment variable of the mock channel's credential is not set, the
/// credential is [`CREDENTIAL`].
fn load(path: &Path) -> Loaded {
    load_with(path, &|name| std::env::var(name).ok())
}

fn load_with(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    config::load_files(path, &|name| match name {
        CREDENTIAL_VARIABLE => Some(credential(env(name))),
        _ => env(name),
    })
}

/// Returns the mock channel's credential: `set`, or [`CREDENTIAL`] if that is `None`.
fn credential(set: Option<String>) -> String {
    set.unwrap_or_else(|| CREDENTIAL.to_owned())
}

async fn listen_on(setting: &str, address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let problem = super::cannot_listen(setting, address, &error);
        io::Error::new(error.kind(), problem)
    })
}

/// Returns the text that the demonstration prints: commands to paste, for the keys of `conf/demo.yaml`.
fn hints(config: &Config) -> String {
    let gate = config.listen.address;
    let metrics = match &config.admin {
        Some(admin) => format!("  curl -s http://{}/metrics | grep cost\n", admin.address),
        None => String::new(),
    };
    format!(
        "Tollgate on http://{gate}, with a mock channel behind it. Paste into another terminal:\n\n\
         create a video (sora-2, 4 s, 1280x720: 0.40 USD list, 2 CNY billed):\n  \
         curl -s http://{gate}/v1/videos -H 'Authorization: Bearer sk-tollgate-demo' \\\n    \
         -F model=sora-2 -F seconds=4 -F size=1280x720 -F prompt='A calico cat playing a piano'\n\n\
         poll it, then download it (put its id for VIDEO_ID):\n  \
         curl -s http://{gate}/v1/videos/VIDEO_ID -H 'Authorization: Bearer sk-tollgate-demo'\n  \
         curl -s http://{gate}/v1/videos/VIDEO_ID/content -H 'Authorization: Bearer sk-tollgate-demo' -o video.mp4\n\n\
         be refused (this key may use sora-2 only):\n  \
         curl -s http://{gate}/v1/videos -H 'Authorization: Bearer sk-tollgate-studio' \\\n    \
         -F model=sora-2-pro -F prompt='A calico cat playing a piano'\n\n\
         see what it cost:\n{metrics}\n\
         Ctrl-C stops it.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that `tollgate demo` runs without any environment variable.
    #[test]
    fn the_demonstration_needs_no_environment() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo.yaml");
        let config = load_with(&path, &|_| None).config.unwrap();
        let channel = &config.channels[0];
        let credential = channel.credential.as_ref().unwrap();
        assert_eq!(credential.expose(), CREDENTIAL);
        let url = &channel.url;
        assert_eq!(format!("{}:{}", url.host, url.port), MOCK_ADDRESS);
    }
}
