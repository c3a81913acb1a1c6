//! The proving ground: real faults under real traffic. Each proof runs in namespaces of its own, with a whole
//! control plane, a stub of a kubelet that runs pods as processes, Envoys, and the agent.
//!
//! `tests/run.sh --proofs` fetches and builds what it needs and names it in the environment. Where a part or
//! a right is missing the proofs are listed as ignored, and a line says why.
//!
//! The same program plays the parts of pods: `--role=app`, `--role=proxy` and `--role=istiod`.

#[path = "../cluster/agent.rs"]
#[expect(dead_code, reason = "the tests on a real API server use the rest")]
mod agent;
mod app;
#[path = "../cluster/certificates.rs"]
mod certificates;
#[path = "../cluster/control_plane.rs"]
#[expect(dead_code, reason = "the tests on a real API server use the rest")]
mod control_plane;
#[path = "../cluster/grant.rs"]
mod grant;
#[expect(dead_code, reason = "each proof uses a part of it")]
mod ground;
mod isolation;
mod kubelet;
mod mesh;
mod monitoring;
mod parts;
#[path = "../cluster/port_forward.rs"]
mod port_forward;
#[path = "../cluster/process.rs"]
mod process;
mod proofs;
mod proxy;
mod table;
mod traffic;
#[path = "../cluster/wait.rs"]
mod wait;
#[path = "../cluster/proxy.rs"]
#[expect(dead_code, reason = "the tests on a real API server use the rest")]
mod way;

use std::io::Write as _;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use parts::Parts;
use proofs::{ALONE, PROOFS, Proof};

/// Proofs mostly wait, but each of them starts a control plane: two a core at once.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider().install_default().ok();
    if let Some(played) = mesh::istiod::role() {
        return ended("istiod", played.map(|()| ExitCode::SUCCESS));
    }
    let mut words = std::env::args().skip(1);
    match words.next().as_deref().and_then(|word| word.strip_prefix("--role=")) {
        Some("proof") => isolation::prove(&words.next().unwrap_or_default()),
        Some(role) => play(role),
        None => test(),
    }
}

/// A part of a pod.
fn play(role: &str) -> ExitCode {
    let played = match role {
        "app" => app::run(),
        "proxy" => proxy::run(),
        "istiod" => proxy::istiod(),
        other => Err(anyhow::anyhow!("no part is called {other}")),
    };
    ended(role, played)
}

fn ended(role: &str, played: anyhow::Result<ExitCode>) -> ExitCode {
    match played {
        Ok(code) => code,
        Err(error) => {
            say(&format!("{role}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn test() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    let missing = Parts::find().and_then(|_| isolation::possible()).err();
    if let Some(why) = missing.as_ref().filter(|_| !args.list) {
        say(&format!(
            "left out: the {} proofs of the proving ground, because {why}",
            PROOFS.len() + ALONE.len()
        ));
    }
    let trials = |of: &'static [(&'static str, Proof)]| {
        let ignored = missing.is_some();
        of.iter().map(move |(name, _)| Trial::test(*name, || isolation::run(name)).with_ignored_flag(ignored))
    };
    let together = libtest_mimic::run(&args, trials(PROOFS).chain(mesh::trials()).collect());
    args.test_threads = Some(1);
    let alone = libtest_mimic::run(&args, trials(ALONE).collect());
    match table::show(together.num_failed + alone.num_failed) {
        Ok(()) if together.has_failed() => together.exit_code(),
        Ok(()) => alone.exit_code(),
        Err(error) => ended("table", Err(error)),
    }
}

fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}
