//! Ways of reading an indicator, in order of preference: no act is measured by them.

use crate::promql::Query;
use crate::yaml::{Faults, Fields, Node};

/// A way of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The meshes it is for; empty: it does not depend on one.
    pub meshes: Vec<MeshName>,
    /// How.
    pub by: By,
}

/// A mesh as the catalogue names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MeshName {
    /// Istio.
    Istio,
    /// Linkerd.
    Linkerd,
}

/// How a reading is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// An instant query of Prometheus: one value, or one a series. No series is unknown, never zero.
    Expression {
        /// The figure, in the indicator's unit.
        value: String,
        /// The samples behind it, by the same labels.
        samples: Option<String>,
        /// What it is compared with, where the figure is relative.
        baseline: Option<Baseline>,
    },
    /// What we keep or ask ourselves.
    State(State),
    /// Its source is not built yet; the words say what it will be.
    Later(String),
}

/// What a relative figure is compared with. Where that is not there, the figure is not, and nobody would know that
/// the value of today is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// Of when it is, in words: `a week ago`.
    pub of: String,
    /// An instant query of the value that is compared, by the same labels as the figure.
    pub current: String,
}

/// What the cluster's objects, istiod or Prometheus itself say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Whether a proxy's container is ready, native sidecars included.
    ProxiesReady,
    /// Whether istiod says that a proxy rejects its configuration.
    ProxiesAccepting,
    /// Minor versions that a proxy is behind its control plane.
    ProxyVersions,
    /// Share of a gateway's replicas that are ready.
    GatewaysAvailable,
    /// Share of our own watches that the API server serves badly or not at all.
    Watches,
    /// Whether Prometheus answers us.
    PrometheusAnswers,
    /// Whether a proxy says at its admin port that it takes what it is sent.
    ProxiesUnrejecting,
    /// Seconds that the oldest push to a proxy waits for its acknowledgement.
    PushWaits,
    /// Share of a control plane's replicas that say they are ready.
    ReplicasAnswering,
    /// How many times the mean the most loaded replica of a control plane has.
    LoadBalance,
    /// Share of the API server's own checks that fail.
    ApiServerReady,
    /// Memory of a control plane's replica over its limit.
    PlaneMemory,
    /// CPU of a proxy over its limit.
    ProxyCpu,
    /// Share of a service's hosts that its clients keep out.
    HostsEjected,
    /// Share of the requests to a service that its hosts failed.
    UpstreamErrors,
    /// Whether a proxy takes traffic.
    ProxiesLive,
    /// Share of its life that the certificate of a workload has left.
    LeavesLeft,
}

impl State {
    const ALL: [(&'static str, Self); 17] = [
        ("proxies_ready", Self::ProxiesReady),
        ("proxies_accepting", Self::ProxiesAccepting),
        ("proxy_versions", Self::ProxyVersions),
        ("gateways_available", Self::GatewaysAvailable),
        ("watches", Self::Watches),
        ("prometheus_answers", Self::PrometheusAnswers),
        ("proxies_unrejecting", Self::ProxiesUnrejecting),
        ("push_waits", Self::PushWaits),
        ("replicas_answering", Self::ReplicasAnswering),
        ("load_balance", Self::LoadBalance),
        ("api_server_ready", Self::ApiServerReady),
        ("control_plane_memory", Self::PlaneMemory),
        ("proxy_cpu", Self::ProxyCpu),
        ("hosts_ejected", Self::HostsEjected),
        ("upstream_errors", Self::UpstreamErrors),
        ("proxies_live", Self::ProxiesLive),
        ("certificates_left", Self::LeavesLeft),
    ];

    /// Whether each subject is one of a fleet, well or not.
    #[must_use]
    pub fn is_of_a_fleet(self) -> bool {
        matches!(
            self,
            Self::ProxiesReady | Self::ProxiesAccepting | Self::ProxiesUnrejecting | Self::ProxiesLive
        )
    }
}

impl Way {
    /// Whether it is for a mesh.
    #[must_use]
    pub fn is_for(&self, mesh: MeshName) -> bool {
        self.meshes.is_empty() || self.meshes.contains(&mesh)
    }

    /// The expressions it reads by.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &String> {
        let all = match &self.by {
            By::Expression { value, samples, baseline } => {
                let current = baseline.as_ref().map(|baseline| &baseline.current);
                [Some(value), samples.as_ref(), current]
            }
            By::State(_) | By::Later(_) => [None; 3],
        };
        all.into_iter().flatten()
    }

