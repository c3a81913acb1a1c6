//! The command line: arguments, exit codes, and what people read.
//!
//! Exit codes: 0 fine, 1 failure, 2 findings, 64 bad usage or configuration.

mod abort;
mod args;
mod audit;
mod check;
mod client;
mod commands;
mod health;
mod operators;
mod people;
mod rbac;
mod restore;
mod rights;
mod simulation;
mod windows;
mod work;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use commands::Cli;

/// Fine.
pub const FINE: u8 = 0;
/// Something failed.
pub const FAILED: u8 = 1;
/// The command worked and found something: a difference, a broken chain, a mistake in a rule.
pub const FINDINGS: u8 = 2;
/// Bad usage or configuration.
pub const USAGE: u8 = 64;

/// Bad usage, found after the arguments were read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // One provider for all of TLS; installing it twice is the only way to fail.
    rustls::crypto::ring::default_provider().install_default().ok();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok();
            let fine = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // clap's own 2 means findings here.
            return ExitCode::from(if fine { FINE } else { USAGE });
        }
    };
    // Most commands run scripts, and those want more stack than a process starts with.
    let work = std::thread::Builder::new().name("command".to_owned()).stack_size(crate::rules::STACK);
    let done = work.spawn(move || commands::dispatch(cli)).map_err(anyhow::Error::from);
    let panicked = || anyhow::anyhow!("the command panicked; the message above says where");
    match done.and_then(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            writeln!(std::io::stderr(), "{}", complaint(&error)).ok();
            ExitCode::from(code_of(&error))
        }
    }
}

fn complaint(error: &anyhow::Error) -> String {
    let mut text = format!("meshmend: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    text
}

fn code_of(error: &anyhow::Error) -> u8 {
    let usage = error.is::<crate::cluster::NoCluster>()
        || error.is::<crate::config::Unusable>()
        || error.chain().any(|cause| {
            cause.is::<Usage>()
                || cause.is::<crate::config::Mistakes>()
                || cause.is::<crate::app::files::Mistakes>()
        });
    if usage { USAGE } else { FAILED }
}
