//! The life of the process: small while idle, orderly at its end, and alone on its journal.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::agent::{Home, Pace};
use crate::scene::{ROUTE, Scene, good_spec};
use crate::wait::same;

/// The bar for an agent that has read the cluster and has nothing to do: 40 MiB resident. An unoptimised
/// program is itself 36 MiB of that (its code, mapped from the file), so there only what it allocates is
/// held to a bar: 16 MiB, four times what it needs, and the rest of the 40 left to an optimised program.
const BAR: (&str, u64) = if cfg!(debug_assertions) { ("RssAnon:", 16 * 1024) } else { ("VmRSS:", 40 * 1024) };

/// After the first lists and some polls the memory is below the bar; SIGTERM ends it with 0.
///
/// Mutations that break it: a large buffer at the start; a stack that is touched in full; ending by the
/// default action of the signal.
pub(crate) async fn idle(scene: Scene) -> anyhow::Result<()> {
    let settings = scene.settings("enforce", Pace::Shipped);
    let home = Home::make(&scene.place(), "agent", &settings).await?;
    scene.create_route(ROUTE, &good_spec()).await?;
    scene.traffic(500, 0);
    let agent = home.start_ready().await?;
    agent.revisions(ROUTE, 1).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (kind, bar) = BAR;
    let kib = memory_kib(agent.pid, kind)?;
    ensure!(kib < bar, "{kind} {kib} KiB while idle, {bar} KiB is the bar");
    let status = agent.terminate().await?;
    same("the exit code after SIGTERM", &status.code(), &Some(0))?;
    ensure!(home.log()?.contains("stopped"), "it says that it stopped");
    home.journal_holds().await
}

fn memory_kib(pid: u32, kind: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(kind));
    let line = line.with_context(|| format!("the kernel does not tell {kind}"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// Two writers would fork the chain of records: the second one refuses, and the first one does not notice.
///
/// Mutation that breaks it: opening the journal without the lock.
pub(crate) async fn second(scene: Scene) -> anyhow::Result<()> {
    let home = Home::make(&scene.place(), "agent", &scene.settings("enforce", Pace::Quick)).await?;
    let first = home.start_ready().await?;
    let (code, said) = home.run_to_end().await?;
    same("the exit code of the second", &code, &Some(1))?;
    ensure!(said.contains("another meshmend process writes to"), "it says why: {said}");
    same("the first", &first.probe("/readyz").await?.0, &200)?;
    ensure!(first.terminate().await?.success(), "SIGTERM ends it with 0");
    let third = home.start_ready().await?;
    ensure!(third.terminate().await?.success(), "the journal is free again");
    home.journal_holds().await
}
