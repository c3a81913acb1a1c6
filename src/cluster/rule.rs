//! Which DestinationRule serves a client, as measured on istiod. What was not measured is unclear, and
//! nobody acts on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::host::service;
use super::object::DestinationRuleKind;
use super::precedence::{Client, Found, clients, covers, specific};
use super::route::Route;

/// Namespace of rules for the whole mesh.
const ROOT: &str = "istio-system";

/// Labels that select the pods of a subset.
pub(super) type Labels = BTreeMap<String, String>;

/// The rule in force: one object, or several that istiod merges.
#[derive(Clone, Debug)]
pub struct RuleInForce {
    /// All objects of it, the oldest first. Envoy knows the rule by the first one's name only.
    pub merged: Vec<Arc<Route>>,
    /// The object whose `trafficPolicy` is in force; `None` when none has any.
    pub policy: Option<Arc<Route>>,
    /// Subsets by name.
    pub subsets: BTreeMap<String, Subset>,
}

/// A subset of the rule in force.
#[derive(Clone, Debug)]
pub struct Subset {
    /// The object that defines it.
    pub by: Arc<Route>,
    /// Labels that select its pods.
    pub labels: Labels,
    /// Its block as it is written.
    pub block: Value,
}

/// The DestinationRule that sidecars of a client obey for a host.
///
/// As measured: the client's namespace, then the service's, then the root namespace; the first with any
/// match wins alone. In it the most specific host counts; then a rule that selects the client's pods stands
/// alone; then rules of equal host and equal export are merged; where exports differ, the newest wins.
#[must_use]
pub fn rule_for(rules: &[Arc<Route>], client: &Client, host: &str) -> Found<RuleInForce> {
    let fitting: Vec<&Arc<Route>> = rules
        .iter()
        .filter(|rule| rule.is::<DestinationRuleKind>() && rule.hosts.iter().any(|known| covers(known, host)))
        .collect();
    let of = |namespace: &str, shown: fn(&Route) -> bool| -> Vec<&Arc<Route>> {
        fitting.iter().filter(|rule| rule.subject.namespace == namespace && shown(rule)).copied().collect()
    };
    // Rules for all in the root namespace are defaults of the mesh, not of the proxies that live there.
    let local = if client.namespace == ROOT { is_private } else { is_for_home };
    match chosen(of(&client.namespace, local), client, |_| true) {
        Found::Nothing => {}
        found @ (Found::One(_) | Found::Unclear(_)) => return found,
    }
    let home = match service(host) {
        Some((_, namespace)) => Some(namespace),
        None if fitting.iter().all(|rule| rule.subject.namespace == ROOT) => None,
        None => return Found::Unclear(format!("the namespace that {host} belongs to is not known")),
    };
    for namespace in home.into_iter().filter(|home| *home != ROOT).chain([ROOT]) {
        let shown = |rule: &Route| rule.is_public() || rule.export.contains(&client.namespace);
        match chosen(of(namespace, is_exported), client, shown) {
            Found::Nothing => {}
            found @ (Found::One(_) | Found::Unclear(_)) => return found,
        }
    }
    Found::Nothing
}

/// The rule that all clients of a host obey, whatever their namespace.
#[must_use]
pub fn rule_for_all(rules: &[Arc<Route>], host: &str) -> Found<RuleInForce> {
    let mut all: Option<Found<RuleInForce>> = None;
    for namespace in clients(rules, host) {
        let found = rule_for(rules, &Client::of(namespace), host);
        match (&all, &found) {
            (_, Found::Unclear(_)) => return found,
            (Some(before), _) if objects(before) != objects(&found) => {
                return Found::Unclear(format!("clients in {namespace} obey another rule than others"));
            }
            (None | Some(_), Found::One(_) | Found::Nothing) => all = Some(found),
        }
    }
    all.unwrap_or(Found::Nothing)
}

fn objects(found: &Found<RuleInForce>) -> Vec<&str> {
    match found {
        Found::One(rule) => rule.merged.iter().map(|object| object.uid.as_str()).collect(),
        Found::Nothing | Found::Unclear(_) => Vec::new(),
    }
}

/// Whether proxies of its own namespace see it.
fn is_for_home(rule: &Route) -> bool {
    rule.is_public() || rule.export.iter().any(|to| to == "." || *to == rule.subject.namespace)
}

/// Whether only its own namespace sees it.
fn is_private(rule: &Route) -> bool {
    matches!(rule.export.as_slice(), [to] if to == "." || *to == rule.subject.namespace)
}

/// Whether it takes part where other namespaces look.
fn is_exported(rule: &Route) -> bool {
    !is_private(rule)
}

/// Rules of one namespace that istiod makes one of.
struct Group<'r> {
    export: BTreeSet<&'r str>,
    selector: Option<Labels>,
    rules: Vec<&'r Arc<Route>>,
}

