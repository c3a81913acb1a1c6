//! The proving ground: real faults under real traffic, on real components.

mod mesh;

use std::io::Write as _;
use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().ok();
    match mesh::istiod::role() {
        Some(Ok(())) => return ExitCode::SUCCESS,
        Some(Err(error)) => {
            writeln!(std::io::stderr(), "{error:#}").ok();
            return ExitCode::FAILURE;
        }
        None => {}
    }
    libtest_mimic::run(&Arguments::from_args(), mesh::trials()).exit_code()
}
