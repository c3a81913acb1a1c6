//! `meshmend run`: the agent on a cluster, until it is told to stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::agent::Running;
use super::board::Boards;
use super::driver::{Driver, fold};
use super::feed;
use super::mesh;
use super::outbox::Outbox;
use super::queue::{Input, Queues};
use super::story;
use crate::api::{self, Agent, Metrics, Tokens};
use crate::clock::Clock;
use crate::cluster::{Access, Cluster, connect};
use crate::config::{Config, PrometheusSource, Role, Token, Unusable};
use crate::effectors::Notifier;
use crate::engine::State;
use crate::journal::{Journal as _, OpenOptions, SqliteJournal, write_private};
use crate::model::event::EventKind;
use crate::model::history::Standing;
use crate::model::record::Draft;
use crate::model::subject::Subject;
use crate::model::verdict::Mode;
use crate::rules::{RuleFiles, Rules, STACK};
use crate::sources::prometheus::{Address, Prometheus};

/// Inputs of sources that may wait; then their senders wait.
const QUEUE: usize = 4_096;

/// How long a stop waits for running steps: longer than any of them may take, and not for ever, or a full
/// disk would keep a process that can neither write nor end.
const GRACE: Duration = Duration::from_secs(90);

/// What a run needs.
pub struct Setup {
    /// Configuration.
    pub config: Config,
    /// Cluster.
    pub access: Access,
    /// Cap of the mode.
    pub cap: Option<Mode>,
    /// Rule files.
    pub files: RuleFiles,
    /// The rules made of them.
    pub rules: Rules,
}

/// A reader of the configured Prometheus.
///
/// # Errors
/// Its CA file is wrong.
pub fn prometheus(source: &PrometheusSource, clock: Clock) -> anyhow::Result<Prometheus> {
    let address = Address {
        url: source.url.clone(),
        token_file: source.token_file.clone(),
        ca_file: source.ca_file.clone(),
    };
    Prometheus::connect(&address, clock)
}

/// Runs until a signal, or until the loop fails.
///
/// # Errors
/// Something needed at the start is missing or wrong, or the journal failed.
pub async fn run(mut setup: Setup) -> anyhow::Result<()> {
    let config = &mut setup.config;
    let mut stop = Stop::new()?;
    // What may be wrong with the usage comes before anything is made.
    let client = connect(&setup.access).await?;
    let journal = open_journal(config)?;
    let journal_id = journal.id().to_owned();
    let (state, last) = fold(&journal)?;
    let clock = Clock::system((last > jiff::Timestamp::MIN).then_some(last));
    let token_file = own_token(config)?;
    let tokens = Tokens::load(&config.tokens)?;
    let rules = Arc::new(setup.rules);
    let cluster = Arc::new(Cluster::new(client, config.namespaces.clone()));
    let boards = mesh::boards(config, &cluster, &rules, clock)?;
    let webhook = config.webhook_url_file.as_deref().map(read_secret).transpose()?;
    let (api, probes) = (listen(config.api).await?, listen(config.probes).await?);
    announce(config, &state, &rules);
    boards.resume(&state);
    remember(&config.journal, &api, token_file.as_deref())?;

    let (results, results_in) = mpsc::unbounded_channel();
    let (sources, sources_in) = mpsc::channel(QUEUE);
    let (launches, launches_in) = mpsc::unbounded_channel();
    let metrics = Metrics::default();
    let draining = Arc::new(AtomicBool::new(false));
    feed::first_records(&results, &setup.files, setup.cap, journal_id);
    let mut driver = Driver::new(Box::new(journal), Arc::clone(&rules), clock)?;
    driver.watch(measuring(metrics.clone(), Arc::clone(&boards)));
    let agent: Arc<dyn Agent> = Arc::new(Running {
        cluster: Arc::clone(&cluster),
        boards: Arc::clone(&boards),
        rules,
        clock,
        failing: driver.failing(),
        name: config.cluster.clone(),
        results: results.clone(),
        sources: sources.clone(),
        draining: Arc::clone(&draining),
    });
    let ended =
        turn_on_own_thread(driver, Queues { results: results_in, sources: sources_in, launches }, clock)?;

    let outbox = Arc::new(Outbox {
        effectors: mesh::effectors(&cluster, &boards, config, clock),
        boards: Arc::clone(&boards),
        notifier: Notifier::new(webhook, config.brake.notifications)?,
        results: results.clone(),
        running: tokio_util::task::TaskTracker::new(),
    });
    tokio::spawn(Arc::clone(&outbox).run(launches_in));
    feed::watch(&cluster, &sources);
    feed::vanished(known_subjects(&state), &cluster, &sources);
    mesh::watch(config, &cluster, &boards, &sources);
    poll(config, &cluster, boards, sources);
    tokio::spawn(feed::watch_wall_clock(clock, results.clone()));
    let serving = api::router(Arc::clone(&agent), tokens, metrics.clone(), &config.intake);
    tokio::spawn(async move { axum::serve(api, serving).await });
    let open = api::probes_router(agent, metrics);
    tokio::spawn(async move { axum::serve(probes, open).await });
    finish(&mut stop, ended, &results, &draining, &outbox).await
}

