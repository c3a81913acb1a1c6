//! What the stand-in translates: slim views of Kubernetes objects, read from their JSON, and one proxy.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Istio's own namespace: rules in it are defaults for the whole mesh.
pub(crate) const ROOT_NAMESPACE: &str = "istio-system";

/// Labels of a pod.
pub(crate) type Labels = BTreeMap<String, String>;

/// Everything that a translation looks at.
#[derive(Default)]
pub(crate) struct Mesh {
    pub(crate) virtual_services: Vec<Config>,
    pub(crate) destination_rules: Vec<Config>,
    /// Only filters that are added to HTTP listeners: they make Envoy refuse one.
    pub(crate) envoy_filters: Vec<Config>,
    pub(crate) services: Vec<Service>,
    pub(crate) slices: Vec<Slice>,
    pub(crate) pods: Vec<Pod>,
    /// By node.
    pub(crate) localities: BTreeMap<String, Locality>,
}

/// A VirtualService, a DestinationRule or an EnvoyFilter.
pub(crate) struct Config {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) created: String,
    pub(crate) spec: Value,
}

/// A Service.
pub(crate) struct Service {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) address: Option<String>,
    /// Name and number.
    pub(crate) ports: Vec<(String, u16)>,
}

impl Service {
    /// Its full host.
    pub(crate) fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }
}

/// An EndpointSlice.
pub(crate) struct Slice {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One address of a slice.
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) ready: bool,
    pub(crate) pod: String,
    pub(crate) node: String,
}

/// A Pod.
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) ip: String,
    pub(crate) labels: Labels,
    /// The Deployment above it, or itself.
    pub(crate) workload: String,
}

/// Where a pod runs.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Locality {
    pub(crate) region: String,
    pub(crate) zone: String,
}

/// One client of the control plane, as far as translation asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxy {
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) locality: Locality,
    /// What it imports, as `namespace/host`; nothing at all means everything.
    pub(crate) imports: Vec<String>,
    /// Its listeners; a pod without a sidecar has none.
    pub(crate) sidecar: Option<Sidecar>,
}

/// What a sidecar's listeners need to know.
#[derive(Clone, Debug)]
pub(crate) struct Sidecar {
    pub(crate) ip: IpAddr,
    /// Ports that it takes for the application, and where that listens.
    pub(crate) inbound: Vec<Inbound>,
    /// The file that Envoy writes its access log to.
    pub(crate) access_log: String,
    /// The folder of its xDS files.
    pub(crate) folder: String,
}

/// One port of a pod and the application's own behind it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inbound {
    pub(crate) port: u16,
    pub(crate) app_port: u16,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn port(value: &Value) -> u16 {
    value.as_u64().and_then(|number| u16::try_from(number).ok()).unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The labels at a place of an object.
pub(crate) fn labels(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), text(value))).collect()
}

impl Mesh {
    /// The objects of these JSON documents; kinds that routing does not ask for are passed over.
    pub(crate) fn of<'v>(objects: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut mesh = Self::default();
        for object in objects {
            match object["kind"].as_str() {
                Some("VirtualService") => mesh.virtual_services.push(config(object)),
                Some("DestinationRule") => mesh.destination_rules.push(config(object)),
                Some("EnvoyFilter") => mesh.envoy_filters.push(config(object)),
                Some("Service") => mesh.services.push(service(object)),
                Some("EndpointSlice") => mesh.slices.push(slice(object)),
                Some("Pod") => mesh.pods.push(pod(object)),
                Some("Node") => {
                    let labels = &object["metadata"]["labels"];
                    let [region, zone] =
                        ["region", "zone"].map(|end| text(&labels[format!("topology.kubernetes.io/{end}")]));
                    mesh.localities.insert(text(&object["metadata"]["name"]), Locality { region, zone });
                }
                _ => {}
            }
        }
        mesh
    }
}

fn config(object: &Value) -> Config {
    let meta = &object["metadata"];
    Config {
        namespace: text(&meta["namespace"]),
        name: text(&meta["name"]),
        created: text(&meta["creationTimestamp"]),
        spec: object["spec"].clone(),
    }
}

fn service(object: &Value) -> Service {
    let ports = items(&object["spec"]["ports"]).iter().map(|p| (text(&p["name"]), port(&p["port"])));
    Service {
        namespace: text(&object["metadata"]["namespace"]),
        name: text(&object["metadata"]["name"]),
        address: object["spec"]["clusterIP"].as_str().filter(|ip| *ip != "None").map(str::to_owned),
        ports: ports.collect(),
    }
}

fn slice(object: &Value) -> Slice {
    let ports = items(&object["ports"]).iter().map(|p| (text(&p["name"]), port(&p["port"])));
    let endpoints = items(&object["endpoints"]).iter().flat_map(|endpoint| {
        items(&endpoint["addresses"]).iter().map(|address| Endpoint {
            address: text(address),
            // A condition that is not there counts as met, as in the API's own words.
            ready: endpoint["conditions"]["ready"].as_bool().unwrap_or(true),
            pod: text(&endpoint["targetRef"]["name"]),
            node: text(&endpoint["nodeName"]),
        })
    });
    Slice {
        namespace: text(&object["metadata"]["namespace"]),
        service: text(&object["metadata"]["labels"]["kubernetes.io/service-name"]),
        ports: ports.collect(),
        endpoints: endpoints.collect(),
    }
}

fn pod(object: &Value) -> Pod {
    let name = text(&object["metadata"]["name"]);
    let labels = labels(&object["metadata"]["labels"]);
    let owner = items(&object["metadata"]["ownerReferences"]).first();
    let workload = match owner.map(|owner| (text(&owner["kind"]), text(&owner["name"]))) {
        Some((kind, set)) if kind == "ReplicaSet" => {
            let hash = labels.get("pod-template-hash").map(|hash| format!("-{hash}")).unwrap_or_default();
            set.strip_suffix(&hash).unwrap_or(&set).to_owned()
        }
        Some((_, owner)) => owner,
        None => name.clone(),
    };
    Pod {
        namespace: text(&object["metadata"]["namespace"]),
        ip: text(&object["status"]["podIP"]),
        name,
        labels,
        workload,
    }
}
