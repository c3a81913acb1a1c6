//! The commands with their arguments.

use clap::{CommandFactory as _, Parser, Subcommand};

pub(super) use super::args::{
    Audit, ConfigCommand, Demo, Explain, Export, Folder, History, HistoryCommand, New, Output, Plan,
    Playbook, Policy, Remote, Replay, Restore, Run, Sim, Vote, Where,
};
use super::rights::Rbac;
use super::{abort, audit, check, client, health, operators, rbac, restore, simulation, windows, work};

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
    /// Show how every part of the mesh is, and what cannot be seen; 2 if any is critical.
    ///
    /// Works with a kubeconfig alone: proxies and istiod are asked by port-forward. Traffic needs
    /// Prometheus (sources.prometheus in the configuration).
    #[command(
        after_help = "Examples:\n  meshmend health                         current kubeconfig\n  meshmend health --config meshmend.yaml --namespace shop\n  meshmend health --explain data_plane.proxy_liveness\n  meshmend health --mesh istio -o json\n  meshmend health --config meshmend.yaml --watch\n  meshmend health --server --journal journal.db"
    )]
    Health(health::HealthArgs),
    /// Decide every recorded event again and compare; 2 if one differs.
    #[command(after_help = "Example:\n  meshmend replay --journal journal.db --policies new-policies")]
    Replay(Replay),
    /// Say why an incident was handled as it was.
    #[command(
        after_help = "Examples:\n  meshmend explain k3f9q2-00017\n  meshmend explain k3f9q2-00017 --journal out/journal.db -o json"
    )]
    Explain(Explain),
    /// List incidents of a running agent.
    #[command(
        after_help = "Examples:\n  meshmend incidents\n  meshmend incidents -o json\n  meshmend incidents --server http://127.0.0.1:8480 --token-file token"
    )]
    Incidents(Remote),
    /// Approve the plan of an incident.
    #[command(
        after_help = "Examples:\n  meshmend approve k3f9q2-00017\n  meshmend approve k3f9q2-00017 --plan sha256:... --comment 'looks right'"
    )]
    Approve(Vote),
    /// Deny the plan of an incident.
    #[command(
        after_help = "Examples:\n  meshmend deny k3f9q2-00017 --comment 'not during the release'\n  meshmend deny k3f9q2-00017 --plan sha256:..."
    )]
    Deny(Vote),
    /// Stop an incident, or all within a reach, at once; then keep or undo what was done.
    ///
    /// A step that runs is let finish, and nothing follows. What is in force then is shown, and on
    /// a terminal you are asked. Elsewhere it is kept unless --undo is given, and exit code 2 says
    /// so. What expires still ends at its time. New signals may open new incidents: pause as well
    /// where nothing more should be tried.
    #[command(
        after_help = "Examples:\n  meshmend abort k3f9q2-00017 --reason 'we do this by hand'\n  meshmend abort k3f9q2-00017 --undo --reason 'the old route was right'\n  meshmend abort --namespace shop --keep --reason migration\n  meshmend abort --all --reason migration"
    )]
    Abort(abort::AbortArgs),
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

/// Runs a command; the answer is the exit code.
pub(super) fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::Demo(args) => work::demo(&args),
        Command::Run(args) => work::run(&args),
        Command::Plan(args) => work::plan(&args),
        Command::Health(args) => health::health(&args),
        Command::Replay(args) => work::replay(&args),
        Command::Explain(args) => work::explain(&args),
        Command::Incidents(remote) => client::incidents(&remote),
        Command::Approve(vote) => client::vote(&vote, "approve"),
        Command::Deny(vote) => client::vote(&vote, "deny"),
        Command::Abort(args) => abort::abort(&args),
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