/// Opens the journal, with room in reserve.
fn open_journal(config: &Config) -> anyhow::Result<SqliteJournal> {
    let options = OpenOptions { id: None, key_file: config.signing_key_file.clone() };
    let mut journal = SqliteJournal::open(&config.journal, &options)?;
    if !journal.reserve() {
        let then = "should the journal's disk be full, nothing is taken back until it has room";
        tracing::warn!(then, "no room is kept in reserve");
    }
    Ok(journal)
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let why = || format!("cannot listen on {address}: choose another one under listen, or stop who has it");
    TcpListener::bind(address).await.with_context(why)
}

/// Polls Prometheus, where one is configured, as soon as the routes to ask about are known.
fn poll(config: &Config, cluster: &Arc<Cluster>, boards: Arc<Boards>, sources: mpsc::Sender<Input>) {
    let Some(every) = config.prometheus.as_ref().map(PrometheusSource::every) else { return };
    let cluster = Arc::clone(cluster);
    tokio::spawn(async move {
        cluster.wait_synced().await;
        boards.poll(every, sources).await;
    });
}

/// Waits for the first signal, lets the loop finish what runs, and ends; a second signal aborts.
async fn finish(
    stop: &mut Stop,
    mut ended: oneshot::Receiver<anyhow::Result<()>>,
    results: &mpsc::UnboundedSender<Input>,
    draining: &AtomicBool,
    outbox: &Outbox,
) -> anyhow::Result<()> {
    tokio::select! {
        found = &mut ended => return found.unwrap_or_else(|_| Err(anyhow::anyhow!("the loop panicked"))),
        () = stop.wait() => {}
    }
    tracing::info!("signal received; finishing running steps");
    draining.store(true, Ordering::Relaxed);
    results.send(Input::event(EventKind::Drain)).ok();
    let ended = tokio::time::timeout(GRACE, ended);
    tokio::select! {
        found = ended => match found {
            Ok(found) => found.unwrap_or_else(|_| Err(anyhow::anyhow!("the loop panicked")))?,
            Err(_) => anyhow::bail!(
                "not stopped within {} s; the journal tells at the next start what ran",
                GRACE.as_secs()
            ),
        },
        () = stop.wait() => anyhow::bail!("second signal: aborted; the journal tells at the next start what ran"),
    }
    outbox.running.close();
    tokio::time::timeout(Duration::from_secs(10), outbox.running.wait()).await.ok();
    tracing::info!("stopped");
    Ok(())
}

/// SIGTERM and SIGINT.
struct Stop(Signal, Signal);

