//! The arguments of `meshmend rbac`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::model::verdict::Mode;

/// How documents are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum YamlOutput {
    /// With comments.
    #[default]
    Yaml,
    /// One list.
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Rbac {
    /// Configuration file: its rules, and which sources are on.
    #[arg(long, value_name = "FILE", env = "MESHMEND_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// These playbooks instead.
    #[arg(long, value_name = "DIR")]
    pub(super) playbooks: Option<PathBuf>,
    /// These policies instead.
    #[arg(long, value_name = "DIR")]
    pub(super) policies: Option<PathBuf>,
    /// Cap of the mode, as it is given to `run`.
    #[arg(long, value_name = "MODE")]
    pub(super) mode: Option<Mode>,
    /// Who gets the rights.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "meshmend/meshmend")]
    pub(super) service_account: String,
    /// A namespace that exists, to be held against the patterns of policies; may be given often.
    #[arg(long = "namespace", value_name = "NAME")]
    pub(super) namespaces: Vec<String>,
    /// Output.
    #[arg(short, long, default_value = "yaml")]
    pub(super) output: YamlOutput,
}
