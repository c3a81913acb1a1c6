//! The proving ground: real faults under real traffic, on real components.

mod mesh;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().ok();
    libtest_mimic::run(&Arguments::from_args(), mesh::trials()).exit_code()
}
