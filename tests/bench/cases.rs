//! The cases, and the bars they are held against.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::Instant;

use crate::agent::{Agent, read_only};
use crate::load::{Sent, body, flood, paced};
use crate::{health, pods};

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) enum Case {
    /// Alerts a second from the webhook's body to durable outcomes.
    Burst,
    /// How long one alert takes at an ordinary rate.
    Latency,
    /// What ten thousand playbooks cost.
    Playbooks,
    /// Very many alerts in one body.
    OnePost,
    /// What very many watched pods weigh.
    Pods,
    /// How long a look at a large mesh takes.
    Health,
}

/// Which side of the bar is good.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

/// One measured figure.
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) bar: Option<Bar>,
}

impl Bar {
    pub(crate) fn shown(self, unit: &str) -> String {
        match self {
            Self::AtLeast(bar) => format!("bar: at least {bar} {unit}"),
            Self::AtMost(bar) => format!("bar: at most {bar} {unit}"),
        }
    }
}

impl Figure {
    fn new(what: impl Into<String>, value: f64, unit: &'static str, bar: Option<Bar>) -> Self {
        Self { what: what.into(), value, unit, bar }
    }

    /// Whether it is on the good side of its bar.
    pub(crate) fn met(&self) -> bool {
        match self.bar {
            Some(Bar::AtLeast(bar)) => self.value >= bar,
            Some(Bar::AtMost(bar)) => self.value <= bar,
            None => true,
        }
    }

    pub(crate) fn shown(&self) -> String {
        let digits = if self.value.abs() < 100.0 && self.value.fract() != 0.0 { 2 } else { 0 };
        format!("{:.digits$} {}", self.value, self.unit)
    }
}

/// Alerts of one burst, in bodies of so many, over so many connections: a busy Alertmanager with its groups.
const BURST: usize = 40_000;
const GROUP: usize = 100;
const CONNECTIONS: usize = 8;

impl Case {
    pub(crate) const ALL: [Self; 6] =
        [Self::Burst, Self::Latency, Self::Playbooks, Self::OnePost, Self::Pods, Self::Health];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Latency => "latency",
            Self::Playbooks => "playbooks",
            Self::OnePost => "one-post",
            Self::Pods => "pods",
            Self::Health => "health",
        }
    }

    /// Runs the case so many times; the best of each figure.
    pub(crate) fn run(self, rounds: usize) -> anyhow::Result<Vec<Figure>> {
        // Load, sink and simulation on one thread: they are cheap, and the agent needs the other core.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match self {
                Self::Burst => burst(rounds).await,
                Self::Latency => latency(rounds).await,
                Self::Playbooks => playbooks(rounds).await,
                Self::OnePost => one_post().await,
                Self::Pods => watched(),
                Self::Health => looked(rounds).await,
            }
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}

/// Sends a burst; alerts a second until the last outcome is durable. Everything is counted afterwards.
async fn burst_on(agent: &Agent, alerts: usize, group: usize) -> anyhow::Result<f64> {
    let bodies = (0..alerts / group).map(|index| body(index * group, group)).collect();
    let begun = Instant::now();
    flood(&agent.host, bodies, CONNECTIONS.min(alerts / group)).await?;
    agent.until_told(alerts).await?;
    let spent = begun.elapsed().as_secs_f64();
    counted(agent, alerts)?;
    Ok(float(alerts) / spent)
}

/// None lost, none doubled: at the sink and in the journal.
fn counted(agent: &Agent, alerts: usize) -> anyhow::Result<()> {
    let (told, twice) = agent.sink.counts();
    let (incidents, odd) = agent.journalled()?;
    ensure!(told == alerts && twice == 0, "the sink got {told} of {alerts} incidents, {twice} of them twice");
    ensure!(
        incidents == alerts && odd == 0,
        "the journal holds {incidents} of {alerts} incidents, {odd} of them not with one outcome"
    );
    Ok(())
}

async fn burst(rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let (mut best, mut memory, mut processor) = (0.0_f64, f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        let agent = Agent::start(0).await?;
        let before = agent.processor_s();
        let rate = burst_on(&agent, BURST, GROUP).await?;
        let spent = (agent.processor_s() - before) / float(BURST) * 1e6;
        (best, memory, processor) = (best.max(rate), memory.min(agent.resident_mib()), processor.min(spent));
    }
    let what = format!("burst: {BURST} alerts to durable outcomes");
    Ok(vec![
        Figure::new(what, best.round(), "/s", Some(Bar::AtLeast(10_000.0))),
        Figure::new("burst: processor time of the agent for an alert", processor.round(), "us", None),
        Figure::new("burst: memory afterwards", memory.round(), "MiB", None),
    ])
}

