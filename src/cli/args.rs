//! What the commands take.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::model::verdict::Mode;

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

#[derive(Debug, Args)]
pub(super) struct Sim {
    /// Address of this machine where the API server listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(super) listen: std::net::SocketAddr,
    /// Seed of names, noise and what a fault meets.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Where the kubeconfig is written.
    #[arg(long, value_name = "FILE", default_value = "meshmend-sim.kubeconfig")]
    pub(super) kubeconfig: PathBuf,
    /// Let something go wrong at once; see the help of a wrong name for the names.
    #[arg(long, value_name = "NAME")]
    pub(super) fault: Vec<String>,
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
    #[command(
        after_help = "Examples:\n  meshmend playbook check\n  meshmend playbook check playbooks -o json"
    )]
    Check(Folder),
    /// Run the tests that the playbooks of a folder carry.
    #[command(after_help = "Example:\n  meshmend playbook test playbooks")]
    Test(Folder),
    /// Write a playbook to begin with, with tests that pass.
    #[command(
        after_help = "Examples:\n  meshmend playbook new tell-payments\n  meshmend playbook new restart-cart --action restart_sidecar\n  meshmend playbook new slow-checkout --symptom custom.slow --action notify --folder my-mesh/playbooks"
    )]
    New(New),
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// Its name: lower case, digits and -; the file is NAME.rhai.
    pub(super) name: String,
    /// What it listens to, as component.condition; by default what the act is mostly for.
    #[arg(long, value_name = "SYMPTOM")]
    pub(super) symptom: Option<String>,
    /// What it does.
    #[arg(long, value_name = "ACTION", default_value = "notify")]
    pub(super) action: String,
    /// Folder to write into; made where it is missing.
    #[arg(long, value_name = "DIR", default_value = "playbooks")]
    pub(super) folder: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Check the policies of a folder and tell every mistake.
    #[command(after_help = "Examples:\n  meshmend policy check\n  meshmend policy check policies -o json")]
    Check(Folder),
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List the records of a journal.
    #[command(
        after_help = "Examples:\n  meshmend audit show\n  meshmend audit show --incident k3f9q2-00017\n  meshmend audit show --journal out/journal.db -o json"
    )]
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
    /// Write records for others to read and verify, to standard output or into a folder.
    #[command(
        after_help = "Examples:\n  meshmend audit export > records.jsonl\n  meshmend audit export --incident k3f9q2-00017\n  meshmend audit export --folder out --from 1 --to 5000\n  meshmend audit verify --journal out\n\nRecords go out as they are, because their hashes cover every byte; specs of routes lose header values\nand texts of unknown meaning, unless --exact is given."
    )]
    Export(Export),
    /// Check every stored byte of a journal (exit 2 when it is broken).
    #[command(
        after_help = "Examples:\n  meshmend audit verify\n  meshmend audit verify --journal out/journal.db --key journal.pub\n  meshmend audit verify -o json > anchor.json\n  meshmend audit verify --anchor anchor.json"
    )]
    Verify {
        /// Journal, or a folder that was exported; the journal `run` uses without a file by default.
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

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Journal; the one `run` uses without a file by default.
    #[arg(long, value_name = "FILE")]
    pub(super) journal: Option<PathBuf>,
    /// Into this folder, with documents, checkpoints and the public key; else records as JSON lines.
    #[arg(long, value_name = "DIR")]
    pub(super) folder: Option<PathBuf>,
    /// First record.
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    pub(super) from: u64,
    /// Last record; the newest by default.
    #[arg(long, value_name = "SEQ")]
    pub(super) to: Option<u64>,
    /// Only records of this incident; not into a folder, because a chain with holes proves nothing.
    #[arg(long, value_name = "ID", conflicts_with = "folder")]
    pub(super) incident: Option<String>,
    /// Specs as they are, secrets in them included.
    #[arg(long, requires = "folder")]
    pub(super) exact: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the configuration in force, defaults included; secrets are only named by file.
    #[command(
        after_help = "Examples:\n  meshmend config show\n  meshmend config show --config meshmend.yaml -o json"
    )]
    Show {
        /// Configuration file.
        #[arg(long, value_name = "FILE", env = "MESHMEND_CONFIG")]
        config: Option<PathBuf>,
        /// Output.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}
