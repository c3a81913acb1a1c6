//! The demo: an embedded cluster falls ill and is healed, with the very code that runs elsewhere.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;

use super::agent::Running;
use super::board::Boards;
use super::driver::Driver;
use super::feed;
use super::outbox::Outbox;
use super::queue::{Input, Queues};
use super::screen::Screen;
use super::story::{self, Line};
use crate::api::Agent as _;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::{Brake, History};
use crate::effectors::{Effectors, Notifier};
use crate::journal::{OpenOptions, SqliteJournal, verify};
use crate::model::change::Change;
use crate::model::event::EventKind;
use crate::model::history::Standing;
use crate::model::incident::Phase;
use crate::model::plan::{Direction, Outcome};
use crate::model::record::Draft;
use crate::rules::{RuleFiles, Rules};
use crate::sim::{self, Fault, Pace, Sim};
use crate::sources::prometheus::Prometheus;

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
const PATIENCE: Duration = Duration::from_secs(900);
/// The simulated clock starts here, so that the same seed gives the same run.
const START: &str = "2026-01-01T00:00:00Z";

/// What the records of the run said.
#[derive(Default)]
struct Heard {
    incident: String,
    playbook: String,
    detected: Option<Timestamp>,
    acted: Option<Timestamp>,
    ended: Option<(Phase, Timestamp)>,
    lines: Vec<(Timestamp, Line)>,
}

impl Heard {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the summary needs four kinds of changes")]
    fn take(&mut self, draft: &Draft) {
        let at = draft.event.at;
        for change in &draft.changes {
            match change {
                Change::Opened { incident, .. } => {
                    self.incident = incident.to_string();
                    self.detected = Some(at);
                }
                Change::Planned { plan, .. } => self.playbook.clone_from(&plan.playbook),
                Change::StepEnded {
                    direction: Direction::Forward, outcome: Outcome::Done { .. }, ..
                } => {
                    self.acted = Some(at);
                }
                Change::Ended { phase, .. } => self.ended = Some((*phase, at)),
                _ => {}
            }
        }
        self.lines.extend(story::lines(draft).into_iter().map(|line| (at, line)));
    }
}

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
    let mut files = RuleFiles::embedded();
    let enforce = RuleFiles::example("enforce").unwrap_or_default().to_owned();
    files.policies.insert("enforce.yaml".to_owned(), enforce);
    let rules = Rules::load(&files, None).map_err(super::files::Mistakes)?.rules;
    let rules = Arc::new(rules);

    let sim = Sim::new(options.seed, clock);
    let cluster = Arc::new(Cluster::new(sim.client(), vec!["*".to_owned()]));
    let prometheus = Some(Prometheus::over(sim.prometheus(), clock));
    let boards = Arc::new(Boards::new(Arc::clone(&cluster), Arc::clone(&rules), prometheus, clock, HISTORY));

    let id = format!("d{}", options.seed);
    let journal = SqliteJournal::open(path, &OpenOptions { id: Some(id.clone()), key_file: None })?;
    let mut driver = Driver::new(Box::new(journal), Arc::clone(&rules), clock)?;
    let failing = driver.failing();
    let heard = Arc::new(Mutex::new(Heard::default()));
    let taking = Arc::clone(&heard);
    driver.watch(Box::new(move |_, draft| taking.lock().unwrap_or_else(PoisonError::into_inner).take(draft)));

    let (results, results_in) = mpsc::unbounded_channel();
    let (sources, sources_in) = mpsc::channel(1_024);
    let (launches, launches_in) = mpsc::unbounded_channel();
    let outbox = Arc::new(Outbox {
        effectors: Effectors::new(Arc::clone(&cluster), clock, Brake::default().writes),
        boards: Arc::clone(&boards),
        notifier: Notifier::default(),
        results: results.clone(),
        running: tokio_util::task::TaskTracker::new(),
    });
    feed::first_records(&results, &files, None, id);
    let queues = Queues { results: results_in, sources: sources_in, launches };
    let turning = tokio::spawn(async move {
        let ended = driver.run(queues).await;
        ended.map(|()| driver)
    });
    tokio::spawn(outbox.run(launches_in));
    feed::watch(&cluster, &sources);
    tokio::spawn(Arc::clone(&boards).poll(Duration::from_secs(2), sources.clone()));

    let agent = Running {
        cluster,
        boards,
        rules,
        clock,
        failing,
        name: None,
        results: results.clone(),
        sources,
        draining: Arc::new(AtomicBool::new(false)),
    };
    let mut screen = Screen::new(options.show, clock.now());
    let work = scenario(&agent, &sim, &heard, &mut screen, clock);
    let injected = tokio::time::timeout(PATIENCE, work).await.context("the demo did not end in time")??;
    results.send(Input::event(EventKind::Drain)).ok();
    let driver = turning.await??;
    driver.into_journal().close(clock.now())?;
    let report = verify(path, None, None)?;
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let summary = summarize(options.seed, &heard, injected, report.records);
    screen.finish(&heard.lines, &summary);
    Ok(summary)
}

/// Waits until the route has proven itself, lets it go wrong, and waits for the end.
async fn scenario(
    agent: &Running,
    sim: &Arc<Sim>,
    heard: &Arc<Mutex<Heard>>,
    screen: &mut Screen,
    clock: Clock,
) -> anyhow::Result<Timestamp> {
    agent.cluster.wait_synced().await;
    let mut injected = None;
    let mut calm = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        {
            let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            screen.show(&heard.lines, sim.error_rate("cart.shop.svc.cluster.local", 3), clock.now());
            if heard.ended.is_some() {
                calm += 1;
            }
        }
        if calm > 3 {
            break;
        }
        if injected.is_none() && proven(agent).await? {
            let fault = sim.inject(Fault::BadRoute);
            heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .lines
                .push((fault.at, injected_line(&fault)));
            injected = Some(fault.at);
        }
    }
    injected.context("nothing was injected")
}

fn injected_line(fault: &sim::Injected) -> Line {
    Line {
        word: "fault",
        text: format!(
            "{}: somebody sends 60 % of {} to a broken build",
            Fault::BadRoute.name(),
            fault.subject
        ),
    }
}

async fn proven(agent: &Running) -> anyhow::Result<bool> {
    let history = agent.history().await.map_err(|refusal| anyhow::anyhow!(refusal.message))?;
    let routes = history["routes"].as_array().cloned().unwrap_or_default();
    let cart = routes.iter().find(|route| route["subject"]["name"] == "cart");
    let revisions = cart.map(|route| route["revisions"].clone()).unwrap_or_default();
    let revisions: Vec<crate::model::history::Revision> =
        serde_json::from_value(revisions).unwrap_or_default();
    Ok(revisions.iter().any(|revision| matches!(revision.standing, Standing::Good { .. })))
}

fn summarize(seed: u64, heard: &Heard, injected: Timestamp, records: u64) -> Summary {
    let since = |at: Option<Timestamp>| {
        at.map_or(-1, |at| i64::try_from(at.duration_since(injected).as_millis()).unwrap_or(i64::MAX))
    };
    let outcome = match heard.ended {
        Some((Phase::Resolved, _)) => "recovered".to_owned(),
        Some((phase, _)) => phase.to_string(),
        None => "open".to_owned(),
    };
    let fault = Healed {
        name: Fault::BadRoute.name(),
        incident: heard.incident.clone(),
        playbook: heard.playbook.clone(),
        outcome,
        detected_ms: since(heard.detected),
        acted_ms: since(heard.acted),
        recovered_ms: since(heard.ended.map(|(_, at)| at)),
    };
    Summary { seed, faults: vec![fault], records, chain: "verified" }
}
