//! Never worse: random worlds, each run twice from one seed, once with the agent and once without it.
//!
//! `truth` is what is so, `observed` what proxies, Prometheus and Alertmanager show of it, `script` what
//! happens and when. Truth and what is observed of it know of each other only by `truth`'s counters, and none
//! of the three knows that an agent exists.

#[expect(dead_code, reason = "no world is drawn yet")]
mod draw;
#[expect(dead_code, reason = "no world is drawn yet")]
mod topology;
#[expect(dead_code, reason = "what is observed of it and what happens in it read the rest")]
mod truth;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let trials: Vec<Trial> = truth::trials();
    libtest_mimic::run(&args, trials).exit_code()
}
