//! DestinationRules: which subsets exist for a host.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::host::fqdn;
use super::object::DestinationRule;

/// One DestinationRule as we look at it.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) host: String,
    created: Timestamp,
    export: Vec<String>,
    subsets: BTreeMap<String, BTreeMap<String, String>>,
}

/// Labels that select the pods of a subset.
pub(super) type Labels = BTreeMap<String, String>;

impl Rule {
    pub(super) fn of(object: &DestinationRule) -> Self {
        let meta = &object.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let text = |key: &str| object.spec.get(key).and_then(Value::as_str).unwrap_or_default();
        let list = |key: &str| object.spec.get(key).and_then(Value::as_array).into_iter().flatten();
        let subsets = list("subsets").filter_map(|subset| {
            let labels = subset.get("labels").and_then(Value::as_object).into_iter().flatten();
            let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            Some((subset.get("name")?.as_str()?.to_owned(), labels.collect()))
        });
        Self {
            host: fqdn(text("host"), &namespace),
            name: meta.name.clone().unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            export: list("exportTo").filter_map(Value::as_str).map(str::to_owned).collect(),
            subsets: subsets.collect(),
            namespace,
        }
    }

    fn covers(&self, host: &str) -> bool {
        match self.host.strip_prefix('*') {
            Some(suffix) => host.ends_with(suffix),
            None => self.host == host,
        }
    }
}

/// The labels of a subset as clients of `client` (a namespace) see the host; `None` when it is not defined.
///
/// As measured on istiod: the client's namespace, then the service's, then the root namespace; the first
/// with any match wins alone. In it the most specific host counts; rules of equal host are united unless
/// their exports differ, then the newest stands alone.
pub(super) fn subset(rules: &[Rule], client: &str, host: &str, subset: &str) -> Option<Labels> {
    let service = super::host::service(host).map_or("", |(_, namespace)| namespace);
    for namespace in [client, service, "istio-system"] {
        let fitting: Vec<&Rule> =
            rules.iter().filter(|rule| rule.namespace == namespace && rule.covers(host)).collect();
        let Some(longest) = fitting.iter().map(|rule| (!rule.host.starts_with('*'), rule.host.len())).max()
        else {
            continue;
        };
        let mut best: Vec<&Rule> = fitting
            .into_iter()
            .filter(|rule| (!rule.host.starts_with('*'), rule.host.len()) == longest)
            .collect();
        best.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
        let same_export = best.windows(2).all(|pair| pair[0].export == pair[1].export);
        if !same_export {
            best = best.pop().into_iter().collect();
        }
        return best.iter().find_map(|rule| rule.subsets.get(subset).cloned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(namespace: &str, name: &str, created: &str, export: Value, subsets: &[&str]) -> Rule {
        let subsets: Vec<Value> =
            subsets.iter().map(|name| json!({"name": name, "labels": {"version": name}})).collect();
        let object = json!({
            "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created},
            "spec": {"host": "cart.shop.svc.cluster.local", "exportTo": export, "subsets": subsets},
        });
        Rule::of(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn the_first_namespace_with_a_match_wins_alone_and_equals_are_united() {
        let host = "cart.shop.svc.cluster.local";
        let owner = rule("shop", "cart", "2026-01-01T00:00:00Z", json!([]), &["v1"]);
        let second = rule("shop", "cart-2", "2026-01-02T00:00:00Z", json!([]), &["v2"]);
        let client = rule("web", "cart", "2026-01-03T00:00:00Z", json!([]), &["v9"]);
        let rules = [owner.clone(), second, client];
        assert!(subset(&rules, "shop", host, "v1").is_some() && subset(&rules, "shop", host, "v2").is_some());
        // Mutation: falling through to the next namespace finds v1 for clients in web.
        assert!(subset(&rules, "web", host, "v1").is_none());
        assert!(subset(&rules, "web", host, "v9").is_some());
        let other = rule("shop", "cart-3", "2026-01-04T00:00:00Z", json!(["*"]), &["v3"]);
        assert!(subset(&[owner, other], "shop", host, "v1").is_none(), "different exports are not united");
    }
}
