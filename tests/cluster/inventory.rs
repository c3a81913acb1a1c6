//! The watches beside those of routes, on real objects and with the shipped rights.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use meshmend::cluster::{Cluster, Seen, Watched};
use meshmend::model::subject::{CERT_MANAGER, Subject};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::agent::SOON;
use crate::control_plane::apply;
use crate::proxy::Proxy;
use crate::scene::Scene;
use crate::wait::{same, until};

/// A Deployment with its ReplicaSet and a pod with a sidecar, and everything around them, as controllers
/// would make them: no controller runs here.
fn objects(namespace: &str) -> Vec<Value> {
    let labels = json!({ "app": "web", "pod-template-hash": "5d" });
    let container = json!({ "name": "app", "image": "example.com/web:1" });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [container] } });
    let meta = |name: &str| json!({ "name": name, "namespace": namespace });
    vec![
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"),
            "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "web" } }, "template": template },
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta("web"),
            "spec": { "selector": { "app": "web" }, "ports": [{ "name": "http", "port": 80 }] },
        }),
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta("web"),
            "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } },
        }),
        json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": meta("web"),
            "spec": { "secretName": "web", "issuerRef": { "name": "ca", "kind": "Issuer" } },
        }),
        json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": meta("ca"), "spec": {},
        }),
    ]
}

fn owned(namespace: &str, above: (&str, &str, &str)) -> Value {
    let (kind, name, uid) = above;
    json!({ "namespace": namespace, "labels": { "app": "web", "pod-template-hash": "5d" },
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true }] })
}

/// Makes the objects, and the ReplicaSet and two pods below the Deployment.
async fn make(scene: &Scene) -> anyhow::Result<()> {
    let namespace = scene.namespace.as_str();
    for object in objects(namespace) {
        apply(&scene.client, object).await?;
    }
    let uid = |text: &Value| text["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let deployment = scene.read("apps", "v1", "Deployment", "web").await?;
    let mut meta = owned(namespace, ("Deployment", "web", &uid(&deployment)));
    meta["name"] = json!("web-5d");
    let replica_set = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta,
        "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": deployment["spec"]["template"] } });
    apply(&scene.client, replica_set).await?;
    let replica_set = scene.read("apps", "v1", "ReplicaSet", "web-5d").await?;
    for name in ["web-5d-a", "web-5d-b"] {
        let mut meta = owned(namespace, ("ReplicaSet", "web-5d", &uid(&replica_set)));
        meta["name"] = json!(name);
        let proxy = json!({ "name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.31.0", "restartPolicy": "Always" });
        apply(
            &scene.client,
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {
            "containers": [{ "name": "app", "image": "example.com/web:1" }], "initContainers": [proxy] } }),
        )
        .await?;
    }
    Ok(())
}

/// Every kind is listed and watched with the rights of `deploy/rbac.yaml`; a pod's owner is the Deployment
/// above its ReplicaSet; a watch that the API server calls too old finds out what vanished.
///
/// Mutations that break it: a kind whose path or version is wrong; taking the watch up without a list.
pub(crate) async fn owners(scene: Scene) -> anyhow::Result<()> {
    let namespace = scene.namespace.as_str();
    make(&scene).await?;
    let proxy = Proxy::start(0, &scene.plane.url, scene.plane.http()?).await?;
    let token = scene.plane.token(&scene.client, "meshmend").await?;
    let file: Kubeconfig =
        serde_json::from_value(scene.plane.kubeconfig(&proxy.url, &json!({ "token": token })))?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.proxy_url = None;
    config.default_retry = false;
    let cluster = Arc::new(Cluster::new(kube::Client::try_from(config)?, vec!["*".to_owned()]));
    let (seen, mut news) = mpsc::channel(256);
    cluster.watches(&seen).into_iter().for_each(|watch| drop(tokio::spawn(watch)));
    tokio::time::timeout(SOON, cluster.wait_synced()).await.context("the lists came")?;
    // A kind whose CRD is new answers 429 for a moment ("storage is (re)initializing"), and the watch asks again.
    until("nothing is wrong", SOON, async || Ok(cluster.findings().is_empty().then_some(()))).await?;
    for kind in [
        Watched::Pods,
        Watched::Budgets,
        Watched::Nodes,
        Watched::Namespaces,
        Watched::Certificates,
        Watched::ClusterIssuers,
    ] {
        same("a watch", &cluster.whole(kind, namespace), &Ok(()))?;
    }

    let pod = Subject::pod(namespace, "web-5d-a");
    let owner = Subject::new("apps", "Deployment", namespace, "web");
    same("the owner", &cluster.top_owner(&pod), &owner)?;
    same("its pods", &cluster.population(&pod).workload, &2)?;
    let found = cluster.pod(&pod).context("the pod is kept")?;
    ensure!(found.proxy.as_ref().is_some_and(|proxy| proxy.native), "its proxy is native: {found:?}");
    same("its budgets", &cluster.budgets_of(&found).len(), &1)?;
    ensure!(cluster.service(&Subject::service(namespace, "web")).is_some(), "the service is kept");
    let certificate = Subject::new(CERT_MANAGER, "Certificate", namespace, "web");
    let certificate = cluster.certificate(&certificate).context("the certificate is kept")?;
    ensure!(cluster.issuer(namespace, &certificate.issuer).is_some(), "its issuer is kept");
    let fresh = cluster.read_pod(&pod).await.map_err(anyhow::Error::msg)?.context("it is there")?;
    same("a fresh read", &fresh, &*found)?;

    proxy.pause();
    scene.delete_now("v1", "Pod", "web-5d-b").await?;
    let younger = scene.plane.start_api_server("kube-apiserver-3").await?;
    proxy.open_to(&younger);
    let gone = tokio::time::timeout(SOON, async {
        while let Some(seen) = news.recv().await {
            if let Seen::Vanished(subject) = seen
                && subject.namespace == namespace
            {
                return Some(subject);
            }
        }
        None
    });
    same("what vanished", &gone.await?, &Some(Subject::pod(namespace, "web-5d-b")))?;
    ensure!(proxy.expired() > 0, "the API server said 410 to a watch");
    until("all watches are whole again", SOON, async || Ok(cluster.findings().is_empty().then_some(()))).await
}
