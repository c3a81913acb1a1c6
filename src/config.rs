//! The configuration: the file as written, and what is meant by it.

mod mesh;
mod written;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::yaml::{Fault, Faults, Fields, Node, header, marked, parse, source_line};

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
        let config = Reader { base, faults: &mut faults }.config(&root);
        faults.0.sort_by_key(|fault| (fault.line, fault.column));
        match config.filter(|_| faults.0.is_empty()) {
            Some(config) => Ok(config),
            None => Err(mistakes(faults.0, &text)),
        }
    }
}

struct Reader<'a> {
    base: PathBuf,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn config(mut self, root: &Node) -> Option<Config> {
        let known = [
            "apiVersion",
            "kind",
            "cluster",
            "playbooks",
            "policies",
            "journal",
            "listen",
            "tokens",
            "sources",
            "history",
            "notify",
        ];
        let top = root.fields(&known, &[], self.faults);
        header(top, root, "Config", self.faults);
        let journal = top.need("journal", root, self.faults).and_then(|node| self.journal(node));
        let mut config = Config::without_file(PathBuf::new());
        // In a cluster the kubelet asks for the probes from outside of the pod.
        config.probes = SocketAddr::from(([0, 0, 0, 0], 9480));
        if let Some(node) = top.get("cluster") {
            let fields = node.fields(&["name"], &[], self.faults);
            config.cluster = fields.need("name", node, self.faults).and_then(|node| node.text(self.faults));
        }
        config.playbooks = self.path(top, "playbooks");
        config.policies = self.path(top, "policies");
        if let Some(node) = top.get("listen") {
            let fields = node.fields(&["api", "probes"], &[], self.faults);
            config.api = self.address(fields, "api").unwrap_or(config.api);
            config.probes = self.address(fields, "probes").unwrap_or(config.probes);
        }
        if let Some(node) = top.get("tokens") {
            config.tokens = node.items(self.faults).into_iter().filter_map(|item| self.token(item)).collect();
        }
        if let Some(node) = top.get("sources") {
            self.sources(node, &mut config);
        }
        if let Some(node) = top.get("history") {
            config.history = self.history(node);
        }
        if let Some(node) = top.get("notify") {
            let fields = node.fields(&["webhook"], &["slack"], self.faults);
            if let Some(webhook) = fields.get("webhook") {
                let parts = webhook.fields(&["urlFile"], &[], self.faults);
                config.webhook_url_file = self.path(parts, "urlFile");
            }
        }
        (config.journal, config.signing_key_file) = journal?;
        Some(config)
    }

    fn path(&mut self, fields: Fields<'_>, key: &str) -> Option<PathBuf> {
        let text = fields.get(key)?.text(self.faults)?;
        Some(self.base.join(text))
    }

    fn address(&mut self, fields: Fields<'_>, key: &str) -> Option<SocketAddr> {
        let node = fields.get(key)?;
        let text = node.text(self.faults)?;
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                self.faults
                    .add(node, format!("{text:?} is not an address; write for instance 127.0.0.1:8480"));
                None
            }
        }
    }

    fn journal(&mut self, node: &Node) -> Option<(PathBuf, Option<PathBuf>)> {
        let fields = node.fields(&["sqlite", "signingKeyFile"], &["postgres"], self.faults);
        let key = self.path(fields, "signingKeyFile");
        let sqlite = fields.need("sqlite", node, self.faults)?;
        let parts = sqlite.fields(&["path"], &[], self.faults);
        parts.need("path", sqlite, self.faults)?;
        Some((self.path(parts, "path")?, key))
    }

    fn token(&mut self, node: &Node) -> Option<Token> {
        let fields = node.fields(&["name", "roles", "file"], &[], self.faults);
        let name = fields.need("name", node, self.faults).and_then(|node| node.text(self.faults));
        let roles = fields.need("roles", node, self.faults).map(|node| {
            let texts = node.texts(self.faults).unwrap_or_default();
            let roles = texts.iter().filter_map(|text| match text.as_str() {
                "intake" => Some(Role::Intake),
                "read" => Some(Role::Read),
                "approve" => Some(Role::Approve),
                other => {
                    self.faults
                        .add(node, format!("no role is called {other:?}; known: intake, read, approve"));
                    None
                }
            });
            roles.collect::<BTreeSet<Role>>()
        });
        fields.need("file", node, self.faults);
        let file = self.path(fields, "file");
        Some(Token { name: name?, roles: roles?, file: file? })
    }

    fn sources(&mut self, node: &Node, config: &mut Config) {
        let known = ["kubernetes", "alertmanager", "signals", "prometheus", "proxies", "istiod"];
        let fields = node.fields(&known, &["envoy", "linkerd", "consul", "vault"], self.faults);
        config.proxies = fields.get("proxies").and_then(|node| self.proxies(node));
        config.istiod = fields.get("istiod").and_then(|node| self.istiod(node));
        // A source that is not named is none: its path is closed.
        config.intake.clear();
        for (key, intake) in [("alertmanager", Intake::Alertmanager), ("signals", Intake::Signals)] {
            if let Some(node) = fields.get(key) {
                node.fields(&[], &[], self.faults);
                config.intake.insert(intake);
            }
        }
        if let Some(node) = fields.get("kubernetes") {
            let parts = node.fields(&["namespaces"], &[], self.faults);
            if let Some(node) = parts.get("namespaces")
                && let Some(namespaces) = node.texts(self.faults)
            {
                if namespaces.iter().any(|name| name != "*" && name.contains('*')) {
                    self.faults.add(node, "namespaces are named in full, or \"*\" for all of them");
                }
                config.namespaces = namespaces;
            }
        }
        let Some(node) = fields.get("prometheus") else { return };
        let parts = node.fields(&["url", "interval", "tokenFile", "caFile"], &[], self.faults);
        let url = parts.need("url", node, self.faults).and_then(|node| {
            let url = node.text(self.faults)?;
            if url.starts_with("http://") || url.starts_with("https://") {
                return Some(url);
            }
            self.faults.add(node, "a URL that begins with http:// or https:// is expected");
            None
        });
        let interval_s = match parts.get("interval") {
            Some(node) => node.seconds(self.faults).filter(|seconds| {
                if *seconds == 0 {
                    self.faults.add(node, "the interval is at least 1s");
                }
                *seconds > 0
            }),
            None => Some(15),
        };
        let (token_file, ca_file) = (self.path(parts, "tokenFile"), self.path(parts, "caFile"));
        if let (Some(url), Some(interval_s)) = (url, interval_s) {
            config.prometheus = Some(PrometheusSource { url, interval_s, token_file, ca_file });
        }
    }

    fn history(&mut self, node: &Node) -> History {
        let fields = node.fields(&["hold", "minRequests"], &[], self.faults);
        let default = History::default();
        let hold_s = fields.get("hold").map_or(Some(default.hold_s), |node| node.seconds(self.faults));
        let min = fields.get("minRequests").map_or(Some(100), |node| node.whole(1, self.faults));
        History {
            hold_s: hold_s.unwrap_or(default.hold_s).max(1),
            min_requests: min.map_or(default.min_requests, u64::from),
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
                    notify: { webhook: { urlFile: u } }\n";
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
