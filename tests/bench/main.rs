//! The benchmark: how fast the shipped binary is, with every flush on, on the machine at hand.
//!
//! ```text
//! cargo bench                       all cases, some minutes
//! cargo bench -- burst              cases whose name begins so
//! cargo bench -- --strict           exit 1 when a bar is missed
//! cargo bench -- --rounds 5         best of five instead of three
//! ```
//!
//! Each case starts the real agent as a process of its own: the API server of the simulation on loopback,
//! the journal on a disk, alerts by HTTP, and a sink that takes the notifications. Load, sink and simulation
//! share the machine's cores with the agent. Clocks decide nothing in CI: there the counts of
//! `tests/agent/counts.rs` are the gate, and this is only built.

mod agent;
mod cases;
mod health;
mod load;
mod machine;
mod pods;
mod sink;

use std::io::Write as _;
use std::process::ExitCode;

use cases::{Case, Figure};

/// Runs of a case, of which the best counts: other work on the machine only ever makes a run slower.
const ROUNDS: usize = 3;

struct Wishes {
    strict: bool,
    rounds: usize,
    only: Vec<String>,
}

fn wishes() -> Wishes {
    let mut found = Wishes { strict: false, rounds: ROUNDS, only: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--strict" => found.strict = true,
            "--rounds" => found.rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS).max(1),
            // Cargo passes these to every benchmark.
            "--bench" | "--test" => {}
            name => found.only.push(name.to_owned()),
        }
    }
    found
}

fn say(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == pods::KEEP) {
        return if pods::keep().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let wishes = wishes();
    say(&machine::describe());
    say(&format!("best of {} rounds each; load, sink and simulation run beside the agent", wishes.rounds));
    say("");
    let mut missed = 0;
    for case in Case::ALL {
        if !wishes.only.is_empty() && !wishes.only.iter().any(|name| case.name().starts_with(name.as_str())) {
            continue;
        }
        match case.run(wishes.rounds) {
            Ok(figures) => missed += figures.iter().filter(|figure| !tell(figure)).count(),
            Err(error) => {
                say(&format!("FAIL  {}: {error:#}", case.name()));
                missed += 1;
            }
        }
    }
    say("");
    say(&format!("{missed} bars missed"));
    if missed > 0 && wishes.strict { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Prints a figure beside its bar; whether the bar is met.
fn tell(figure: &Figure) -> bool {
    let met = figure.met();
    let mark = if met { "ok  " } else { "MISS" };
    say(&format!(
        "{mark}  {:<58} {:>12}  {}",
        figure.what,
        figure.shown(),
        figure.bar.map_or_else(String::new, |bar| bar.shown(figure.unit)),
    ));
    met
}
