//! The DestinationRule in force for a host and a client, put together from those that count.

use serde_json::Value;

use crate::mesh::hosts::{covers, exported, full, selects, specific};
use crate::mesh::objects::{Config, Mesh, Proxy, ROOT_NAMESPACE, labels};

/// What is in force.
pub(super) struct InForce<'m> {
    /// The oldest of those merged gives the name.
    pub(super) named: &'m Config,
    pub(super) policy: Option<&'m Value>,
    pub(super) subsets: Vec<&'m Value>,
}

/// The rule for a host of a service's namespace: the client's own namespace is asked first, then the
/// service's, then the root; the first that has one is asked alone.
pub(super) fn in_force<'m>(
    mesh: &'m Mesh,
    proxy: &Proxy,
    host: &str,
    namespace: &str,
) -> Option<InForce<'m>> {
    let mut asked = vec![proxy.namespace.as_str()];
    for next in [namespace, ROOT_NAMESPACE] {
        if !asked.contains(&next) {
            asked.push(next);
        }
    }
    asked.into_iter().find_map(|from| of_namespace(mesh, proxy, host, from))
}

fn of_namespace<'m>(mesh: &'m Mesh, proxy: &Proxy, host: &str, namespace: &str) -> Option<InForce<'m>> {
    let own = |rule: &Config| full(rule.spec["host"].as_str().unwrap_or_default(), namespace);
    let mut rules: Vec<&Config> = mesh
        .destination_rules
        .iter()
        .filter(|rule| rule.namespace == namespace && covers(&own(rule), host))
        .filter(|rule| exported(rule, &proxy.namespace).is_some())
        .filter(|rule| selector(rule).is_null() || selects(&labels(selector(rule)), &proxy.labels))
        .collect();
    let best = rules.iter().map(|rule| specific(&own(rule))).max()?;
    rules.retain(|rule| specific(&own(rule)) == best);
    rules.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
    merge(&pick(&rules))
}

fn selector(rule: &Config) -> &Value {
    &rule.spec["workloadSelector"]["matchLabels"]
}

/// Rules are merged where they are for the same workloads and exported in the same words. Of what is left,
/// those with a selector come first, and the newest.
fn pick<'m>(rules: &[&'m Config]) -> Vec<&'m Config> {
    let mut groups: Vec<Vec<&Config>> = Vec::new();
    for rule in rules {
        let same = |group: &&mut Vec<&Config>| {
            group[0].spec["exportTo"] == rule.spec["exportTo"] && selector(group[0]) == selector(rule)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(rule),
            None => groups.push(vec![rule]),
        }
    }
    let selecting = groups.iter().rposition(|group| !selector(group[0]).is_null());
    let at = selecting.or_else(|| groups.len().checked_sub(1));
    at.map(|at| groups.swap_remove(at)).unwrap_or_default()
}

/// The oldest policy stays; subsets are united, the oldest of a name stays.
fn merge<'m>(rules: &[&'m Config]) -> Option<InForce<'m>> {
    let named = *rules.first()?;
    let policy = rules.iter().find_map(|rule| rule.spec.get("trafficPolicy"));
    let mut subsets: Vec<&Value> = Vec::new();
    for subset in rules.iter().flat_map(|rule| rule.spec["subsets"].as_array().into_iter().flatten()) {
        if !subsets.iter().any(|known| known["name"] == subset["name"]) {
            subsets.push(subset);
        }
    }
    Some(InForce { named, policy, subsets })
}
