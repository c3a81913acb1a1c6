//! The commands with their arguments.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use super::{audit, check, client, restore, work};
use crate::model::verdict::Mode;

/// A self-healing remediation agent for service meshes.
#[derive(Debug, Parser)]
#[command(name = "meshmend", version, arg_required_else_help = true, max_term_width = 80)]
#[command(
    after_help = "Start with:  meshmend demo\nThen:        meshmend run   (mode observe: nothing is written)"
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show an embedded cluster fall ill and be healed.
    #[command(after_help = "Examples:\n  meshmend demo\n  meshmend demo --fast --seed 7 -o json --keep out")]
    Demo(Demo),
    /// Watch a cluster, and heal it as far as the policies allow.
    #[command(
        after_help = "Examples:\n  meshmend run                        current kubeconfig, mode observe\n  meshmend run --config meshmend.yaml\n  meshmend run --config meshmend.yaml --mode suggest"
    )]
    Run(Run),
    /// Show what would be done about a signal; nothing is done.
    #[command(after_help = "Example:\n  meshmend plan --config meshmend.yaml --signal signal.json")]
    Plan(Plan),
    /// Decide every recorded event again and compare; 2 if one differs.
    #[command(after_help = "Example:\n  meshmend replay --journal journal.db --policies new-policies")]
    Replay(Replay),
    /// Say why an incident was handled as it was.
    Explain(Explain),
    /// List incidents of a running agent.
    Incidents(Remote),
    /// Approve the plan of an incident.
    #[command(
        after_help = "Examples:\n  meshmend approve k3f9q2-00017\n  meshmend approve k3f9q2-00017 --plan sha256:... --comment 'looks right'"
    )]
    Approve(Vote),
    /// Deny the plan of an incident.
    Deny(Vote),
    /// Take back what was shed, with nothing but a kubeconfig: no agent, no journal.
    #[command(
        after_help = "Examples:\n  meshmend restore --all --dry-run\n  meshmend restore --all --namespace shop\n  meshmend restore destinationrule/cart --namespace shop"
    )]
    Restore(Restore),
    /// Show revisions of routes, or bless one.
    History(History),
    /// Check and test playbooks.
    #[command(subcommand)]
    Playbook(Playbook),
    /// Check policies.
    #[command(subcommand)]
    Policy(Policy),
    /// Show and verify the journal.
    #[command(subcommand)]
    Audit(Audit),
    /// Show the configuration in force.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How a listing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// As fast as the work allows, in simulated time.
    #[arg(long)]
    pub(super) fast: bool,
    /// Seed; the same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Keep the journal in this folder.
    #[arg(long, value_name = "DIR")]
    pub(super) keep: Option<PathBuf>,
    /// Output.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Output,
}

/// Which configuration and cluster.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// Configuration file.
    #[arg(long, value_name = "FILE", env = "MESHMEND_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Kubeconfig file.
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// Cap of the mode: observe, suggest or enforce; it only lowers what the policies say.
    #[arg(long, value_name = "MODE")]
    pub(super) mode: Option<Mode>,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// KIND/NAME of one object, for instance destinationrule/cart.
    #[arg(value_name = "KIND/NAME", required_unless_present = "all", conflicts_with = "all")]
    pub(super) object: Option<String>,
    /// Every object that bears our mark, expired or not.
    #[arg(long)]
    pub(super) all: bool,
    /// Namespace; with --all every one where none is named, else the one of the kubeconfig.
    #[arg(short, long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
    /// Only try it: the API server checks everything and changes nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Kubeconfig file.
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// Output.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) at: Where,
}

#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    pub(super) at: Where,
    /// File with a signal as JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) signal: PathBuf,
    /// Output.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// Journal.
    #[arg(long, value_name = "FILE")]
    pub(super) journal: PathBuf,
    /// Decide with these playbooks instead.
    #[arg(long, value_name = "DIR")]
    pub(super) playbooks: Option<PathBuf>,
    /// Decide with these policies instead.
    #[arg(long, value_name = "DIR")]
    pub(super) policies: Option<PathBuf>,
    /// Output.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Incident id.
    pub(super) incident: String,
    /// Journal; the one `run` uses without a file by default.
    #[arg(long, value_name = "FILE")]
    pub(super) journal: Option<PathBuf>,
    /// Output.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Output,
}

