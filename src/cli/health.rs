//! `meshmend health`: how every part of the mesh is.

mod table;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::client::Client;
use super::commands::{Output, Remote};
use super::{FINDINGS, FINE, Usage, people, work};
use crate::app::board::Scope;
use crate::app::files;
use crate::app::health::Eyes;
use crate::cluster::{Access, Mesh};
use crate::health::{IndicatorHealth, Overview};
use crate::model::duration;
use crate::model::indicator::Level;
use crate::rules::Catalogue;
use table::Table;

/// Long enough to be read, short enough to see a change come.
const AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Configuration file.
    #[arg(long, value_name = "FILE", env = "MESHMEND_CONFIG")]
    config: Option<PathBuf>,
    /// Kubeconfig file.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Only what lies in this namespace.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only this mesh.
    #[arg(long, value_name = "MESH")]
    mesh: Option<MeshName>,
    /// Every reading of one indicator, with what was asked and the figure as it came.
    #[arg(long, value_name = "INDICATOR")]
    explain: Option<String>,
    /// Look twice, so far apart, and show the second look: counters tell nothing in one, unless a Prometheus
    /// remembers for us. For instance 30s.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "server")]
    over: Option<Duration>,
    /// Read again every 5 s until interrupted.
    #[arg(short, long)]
    watch: bool,
    /// Ask a running agent instead, at this address, or where `run` left word beside its journal.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "",
        conflicts_with_all = ["kubeconfig", "context", "namespace", "mesh"])]
    server: Option<String>,
    /// File with a token of that agent; by default the one `run` wrote beside its journal.
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
    /// Journal beside which `run` left word.
    #[arg(long, value_name = "FILE", requires = "server")]
    journal: Option<PathBuf>,
    /// Output.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

/// A mesh by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MeshName {
    /// Istio.
    Istio,
    /// Linkerd.
    Linkerd,
}

impl From<MeshName> for Mesh {
    fn from(name: MeshName) -> Self {
        match name {
            MeshName::Istio => Self::Istio,
            MeshName::Linkerd => Self::Linkerd,
        }
    }
}

pub(super) fn health(args: &HealthArgs) -> anyhow::Result<u8> {
    if let Some(server) = &args.server {
        return of_agent(args, Some(server.clone()).filter(|url| !url.is_empty()));
    }
    let _written = work::log("off");
    let config = work::config(args.config.as_deref())?;
    let (_, loaded) = files::load(None, config.policies.as_deref(), None)?;
    let rules = Arc::new(loaded.rules);
    if let Some(id) = &args.explain {
        known(id, &rules.indicators)?;
    }
    let access = Access { kubeconfig: args.kubeconfig.clone(), context: args.context.clone() };
    let scope =
        Scope { namespace: args.namespace.clone(), mesh: args.mesh.map(Mesh::from), ..Scope::default() };
    work::runtime()?.block_on(async {
        let eyes = Eyes::open(&config, &access, rules).await?;
        if let Some(over) = args.over {
            eyes.look(&scope).await;
            tokio::time::sleep(over).await;
        }
        let mut code = show(args, &eyes.look(&scope).await)?;
        if !args.watch {
            return Ok(code);
        }
        loop {
            let round = async {
                tokio::time::sleep(AGAIN).await;
                eyes.look(&scope).await
            };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(code),
                found = round => code = show(args, &found)?,
            }
        }
    })
}

/// What a running agent read last.
fn of_agent(args: &HealthArgs, server: Option<String>) -> anyhow::Result<u8> {
    let (token_file, journal) = (args.token_file.clone(), args.journal.clone());
    let client = Client::new(&Remote { server, token_file, journal, output: args.output })?;
    let read =
        || -> anyhow::Result<Overview> { Ok(serde_json::from_value(client.call("/v1/health", None)?)?) };
    loop {
        let code = match read() {
            Ok(found) => show(args, &found)?,
            // Whoever watches wants to see it come back.
            Err(error) if args.watch => {
                people::warn(format!("not read, tried again in {} s: {error:#}", AGAIN.as_secs()));
                FINE
            }
            Err(error) => return Err(error),
        };
        if !args.watch {
            return Ok(code);
        }
        std::thread::sleep(AGAIN);
    }
}

fn known(id: &str, catalogue: &Catalogue) -> Result<(), Usage> {
    if catalogue.get(id).is_some() {
        return Ok(());
    }
    let ids: Vec<&str> = catalogue.iter().map(|indicator| &*indicator.id).collect();
    Err(Usage(format!("there is no indicator {id:?}; those there are: {}", ids.join(", "))))
}

/// Shows it; the exit code that it stands for.
fn show(args: &HealthArgs, found: &Overview) -> anyhow::Result<u8> {
    let live = std::io::stdout().is_terminal();
    if args.watch && live && args.output == Output::Table {
        // From the top of a clean screen.
        write!(std::io::stdout(), "\x1b[H\x1b[J").ok();
    }
    let table = Table::new(live);
    let level = match &args.explain {
        Some(id) => {
            let explained = find(found, id);
            match (args.output, explained) {
                (Output::Json, _) => json(args, &explained)?,
                (Output::Table, Some(indicator)) => {
                    table.explain(indicator, found.at).iter().for_each(people::say)
                }
                (Output::Table, None) => {
                    people::say(format!("{id}: nothing of it lies in this part of the cluster"))
                }
            }
            explained.map(|indicator| indicator.level)
        }
        None => {
            match args.output {
                Output::Json => json(args, found)?,
                Output::Table => table.overview(found).iter().for_each(people::say),
            }
            Some(found.level)
        }
    };
    Ok(if level == Some(Level::Critical) { FINDINGS } else { FINE })
}

/// One document; of several, one a line.
fn json(args: &HealthArgs, value: &impl serde::Serialize) -> anyhow::Result<()> {
    if args.watch {
        people::say(serde_json::to_string(value)?);
        return Ok(());
    }
    people::json(value)
}

fn find<'a>(found: &'a Overview, id: &str) -> Option<&'a IndicatorHealth> {
    found.components.iter().flat_map(|part| &part.indicators).find(|indicator| indicator.indicator == id)
}

#[cfg(test)]
mod tests;
