//! The configuration: the file as written, and what is meant by it.

mod mesh;
mod read;
mod written;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::rate::Rate;
use crate::yaml::{Fault, Faults, marked, parse, source_line};

pub use mesh::{IstiodSource, ProxySource, Via};

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of the cluster; signals that name another one are not ours.
    pub cluster: Option<String>,
    /// Folder of playbooks; the embedded ones where none is given.
    pub playbooks: Option<PathBuf>,
    /// Folder of policies; the embedded ones where none is given.
    pub policies: Option<PathBuf>,
    /// Journal.
    pub journal: PathBuf,
    /// Signing key; made beside the journal where none is given.
    pub signing_key_file: Option<PathBuf>,
    /// Address of the API.
    pub api: SocketAddr,
    /// Address of probes and metrics.
    pub probes: SocketAddr,
    /// Tokens; where none is given, one is made beside the journal.
    pub tokens: Vec<Token>,
    /// Namespaces watched; `*` means all.
    pub namespaces: Vec<String>,
    /// Ways in that are open.
    pub intake: BTreeSet<Intake>,
    /// Prometheus.
    pub prometheus: Option<PrometheusSource>,
    /// Proxies, asked by ourselves.
    pub proxies: Option<ProxySource>,
    /// istiod.
    pub istiod: Option<IstiodSource>,
    /// Proof of revisions.
    pub history: History,
    /// File with the URL of the notification webhook.
    pub webhook_url_file: Option<PathBuf>,
    /// How fast anything may leave.
    pub brake: Brake,
}

/// A bearer token and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Name, as votes record it.
    pub name: String,
    /// Rights.
    pub roles: BTreeSet<Role>,
    /// File that holds the token.
    pub file: PathBuf,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Send alerts and signals.
    Intake,
    /// Look.
    Read,
    /// Vote and bless.
    Approve,
}

/// A way for signals to come in over the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intake {
    /// `POST /v1/alerts/alertmanager`.
    Alertmanager,
    /// `POST /v1/signals`.
    Signals,
}

/// Where Prometheus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusSource {
    /// Base URL.
    pub url: String,
    /// Seconds between two polls.
    pub interval_s: u64,
    /// File with a bearer token.
    pub token_file: Option<PathBuf>,
    /// File with the CA certificate.
    pub ca_file: Option<PathBuf>,
}

impl Role {
    /// The word as the configuration writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Read => "read",
            Self::Approve => "approve",
        }
    }
}

impl PrometheusSource {
    /// Time between two polls.
    #[must_use]
    pub fn every(&self) -> Duration {
        Duration::from_secs(self.interval_s)
    }
}

/// When a revision counts as proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Seconds of health.
    pub hold_s: u64,
    /// Requests carried.
    pub min_requests: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { hold_s: 600, min_requests: 100 }
    }
}

/// How fast anything may leave, whatever was decided: the second brake after the limits of the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brake {
    /// Writes to the API server.
    pub writes: Rate,
    /// Notifications.
    pub notifications: Rate,
}

impl Default for Brake {
    /// Five writes a second are far above what any policy of ours lets through in the long run, and far
    /// below what an API server notices; twenty news a second are more than people read.
    fn default() -> Self {
        const FIVE: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
        const TWENTY: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
        Self { writes: Rate::PerSecond(FIVE), notifications: Rate::PerSecond(TWENTY) }
    }
}

/// A file that the configuration names, or a folder of the command line, cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

/// A configuration that cannot be used: every mistake with its place.
#[derive(Clone, Debug)]
pub struct Mistakes {
    /// The file.
    pub file: String,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// The file's text, to show the lines meant; empty where it could not be read.
    pub text: String,
}

impl std::fmt::Display for Mistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let end = if index + 1 < self.faults.len() { "\n" } else { "" };
            let (line, column) = (fault.line, fault.column);
            let shown = marked(source_line(&self.text, line), line, column);
            write!(f, "{}:{line}:{column}: error: {}{shown}{end}", self.file, fault.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

impl Config {
    /// The configuration of a run without a file: everything that can be known without one.
    #[must_use]
    pub fn without_file(journal: PathBuf) -> Self {
        Self {
            cluster: None,
            playbooks: None,
            policies: None,
            journal,
            signing_key_file: None,
            api: SocketAddr::from(([127, 0, 0, 1], 8480)),
            probes: SocketAddr::from(([127, 0, 0, 1], 9480)),
            tokens: Vec::new(),
            namespaces: vec!["*".to_owned()],
            intake: BTreeSet::from([Intake::Alertmanager, Intake::Signals]),
            prometheus: None,
            proxies: None,
            istiod: None,
            history: History::default(),
            webhook_url_file: None,
            brake: Brake::default(),
        }
    }

    /// Reads a file. Relative paths in it are relative to the file.
    ///
    /// # Errors
    /// Every mistake, with line and column.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let file = path.display().to_string();
        let mistakes =
            |faults: Vec<Fault>, text: &str| Mistakes { file: file.clone(), faults, text: text.to_owned() };
        let text = std::fs::read_to_string(path).map_err(|error| {
            mistakes(vec![Fault { line: 1, column: 1, text: format!("cannot be read: {error}") }], "")
        })?;
        let root = parse(&text).map_err(|found| mistakes(vec![found], &text))?;
        let mut faults = Faults::default();
        let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let config = read::Reader { base, faults: &mut faults }.config(&root);
        faults.0.sort_by_key(|fault| (fault.line, fault.column));
        match config.filter(|_| faults.0.is_empty()) {
            Some(config) => Ok(config),
            None => Err(mistakes(faults.0, &text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meshmend.yaml");
        let text = "apiVersion: meshmend.dev/v1alpha1\nkind: Config\ncluster: { name: x }\nplaybooks: p\npolicies: q\n\
                    journal: { sqlite: { path: j.db }, signingKeyFile: k }\nlisten: { api: \"127.0.0.1:1\" }\n\
                    tokens: [ { name: a, roles: [read, approve], file: t } ]\nhistory: { hold: 90s, minRequests: 7 }\n\
                    sources: { signals: {}, kubernetes: { namespaces: [a, b] }, prometheus: { url: \"http://p\", interval: 90s },\n\
                    proxies: { interval: 20s, via: pod_ip }, istiod: { interval: 30s } }\n\
                    notify: { webhook: { urlFile: u } }\nbrake: { writes: 30/m, notifications: \"off\" }\n";
        std::fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        std::fs::write(&path, serde_saphyr::to_string(&config.written()).unwrap()).unwrap();
        // Mutation: leaving any field out of `written`.
        assert_eq!(Config::load(&path).unwrap(), config);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meshmend.yaml");
        let text = "apiVersion: meshmend.dev/v1alpha1\nkind: Config\njournal: { sqlite: { path: j.db } }\n\
                    listen: { api: nowhere }\nsources:\n  proxies: { interval: 1s, via: air }\n  prometheus: { url: x, interval: 5 }\n\
                    histroy: {}\ntokens: [ { name: a, roles: [root], file: t } ]\n";
        std::fs::write(&path, text).unwrap();
        let mistakes = Config::load(&path).unwrap_err();
        let lines: Vec<u64> = mistakes.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [4, 6, 6, 7, 7, 8, 9], "{mistakes}");
    }
}
