//! Isolation: a proof runs as a child process in network, process and mount namespaces of its own. Ports never
//! clash, several run at once, and when the child ends the kernel kills everything that it left.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Failed;
use tokio::time::Instant;

use crate::control_plane::{ControlPlane, Extent};
use crate::ground::Ground;
use crate::parts::Parts;
use crate::proofs::{ALONE, PROOFS, Proof};
use crate::{process, say, table};

/// No proof takes longer; each of its own waits is shorter.
const LIMIT: Duration = Duration::from_secs(600);
/// The child tells by itself that it took too long; killed from outside it could not say where it hung.
const GRACE: Duration = Duration::from_secs(30);
/// Last lines of what a failed proof said that are printed; the whole is kept.
const LINES: usize = 150;
/// How a program is started in new namespaces. `--kill-child` ends it when `unshare` is killed.
const UNSHARE: [&str; 6] = ["--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"];
/// The first process of the namespace. Addresses of pods and Services must not be loopback ones, because
/// EndpointSlices refuse those; on `lo` every address of both ranges is local, and nothing leaves. It stays
/// and reaps the processes whose parents were killed.
const FIRST: &str = "ip link set lo up && ip addr add 10.244.0.1/16 dev lo && \
                     ip addr add 10.96.0.1/16 dev lo && \"$0\" \"$@\"; exit $?";

/// Whether there can be namespaces.
///
/// # Errors
/// Why not.
pub(crate) fn possible() -> Result<(), String> {
    let tried = Command::new("unshare").args(UNSHARE).args(["sh", "-c", FIRST, "true"]).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("no namespaces are to be had ({said}); they need root, unshare and ip"))
        }
        Err(error) => Err(format!("unshare does not start ({error}); it is a part of util-linux")),
    }
}

/// Runs one proof in a child. Says what the proof reports, and keeps everything when it fails.
pub(crate) fn run(name: &str) -> Result<(), Failed> {
    let folder = tempfile::Builder::new().prefix(&format!("meshmend-proving-{name}-")).tempdir()?.keep();
    match watch(name, &folder) {
        Ok(report) => {
            say(&format!("{name}\n{report}"));
            let place = PROOFS.iter().chain(ALONE).position(|(known, _)| *known == name);
            table::gather(place.unwrap_or(usize::MAX), &folder)?;
            std::fs::remove_dir_all(&folder)?;
            Ok(())
        }
        Err(error) => Err(Failed::from(format!("{error:#}\neverything is kept in {}", folder.display()))),
    }
}

fn watch(name: &str, folder: &Path) -> anyhow::Result<String> {
    let (report, said) = (folder.join("report.txt"), folder.join("proof.txt"));
    let mut child = Command::new("unshare")
        .args(UNSHARE)
        .args(["sh", "-c", FIRST])
        .arg(std::env::current_exe()?)
        .args(["--role=proof", name])
        // Everything that makes a temporary file makes it there.
        .env("TMPDIR", folder)
        .stdin(Stdio::piped())
        .stdout(File::create(&report)?)
        .stderr(File::create(&said)?)
        .spawn()
        .context("unshare did not start")?;
    let ended = wait(&mut child, LIMIT + GRACE)?;
    let text = std::fs::read_to_string(&report)?;
    if ended.is_some_and(|status| status.success()) {
        return Ok(text);
    }
    let how = ended.map_or_else(|| "it was killed: too late".to_owned(), |status| status.to_string());
    let said = std::fs::read(&said)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
    anyhow::bail!("{how}\n{text}{last}")
}

fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// The child: the proof itself.
pub(crate) fn prove(name: &str) -> ExitCode {
    // When the test that started it has gone, this ends, and with it everything in the namespaces.
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(3);
    });
    let Some((_, proof)) = PROOFS.iter().chain(ALONE).find(|(known, _)| *known == name) else {
        say(&format!("no proof is called {name}"));
        return ExitCode::FAILURE;
    };
    match proven(*proof) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{}\n{error:#}", process::logs(&std::env::temp_dir())));
            ExitCode::FAILURE
        }
    }
}

fn proven(proof: Proof) -> anyhow::Result<()> {
    let start = Instant::now();
    let parts = Parts::find().map_err(anyhow::Error::msg)?;
    let plane = ControlPlane::start(&parts.control_plane, Extent::Whole)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let proven = runtime.block_on(async {
        let ground = Ground::start(plane, parts).await?;
        ground.report("control plane and nodes", start.elapsed())?;
        let proven = proof(&ground);
        tokio::time::timeout(LIMIT.saturating_sub(start.elapsed()), proven).await.context("it did not end")?
    });
    // What hangs on purpose is not waited for.
    runtime.shutdown_background();
    proven
}
