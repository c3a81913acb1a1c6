//! The agent under test: the shipped binary as a process, on a simulated cluster, with a sink beside it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use meshmend::clock::Clock;
use meshmend::sim::Sim;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::machine;
use crate::sink::Sink;

/// The token of whoever sends alerts.
pub(crate) const TOKEN: &str = "bench-0123456789abcdef";

/// Longer than any case takes; who waits so long waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running agent with its surroundings. Its files go with it.
pub(crate) struct Agent {
    child: Child,
    folder: tempfile::TempDir,
    /// Where its API listens.
    pub(crate) host: String,
    probes: String,
    /// What it tells people.
    pub(crate) sink: Arc<Sink>,
    /// From the start of the process to `/readyz`.
    pub(crate) ready_after: Duration,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A playbook of ordinary size that listens to something else.
fn bystander(number: usize) -> String {
    format!(
        r#"//! Tell people about condition {number} of the payment gateway.
//!
//! Hears:   an alert of its own.
//! Does:    sends one notification.
//! Undo:    none, nothing is changed.

fn about() {{
    #{{
        on: [alert("PaymentGateway{number}", #{{ severity: "critical" }})],
        priority: 10,
    }}
}}

fn applies() {{ this.subject.kind == "Namespace" }}

fn plan(facts) {{
    if this.signals > 100 {{ return refuse("this was told often enough"); }}
    let what = this.symptom + " on " + this.subject.kind + " " + this.subject.name;
    [notify(what + " needs a person: meshmend explain " + this.id)]
}}
"#
    )
}

impl Agent {
    /// Starts an agent with the playbook `notify-only` and so many others, and waits until it is ready.
    pub(crate) async fn start(bystanders: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(machine::folder())?;
        let (api, probes) = (free().await?, free().await?);
        let (sink, url) = Sink::listen().await?;
        let cluster = serve_cluster().await?;
        write(folder.path(), bystanders, [&api, &probes], &url, &cluster)?;
        let log = File::create(folder.path().join("agent.log"))?;
        let begun = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_meshmend"))
            .args(["run", "--config", "meshmend.yaml", "--kubeconfig", "kubeconfig"])
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the agent did not start")?;
        let ready_after = Duration::ZERO;
        let mut agent = Self { child, folder, host: api, probes, sink, ready_after };
        agent.until_ready(begun).await?;
        agent.ready_after = begun.elapsed();
        Ok(agent)
    }

    async fn until_ready(&mut self, begun: Instant) -> anyhow::Result<()> {
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.folder.path().join("agent.log"))?;
                bail!("the agent ended ({status}): {log}");
            }
            if self.probe("/readyz").await.is_ok_and(|text| text.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("the agent is not ready after {} s", PATIENCE.as_secs())
    }

    async fn probe(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = tokio::net::TcpStream::connect(&self.probes).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.probes);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// How many outcomes of notifications are durable, as the agent counts them after each commit.
    pub(crate) async fn outcomes(&self) -> anyhow::Result<usize> {
        let text = self.probe("/metrics").await?;
        let line = text.lines().find(|line| line.starts_with("meshmend_records_total{kind=\"notified\"}"));
        Ok(line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0))
    }

    /// Waits until so many outcomes are durable.
    pub(crate) async fn until_told(&self, outcomes: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.outcomes().await? >= outcomes {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("{} of {outcomes} outcomes after {} s", self.outcomes().await?, PATIENCE.as_secs())
    }

    /// Resident memory in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        machine::resident_mib(self.child.id())
    }

    /// Processor time so far, in seconds.
    pub(crate) fn processor_s(&self) -> f64 {
        machine::processor_s(self.child.id())
    }

    /// Where its journal lies.
    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.path().join("journal.db")
    }

    /// Incidents that the journal holds, and those with more or less than one delivered notification.
    pub(crate) fn journalled(&self) -> anyhow::Result<(usize, usize)> {
        let db = read_only(&self.journal())?;
        let count = |query: &str| -> anyhow::Result<usize> {
            let found: i64 = db.query_row(query, [], |row| row.get(0))?;
            Ok(usize::try_from(found)?)
        };
        let incidents = count("SELECT count(DISTINCT incident) FROM records WHERE incident IS NOT NULL")?;
        let once = count(
            "SELECT count(*) FROM (SELECT incident FROM records WHERE kind = 'notified' \
             GROUP BY incident HAVING count(*) = 1)",
        )?;
        Ok((incidents, incidents.abs_diff(once)))
    }
}

/// The journal as another process may read it at any time.
pub(crate) fn read_only(journal: &Path) -> anyhow::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(journal, flags)?;
    db.busy_timeout(Duration::from_secs(5))?;
    Ok(db)
}

/// A free address on loopback.
async fn free() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string())
}

async fn serve_cluster() -> anyhow::Result<String> {
    let sim = Sim::new(1, Clock::system(None));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = sim.api_router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

fn write(
    folder: &Path,
    bystanders: usize,
    [api, probes]: [&str; 2],
    sink: &str,
    cluster: &str,
) -> anyhow::Result<()> {
    let put = |name: &str, text: &str| -> anyhow::Result<()> {
        File::create(folder.join(name))?.write_all(text.as_bytes())?;
        Ok(())
    };
    std::fs::create_dir(folder.join("playbooks"))?;
    put("playbooks/notify-only.rhai", include_str!("../../playbooks/notify-only.rhai"))?;
    for number in 0..bystanders {
        put(&format!("playbooks/bystander-{number:05}.rhai"), &bystander(number))?;
    }
    put("token", TOKEN)?;
    put("sink", sink)?;
    let config = json!({
        "apiVersion": "meshmend.dev/v1alpha1", "kind": "Config", "playbooks": "playbooks",
        "journal": { "sqlite": { "path": "journal.db" } },
        "listen": { "api": api, "probes": probes },
        "tokens": [ { "name": "alertmanager", "roles": ["intake"], "file": "token" } ],
        "sources": { "kubernetes": { "namespaces": ["*"] }, "alertmanager": {} },
        "notify": { "webhook": { "urlFile": "sink" } },
        // What is measured is how fast it could, not how fast it may: by default twenty news a second leave.
        "brake": { "notifications": "off" },
    });
    put("meshmend.yaml", &config.to_string())?;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "sim",
        "clusters": [ { "name": "sim", "cluster": { "server": cluster } } ],
        "users": [ { "name": "sim", "user": {} } ],
        "contexts": [ { "name": "sim", "context": { "cluster": "sim", "user": "sim" } } ],
    });
    put("kubeconfig", &kubeconfig.to_string())
}
