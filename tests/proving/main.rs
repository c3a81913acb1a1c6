//! The proving ground: real faults under real traffic, on real components.

mod mesh;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), mesh::trials()).exit_code()
}
