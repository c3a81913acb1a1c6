//! The objects of the world as people would write them.

use serde_json::{Value, json};

use super::{Service, split};

pub(super) const NODES: [&str; 2] = ["node-a", "node-b"];

/// The app whose pods have their proxy as a native sidecar.
const NATIVE: &str = "catalog";

/// Certificates: namespace, name, issuer (kind and name).
pub(super) const CERTIFICATES: [(&str, &str, (&str, &str)); 2] = [
    ("istio-system", "gateway-tls", ("ClusterIssuer", "mesh-ca")),
    ("shop", "web-tls", ("Issuer", "shop-ca")),
];

pub(super) fn namespace(name: &str, injected: bool) -> Value {
    let mut labels = json!({ "kubernetes.io/metadata.name": name });
    if injected {
        labels["istio-injection"] = json!("enabled");
    }
    json!({ "metadata": { "labels": labels }, "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" } })
}

pub(super) fn node(name: &str) -> Value {
    json!({
        "metadata": { "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" } },
        "status": {
            "addresses": [{ "type": "InternalIP", "address": "10.244.0.1" }, { "type": "Hostname", "address": name }],
            "allocatable": { "cpu": "8", "memory": "32Gi", "pods": "110" },
            "capacity": { "cpu": "8", "memory": "32Gi", "pods": "110" },
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status" }],
            "nodeInfo": { "kubeletVersion": "v1.36.3", "operatingSystem": "linux", "architecture": "amd64" },
        },
    })
}

/// The control plane and the gateway.
pub(super) fn mesh_parts() -> [(&'static str, Value); 2] {
    let istiod = json!({ "app": "istiod", "istio.io/rev": "default", "istio": "pilot" });
    let discovery = json!({ "name": "discovery", "image": "docker.io/istio/pilot:1.31.0",
        "ports": [{ "containerPort": 8080 }, { "containerPort": 15010 }, { "containerPort": 15014 }] });
    let gateway =
        json!({ "app": "istio-ingressgateway", "istio": "ingressgateway", "istio.io/rev": "default" });
    [
        ("istiod", workload(&istiod, "istiod", 2, &json!({ "containers": [discovery] }))),
        (
            "istio-ingressgateway",
            workload(&gateway, "istio-ingressgateway", 2, &json!({ "containers": [proxy("router")] })),
        ),
    ]
}

fn proxy(role: &str) -> Value {
    json!({
        "name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.31.0",
        "args": ["proxy", role, "--domain", "$(POD_NAMESPACE).svc.cluster.local"],
        "ports": [{ "containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP" }],
        "readinessProbe": { "httpGet": { "path": "/healthz/ready", "port": 15021 }, "failureThreshold": 4, "periodSeconds": 15, "timeoutSeconds": 3 },
    })
}

fn workload(labels: &Value, app: &str, replicas: u32, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["restartPolicy"] = json!("Always");
    let status = "{\"containers\":[\"istio-proxy\"],\"revision\":\"default\"}";
    json!({
        "metadata": { "labels": labels },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": selected(labels, app) },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": {
                "metadata": { "labels": labels, "annotations": { "sidecar.istio.io/status": status } },
                "spec": spec,
            },
        },
    })
}

fn selected(labels: &Value, app: &str) -> Value {
    match labels.get("version") {
        Some(version) => json!({ "app": app, "version": version }),
        None => json!({ "app": app }),
    }
}

pub(super) fn deployment(service: &Service, version: &str, replicas: u32) -> Value {
    let labels = json!({ "app": service.name, "version": version,
        "service.istio.io/canonical-name": service.name, "service.istio.io/canonical-revision": version });
    let app = json!({ "name": "app", "image": format!("example.invalid/{}:{version}", service.name),
        "ports": [{ "containerPort": 8080 }] });
    let mut sidecar = proxy("sidecar");
    let spec = if service.name == NATIVE {
        sidecar["restartPolicy"] = json!("Always");
        json!({ "initContainers": [sidecar], "containers": [app] })
    } else {
        json!({ "containers": [app, sidecar] })
    };
    workload(&labels, service.name, replicas, &spec)
}

pub(super) fn service(app: &str, port: u16) -> Value {
    json!({ "spec": { "selector": { "app": app }, "type": "ClusterIP",
        "ports": [{ "name": "http", "port": 80, "targetPort": port, "protocol": "TCP" }] } })
}

pub(super) fn rule(service: &Service) -> Value {
    let subset =
        |(version, _, _): &(&str, f64, u32)| json!({ "name": version, "labels": { "version": version } });
    let subsets: Vec<Value> = service.subsets.iter().map(subset).collect();
    json!({ "spec": { "host": service.name, "subsets": subsets } })
}

pub(super) fn route(service: &Service) -> Value {
    let weights: &[(&str, u32)] =
        if service.subsets.len() > 1 { &[("v1", 90), ("v2", 10)] } else { &[("v1", 100)] };
    json!({ "spec": { "hosts": [service.name], "http": [split(service.name, weights)] } })
}

/// Budgets of the shop; that of payment has no room.
pub(super) fn budgets() -> [(&'static str, Value); 4] {
    let of = |app: &str, field: &str, number: u32| json!({ "spec": { field: number, "selector": { "matchLabels": { "app": app } } } });
    [
        ("web", of("web", "minAvailable", 2)),
        ("cart", of("cart", "minAvailable", 4)),
        ("catalog", of("catalog", "maxUnavailable", 1)),
        ("payment", of("payment", "minAvailable", 2)),
    ]
}

pub(super) fn issuer(kind: &str) -> Value {
    json!({ "kind": kind, "spec": { "ca": { "secretName": "ca" } }, "status": { "conditions": [{
        "type": "Ready", "status": "True", "reason": "KeyPairVerified", "message": "Signing CA verified", "observedGeneration": 1 }] } })
}

pub(super) fn certificate(name: &str, (kind, issuer): (&str, &str)) -> Value {
    json!({ "spec": {
        "secretName": name, "dnsNames": [format!("{name}.example.test")], "duration": "2160h", "renewBefore": "720h",
        "issuerRef": { "group": "cert-manager.io", "kind": kind, "name": issuer },
        "privateKey": { "algorithm": "ECDSA", "size": 256 },
    } })
}
