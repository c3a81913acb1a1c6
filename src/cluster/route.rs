//! A routing object as we look at it: a VirtualService, a DestinationRule or an HTTPRoute, with its hosts
//! and where it leads.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::host::fqdn;
use super::object::{
    DestinationRule, HttpRoute, HttpRouteKind, Kind, Object, VirtualService, VirtualServiceKind,
};
use super::owner;
use crate::model::digest::Digest;
use crate::model::facts::ManagedBy;
use crate::model::mark::{Mark, Marked};
use crate::model::subject::Subject;

mod http;

/// Annotation that a shed of ours leaves on the rule it tightened.
pub const RESTORE: &str = "meshmend.dev/restore";

/// One routing object.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which.
    pub subject: Subject,
    /// Uid.
    pub uid: String,
    /// The spec as it is.
    pub spec: Arc<Value>,
    /// Hash of it.
    pub spec_hash: Digest,
    /// Version that a patch names to notice races.
    pub resource_version: String,
    /// Field manager that wrote the spec last.
    pub manager: String,
    /// When, as the managed fields say.
    pub written_at: Option<Timestamp>,
    /// Tool that owns it.
    pub managed_by: ManagedBy,
    /// Fully qualified hosts.
    pub hosts: Vec<String>,
    /// Labels of the object.
    pub labels: BTreeMap<String, String>,
    /// Whether a shed of ours is on it.
    pub shed: bool,
    /// The text of its mark.
    pub(super) mark: Option<Arc<str>>,
    /// Namespaces that may see it, as it says; nothing means all.
    pub(super) export: Vec<String>,
    pub(super) created: Timestamp,
    pub(super) gateways: Vec<String>,
}

/// Where a spec leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leads {
    /// Fully qualified host.
    pub host: String,
    /// Subset.
    pub subset: Option<String>,
    /// Percent points.
    pub weight: u32,
}

impl Route {
    /// Reads a VirtualService.
    #[must_use]
    pub fn of(object: VirtualService) -> Self {
        let mut route = Self::read(object);
        let namespace = &route.subject.namespace;
        route.hosts = texts(&route.spec, "hosts").iter().map(|host| fqdn(host, namespace)).collect();
        route.gateways =
            texts(&route.spec, "gateways").iter().map(|gateway| whole_gateway(gateway, namespace)).collect();
        if route.gateways.is_empty() {
            route.gateways.push("mesh".to_owned());
        }
        route
    }

    /// Reads a DestinationRule.
    #[must_use]
    pub fn of_rule(object: DestinationRule) -> Self {
        let mut route = Self::read(object);
        let host = route.spec.get("host").and_then(Value::as_str).unwrap_or_default();
        route.hosts = vec![fqdn(host, &route.subject.namespace)];
        route
    }

    /// Reads an HTTPRoute. Its hosts are the Services it stands before, and the names it serves at gateways.
    #[must_use]
    pub fn of_http(object: HttpRoute) -> Self {
        let mut route = Self::read(object);
        let (hosts, gateways) = http::hosts(&route.spec, &route.subject.namespace);
        (route.hosts, route.gateways) = (hosts, gateways);
        route
    }

    fn read<K: Kind>(object: Object<K>) -> Self {
        let meta = object.metadata;
        let (manager, written_at) = owner::writer(&meta);
        let spec = object.spec;
        let mark = meta.annotations.as_ref().and_then(|annotations| annotations.get(RESTORE));
        let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
        Self {
            subject: Subject::new(K::GROUP, K::KIND, namespace.unwrap_or_default(), name.unwrap_or_default()),
            uid: meta.uid.clone().unwrap_or_default(),
            spec_hash: Digest::of_json(&spec),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            managed_by: owner::managed_by(&meta),
            hosts: Vec::new(),
            labels: meta.labels.clone().unwrap_or_default(),
            shed: mark.is_some(),
            mark: mark.map(|text| Arc::from(text.as_str())),
            export: texts(&spec, "exportTo"),
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            gateways: Vec::new(),
            manager,
            written_at,
            spec: Arc::new(spec),
        }
    }

    /// Its mark, as far as it can be read.
    pub(super) fn marked(&self) -> Option<Marked> {
        let mark = Mark::read(self.mark.as_ref()?).ok();
        Some(Marked {
            subject: self.subject.clone(),
            uid: self.uid.clone(),
            labels: self.labels.clone(),
            incident: mark.as_ref().map(|mark| mark.incident.clone()).unwrap_or_default(),
            expires: mark.as_ref().map(|mark| mark.expires),
            was: mark.and_then(|mark| mark.was),
        })
    }

