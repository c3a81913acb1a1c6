//! The objects that proofs have in common: workloads with sidecars, and the control plane of the mesh.

use serde_json::{Value, json};

/// How a workload's pods get their proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sidecar {
    /// An ordinary container.
    Classic,
    /// An init container that is always restarted.
    Native,
}

/// A Deployment with a Service of the same name.
#[derive(Clone, Debug)]
pub(crate) struct Workload<'w> {
    /// Namespace.
    pub(crate) namespace: &'w str,
    /// Name of the Service and value of the label `app`.
    pub(crate) app: &'w str,
    /// Value of the label `version`; the Deployment is called `APP-VERSION`.
    pub(crate) version: &'w str,
    /// Replicas.
    pub(crate) replicas: u32,
    /// Environment of the application: `APP_STATUS` and others.
    pub(crate) env: &'w [(&'w str, &'w str)],
    /// Its proxy.
    pub(crate) sidecar: Sidecar,
    /// Seconds between two readiness probes of the proxy, and failures in a row that make it not ready: 15
    /// and 4, as the chart of Istio has it.
    pub(crate) readiness: (u32, u32),
}

impl<'w> Workload<'w> {
    /// With a classic sidecar and an application that answers 200.
    pub(crate) fn new(namespace: &'w str, app: &'w str, version: &'w str, replicas: u32) -> Self {
        Self { namespace, app, version, replicas, env: &[], sidecar: Sidecar::Classic, readiness: (15, 4) }
    }

    /// Name of the Deployment.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.app, self.version)
    }

    /// Namespace, Deployment and Service.
    pub(super) fn objects(&self) -> Vec<Value> {
        let labels = json!({ "app": self.app, "version": self.version });
        let env: Vec<Value> =
            self.env.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        let app = json!({
            "name": "app", "image": "example.com/app:1", "env": env,
            "ports": [{ "name": "http", "containerPort": 8080 }],
        });
        let mut spec = match self.sidecar {
            Sidecar::Classic => json!({ "containers": [app, proxy(self.readiness)] }),
            Sidecar::Native => {
                let mut proxy = proxy(self.readiness);
                proxy["restartPolicy"] = json!("Always");
                json!({ "initContainers": [proxy], "containers": [app] })
            }
        };
        spec["terminationGracePeriodSeconds"] = json!(5);
        let meta = |name: &str| json!({ "name": name, "namespace": self.namespace });
        vec![
            json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": self.namespace, "labels": { "istio-injection": "enabled" } },
            }),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(&self.name()),
                "spec": {
                    "replicas": self.replicas, "selector": { "matchLabels": labels },
                    "template": { "metadata": { "labels": labels }, "spec": spec },
                },
            }),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": meta(self.app),
                "spec": {
                    "selector": { "app": self.app },
                    "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }],
                },
            }),
        ]
    }
}

fn proxy((period, failures): (u32, u32)) -> Value {
    let probe = |period: u32, failures: u32| {
        json!({
            "httpGet": { "path": "/healthz/ready", "port": 15021 }, "periodSeconds": period,
            "failureThreshold": failures, "timeoutSeconds": 3,
        })
    };
    json!({
        "name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.31.0",
        "startupProbe": probe(1, 600), "readinessProbe": probe(period, failures),
    })
}

/// Namespace, Deployment and Service of the mesh's control plane.
pub(super) fn istiod() -> Vec<Value> {
    let labels = json!({ "app": "istiod", "istio.io/rev": "default" });
    let meta = json!({ "name": "istiod", "namespace": "istio-system", "labels": labels });
    vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "istio-system" } }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
            "spec": {
                "replicas": 1, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{ "name": "discovery", "image": "docker.io/istio/pilot:1.31.0",
                        "readinessProbe": { "httpGet": { "path": "/ready", "port": 15014 }, "periodSeconds": 1 } }],
                } },
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": { "selector": labels, "ports": [{ "name": "http-monitoring", "port": 15014 }] },
        }),
    ]
}
