//! Operators against a live agent: the binary runs the agent on the simulated cluster, which is another
//! process, and speaks to it as people do.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::binary::{folder, ran};

/// Tenths of a second: a minute, on a machine that is busy with all tests at once.
const TRIES: u32 = 600;

/// A process of a test; it ends with it.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        let log = fs::File::create(folder.join(format!("{}.log", args[0]))).expect("a log can be made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshmend"));
        command.args(args).current_dir(folder).env_clear().env("HOME", folder).stdin(Stdio::null());
        let both = log.try_clone().expect("a log has two ends");
        Self(command.stdout(both).stderr(log).spawn().expect("the binary can be started"))
    }

    /// Ends it as Kubernetes does.
    fn terminate(mut self) -> Option<i32> {
        let sent = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status();
        assert!(sent.expect("there is a kill").success());
        let ended = within("it ends", || self.0.try_wait().expect("it is ours"));
        ended.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Asks again and again until there is an answer.
pub(crate) fn within<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..TRIES {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what}: not within a minute")
}

const CONFIG: &str = "apiVersion: meshmend.dev/v1alpha1\nkind: Config\ncluster: { name: tests }\n\
    journal: { sqlite: { path: journal.db } }\n\
    listen: { api: \"127.0.0.1:0\", probes: \"127.0.0.1:0\" }\n\
    sources: { kubernetes: { namespaces: [\"*\"] } }\n";

/// A command that must work; what it printed.
fn fine(folder: &Path, args: &[&str]) -> String {
    let (code, out, err) = ran(folder, &[args, &["--journal", "journal.db"]].concat());
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    out
}

fn listed(folder: &Path, what: &str) -> Value {
    serde_json::from_str(&fine(folder, &[what, "-o", "json"])).expect("JSON")
}

// Mutations: a body that the API does not take; a command that says nothing went wrong where it was refused;
// an abort that names another incident.
#[test]
fn pauses_resumes_and_aborts_reach_a_live_agent() {
    let dir = folder();
    let at = dir.path();
    fs::write(at.join("meshmend.yaml"), CONFIG).expect("the folder can be written");
    // A certificate that nobody renewed: its case waits, because the mode is observe.
    let sim =
        Process::start(at, &["sim", "--kubeconfig", "sim.kubeconfig", "--fault", "expiring_certificate"]);
    within("the cluster is there", || {
        fs::metadata(at.join("sim.kubeconfig")).ok().filter(|file| file.len() > 0)
    });
    let agent = Process::start(at, &["run", "--config", "meshmend.yaml", "--kubeconfig", "sim.kubeconfig"]);
    within("the agent answers", || (ran(at, &["pauses", "--journal", "journal.db"]).0 == 0).then_some(()));
    assert_eq!(listed(at, "pauses")["pauses"], json!([]));

    let out = fine(at, &["pause", "--namespace", "shop", "--for", "1h", "--reason", "release of cart"]);
    assert!(out.starts_with("namespace shop is paused until "), "{out}");
    let pauses = listed(at, "pauses")["pauses"].clone();
    assert_eq!(
        (&pauses[0]["reach"], &pauses[0]["reason"]),
        (&json!({ "namespace": "shop" }), &json!("release of cart"))
    );
    assert_eq!(fine(at, &["resume", "--namespace", "shop"]).trim(), "namespace shop is resumed");
    assert_eq!(listed(at, "pauses")["pauses"], json!([]));
    for (args, says) in [
        (&["resume", "--namespace", "shop"][..], "shop"),
        (&["pause", "--for", "8d", "--reason", "x"], "7d"),
        (&["abort", "nobody-00001", "--reason", "x"], "nobody-00001"),
    ] {
        let (code, _, err) = ran(at, &[args, &["--journal", "journal.db"]].concat());
        assert!(code == 1 && err.contains(says), "{args:?}: {code} {err}");
    }

    let id = within("the case waits", || {
        let all = listed(at, "incidents")["incidents"].as_array().cloned().unwrap_or_default();
        let waits = all.into_iter().find(|case| case["phase"] == "planned" && !case["verdict"].is_null());
        waits.map(|case| case["id"].as_str().expect("it has an id").to_owned())
    });
    fine(at, &["abort", &id, "--reason", "we do this by hand"]);
    let all = listed(at, "incidents");
    let case = all["incidents"].as_array().expect("a list").iter().find(|case| case["id"] == id.as_str());
    assert_eq!(case.expect("it is kept")["phase"], "suppressed");

    assert_eq!(agent.terminate(), Some(0), "SIGTERM ends it with 0");
    drop(sim);
    let out = fine(at, &["audit", "show"]);
    for kind in ["paused", "resumed", "aborted"] {
        assert!(out.contains(kind), "{kind} is not in {out}");
    }
    assert!(fine(at, &["audit", "verify"]).contains("chain unbroken"));
}
