//! The demo: an embedded cluster falls ill and is healed, with the very code that runs elsewhere.

mod heard;
mod stage;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::sync::mpsc;

use super::agent::Running;
use super::board::Boards;
use super::driver::Driver;
use super::feed;
use super::in_process::InProcess;
use super::outbox::Outbox;
use super::queue::{Input, Queues};
use super::screen::Screen;
use crate::clock::Clock;
use crate::cluster::{Cluster, ProxyEyes};
use crate::config::{Brake, History};
use crate::effectors::{Effectors, Notifier};
use crate::journal::{OpenOptions, SqliteJournal, verify};
use crate::model::event::EventKind;
use crate::rules::{RuleFiles, Rules};
use crate::sim::{self, Pace, Sim};
use crate::sources::istiod::Istiod;
use crate::sources::prometheus::Prometheus;
use crate::sources::proxy_check::ProxyCheck;
use heard::Heard;
use stage::Stage;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pace of time.
    pub pace: Pace,
    /// Seed.
    pub seed: u64,
    /// Folder that keeps the journal.
    pub keep: Option<PathBuf>,
    /// Whether people watch.
    pub show: Show,
}

/// How the run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Lines and a chart.
    People,
    /// Only the summary, as JSON.
    Json,
}

/// What came of the run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Seed.
    pub seed: u64,
    /// One entry a fault.
    pub faults: Vec<Healed>,
    /// Records in the journal.
    pub records: u64,
    /// `verified`.
    pub chain: &'static str,
    /// What was refused on purpose, with the reason.
    pub refused: Told,
    /// What was taken back because it did not help.
    pub undone: Told,
}

/// One more incident of the run, and what it is told for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Told {
    /// Its incident.
    pub incident: String,
    /// Why it was refused, or what was taken back.
    pub reason: String,
}

/// What came of one fault. Times are milliseconds since the injection.
#[derive(Clone, Debug, Serialize)]
pub struct Healed {
    /// The fault.
    pub name: &'static str,
    /// Its incident.
    pub incident: String,
    /// The playbook that healed it.
    pub playbook: String,
    /// `recovered`, or the phase it ended in.
    pub outcome: String,
    /// Until the incident opened.
    pub detected_ms: i64,
    /// Until the write was done.
    pub acted_ms: i64,
    /// Until it was right again for long enough.
    pub recovered_ms: i64,
}

/// The revisions of the demo prove themselves fast, so that nobody waits ten minutes for a demo.
const HISTORY: History = History { hold_s: 20, min_requests: 100 };
/// A demo that has not ended by then is broken.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// The simulated clock starts here, so that the same seed gives the same run.
const START: &str = "2026-01-01T00:00:00Z";

/// Between two questions to Prometheus, and to each proxy and istiod.
const POLL: Duration = Duration::from_secs(2);
const CHECK: Duration = Duration::from_secs(10);

/// Runs the demo.
///
/// # Errors
/// The journal cannot be written, or the run did not end.
pub fn run(options: Options) -> anyhow::Result<Summary> {
    let temporary = options.keep.is_none();
    let folder = match &options.keep {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("meshmend-demo-{}", super::run::random_word()?)),
    };
    // A temporary one must not be there yet: somebody else could have put something into it.
    let made = std::fs::DirBuilder::new().mode(0o700).recursive(!temporary).create(&folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let journal = folder.join("journal.db");
    let path = journal.clone();
    let summary = sim::run(options.pace, move || async move { heal(&options, &path).await })?;
    if temporary {
        std::fs::remove_dir_all(&folder).ok();
    }
    summary
}

