//! `meshmend health` against a large cluster: how long it takes, and what it weighs at most.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::body::Body;
use axum::routing::post;
use axum::{Json, Router};
use http::{Method, Request};
use meshmend::clock::Clock;
use meshmend::sim::{Sim, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::{machine, pods};

/// The cluster.
pub(crate) const PODS: usize = 10_000;
pub(crate) const SERVICES: usize = 1_000;
/// Pods of a namespace, and of a service.
const OF_NAMESPACE: usize = 1_000;
const OF_SERVICE: usize = PODS / SERVICES;

/// Seconds from the start of the command to its end, and the most it held in memory, in MiB.
pub(crate) async fn look(rounds: usize) -> anyhow::Result<(f64, f64)> {
    let sim = Sim::alone(Clock::system(None));
    fill(&sim.api_router()).await?;
    let serving = serve(&sim, "127.0.0.1:0".parse()?).await?;
    let folder = tempfile::tempdir_in(machine::folder())?;
    let config = json!({
        "apiVersion": "meshmend.dev/v1alpha1", "kind": "Config",
        "journal": { "sqlite": { "path": "journal.db" } },
        "sources": { "prometheus": { "url": prometheus().await? } },
    });
    std::fs::write(folder.path().join("meshmend.yaml"), config.to_string())?;
    std::fs::write(folder.path().join("kubeconfig"), serving.kubeconfig().to_string())?;
    let (mut best, mut least) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        let (seconds, mib) = run(folder.path()).await?;
        (best, least) = (best.min(seconds), least.min(mib));
    }
    Ok((best, least))
}

/// One run, which has to have seen every pod and every service.
async fn run(folder: &std::path::Path) -> anyhow::Result<(f64, f64)> {
    let out = folder.join("health.json");
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_meshmend"))
        .args(["health", "--config", "meshmend.yaml", "--kubeconfig", "kubeconfig", "-o", "json"])
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out)?)
        .stderr(Stdio::null())
        .spawn()
        .context("it did not start")?;
    let mut peak = 0.0_f64;
    let status = loop {
        // A process that has ended tells nothing any more.
        peak = peak.max(machine::peak_mib(child.id()));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let seconds = begun.elapsed().as_secs_f64();
    let mesh: Value =
        serde_json::from_slice(&std::fs::read(&out)?).context(format!("it ended with {status}"))?;
    let seen = |id: &str| {
        let parts = mesh["components"].as_array().into_iter().flatten();
        let mut all = parts.flat_map(|part| part["indicators"].as_array().into_iter().flatten());
        let found = all.find(|one| one["indicator"] == id);
        found.and_then(|one| one["readings"].as_array()).map_or(0, Vec::len)
    };
    let (proxies, services) = (seen("data_plane.proxy_readiness"), seen("traffic.success_rate"));
    ensure!(proxies == PODS && services == SERVICES, "it saw {proxies} pods and {services} services");
    Ok((seconds, peak))
}

async fn fill(sim: &Router) -> anyhow::Result<()> {
    let recorded: Value = serde_json::from_str(include_str!("../recorded/pod-classic-sidecar.json"))?;
    for number in 0..PODS / OF_NAMESPACE {
        let namespace = json!({ "metadata": { "name": namespace(number * OF_NAMESPACE) } });
        send(sim, Method::POST, "/api/v1/namespaces", &namespace).await?;
    }
    for number in 0..SERVICES {
        let at = namespace(number * OF_SERVICE);
        let service = json!({
            "metadata": { "name": service(number) },
            "spec": { "selector": { "app": service(number) }, "ports": [{ "port": 80 }] },
        });
        send(sim, Method::POST, &format!("/api/v1/namespaces/{at}/services"), &service).await?;
    }
    for number in 0..PODS {
        let mut pod = pods::written(&recorded, number);
        // The server gives these.
        for given in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            pod["metadata"].as_object_mut().context("it has metadata")?.remove(given);
        }
        let path = format!("/api/v1/namespaces/{}/pods", namespace(number));
        send(sim, Method::POST, &path, &pod).await?;
        let status = json!({ "status": pod["status"] });
        let name = pod["metadata"]["name"].as_str().context("it has a name")?;
        send(sim, Method::PATCH, &format!("{path}/{name}/status"), &status).await?;
    }
    Ok(())
}

fn namespace(pod: usize) -> String {
    format!("team-{:03}", pod / OF_NAMESPACE)
}

fn service(number: usize) -> String {
    format!("service-{number:04}")
}

async fn send(sim: &Router, method: Method, path: &str, body: &Value) -> anyhow::Result<()> {
    let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", media);
    let answer = sim.clone().oneshot(request.body(Body::from(body.to_string()))?).await?;
    ensure!(answer.status().is_success(), "{path}: {}", answer.status());
    Ok(())
}

/// Where a Prometheus listens for as long as this program runs.
async fn prometheus() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = Router::new().route("/api/v1/query", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

/// Requests to every service, of which one in a thousand is bad; of anything else there is no series.
async fn answer(body: String) -> Json<Value> {
    let named = body.contains("by%20%28destination%5Fservice%29");
    let bad = body.contains("5%2E%2E") || body.contains("UT");
    let now = Clock::wall().as_duration().as_secs_f64();
    let series = |number: usize| {
        let host = format!("{}.{}.svc.cluster.local", service(number), namespace(number * OF_SERVICE));
        let value = if bad { "10" } else { "10000" };
        json!({ "metric": { "destination_service": host }, "value": [now, value] })
    };
    let series: Vec<Value> = (0..SERVICES).filter(|_| named).map(series).collect();
    Json(json!({ "status": "success", "data": { "resultType": "vector", "result": series } }))
}
