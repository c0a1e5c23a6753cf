//! The command line: its arguments, and the modules of its commands.

mod adjust;
mod beside;
mod bill;
mod check;
mod demo;
mod health;
mod job;
mod key;
mod log_format;
mod log_limit;
mod log_queue;
mod log_request;
mod open_files;
mod reload;
mod reloads;
mod serve;
mod systemd;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A streaming gate for paid video generation.
///
/// Tollgate is a proxy in front of channels that speak the OpenAI Videos API (/v1/videos). It
/// checks the key and the body of a request while it streams through, replaces the client's key
/// by the channel's, charges each client key for what is rendered, and has metrics for Prometheus.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tollgate check --config conf/tollgate.yaml   is this configuration in order?
  tollgate serve --config conf/tollgate.yaml   run the gate; SIGHUP loads the file anew
  tollgate key new studio-a                    make a client key, and print what to paste
  tollgate mock                                a stand-in for a channel, on 127.0.0.1:8081
  tollgate demo --config conf/demo.yaml        the gate with that stand-in behind it

The level of the log is RUST_LOG: error, warn, info (the default) or debug.";

#[derive(Subcommand)]
enum Command {
    /// Run the gate.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Find the problems that would prevent `serve` from starting: those of the configuration, with
    /// file, line and column (an error of form, such as an unknown key, is reported alone); then
    /// those of the certificate, the ledger's file and the addresses. A running gate is not
    /// disturbed. The exit code is 0 if there is no problem and 1 otherwise.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Also connect to PostgreSQL, and request one entry of each channel's list.
        #[arg(long)]
        online: bool,
    },
    /// Make client keys.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Ask a gate whether it is ready. The exit code is 0 if it is, and 1 otherwise.
    Health {
        /// The gate's admin address.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
        address: SocketAddr,
    },
    /// Print everything that the ledger knows of a charge: each step with its time and reason.
    ///
    /// For disputes. A gate that uses the ledger is not disturbed.
    Job {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        wanted: job::Wanted,
    },
    /// Print the bill of a month: lines with unit prices, and totals by key and currency.
    ///
    /// A charge is billed in the month (UTC) in which it was posted, an adjustment in the month in
    /// which it was recorded. So the bill of a past month does not change. A gate that uses the
    /// ledger is not disturbed.
    Bill {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        wanted: bill::Wanted,
    },
    /// Take the cost of a posted job off the bill.
    ///
    /// The void is a separate line in the bill of the current month. The cost no longer counts towards
    /// the limits of the key and its group. A job is voided once: a repetition changes nothing. A gate
    /// may be running.
    Void {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        wanted: adjust::WantedVoid,
    },
    /// Take an amount off the bill of a key.
    ///
    /// The credit is a separate line in the bill of the current month, and changes no limit. With --id
    /// the command can be repeated safely. A gate may be running.
    Credit {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        wanted: adjust::WantedCredit,
    },
    /// List the starts of gates and the reloads of their configurations, with what each changed.
    Reloads {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        wanted: reloads::Wanted,
    },
    /// Run the mock channel alone: the whole Videos API without a renderer.
    ///
    /// Jobs progress with time and end as a small playable MP4. Counters of the requests are
    /// at /mock/stats, the last requests at /mock/requests. To cause a fault, write
    /// [mock:FAULT] into a prompt, send the header x-mock-fault, or use --fault.
    Mock {
        /// The address to listen on. If given several times, as many independent channels run.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
        listen: Vec<SocketAddr>,
        /// The credential that requests must present.
        #[arg(long, value_name = "TEXT", default_value = demo::CREDENTIAL)]
        credential: String,
        /// Seconds for which a job is rendered, after one second in the queue.
        #[arg(long, value_name = "SECONDS", default_value_t = 3)]
        render_seconds: u64,
        /// A fault for every create, such as 500, slow=2000, drop-after or moderated; for
        /// other requests poll:500, list:500, content:500, delete:500 or any:500.
        #[arg(long, value_name = "FAULT")]
        fault: Option<String>,
    },
    /// Run the gate with the mock channel behind it and print what to paste.
    Demo {
        /// The configuration file, with the mock channel on 127.0.0.1:8081 as a channel.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a random client key of 256 bits. Prints the key, which is stored nowhere, and its entry
    /// for the configuration, which contains only the key's SHA-256.
    New {
        /// The name that labels the key in the bill, the metrics and the log.
        name: Option<String>,
        /// The key's group, which sets its price: one of `groups` in the configuration.
        #[arg(long)]
        group: Option<String>,
    },
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    init_log();
    let code = match arguments.command {
        Command::Serve { config } => serve::run(&config),
        Command::Check { config, online } => check::run(&config, online),
        Command::Health { address } => health::run(address),
        Command::Job { config, wanted } => job::run(&config, &wanted),
        Command::Bill { config, wanted } => bill::run(&config, &wanted),
        Command::Void { config, wanted } => adjust::void(&config, &wanted),
        Command::Credit { config, wanted } => adjust::credit(&config, &wanted),
        Command::Reloads { config, wanted } => reloads::run(&config, &wanted),
        Command::Demo { config } => demo::run(&config),
        Command::Key {
            command: KeyCommand::New { name, group },
        } => key::new(name.as_deref(), group.as_deref()),
        Command::Mock {
            listen,
            credential,
            render_seconds,
            fault,
        } => demo::run_mock(&listen, credential, render_seconds, fault.as_deref()),
    };
    log::logger().flush();
    code
}

/// Sets up the log, which goes to standard error. The HTTP libraries are kept at `warn`: at lower levels
/// they log the heads of requests, and with them client keys.
fn init_log() {
    let mut filter = env_filter::Builder::new();
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    filter.parse(&directives);
    for library in ["pingora", "pingora_core", "pingora_proxy", "h2", "hyper"] {
        filter.filter_module(library, log::LevelFilter::Warn);
    }
    // In RUST_LOG, the text after a slash is a filter on messages.
    log_limit::Limited::install(filter.build(), directives.contains('/'));
}

/// Returns the message that the gate cannot listen on `address`, with the name of the setting and the
/// remedy.
fn cannot_listen(setting: &str, address: SocketAddr, error: &io::Error) -> String {
    let what_to_do = match error.kind() {
        io::ErrorKind::AddrInUse => "another process has it: end that, or write another address",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: write one that it has, or 0.0.0.0 for all of them"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 want the capability CAP_NET_BIND_SERVICE, or a socket of systemd's: \
             write a higher one, or give it that"
        }
        _ => "write another address",
    };
    format!("{setting}: cannot listen on {address}: {error}; {what_to_do}")
}

/// Prints the problem to standard error, as a log line if the log is JSON, and returns the exit code.
fn fail(problem: impl std::fmt::Display) -> ExitCode {
    // The lines logged before the failure come first.
    log::logger().flush();
    eprintln!("{}", log_format::last_words(&problem.to_string()));
    ExitCode::FAILURE
}
