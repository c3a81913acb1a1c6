//! The binary: arguments to the library, and its answers to exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshmend::cli::main()
}