    /// Whether it is of this kind.
    #[must_use]
    pub fn is<K: Kind>(&self) -> bool {
        self.subject.kind == K::KIND && self.subject.group == K::GROUP
    }

    /// Whether it delegates to others, or has no host and so is a delegate itself.
    #[must_use]
    pub fn delegates(&self) -> bool {
        if !self.is::<VirtualServiceKind>() {
            return false;
        }
        let http = self.spec.get("http").and_then(Value::as_array);
        self.hosts.is_empty() || http.into_iter().flatten().any(|route| route.get("delegate").is_some())
    }

    /// Whether one of its hosts is a wildcard.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.hosts.iter().any(|host| host.contains('*'))
    }

    /// When the spec in force was written, as far as the object says.
    #[must_use]
    pub fn changed_at(&self) -> Timestamp {
        self.written_at.unwrap_or(self.created)
    }

    /// Where it sends traffic.
    #[must_use]
    pub fn leads(&self) -> Vec<Leads> {
        leads(&self.subject, &self.spec)
    }

    /// Whether it is bound to a gateway; `mesh` is all sidecars.
    pub(super) fn is_at(&self, gateway: &str) -> bool {
        self.gateways.iter().any(|bound| bound == gateway)
    }

    /// Whether everybody may see it.
    pub(super) fn is_public(&self) -> bool {
        self.export.is_empty() || self.export.iter().any(|to| to == "*")
    }
}

/// Where a spec of this object sends traffic, each destination once with the largest weight it has anywhere.
/// Weights of zero vanish, as in Istio; a single destination counts 100. A DestinationRule leads nowhere.
#[must_use]
pub fn leads(subject: &Subject, spec: &Value) -> Vec<Leads> {
    let namespace = &subject.namespace;
    if subject.kind == HttpRouteKind::KIND {
        return http::leads(spec, namespace);
    }
    let mut found: BTreeMap<(String, Option<String>), u32> = BTreeMap::new();
    for protocol in ["http", "tls", "tcp"] {
        for rule in spec.get(protocol).and_then(Value::as_array).into_iter().flatten() {
            let routes = rule.get("route").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for route in routes {
                let weight = match route.get("weight").and_then(Value::as_u64) {
                    Some(weight) => u32::try_from(weight).unwrap_or(u32::MAX),
                    None if routes.len() == 1 => 100,
                    None => 0,
                };
                let destination = route.get("destination");
                let text = |key: &str| destination.and_then(|d| d.get(key)).and_then(Value::as_str);
                let Some(host) = text("host").filter(|_| weight > 0) else { continue };
                let key = (fqdn(host, namespace), text("subset").map(str::to_owned));
                let known = found.entry(key).or_default();
                *known = (*known).max(weight);
            }
        }
    }
    found.into_iter().map(|((host, subset), weight)| Leads { host, subset, weight }).collect()
}

/// A gateway by namespace and name; `mesh` is none but all sidecars.
fn whole_gateway(gateway: &str, namespace: &str) -> String {
    if gateway == "mesh" || gateway.contains('/') {
        gateway.to_owned()
    } else {
        format!("{namespace}/{gateway}")
    }
}

/// The texts of a list.
pub(super) fn texts(spec: &Value, key: &str) -> Vec<String> {
    let items = spec.get(key).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn destinations_are_read_as_istio_reads_them() {
        let spec = json!({"http": [
            {"route": [{"destination": {"host": "cart", "subset": "v1"}, "weight": 90},
                       {"destination": {"host": "cart", "subset": "v2"}, "weight": 10},
                       {"destination": {"host": "cart", "subset": "v3"}, "weight": 0}]},
            {"route": [{"destination": {"host": "web.other.svc.cluster.local"}}]},
        ]});
        let found: Vec<(String, u32)> = leads(&Subject::virtual_service("shop", "cart"), &spec)
            .into_iter()
            .map(|l| (format!("{}/{}", l.host, l.subset.unwrap_or_default()), l.weight))
            .collect();
        assert_eq!(
            found,
            [
                ("cart.shop.svc.cluster.local/v1".to_owned(), 90),
                ("cart.shop.svc.cluster.local/v2".to_owned(), 10),
                ("web.other.svc.cluster.local/".to_owned(), 100),
            ]
        );
    }
}
