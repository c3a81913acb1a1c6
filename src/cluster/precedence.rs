//! Which VirtualService serves a client, as measured on istiod. What was not measured is unclear, and
//! nobody acts on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::host::service;
use super::object::{DestinationRuleKind, VirtualServiceKind};
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

/// What keeps a route from being the only one that the clients of its hosts obey: other routes, or words
/// where it cannot be told. Nobody acts on such a route, and no traffic proves it good.
///
/// At gateways, and where HTTPRoutes take part, nothing was measured: two routes for one host there are
/// both in question.
#[must_use]
pub fn disputed(routes: &[Arc<Route>], route: &Route) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    let virtual_service = route.is::<VirtualServiceKind>();
    for host in &route.hosts {
        if virtual_service && route.is_at("mesh") {
            said.extend(clients(routes, host).into_iter().filter_map(|client| {
                match route_for(routes, &Client::of(client), host) {
                    Found::One(found) if found.route.subject != route.subject => Some(named(&found.route)),
                    Found::One(_) | Found::Nothing => None,
                    Found::Unclear(why) => Some(why),
                }
            }));
        }
        let beside = routes.iter().filter(|other| {
            let measured = |at: &str| at == "mesh" && virtual_service && other.is::<VirtualServiceKind>();
            let meet = |at: &String| other.is_at(at) && !measured(at);
            !other.is::<DestinationRuleKind>()
                && other.subject != route.subject
                && other.hosts.contains(host)
                && route.gateways.iter().any(meet)
        });
        said.extend(beside.map(|other| named(other)));
    }
    said
}

fn named(route: &Route) -> String {
    format!("{}/{}", route.subject.namespace, route.subject.name)
}

/// Namespaces whose clients may obey different objects for a host: one of each kind of client is among them.
pub(super) fn clients<'r>(near: &'r [Arc<Route>], host: &'r str) -> BTreeSet<&'r str> {
    let near = near.iter().filter(|route| route.hosts.iter().any(|known| covers(known, host)));
    let mut clients: BTreeSet<&str> = near.clone().map(|route| route.subject.namespace.as_str()).collect();
    let is_name = |export: &&str| !matches!(*export, "." | "*" | "~");
    clients.extend(near.flat_map(|route| route.export.iter().map(String::as_str)).filter(is_name));
    clients.extend(service(host).map(|(_, namespace)| namespace));
    // No namespace has an empty name: it stands for those without any object of their own.
    clients.insert("");
    clients
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
    if !route.is_at("mesh") {
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