impl Stop {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// The loop gets a thread of its own: its stack is deep, and nothing else may slow it down.
fn turn_on_own_thread(
    mut driver: Driver,
    queues: Queues,
    clock: Clock,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let (done, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name("driver".to_owned()).stack_size(STACK).spawn(move || {
        let found = runtime.block_on(driver.run(queues));
        // A disk that lied about a flush gets no more writes from us, and no signature either.
        let closed = found.and_then(|()| Ok(driver.into_journal().close(clock.now())?));
        done.send(closed).ok();
    })?;
    Ok(ended)
}

/// The routes that were there when the last run ended, and what its open cases were about.
fn known_subjects(state: &State) -> Vec<Subject> {
    let there = state.routes.iter().filter(|(_, route)| route.in_force.is_some());
    let ill = state.ill_subjects().filter(|subject| !state.routes.contains_key(subject));
    there.map(|(subject, _)| subject).chain(ill).cloned().collect()
}

fn measuring(metrics: Metrics, boards: Arc<Boards>) -> super::driver::Watcher {
    let held = ["pause", "storm", "breaker"]
        .map(|kind| metrics.held.get_or_create(&Metrics::label("kind", kind)).clone());
    let overdue =
        ["own", "orphan"].map(|of| metrics.overdue.get_or_create(&Metrics::label("of", of)).clone());
    Box::new(move |state: &State, draft: &Draft| {
        boards.heed(state, draft);
        // Sentences nobody reads are not made.
        if tracing::enabled!(tracing::Level::INFO) {
            for story::Line { word, text } in story::lines(draft) {
                tracing::info!(word, text, "recorded");
            }
        }
        let kind = Metrics::label("kind", draft.event.kind.name());
        metrics.records.get_or_create(&kind).inc();
        metrics.open.set(i64::try_from(state.open_count()).unwrap_or(i64::MAX));
        let breakers = state.breakers.iter().filter(|breaker| breaker.open_until.is_some()).count();
        for (gauge, count) in held.iter().zip([state.pauses.len(), state.storms.len(), breakers]) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let (own, orphans) = state.overdue(draft.event.at);
        for (gauge, count) in overdue.iter().zip([own, orphans]) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for change in &draft.changes {
            if let crate::model::change::Change::Ended { phase, .. } = change {
                metrics.ended.get_or_create(&Metrics::label("phase", phase.as_str())).inc();
            }
            if let crate::model::change::Change::StepEnded { outcome, .. } = change {
                metrics.steps.get_or_create(&Metrics::label("result", outcome.name())).inc();
            }
        }
    })
}

fn read_secret(path: &Path) -> anyhow::Result<String> {
    let why = || Unusable(format!("{} cannot be read", path.display()));
    Ok(std::fs::read_to_string(path).with_context(why)?.trim().to_owned())
}

/// A word nobody can guess.
pub(super) fn random_word() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 24];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("the system gave no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Without tokens in the configuration, one with all rights is written beside the journal.
fn own_token(config: &mut Config) -> anyhow::Result<Option<PathBuf>> {
    if !config.tokens.is_empty() {
        return Ok(None);
    }
    let path = config.journal.with_extension("token");
    if !path.exists() {
        let text = random_word()?;
        write_private(&path, text.as_bytes())?;
    }
    let roles = [Role::Intake, Role::Read, Role::Approve].into_iter().collect();
    config.tokens.push(Token { name: "local".to_owned(), roles, file: path.clone() });
    Ok(Some(path))
}

/// Leaves word beside the journal for `meshmend incidents`, `approve` and the like.
fn remember(journal: &Path, api: &TcpListener, token_file: Option<&Path>) -> anyhow::Result<()> {
    let path = journal.with_extension("api.json");
    // Whoever reads this stands in another folder.
    let token_file = token_file.map(std::path::absolute).transpose()?;
    let server = format!("http://{}", api.local_addr()?);
    let text = json!({ "server": server, "token_file": token_file }).to_string();
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Says what is watched, in which mode, and how many routes could be rolled back today.
fn announce(config: &Config, state: &State, rules: &Rules) {
    let good = state.routes.values().filter(|route| {
        route.revisions.iter().any(|revision| matches!(revision.standing, Standing::Good { .. }))
    });
    let cap = rules.max_mode.map_or("none", Mode::as_str);
    let mode = rules.policies.highest_mode();
    let policies: Vec<&str> = rules.policies.iter().map(|policy| policy.name.as_str()).collect();
    tracing::info!(
        cluster = config.cluster.as_deref().unwrap_or("unnamed"),
        namespaces = config.namespaces.join(","),
        playbooks = rules.playbooks.iter().count(),
        policies = policies.join(","),
        mode = mode.as_str(),
        mode_cap = cap,
        journal = %config.journal.display(),
        api = %config.api,
        probes = %config.probes,
        "agent started"
    );
    let (good, known) = (good.count(), state.routes.len());
    let why = match (&config.prometheus, good) {
        (None, _) => "no Prometheus is configured: only `meshmend history bless` makes a revision good",
        (Some(_), 0) => {
            "none yet: a revision needs traffic and health for the hold time of the configuration"
        }
        (Some(_), _) => "from the journal",
    };
    tracing::info!(good, known, why, "routes with a known good revision");
}
