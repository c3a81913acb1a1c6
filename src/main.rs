//! The binary: arguments to the library, and its answers to exit codes.

use std::process::ExitCode;

/// A fifth faster than the system's in a storm of alerts, and no larger when it is over.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    meshmend::cli::main()
}