fn chosen<'r>(
    mut rules: Vec<&'r Arc<Route>>,
    client: &Client,
    shown: impl Fn(&Route) -> bool,
) -> Found<RuleInForce> {
    let host = |rule: &Arc<Route>| rule.hosts.first().map(|host| specific(host));
    let Some(best) = rules.iter().map(|rule| host(rule)).max() else { return Found::Nothing };
    rules.retain(|rule| host(rule) == best);
    rules.sort_by_key(|rule| (rule.created, rule.subject.name.clone()));
    let mut groups: Vec<Group<'r>> = Vec::new();
    for rule in rules {
        let export: BTreeSet<&str> = rule.export.iter().map(String::as_str).collect();
        let selector = selector(rule);
        if groups.iter().any(|group| group.export != export && wider(&export, &group.export)) {
            return unclear(rule, "widens the export of an older rule");
        }
        match groups.iter_mut().find(|group| group.export == export && group.selector == selector) {
            Some(group) => group.rules.push(rule),
            None => groups.push(Group { export, selector, rules: vec![rule] }),
        }
    }
    let newest =
        groups.iter().flat_map(|group| &group.rules).max_by_key(|rule| (rule.created, &rule.subject.name));
    let newest = newest.map(|rule| rule.uid.clone());
    if let Some(hidden) = groups.iter().flat_map(|group| &group.rules).find(|rule| !shown(rule)) {
        return unclear(hidden, "is not exported to the client, and what then counts differs by version");
    }
    select(groups, client, newest.as_deref())
}

/// Of several groups: the one that selects the client's pods, else the newest without a selector.
fn select(groups: Vec<Group<'_>>, client: &Client, newest: Option<&str>) -> Found<RuleInForce> {
    let (selecting, plain): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.selector.is_some());
    let mut chosen = Vec::new();
    let passed_over = !selecting.is_empty();
    for group in selecting {
        let Some(labels) = &client.labels else {
            return Found::Unclear(format!("{} selects pods by labels", named(&group)));
        };
        let wanted = group.selector.iter().flatten();
        if wanted.into_iter().all(|(key, value)| labels.get(key) == Some(value)) {
            chosen.push(group);
        }
    }
    if chosen.len() > 1 {
        return Found::Unclear("several rules select the client's pods".to_owned());
    }
    if let Some(group) = chosen.pop() {
        if group.rules.iter().any(|rule| rule.subject.namespace != client.namespace) {
            return Found::Unclear(format!("{} selects pods of another namespace", named(&group)));
        }
        return Found::One(merged(&group.rules));
    }
    let several = plain.len() > 1;
    let Some(last) = plain.last() else {
        return match passed_over {
            true => Found::Unclear("only rules for other pods are there".to_owned()),
            false => Found::Nothing,
        };
    };
    if several && !last.rules.iter().any(|rule| Some(rule.uid.as_str()) == newest) {
        return Found::Unclear(format!("rules of three exports stand beside {}", named(last)));
    }
    Found::One(merged(&last.rules))
}

fn named(group: &Group<'_>) -> String {
    group.rules.first().map(|rule| rule.subject.to_string()).unwrap_or_default()
}

fn unclear(rule: &Route, why: &str) -> Found<RuleInForce> {
    Found::Unclear(format!("{} {why}", rule.subject))
}

/// Whether an export shows more than another that names somebody.
fn wider(export: &BTreeSet<&str>, than: &BTreeSet<&str>) -> bool {
    !than.is_empty() && export.is_superset(than)
}

fn selector(rule: &Route) -> Option<Labels> {
    let selector = rule.spec.get("workloadSelector")?;
    Some(labels(selector.get("matchLabels")))
}

fn labels(map: Option<&Value>) -> Labels {
    let map = map.and_then(Value::as_object).into_iter().flatten();
    map.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The oldest policy counts whole; subsets are united, and of one name the oldest counts.
fn merged(rules: &[&Arc<Route>]) -> RuleInForce {
    let mut subsets = BTreeMap::new();
    for rule in rules {
        for block in rule.spec.get("subsets").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = block.get("name").and_then(Value::as_str) else { continue };
            subsets.entry(name.to_owned()).or_insert_with(|| Subset {
                by: Arc::clone(rule),
                labels: labels(block.get("labels")),
                block: block.clone(),
            });
        }
    }
    let policy =
        rules.iter().find(|rule| rule.spec.get("trafficPolicy").is_some_and(|policy| !policy.is_null()));
    RuleInForce {
        merged: rules.iter().map(|rule| Arc::clone(rule)).collect(),
        policy: policy.map(|rule| Arc::clone(rule)),
        subsets,
    }
}
