//! Which endpoints the requests for a service go to, as VirtualServices, DestinationRules and
//! EndpointSlices say. Only the first HTTP rule of the oldest VirtualService for the host counts; HTTPRoutes
//! and Gateways carry no traffic here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::limits::{self, Limits, Outlier};
use crate::sim::control::{ready, text};
use crate::sim::kinds::key;
use crate::sim::store::Store;
use crate::sim::world::Service;

/// A service as the objects make it.
pub(super) struct View {
    /// Pods that call it: namespace and name.
    pub(super) clients: Vec<(Arc<str>, Arc<str>)>,
    pub(super) lanes: Vec<Lane>,
}

/// One cluster of endpoints that gets a share of the requests.
pub(super) struct Lane {
    /// Empty where the route names none.
    pub(super) subset: String,
    pub(super) share: f64,
    /// Whether the subset is defined by the rule in force.
    pub(super) defined: bool,
    /// Ready pods with the share of requests they fail.
    pub(super) pods: Vec<(String, f64)>,
    pub(super) limits: Limits,
    pub(super) outlier: Option<Outlier>,
    pub(super) timeout_ms: f64,
}

/// Where a route sets no limit, the clients' own patience ends here.
const PATIENCE_MS: f64 = 15_000.0;

pub(super) fn view(store: &Store, service: &Service) -> View {
    let (namespace, app) = service.client;
    let calls = |pod: &&Value| text(pod, "/metadata/labels/app") == app && ready(pod);
    let named = |pod: &Value| (Arc::from(namespace), Arc::from(text(pod, "/metadata/name")));
    let clients = store.list("pods", Some(namespace)).filter(calls).map(named).collect();
    View { clients, lanes: lanes(store, service) }
}

fn lanes(store: &Store, service: &Service) -> Vec<Lane> {
    let endpoints = endpoints(store, service);
    let rule = limits::rule(store, service);
    let route = route(store, service);
    let http = route.and_then(|route| route.pointer("/spec/http/0"));
    let timeout = http.and_then(|http| http.get("timeout")).and_then(Value::as_str);
    let timeout: Option<jiff::SignedDuration> = timeout.and_then(|text| text.parse().ok());
    let timeout_ms = timeout.map_or(PATIENCE_MS, |span| span.as_secs_f64() * 1_000.0).max(1.0);
    let lane = |subset: &str, share: f64| {
        let labels = rule.subset(subset);
        let chosen = |(pod, (labels_of, failing)): (&String, &(Value, f64))| {
            let fits = labels.is_none_or(|labels| {
                labels.as_object().into_iter().flatten().all(|(key, value)| labels_of.get(key) == Some(value))
            });
            fits.then(|| (pod.clone(), *failing))
        };
        Lane {
            subset: subset.to_owned(),
            share,
            defined: subset.is_empty() || labels.is_some(),
            pods: endpoints.iter().filter_map(chosen).collect(),
            limits: rule.limits(subset),
            outlier: rule.outlier(subset),
            timeout_ms,
        }
    };
    let Some(entries) = http.and_then(|http| http.get("route")).and_then(Value::as_array) else {
        return vec![lane("", 1.0)];
    };
    let weight = |entry: &Value| match entry.get("weight").and_then(Value::as_f64) {
        Some(weight) => weight,
        None if entries.len() == 1 => 100.0,
        None => 0.0,
    };
    let total: f64 = entries.iter().map(weight).sum();
    if total <= 0.0 {
        // Envoy answers 503 where weights lead nowhere.
        return vec![Lane { defined: false, ..lane("", 1.0) }];
    }
    // Two entries of one subset are one cluster.
    let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
    for entry in entries {
        *shares.entry(text(entry, "/destination/subset")).or_default() += weight(entry) / total;
    }
    shares.into_iter().filter(|(_, share)| *share > 0.0).map(|(subset, share)| lane(subset, share)).collect()
}

/// The oldest VirtualService of the namespace that names the host.
fn route<'s>(store: &'s Store, service: &Service) -> Option<&'s Value> {
    let names = |route: &&Value| {
        let hosts = route.pointer("/spec/hosts").and_then(Value::as_array);
        hosts.into_iter().flatten().any(|host| *host == service.name || *host == service.host().as_str())
    };
    let routes = store.list("virtualservices", Some(service.namespace)).filter(names);
    routes.min_by_key(|route| (text(route, "/metadata/creationTimestamp"), text(route, "/metadata/name")))
}

/// Ready endpoints with their pod's labels and the share of requests it fails.
fn endpoints(store: &Store, service: &Service) -> BTreeMap<String, (Value, f64)> {
    let of = |slice: &&Value| text(slice, "/metadata/labels/kubernetes.io~1service-name") == service.name;
    let slices = store.list("endpointslices", Some(service.namespace)).filter(of);
    let listed = slices.filter_map(|slice| slice.pointer("/endpoints").and_then(Value::as_array));
    let up = |endpoint: &&Value| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
    let mut found = BTreeMap::new();
    for endpoint in listed.flatten().filter(up) {
        let name = text(endpoint, "/targetRef/name");
        let Some(pod) = store.get(&key("pods", service.namespace, name)) else { continue };
        let labels = pod.pointer("/metadata/labels").cloned().unwrap_or_default();
        let version = text(&labels, "/version");
        let subset = service.subsets.iter().find(|(subset, _, _)| *subset == version);
        found.insert(name.to_owned(), (labels, subset.map_or(0.0, |(_, failing, _)| *failing)));
    }
    found
}
