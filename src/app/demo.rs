//! The demo: an embedded cluster falls ill and is healed, with the very code that runs elsewhere.

use std::io::{IsTerminal as _, Write as _};
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
use super::driver::{Driver, Input, Queues};
use super::outbox::Outbox;
use super::story::{self, Line};
use crate::api::Agent as _;
use crate::clock::Clock;
use crate::cluster::{Cluster, Seen};
use crate::config::History;
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
    let folder = options.keep.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("meshmend-demo-{}-{}", std::process::id(), options.seed))
    });
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
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
    let prometheus = Some(Prometheus::over(sim.prometheus()));
    let boards = Arc::new(Boards::new(Arc::clone(&cluster), Arc::clone(&rules), prometheus, clock, HISTORY));

    let id = format!("d{}", options.seed);
    let journal = SqliteJournal::open(path, &OpenOptions { id: Some(id.clone()), key_file: None })?;
    let mut driver = Driver::new(Box::new(journal), Arc::clone(&rules), clock)?;
    let heard = Arc::new(Mutex::new(Heard::default()));
    let taking = Arc::clone(&heard);
    driver.watch(Box::new(move |_, draft| taking.lock().unwrap_or_else(PoisonError::into_inner).take(draft)));

    let (results, results_in) = mpsc::unbounded_channel();
    let (sources, sources_in) = mpsc::channel(1_024);
    let (launches, launches_in) = mpsc::unbounded_channel();
    let outbox = Arc::new(Outbox {
        effectors: Effectors::new(Arc::clone(&cluster), clock),
        boards: Arc::clone(&boards),
        notifier: Notifier::default(),
        results: results.clone(),
        running: tokio_util::task::TaskTracker::new(),
    });
    super::run::first_records(&results, &files, None, id);
    let queues = Queues { results: results_in, sources: sources_in, launches };
    let turning = tokio::spawn(async move {
        let ended = driver.run(queues).await;
        ended.map(|()| driver)
    });
    tokio::spawn(outbox.run(launches_in));
    watch(&cluster, &sources);
    tokio::spawn(Arc::clone(&boards).poll(Duration::from_secs(2), sources.clone()));

    let agent = Running {
        cluster,
        boards,
        rules,
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

/// Starts the watches and hands what they see to the driver.
pub(super) fn watch(cluster: &Arc<Cluster>, sources: &mpsc::Sender<Input>) {
    let (seen, mut news) = mpsc::channel(256);
    for watch in cluster.watches(&seen) {
        tokio::spawn(watch);
    }
    let sources = sources.clone();
    tokio::spawn(async move {
        while let Some(seen) = news.recv().await {
            let input = match seen {
                Seen::Revision(revision, blob) => Input::Events {
                    events: vec![EventKind::RevisionSeen { revision }],
                    blobs: vec![blob],
                    reply: None,
                },
                Seen::Gone(subject) => Input::event(EventKind::RouteGone { subject }),
            };
            if sources.send(input).await.is_err() {
                return;
            }
        }
    });
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
            injected = Some(sim.inject(Fault::BadRoute).at);
        }
    }
    injected.context("nothing was injected")
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

/// The terminal: lines as they come, and a chart below them that is drawn anew each second.
struct Screen {
    show: Show,
    live: bool,
    start: Timestamp,
    told: usize,
    rates: Vec<f64>,
    drawn: usize,
}

/// Columns and rows of the chart: with its scale it fits 80 columns.
const WIDTH: usize = 68;
const ROWS: usize = 5;

impl Screen {
    fn new(show: Show, start: Timestamp) -> Self {
        let live = show == Show::People && std::io::stdout().is_terminal();
        let mut screen = Self { show, live, start, told: 0, rates: Vec::new(), drawn: 0 };
        screen.say("meshmend demo: a small shop on an embedded cluster, mode enforce");
        screen.say("the error rate of shop/cart is drawn below; times are simulated seconds\n");
        screen
    }

    fn say(&mut self, text: &str) {
        if self.show == Show::People {
            // A closed pipe is no reason to stop healing.
            writeln!(std::io::stdout(), "{text}").ok();
        }
    }

    fn show(&mut self, lines: &[(Timestamp, Line)], rate: f64, now: Timestamp) {
        self.rates.push(rate);
        if self.show == Show::Json {
            return;
        }
        self.wipe();
        self.tell(lines);
        if self.live {
            self.draw();
            let seconds = now.duration_since(self.start).as_secs();
            writeln!(std::io::stdout(), "{seconds:>5} s  errors now {:.1} %", rate * 100.0).ok();
            self.drawn += 1;
        }
        std::io::stdout().flush().ok();
    }

    fn tell(&mut self, lines: &[(Timestamp, Line)]) {
        for (at, line) in &lines[self.told.min(lines.len())..] {
            let seconds = at.duration_since(self.start).as_secs();
            let head = format!("{seconds:>5} s  {:<11}", line.word);
            let text = format!("{head} {}", line.text);
            let text: String = if text.chars().count() > 110 {
                text.chars().take(109).chain(['…']).collect()
            } else {
                text
            };
            self.say(&colour(self.live, line.word, &text));
        }
        self.told = lines.len();
    }

    fn draw(&mut self) {
        for line in story::chart(&self.rates, WIDTH, ROWS) {
            writeln!(std::io::stdout(), "{line}").ok();
            self.drawn += 1;
        }
    }

    /// Takes the chart off the screen.
    fn wipe(&mut self) {
        if self.drawn > 0 {
            write!(std::io::stdout(), "\x1b[{}A\x1b[J", self.drawn).ok();
            self.drawn = 0;
        }
    }

    fn finish(&mut self, lines: &[(Timestamp, Line)], summary: &Summary) {
        if self.show == Show::Json {
            return;
        }
        self.wipe();
        self.tell(lines);
        self.say("");
        for line in story::chart(&self.rates, WIDTH, ROWS) {
            self.say(&line);
        }
        for fault in &summary.faults {
            let seconds = |ms: i64| Duration::from_millis(ms.unsigned_abs()).as_secs_f64();
            self.say(&format!(
                "\n{}: {} by {}\n  heard after {:.0} s, acted after {:.0} s, recovered after {:.0} s",
                fault.name,
                fault.outcome,
                fault.playbook,
                seconds(fault.detected_ms),
                seconds(fault.acted_ms),
                seconds(fault.recovered_ms)
            ));
        }
        self.say(&format!("  {} records, chain {}", summary.records, summary.chain));
    }
}

fn colour(live: bool, word: &str, text: &str) -> String {
    let code = match word {
        "heard" => "33",
        "done" | "undone" => "36",
        "ended" => "32",
        _ => return text.to_owned(),
    };
    if live { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
