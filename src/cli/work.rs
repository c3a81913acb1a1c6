//! The commands that do the work: demo, run, plan, replay, explain, config show.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use super::commands::{Demo, Explain, Output, Plan, Replay, Run, Where};
use super::people;
use super::{FAILED, FINDINGS, FINE, Usage};
use crate::app::demo::{self, Options, Show};
use crate::app::{files, offline, preview, run as agent, story};
use crate::cluster::Access;
use crate::config::Config;
use crate::engine::explain::lines;
use crate::model::change::Change;
use crate::model::plan::Rehearsal;
use crate::sim::Pace;

/// The journal that is meant: the one given, or the one `run` uses without a file.
pub(super) fn journal(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path);
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local").join("state"));
    let folder = state.filter(|path| path.is_absolute()).or_else(home);
    let folder = folder.ok_or_else(|| {
        Usage(
            "neither XDG_STATE_HOME nor HOME is set: say where with --journal, or give a configuration"
                .to_owned(),
        )
    })?;
    Ok(folder.join("meshmend").join("journal.db"))
}

/// The configuration of this file, or the one of a run without a file.
pub(super) fn config(path: Option<&Path>) -> anyhow::Result<Config> {
    match path {
        Some(path) => Ok(Config::load(path)?),
        None => Ok(Config::without_file(journal(None)?)),
    }
}

fn access(at: &Where) -> Access {
    Access { kubeconfig: at.kubeconfig.clone(), context: at.context.clone() }
}

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

/// Logs to standard error, at these levels unless the environment says otherwise. A thread of its own writes
/// what has gathered in one go, or a storm would spend its time in writes of single lines. Nothing is left
/// out; what the answer holds must live as long as there is something to log.
pub(super) fn log(levels: &str) -> WorkerGuard {
    let filter = EnvFilter::try_from_env("MESHMEND_LOG").unwrap_or_else(|_| EnvFilter::new(levels));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let gathered = BufWriter::new(std::io::stderr());
    let (lines, written) = NonBlockingBuilder::default().lossy(false).finish(gathered);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines).with_ansi(ansi).init();
    written
}

pub(super) fn demo(args: &Demo) -> anyhow::Result<u8> {
    if let Some(folder) = &args.keep
        && folder.join("journal.db").exists()
    {
        let text = format!("{} holds a journal already; name another folder", folder.display());
        return Err(Usage(text).into());
    }
    let _written = log("error");
    let show = if args.output == Output::Json { Show::Json } else { Show::People };
    let pace = if args.fast { Pace::Virtual } else { Pace::Accelerated };
    let summary = demo::run(Options { pace, seed: args.seed, keep: args.keep.clone(), show })?;
    if show == Show::Json {
        people::json(&summary)?;
    }
    let healed = summary.faults.iter().all(|fault| fault.outcome == "recovered");
    Ok(if healed { FINE } else { FAILED })
}

pub(super) fn run(args: &Run) -> anyhow::Result<u8> {
    let _written = log("info,kube=off");
    let config = config(args.at.config.as_deref())?;
    let (files, loaded) = files::load(config.playbooks.as_deref(), config.policies.as_deref(), args.at.mode)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let access = access(&args.at);
    let setup = agent::Setup { config, access, cap: args.at.mode, files, rules: loaded.rules };
    runtime()?.block_on(agent::run(setup))?;
    Ok(FINE)
}

pub(super) fn plan(args: &Plan) -> anyhow::Result<u8> {
    let _written = log("error");
    let config = config(args.at.config.as_deref())?;
    let (_, loaded) = files::load(config.playbooks.as_deref(), config.policies.as_deref(), args.at.mode)?;
    let rules = std::sync::Arc::new(loaded.rules);
    let access = access(&args.at);
    let incident = runtime()?.block_on(preview::plan(&config, &access, &args.signal, rules))?;
    if args.output == Output::Json {
        people::json(&incident)?;
        return Ok(FINE);
    }
    lines(&incident).iter().for_each(people::say);
    if let Some(Rehearsal::Accepted { diff } | Rehearsal::Forbidden { diff, .. }) = &incident.rehearsal {
        people::say(diff);
    }
    let end = if preview::passes(&incident) { "it would be done now" } else { "nothing would be done now" };
    people::say(end);
    Ok(FINE)
}

pub(super) fn replay(args: &Replay) -> anyhow::Result<u8> {
    let found = offline::replay(&args.journal, args.playbooks.as_deref(), args.policies.as_deref())?;
    if args.output == Output::Json {
        people::json(&found)?;
    } else {
        for difference in &found.differences {
            let incident = difference.incident.as_deref().unwrap_or("-");
            people::say(format!(
                "record {} ({}, incident {incident}) differs",
                difference.seq, difference.kind
            ));
            let (was, now) = (&difference.recorded, &difference.decided);
            let same = was.iter().zip(now).take_while(|(was, now)| was == now).count();
            people::say(format!("  was: {}", brief(&was[same..])));
            people::say(format!("  now: {}", brief(&now[same..])));
        }
        people::say(format!("{} records, {} decisions differ", found.records, found.differences.len()));
    }
    Ok(if found.differences.is_empty() { FINE } else { FINDINGS })
}

/// What was decided in a line: the whole of it is in the JSON.
fn brief(changes: &[Change]) -> String {
    let told: Vec<String> =
        story::of(changes).into_iter().map(|line| format!("{} {}", line.word, line.text)).collect();
    let told = if told.is_empty() { format!("{} changes", changes.len()) } else { told.join("; ") };
    people::cut(&told, 73)
}

pub(super) fn explain(args: &Explain) -> anyhow::Result<u8> {
    let incident = offline::incident(&journal(args.journal.clone())?, &args.incident)?;
    if args.output == Output::Json {
        people::json(&incident)?;
    } else {
        lines(&incident).iter().for_each(people::say);
    }
    Ok(FINE)
}

pub(super) fn config_show(path: Option<&Path>, output: Output) -> anyhow::Result<u8> {
    let config = config(path)?;
    if output == Output::Json {
        people::json(&config.written())?;
    } else {
        let text = serde_saphyr::to_string(&config.written())
            .context("the configuration could not be written as YAML")?;
        people::say(text.trim_end());
    }
    Ok(FINE)
}