/// How to reach a running agent.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// Address of its API; by default what `run` wrote beside its journal.
    #[arg(long, value_name = "URL")]
    pub(super) server: Option<String>,
    /// File with a token; by default the one `run` wrote beside its journal.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Journal beside which `run` left word.
    #[arg(long, value_name = "FILE")]
    pub(super) journal: Option<PathBuf>,
    /// Output.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(super) struct Vote {
    /// Incident id.
    pub(super) incident: String,
    /// Plan that is voted on; needed where no terminal can ask.
    #[arg(long, value_name = "HASH")]
    pub(super) plan: Option<String>,
    /// Words for the journal.
    #[arg(long, default_value = "")]
    pub(super) comment: String,
    #[command(flatten)]
    pub(super) remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct History {
    #[command(subcommand)]
    pub(super) command: Option<HistoryCommand>,
    #[command(flatten)]
    pub(super) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(super) enum HistoryCommand {
    /// Mark the revision in force good, on your word.
    #[command(after_help = "Example:\n  meshmend history bless shop/cart")]
    Bless {
        /// NAMESPACE/NAME of a VirtualService.
        route: String,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Args)]
pub(super) struct Folder {
    /// Folder; the embedded files without one.
    pub(super) folder: Option<PathBuf>,
    /// Output.
    #[arg(short, long, default_value = "table")]
    pub(super) output: Output,
}

#[derive(Debug, Subcommand)]
pub(super) enum Playbook {
    /// Compile the playbooks of a folder and tell every mistake.
    Check(Folder),
    /// Run the tests that the playbooks of a folder carry.
    Test(Folder),
}

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Check the policies of a folder and tell every mistake.
    Check(Folder),
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List the records of a journal.
    Show {
        /// Journal; the one `run` uses without a file by default.
        #[arg(long, value_name = "FILE")]
        journal: Option<PathBuf>,
        /// Only records of this incident.
        #[arg(long, value_name = "ID")]
        incident: Option<String>,
        /// Output.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Check every stored byte of a journal (exit 2 when it is broken).
    Verify {
        /// Journal; the one `run` uses without a file by default.
        #[arg(long, value_name = "FILE")]
        journal: Option<PathBuf>,
        /// Public key; the one beside the journal by default.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// A head printed before (`-o json`), kept elsewhere: proves that no tail was cut off.
        #[arg(long, value_name = "FILE")]
        anchor: Option<PathBuf>,
        /// Output.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the configuration in force, defaults included; secrets are only named by file.
    Show {
        /// Configuration file.
        #[arg(long, value_name = "FILE", env = "MESHMEND_CONFIG")]
        config: Option<PathBuf>,
        /// Output.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

/// Runs a command; the answer is the exit code.
pub(super) fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::Demo(args) => work::demo(&args),
        Command::Run(args) => work::run(&args),
        Command::Plan(args) => work::plan(&args),
        Command::Replay(args) => work::replay(&args),
        Command::Explain(args) => work::explain(&args),
        Command::Incidents(remote) => client::incidents(&remote),
        Command::Approve(vote) => client::vote(&vote, "approve"),
        Command::Deny(vote) => client::vote(&vote, "deny"),
        Command::Restore(args) => restore::restore(&args),
        Command::History(History { command: None, remote }) => client::history(&remote),
        Command::History(History { command: Some(HistoryCommand::Bless { route, remote }), .. }) => {
            client::bless(&route, &remote)
        }
        Command::Playbook(Playbook::Check(folder)) => check::playbooks(&folder),
        Command::Playbook(Playbook::Test(folder)) => check::test_playbooks(&folder),
        Command::Policy(Policy::Check(folder)) => check::policies(&folder),
        Command::Audit(Audit::Show { journal, incident, output }) => {
            audit::show(&work::journal(journal)?, incident.as_deref(), output)
        }
        Command::Audit(Audit::Verify { journal, key, anchor, output }) => {
            audit::verify(&work::journal(journal)?, key.as_deref(), anchor.as_deref(), output)
        }
        Command::Config(ConfigCommand::Show { config, output }) => {
            work::config_show(config.as_deref(), output)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "meshmend", &mut std::io::stdout());
            Ok(super::FINE)
        }
    }
}