async fn heal(options: &Options, path: &Path) -> anyhow::Result<Summary> {
    let clock = Clock::starting_at(START.parse()?);
    let files = files();
    let rules = Arc::new(Rules::load(&files, None).map_err(super::files::Mistakes)?.rules);

    let sim = Sim::new(options.seed, clock);
    let cluster = Arc::new(Cluster::new(sim.client(), vec!["*".to_owned()]));
    let boards = boards(&sim, &cluster, &rules, clock);
    let id = format!("d{}", options.seed);
    let journal = SqliteJournal::open(path, &OpenOptions { id: Some(id.clone()), key_file: None })?;
    let mut driver = Driver::new(Box::new(journal), Arc::clone(&rules), clock)?;
    let failing = driver.failing();
    let heard = Arc::new(Mutex::new(Heard::default()));
    let taking = Arc::clone(&heard);
    let watching = Arc::clone(&boards);
    driver.watch(Box::new(move |state, draft| {
        watching.heed(state, draft);
        taking.lock().unwrap_or_else(PoisonError::into_inner).take(draft);
    }));

    let (results, results_in) = mpsc::unbounded_channel();
    let (sources, sources_in) = mpsc::channel(1_024);
    let (launches, launches_in) = mpsc::unbounded_channel();
    let outbox = outbox((&sim, &cluster, &boards), clock, results.clone());
    feed::first_records(&results, &files, None, id);
    let queues = Queues { results: results_in, sources: sources_in, launches };
    let turning = tokio::spawn(async move {
        let ended = driver.run(queues).await;
        ended.map(|()| driver)
    });
    tokio::spawn(outbox.run(launches_in));
    feed::watch(&cluster, &sources);
    watch(&cluster, &boards, &sources);

    let draining = Arc::new(AtomicBool::new(false));
    let results_out = results.clone();
    let agent = Running {
        cluster,
        boards,
        rules,
        clock,
        failing,
        name: None,
        results: results_out,
        sources,
        draining,
    };
    let screen = Screen::new(options.show, clock.now());
    let mut stage = Stage { agent: &agent, sim: &sim, heard: &heard, screen, clock };
    let played =
        tokio::time::timeout(PATIENCE, stage.play()).await.context("the demo did not end in time")??;
    results.send(Input::event(EventKind::Drain)).ok();
    let driver = turning.await??;
    driver.into_journal().close(clock.now())?;
    let report = verify(path, None, None)?;
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let summary = heard.summarize(options.seed, &played, report.records);
    stage.screen.finish(&heard.lines, &summary);
    Ok(summary)
}

/// What is shipped, with the example policies that let it act.
fn files() -> RuleFiles {
    let mut files = RuleFiles::embedded();
    for name in ["enforce", "gateway-certificates"] {
        let text = RuleFiles::example(name).unwrap_or_default().to_owned();
        files.policies.insert(format!("{name}.yaml"), text);
    }
    files
}

/// Hands that reach the simulated pods in process.
fn outbox(
    (sim, cluster, boards): (&Arc<Sim>, &Arc<Cluster>, &Arc<Boards>),
    clock: Clock,
    results: mpsc::UnboundedSender<Input>,
) -> Arc<Outbox> {
    let effectors = Effectors::new(Arc::clone(cluster), clock, Brake::default().writes)
        .reaching(Arc::new(InProcess(Arc::clone(sim))))
        .with_eyes(Arc::clone(boards) as Arc<dyn ProxyEyes>);
    Arc::new(Outbox {
        effectors,
        boards: Arc::clone(boards),
        notifier: Notifier::default(),
        results,
        running: tokio_util::task::TaskTracker::new(),
    })
}

/// Boards that ask the simulated mesh, in process.
fn boards(sim: &Arc<Sim>, cluster: &Arc<Cluster>, rules: &Arc<Rules>, clock: Clock) -> Arc<Boards> {
    let prometheus = Some(Prometheus::over(sim.prometheus(), clock));
    let boards = Boards::new(Arc::clone(cluster), Arc::clone(rules), prometheus, clock, HISTORY);
    let reach = || Arc::new(InProcess(Arc::clone(sim)));
    Arc::new(boards.with_mesh(Some(ProxyCheck::new(reach(), CHECK)), Some(Istiod::new(reach()))))
}

/// Starts everything that looks at the mesh.
fn watch(cluster: &Arc<Cluster>, boards: &Arc<Boards>, sources: &mpsc::Sender<Input>) {
    let (cluster, boards, sources) = (Arc::clone(cluster), Arc::clone(boards), sources.clone());
    tokio::spawn(async move {
        cluster.wait_synced().await;
        tokio::spawn(Arc::clone(&boards).poll(POLL, sources.clone()));
        tokio::spawn(Arc::clone(&boards).watch_objects(sources.clone()));
        tokio::spawn(Arc::clone(&boards).watch_istiod(CHECK, sources.clone()));
        boards.watch_proxies(CHECK, sources).await;
    });
}