    /// Name of its source.
    #[must_use]
    pub fn source(&self) -> &'static str {
        match &self.by {
            By::Expression { .. } | By::State(State::PrometheusAnswers) => "prometheus",
            By::State(
                State::ProxiesAccepting | State::PushWaits | State::ReplicasAnswering | State::LoadBalance,
            ) => "istiod",
            By::State(
                State::ProxiesUnrejecting
                | State::HostsEjected
                | State::UpstreamErrors
                | State::ProxiesLive
                | State::LeavesLeft,
            ) => "envoy",
            By::State(State::PlaneMemory | State::ProxyCpu) => "metrics.k8s.io",
            By::State(_) => "kubernetes",
            By::Later(_) => "none",
        }
    }
}

/// The list of ways, and the window that their expressions look back over.
pub(super) fn ways(fields: Fields<'_>, list: &Node, faults: &mut Faults) -> Option<Vec<Way>> {
    let window_s = match fields.get("window") {
        Some(node) => Some(node.seconds(faults)?),
        None => None,
    };
    let items = list.items(faults);
    if items.is_empty() {
        faults.add(list, "how is it read? the list is empty");
    }
    let read: Vec<Option<Way>> = items.into_iter().map(|item| way(item, window_s, faults)).collect();
    read.into_iter().collect()
}

fn way(node: &Node, window_s: Option<u64>, faults: &mut Faults) -> Option<Way> {
    let fields = node.fields(&["meshes", "expression", "samples", "baseline", "state", "later"], &[], faults);
    let meshes = fields.get("meshes").map_or(Some(Vec::new()), |node| meshes(node, faults));
    let ways = ["expression", "state", "later"].map(|key| fields.get(key));
    if ways.iter().flatten().count() != 1 {
        faults.add(node, "a reading is one of expression: PROMQL, state: NAME or later: TEXT");
        return None;
    }
    if let (Some(samples), None) = (fields.get("samples"), fields.get("expression")) {
        faults.add(samples, "samples stand beside an expression, and nowhere else");
    }
    if let (Some(baseline), None) = (fields.get("baseline"), fields.get("expression")) {
        faults.add(baseline, "a baseline stands beside an expression, and nowhere else");
    }
    let [value, state, later] = ways;
    let by = if let Some(value) = value {
        let samples = fields.get("samples").map(|node| promql(node, window_s, faults));
        let samples = samples.map_or(Some(None), |read| read.map(Some));
        let baseline = fields.get("baseline").map(|node| baseline(node, window_s, faults));
        let baseline = baseline.map_or(Some(None), |read| read.map(Some));
        By::Expression { value: promql(value, window_s, faults)?, samples: samples?, baseline: baseline? }
    } else if let Some(node) = state {
        let text = node.text(faults)?;
        let found = State::ALL.into_iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let known = State::ALL.map(|(name, _)| name).join(", ");
            faults.add(node, format!("no state is called {text:?}; known: {known}"));
        }
        By::State(found?.1)
    } else {
        By::Later(later?.text(faults)?)
    };
    Some(Way { meshes: meshes?, by })
}

fn baseline(node: &Node, window_s: Option<u64>, faults: &mut Faults) -> Option<Baseline> {
    let parts = node.fields(&["of", "current"], &[], faults);
    let of = parts.need("of", node, faults).and_then(|node| node.text(faults));
    let current = parts.need("current", node, faults).and_then(|node| promql(node, window_s, faults));
    Some(Baseline { of: of?, current: current? })
}

fn meshes(node: &Node, faults: &mut Faults) -> Option<Vec<MeshName>> {
    let mut found = Vec::new();
    for text in node.texts(faults)? {
        match text.as_str() {
            "istio" => found.push(MeshName::Istio),
            "linkerd" => found.push(MeshName::Linkerd),
            other => faults.add(node, format!("{other:?} is no mesh; known: istio, linkerd")),
        }
    }
    Some(found)
}

/// An expression with its window filled in.
fn promql(node: &Node, window_s: Option<u64>, faults: &mut Faults) -> Option<String> {
    let text = node.text(faults)?;
    if window_s.is_none() && text.contains("$window") {
        faults.add(node, "the expression names $window, and the indicator has no key window");
        return None;
    }
    let text = window_s.map_or(text.clone(), |seconds| text.replace("$window", &format!("{seconds}s")));
    parses(node, &text, faults);
    Some(text)
}

/// An expression that is none becomes a fault.
pub(super) fn parses(node: &Node, promql: &str, faults: &mut Faults) {
    if let Err(why) = Query::parse(promql) {
        faults.add(node, why);
    }
}
