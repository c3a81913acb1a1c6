//! Usage: what containers use now, from the resource metrics API (`metrics.k8s.io`), where it is installed.

use std::collections::BTreeMap;

use http::Request;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;

use super::pauses::Pauses;
use crate::cluster::{quantity, told};
use crate::model::subject::Subject;

/// metrics-server answers from memory.
const TIME_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
/// Half a kilobyte a pod: this is a hundred thousand of them.
const MAX_BODY: usize = 64 << 20;

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Cores.
    pub cpu: f64,
    /// Bytes, without what the kernel could take back.
    pub memory: f64,
}

/// What the containers of a pod use.
#[derive(Clone, Debug, PartialEq)]
pub struct PodUsage {
    /// End of the window that was measured.
    pub at: Timestamp,
    /// By name of the container.
    pub containers: BTreeMap<String, Usage>,
}

/// A reader of the resource metrics API.
pub struct ResourceMetrics {
    client: Client,
    pauses: Pauses,
}

impl ResourceMetrics {
    /// Over this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, pauses: Pauses::new("metrics.k8s.io") }
    }

    /// What the pods of a namespace use, or all pods.
    ///
    /// # Errors
    /// It is not installed or does not work, forbids it, or its answer is not whole.
    pub async fn pods(&self, namespace: Option<&str>) -> Result<BTreeMap<Subject, PodUsage>, String> {
        let path = match namespace {
            Some(namespace) => format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"),
            None => "/apis/metrics.k8s.io/v1beta1/pods".to_owned(),
        };
        let asked = async {
            let answer = tokio::time::timeout(TIME_LIMIT, self.get(&path)).await;
            let late = || Err(format!("no answer within {} s", TIME_LIMIT.as_secs()));
            let answer = answer.unwrap_or_else(|_| late());
            answer.and_then(|(status, body)| read(status, &body)).map_err(|why| format!("{path}: {why}"))
        };
        self.pauses.ask(namespace.unwrap_or("*"), asked).await
    }

    async fn get(&self, path: &str) -> Result<(u16, Vec<u8>), String> {
        let request = Request::get(path).body(Body::empty());
        let request = request.map_err(|error| format!("the path cannot be asked for: {error}"))?;
        let answer = self.client.send(request).await.map_err(|error| told(&error))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {}", told(error.as_ref())))?;
        Ok((status, body.to_bytes().to_vec()))
    }
}

#[derive(Deserialize)]
struct Written {
    kind: String,
    items: Vec<Pod>,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    timestamp: Timestamp,
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Metadata {
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Container {
    name: String,
    usage: Used,
}

#[derive(Deserialize)]
struct Used {
    cpu: String,
    memory: String,
}

pub(super) fn read(status: u16, body: &[u8]) -> Result<BTreeMap<Subject, PodUsage>, String> {
    match status {
        200 => {}
        404 => return Err("metrics.k8s.io is not installed: install metrics-server".to_owned()),
        403 => return Err("forbidden: allow list on pods of metrics.k8s.io (meshmend rbac)".to_owned()),
        503 => {
            let said: String = String::from_utf8_lossy(body).chars().take(200).collect();
            return Err(format!("metrics.k8s.io is installed and does not answer (503): {}", said.trim()));
        }
        status => return Err(format!("it answered {status}")),
    }
    let written: Written =
        serde_json::from_slice(body).map_err(|error| format!("unexpected answer: {error}"))?;
    if written.kind != "PodMetricsList" {
        return Err(format!("unexpected answer: a PodMetricsList is expected, not a {}", written.kind));
    }
    let pods = written.items.into_iter().map(|pod| {
        let subject = Subject::pod(&pod.metadata.namespace, &pod.metadata.name);
        let containers = pod.containers.into_iter().map(|container| {
            let usage =
                Usage { cpu: quantity(&container.usage.cpu)?, memory: quantity(&container.usage.memory)? };
            Ok((container.name, usage))
        });
        let containers = containers.collect::<Result<_, String>>().map_err(|why| format!("{subject}: {why}"));
        Ok((subject, PodUsage { at: pod.timestamp, containers: containers? }))
    });
    pods.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: &[u8] = include_bytes!("../../tests/recorded/metrics/pods.json");

    #[test]
    fn recorded_usage_is_in_cores_and_bytes() {
        let pods = read(200, PODS).unwrap();
        let client = &pods[&Subject::pod("shop", "client-v1-74867dcd64-7b5nd")];
        let proxy = client.containers["istio-proxy"];
        assert!((proxy.cpu - 0.019_999_695).abs() < 1e-12, "{proxy:?}");
        assert_eq!(proxy.memory, 910_000_000.0);
        assert_eq!(client.at.to_string(), "2026-11-23T13:18:40Z");
    }

    // Mutations: an answer without items as a cluster without pods; one wrong quantity as nothing used.
    #[test]
    fn what_is_not_installed_or_not_whole_is_said() {
        let refused =
            "error trying to reach service: dial tcp 10.244.0.1:4443: connect: connection refused\n";
        assert!(read(503, refused.as_bytes()).unwrap_err().ends_with("connection refused"));
        assert!(read(404, b"404 page not found").unwrap_err().contains("install metrics-server"));
        assert!(read(403, b"{}").unwrap_err().contains("meshmend rbac"));
        let text = String::from_utf8(PODS.to_vec()).unwrap();
        for broken in [
            String::new(),
            "{}".to_owned(),
            r#"{"kind":"PodMetricsList"}"#.to_owned(),
            text.replace("PodMetricsList", "NodeMetricsList"),
            text.replace("\"49999238n\"", "\"much\""),
            text.replace("\"910000000\"", "910000000"),
        ] {
            assert!(read(200, broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