/// The value at a share of the sorted values.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (float(last) * share).ceil() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// Follows the journal from outside: when each incident's outcome could be read there.
fn follow(
    journal: PathBuf,
    done: Arc<AtomicBool>,
) -> std::thread::JoinHandle<anyhow::Result<Vec<(String, Instant)>>> {
    std::thread::spawn(move || {
        let db = read_only(&journal)?;
        let mut query = db.prepare("SELECT seq, kind, incident FROM records WHERE seq > ?1")?;
        let (mut seen, mut found) = (0_i64, Vec::new());
        while !done.load(Ordering::Relaxed) {
            let mut rows = query.query([seen])?;
            let now = Instant::now();
            while let Some(row) = rows.next()? {
                seen = row.get(0)?;
                if row.get_ref(1)?.as_str()? == "notified" {
                    found.push((row.get::<_, String>(2)?, now));
                }
            }
            drop(rows);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(found)
    })
}

/// Rate and length of the open loop.
const RATE: u32 = 500;
const PACED: usize = 5_000;

async fn latency(rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let mut best: Option<[f64; 6]> = None;
    for _ in 0..rounds {
        let agent = Agent::start(0).await?;
        // The first requests open connections and files.
        paced(&agent.host, RATE, 500, 0).await?;
        agent.until_told(500).await?;
        let done = Arc::new(AtomicBool::new(false));
        let follower = follow(agent.journal(), Arc::clone(&done));
        let sent = paced(&agent.host, RATE, PACED, 500).await?;
        agent.until_told(500 + PACED).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        done.store(true, Ordering::Relaxed);
        let outcomes = follower.join().map_err(|_| anyhow::anyhow!("the follower panicked"))??;
        counted(&agent, 500 + PACED)?;
        let found = latencies(&agent, &sent, outcomes.into_iter().collect())?;
        if best.is_none_or(|best| found[5] < best[5]) {
            best = Some(found);
        }
    }
    let best = best.context("at least one round")?;
    let names = ["intent durable", "notification at the sink", "outcome durable"];
    let mut figures = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let what = |share: &str| format!("latency at {RATE}/s, open loop: {name}, {share}");
        figures.push(Figure::new(what("p50"), best[2 * index], "ms", None));
        figures.push(Figure::new(what("p99"), best[2 * index + 1], "ms", Some(Bar::AtMost(20.0))));
    }
    Ok(figures)
}

/// p50 and p99 from the due time to the answer, to the sink, and to the durable outcome, in milliseconds.
fn latencies(
    agent: &Agent,
    sent: &[Sent],
    outcomes: std::collections::BTreeMap<String, Instant>,
) -> anyhow::Result<[f64; 6]> {
    let mut spent: [Vec<f64>; 3] = Default::default();
    for one in sent {
        let told = agent.sink.when(&one.incident).context("the sink heard of each")?;
        let outcome = *outcomes.get(&one.incident).context("the journal tells of each")?;
        for (index, at) in [one.answered, told, outcome].into_iter().enumerate() {
            spent[index].push(at.duration_since(one.due).as_secs_f64() * 1_000.0);
        }
    }
    let [mut a, mut b, mut c] = spent;
    Ok([
        quantile(&mut a, 0.5),
        quantile(&mut a, 0.99),
        quantile(&mut b, 0.5),
        quantile(&mut b, 0.99),
        quantile(&mut c, 0.5),
        quantile(&mut c, 0.99),
    ])
}

async fn playbooks(rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let mut best = [(0.0_f64, f64::INFINITY, f64::INFINITY); 2];
    for _ in 0..rounds {
        for (best, count) in best.iter_mut().zip([10, 10_000]) {
            let agent = Agent::start(count - 1).await?;
            let memory = agent.resident_mib();
            let rate = burst_on(&agent, BURST / 2, GROUP).await?;
            let ready = agent.ready_after.as_secs_f64();
            *best = (best.0.max(rate), best.1.min(ready), best.2.min(memory));
        }
    }
    let [few, many] = best;
    let slower = (1.0 - many.0 / few.0) * 100.0;
    Ok(vec![
        Figure::new("playbooks: rate with 10", few.0.round(), "/s", None),
        Figure::new("playbooks: rate with 10,000", many.0.round(), "/s", None),
        Figure::new("playbooks: slower with 10,000 than with 10", slower, "%", Some(Bar::AtMost(10.0))),
        Figure::new("playbooks: from start to ready with 10", few.1, "s", None),
        Figure::new("playbooks: from start to ready with 10,000", many.1, "s", Some(Bar::AtMost(0.5))),
        Figure::new("playbooks: memory when ready with 10", few.2, "MiB", None),
        Figure::new("playbooks: memory when ready with 10,000", many.2, "MiB", Some(Bar::AtMost(100.0))),
    ])
}

async fn one_post() -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for alerts in [3_000, 30_000] {
        let agent = Agent::start(0).await?;
        let rate = burst_on(&agent, alerts, alerts).await?;
        let seconds = float(alerts) / rate;
        let what = format!("one post of {alerts} alerts: none lost, none doubled, all told after");
        figures.push(Figure::new(what, seconds, "s", None));
    }
    Ok(figures)
}

fn watched() -> anyhow::Result<Vec<Figure>> {
    let what = format!("pods: memory of a process that keeps {} of them", pods::PODS);
    Ok(vec![Figure::new(what, pods::resident_mib()?.round(), "MiB", Some(Bar::AtMost(150.0)))])
}

async fn looked(rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let (seconds, mib) = health::look(rounds).await?;
    let what = |of: &str| format!("health: {} pods, {} services, {of}", health::PODS, health::SERVICES);
    Ok(vec![
        Figure::new(what("start to end"), seconds, "s", Some(Bar::AtMost(2.0))),
        Figure::new(what("most memory"), mib.round(), "MiB", Some(Bar::AtMost(150.0))),
    ])
}
