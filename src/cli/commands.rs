//! The commands with their arguments.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use super::rights::Rbac;
use super::{audit, check, client, operators, rbac, restore, simulation, windows, work};
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
    /// Stop an incident, or all within a reach, and take back what was done.
    ///
    /// A step that runs is let finish and then taken back where that is possible. New signals may
    /// open new incidents: pause as well where nothing more should be tried.
    #[command(
        after_help = "Examples:\n  meshmend abort k3f9q2-00017 --reason 'we do this by hand'\n  meshmend abort --namespace shop --reason migration\n  meshmend abort --all --reason migration"
    )]
    Abort(operators::AbortArgs),
    /// Hold new acts for a while: all, of a namespace, or of a playbook.
    ///
    /// What was begun goes on, and is taken back if it does not help. The same reach again
    /// replaces the pause.
    #[command(
        after_help = "Examples:\n  meshmend pause --for 1h --reason 'release of cart'\n  meshmend pause --namespace shop --for 2d --reason migration\n  meshmend pause --playbook roll-back-virtual-service --for 30m --reason 'looks odd'"
    )]
    Pause(operators::PauseArgs),
    /// End a pause before its time.
    #[command(after_help = "Examples:\n  meshmend resume\n  meshmend resume --namespace shop")]
    Resume(operators::ResumeArgs),
    /// List what holds new acts: pauses, storms, open breakers.
    #[command(after_help = "Example:\n  meshmend pauses -o json")]
    Pauses(Remote),
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
    /// Show when the policies allow to act over the next days.
    ///
    /// Times are those of the zone that a policy's first window names, else UTC.
    #[command(
        after_help = "Examples:\n  meshmend windows --config meshmend.yaml\n  meshmend windows --policies policies --days 14 -o json"
    )]
    Windows(windows::WindowsArgs),
    /// Show and verify the journal.
    #[command(subcommand)]
    Audit(Audit),
    /// Print the least rights for the playbooks and policies, for `kubectl apply -f -`.
    #[command(
        after_help = "Examples:\n  meshmend rbac | kubectl apply -f -\n  meshmend rbac --config meshmend.yaml > rbac.yaml\n  meshmend rbac --policies policies --namespace shop-eu --namespace shop-us\n  meshmend rbac --service-account ops/healer -o json\n\nWith the built-in policy (observe) these are rights to read and no others."
    )]
    Rbac(Rbac),
    /// Show the configuration in force.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Serve the simulated cluster alone, for kubectl and for agents to try.
    #[command(
        after_help = "Examples:\n  meshmend sim --kubeconfig sim.kubeconfig\n  meshmend sim --fault hung_proxy\n  kubectl --kubeconfig sim.kubeconfig get pods"
    )]
    Sim(Sim),
    /// Print completions for a shell.
    #[command(
        after_help = "Examples:\n  source <(meshmend completions bash)\n  meshmend completions zsh > ~/.zfunc/_meshmend\n  meshmend completions fish > ~/.config/fish/completions/meshmend.fish\n  meshmend completions powershell | Out-String | Invoke-Expression\n  eval (meshmend completions elvish | slurp)"
    )]
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
    /// Write records for others to read and verify, to standard output or into a folder.
    #[command(
        after_help = "Examples:\n  meshmend audit export > records.jsonl\n  meshmend audit export --incident k3f9q2-00017\n  meshmend audit export --folder out --from 1 --to 5000\n  meshmend audit verify --journal out\n\nRecords go out as they are, because their hashes cover every byte; specs of routes lose header values\nand texts of unknown meaning, unless --exact is given."
    )]
    Export(Export),
    /// Check every stored byte of a journal (exit 2 when it is broken).
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
        Command::Abort(args) => operators::abort(&args),
        Command::Pause(args) => operators::pause(&args),
        Command::Resume(args) => operators::resume(&args),
        Command::Pauses(remote) => operators::pauses(&remote),
        Command::Restore(args) => restore::restore(&args),
        Command::History(History { command: None, remote }) => client::history(&remote),
        Command::History(History { command: Some(HistoryCommand::Bless { route, remote }), .. }) => {
            client::bless(&route, &remote)
        }
        Command::Playbook(Playbook::Check(folder)) => check::playbooks(&folder),
        Command::Playbook(Playbook::Test(folder)) => check::test_playbooks(&folder),
        Command::Playbook(Playbook::New(new)) => check::new_playbook(&new),
        Command::Policy(Policy::Check(folder)) => check::policies(&folder),
        Command::Windows(args) => windows::windows(&args),
        Command::Audit(Audit::Show { journal, incident, output }) => {
            audit::show(&work::journal(journal)?, incident.as_deref(), output)
        }
        Command::Audit(Audit::Export(args)) => audit::export(&work::journal(args.journal.clone())?, &args),
        Command::Audit(Audit::Verify { journal, key, anchor, output }) => {
            audit::verify(&work::journal(journal)?, key.as_deref(), anchor.as_deref(), output)
        }
        Command::Rbac(args) => rbac::rbac(&args),
        Command::Config(ConfigCommand::Show { config, output }) => {
            work::config_show(config.as_deref(), output)
        }
        Command::Sim(args) => simulation::sim(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "meshmend", &mut std::io::stdout());
            Ok(super::FINE)
        }
    }
}
