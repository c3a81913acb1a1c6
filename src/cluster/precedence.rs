//! Which VirtualService serves a client, as measured on istiod. What was not measured is unclear, and
//! nobody acts on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::object::VirtualServiceKind;
use super::route::Route;

#[cfg(test)]
mod tests;

/// Whose requests are asked about: a proxy, or all proxies of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Namespace of the pods.
    pub namespace: String,
    /// Labels of the pods; `None`: unknown, or more than one kind of them.
    pub labels: Option<BTreeMap<String, String>>,
    /// What the Sidecar object of these pods imports (`namespace/host`) on the port in question; `None`
    /// where none applies, and everything is imported.
    pub imports: Option<Vec<String>>,
}

impl Client {
    /// Any pod of a namespace, without a Sidecar object of its own.
    #[must_use]
    pub fn of(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), labels: None, imports: None }
    }
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// This.
    One(T),
    /// Surely nothing.
    Nothing,
    /// It cannot be told, and why.
    Unclear(String),
}

/// The VirtualService in force with the delegates it draws in.
#[derive(Clone, Debug)]
pub struct RouteInForce {
    /// The object that claims the host.
    pub route: Arc<Route>,
    /// Delegates that it leads to.
    pub delegates: Vec<Arc<Route>>,
    /// Delegates that do not exist (`namespace/name`): istiod drops their routes without a word.
    pub missing: Vec<String>,
}

/// The VirtualService that sidecars of a client obey for a host.
///
/// As measured: those bound to gateways only take no part; a specific host beats a wildcard; an explicit or
/// private export beats a public one, whatever the age; then the oldest wins whole, then name, then
/// namespace. Nothing is merged.
#[must_use]
pub fn route_for(routes: &[Arc<Route>], client: &Client, host: &str) -> Found<RouteInForce> {
    let mut fitting: Vec<(&Arc<Route>, Claim)> = Vec::new();
    for route in routes.iter().filter(|route| route.is::<VirtualServiceKind>()) {
        let Some(claim) = claim(route, client, host) else { continue };
        match imported(route, client, host) {
            Some(true) => fitting.push((route, claim)),
            Some(false) => {}
            None => return Found::Unclear(format!("{host} is not among what the Sidecar imports")),
        }
    }
    let Some(best) = fitting.iter().map(|(_, claim)| claim.specific).max() else { return Found::Nothing };
    let nearest = fitting.iter().map(|(_, claim)| claim.reach).min();
    fitting.retain(|(_, claim)| claim.specific == best);
    if nearest != fitting.iter().map(|(_, claim)| claim.reach).min() {
        return Found::Unclear(format!("a narrower export meets a more specific host of {host}"));
    }
    let wild = fitting.iter().any(|(route, _)| !route.hosts.iter().any(|known| known == host));
    if wild && fitting.len() > 1 {
        return Found::Unclear(format!("several wildcards cover {host}"));
    }
    let first = fitting.into_iter().min_by_key(|(route, claim)| {
        let subject = &route.subject;
        (claim.reach, route.created, subject.name.clone(), subject.namespace.clone())
    });
    first.map_or(Found::Nothing, |(route, _)| Found::One(with_delegates(routes, route)))
}

/// How a route lays claim to a host.
#[derive(Clone, Copy)]
struct Claim {
    /// Larger wins: the host itself, then the longer wildcard.
    specific: (bool, usize),
    /// Smaller wins.
    reach: Reach,
}

/// To whom an object is shown, the nearest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Its own namespace.
    Private,
    /// Namespaces by name.
    Named,
    /// Everybody.
    Public,
}

fn claim(route: &Route, client: &Client, host: &str) -> Option<Claim> {
    if !route.gateways.iter().any(|gateway| gateway == "mesh") {
        return None;
    }
    let specific =
        route.hosts.iter().filter(|known| covers(known, host)).map(|known| specific(known)).max()?;
    let home = &route.subject.namespace;
    let reach = if route.is_public() {
        Reach::Public
    } else if route.export.iter().any(|to| (to == "." || to == home) && client.namespace == *home) {
        Reach::Private
    } else if route.export.contains(&client.namespace) {
        Reach::Named
    } else {
        return None;
    };
    Some(Claim { specific, reach })
}

/// Whether a host, perhaps a wildcard, covers another.
pub(super) fn covers(known: &str, host: &str) -> bool {
    known.strip_prefix('*').map_or(known == host, |suffix| host.ends_with(suffix))
}

/// How specific a host is; larger is more.
pub(super) fn specific(host: &str) -> (bool, usize) {
    (!host.starts_with('*'), host.len())
}

/// Whether the client's Sidecar lets a route in; `None` where that was not measured: a route that comes in
/// by another of its hosts.
fn imported(route: &Route, client: &Client, host: &str) -> Option<bool> {
    let Some(imports) = &client.imports else { return Some(true) };
    let mut near = false;
    for (namespace, dns) in imports.iter().filter_map(|import| import.split_once('/')) {
        let home = &route.subject.namespace;
        let from = namespace == "*" || namespace == home || (namespace == "." && client.namespace == *home);
        if from && covers(dns, host) {
            return Some(true);
        }
        near |= from;
    }
    (!near).then_some(false)
}

fn with_delegates(routes: &[Arc<Route>], root: &Arc<Route>) -> RouteInForce {
    let mut found = RouteInForce { route: Arc::clone(root), delegates: Vec::new(), missing: Vec::new() };
    for rule in root.spec.get("http").and_then(Value::as_array).into_iter().flatten() {
        let Some(delegate) = rule.get("delegate") else { continue };
        let text = |key: &str| delegate.get(key).and_then(Value::as_str);
        let namespace = text("namespace").unwrap_or(&root.subject.namespace);
        let name = text("name").unwrap_or_default();
        let child = routes.iter().find(|route| {
            route.is::<VirtualServiceKind>()
                && (route.subject.namespace.as_str(), route.subject.name.as_str()) == (namespace, name)
        });
        match child {
            Some(child) => found.delegates.push(Arc::clone(child)),
            None => found.missing.push(format!("{namespace}/{name}")),
        }
    }
    found
}
