//! Reading: the configuration file as written to what is meant by it, with every mistake.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Brake, Config, History, Intake, PrometheusSource, Role, Token};
use crate::model::rate::Rate;
use crate::yaml::{Faults, Fields, Node, header};

pub(super) struct Reader<'a> {
    /// Folder of the file, for relative paths.
    pub(super) base: PathBuf,
    pub(super) faults: &'a mut Faults,
}

impl Reader<'_> {
    pub(super) fn config(mut self, root: &Node) -> Option<Config> {
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
            "brake",
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
        if let Some(node) = top.get("brake") {
            config.brake = self.brake(node);
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

    fn brake(&mut self, node: &Node) -> Brake {
        let fields = node.fields(&["writes", "notifications"], &[], self.faults);
        let mut rate = |key: &str| {
            let node = fields.get(key)?;
            match node.text(self.faults)?.parse::<Rate>() {
                Ok(rate) => Some(rate),
                Err(why) => {
                    self.faults.add(node, why);
                    None
                }
            }
        };
        let default = Brake::default();
        Brake {
            writes: rate("writes").unwrap_or(default.writes),
            notifications: rate("notifications").unwrap_or(default.notifications),
        }
    }
}
