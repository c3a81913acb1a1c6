//! The kinds that are compared, and small objects of them that the real server takes.

use serde_json::{Value, json};

/// A kind as the tests use it.
pub(crate) struct Kind {
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    /// Built in, so that strategic merge patches are understood.
    pub(crate) native: bool,
    pub(crate) parts: &'static [&'static str],
    /// Its spec and what else belongs beside the metadata, in two variants that may follow each other.
    pub(crate) rest: fn(u64) -> Value,
    /// A status somebody may write.
    pub(crate) status: fn(u64) -> Value,
}

const fn native(
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    parts: &'static [&'static str],
    rest: fn(u64) -> Value,
    status: fn(u64) -> Value,
) -> Kind {
    Kind { version, plural, kind, native: true, parts, rest, status }
}

const fn istio(plural: &'static str, kind: &'static str, rest: fn(u64) -> Value) -> Kind {
    let version = "networking.istio.io/v1";
    Kind { version, plural, kind, native: false, parts: &["status"], rest, status: validation }
}

pub(crate) static KINDS: [Kind; 14] = [
    native("v1", "pods", "Pod", &["status", "eviction"], pod, pod_status),
    native("v1", "services", "Service", &["status"], service, |_| json!({ "loadBalancer": {} })),
    native("v1", "configmaps", "ConfigMap", &[], config, |_| Value::Null),
    native("v1", "events", "Event", &[], event, |_| Value::Null),
    native("apps/v1", "deployments", "Deployment", &["status", "scale"], workload, replicas),
    native("apps/v1", "replicasets", "ReplicaSet", &["status", "scale"], workload, replicas),
    native("apps/v1", "statefulsets", "StatefulSet", &["status", "scale"], stateful, replicas),
    native("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", &[], slice, |_| Value::Null),
    native("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", &["status"], budget, room),
    native("coordination.k8s.io/v1", "leases", "Lease", &[], lease, |_| Value::Null),
    istio("virtualservices", "VirtualService", route),
    istio("destinationrules", "DestinationRule", rule),
    istio("gateways", "Gateway", gateway),
    Kind {
        version: "cert-manager.io/v1",
        plural: "certificates",
        kind: "Certificate",
        native: false,
        parts: &["status"],
        rest: certificate,
        status: issued,
    },
];

/// The kind of a plural; plurals are unique here.
pub(crate) fn kind(plural: &str) -> &'static Kind {
    let found = KINDS.iter().find(|kind| kind.plural == plural);
    found.unwrap_or_else(|| unreachable!("{plural} is none of the kinds above"))
}

impl Kind {
    /// Where its objects of the namespace are listed.
    pub(crate) fn all(&self) -> String {
        let root = if self.version == "v1" { "/api" } else { "/apis" };
        format!("{root}/{}/namespaces/<<ns>>/{}", self.version, self.plural)
    }

    /// Where one of them is, or a part of it.
    pub(crate) fn one(&self, name: &str) -> String {
        format!("{}/{name}", self.all())
    }

    /// An object of this name.
    pub(crate) fn object(&self, name: &str, variant: u64) -> Value {
        let labels = json!({ "app": if variant.is_multiple_of(2) { "cart" } else { "web" }, "name": name });
        let mut out = (self.rest)(variant);
        out["apiVersion"] = json!(self.version);
        out["kind"] = json!(self.kind);
        out["metadata"] = json!({ "name": name, "labels": labels });
        if self.plural == "events" {
            out["involvedObject"]["namespace"] = json!("<<ns>>");
        }
        out
    }
}

fn container(variant: u64) -> Value {
    json!({ "name": "app", "image": format!("example.com/app:{variant}") })
}

fn pod(variant: u64) -> Value {
    json!({ "spec": { "nodeName": "node-1", "containers": [container(variant)] } })
}

fn pod_status(variant: u64) -> Value {
    let ready = if variant.is_multiple_of(2) { "True" } else { "False" };
    json!({ "phase": "Running", "conditions": [
        { "type": "Ready", "status": ready, "lastProbeTime": null, "lastTransitionTime": null },
    ] })
}

fn service(variant: u64) -> Value {
    json!({ "spec": {
        "selector": { "app": "cart" }, "ports": [{ "name": "http", "port": 80 + variant, "targetPort": 8080 }],
    } })
}

fn config(variant: u64) -> Value {
    json!({ "data": { "number": variant.to_string() } })
}

fn event(variant: u64) -> Value {
    json!({
        "involvedObject": { "kind": "Pod", "name": "a" }, "reason": "Tested", "type": "Normal",
        "message": "it was tested", "count": variant + 1,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
    })
}

fn workload(variant: u64) -> Value {
    json!({ "spec": {
        "replicas": variant, "selector": { "matchLabels": { "app": "cart" } },
        "template": {
            "metadata": { "labels": { "app": "cart" } }, "spec": { "containers": [container(variant)] },
        },
    } })
}

fn stateful(variant: u64) -> Value {
    let mut out = workload(variant);
    out["spec"]["serviceName"] = json!("cart");
    out
}

fn replicas(variant: u64) -> Value {
    json!({ "replicas": variant, "observedGeneration": 1 })
}

fn slice(variant: u64) -> Value {
    json!({
        "addressType": "IPv4", "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": [{ "addresses": ["10.244.1.1"], "conditions": { "ready": variant.is_multiple_of(2) } }],
    })
}

fn budget(variant: u64) -> Value {
    json!({ "spec": { "minAvailable": variant, "selector": { "matchLabels": { "app": "cart" } } } })
}

/// As the controller would write it, which runs on neither side.
pub(crate) fn room(allowed: u64) -> Value {
    json!({
        "observedGeneration": 9, "disruptionsAllowed": allowed, "currentHealthy": 2,
        "desiredHealthy": 2_u64.saturating_sub(allowed), "expectedPods": 2,
    })
}

fn lease(variant: u64) -> Value {
    json!({ "spec": { "holderIdentity": format!("holder-{variant}"), "leaseDurationSeconds": 15 } })
}

fn route(variant: u64) -> Value {
    json!({ "spec": { "hosts": ["diff"], "http": [{ "route": [
        { "destination": { "host": "diff", "subset": "v1" }, "weight": 100 - variant },
        { "destination": { "host": "diff", "subset": "v2" }, "weight": variant },
    ] }] } })
}

fn rule(variant: u64) -> Value {
    json!({ "spec": { "host": "diff", "subsets": [{ "name": "v1", "labels": { "version": format!("v{variant}") } }] } })
}

fn gateway(variant: u64) -> Value {
    json!({ "spec": { "selector": { "istio": "ingress" }, "servers": [
        { "port": { "number": 80 + variant, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] },
    ] } })
}

fn validation(variant: u64) -> Value {
    json!({ "validationMessages": [{ "documentationUrl": format!("https://example.com/{variant}") }] })
}

fn certificate(variant: u64) -> Value {
    json!({ "spec": {
        "secretName": "diff-tls", "dnsNames": [format!("v{variant}.example.com")],
        "issuerRef": { "name": "diff", "kind": "Issuer", "group": "cert-manager.io" },
    } })
}

fn issued(variant: u64) -> Value {
    json!({ "revision": variant + 1, "notAfter": "2099-01-01T00:00:00Z" })
}
