//! The simulated cluster: its server, its controllers, its mesh and its faults.

mod acts;
mod kubernetes;
mod loopback;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use meshmend::clock::Clock;
use meshmend::sim::Sim;
use serde_json::{Value, json};
use tower::ServiceExt as _;

fn new(seed: u64) -> Arc<Sim> {
    Sim::new(seed, Clock::starting_at("2026-01-01T00:00:00Z".parse().expect("a time")))
}

async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Asks the server with this media type.
async fn ask(sim: &Arc<Sim>, method: Method, path: &str, media: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", media);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.body(axum::body::Body::from(body)).expect("a request");
    let answer = sim.api_router().oneshot(request).await.expect("a router always answers");
    let status = answer.status();
    assert!(!answer.headers().contains_key("retry-after"), "no answer of ours asks to come again");
    let body = answer.into_body().collect().await.expect("a body in memory").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

async fn get(sim: &Arc<Sim>, path: &str) -> Value {
    ask(sim, Method::GET, path, "", &Value::Null).await.1
}

async fn post(sim: &Arc<Sim>, path: &str, body: &Value) -> (StatusCode, Value) {
    ask(sim, Method::POST, path, "application/json", body).await
}

async fn merge(sim: &Arc<Sim>, path: &str, body: &Value) -> (StatusCode, Value) {
    ask(sim, Method::PATCH, path, "application/merge-patch+json", body).await
}

/// The pods with a label, by name.
async fn pods(sim: &Arc<Sim>, namespace: &str, label: &str) -> Vec<Value> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={label}");
    get(sim, &path).await["items"].as_array().cloned().expect("a list")
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The status of the proxy's container, wherever it stands.
fn proxy(pod: &Value) -> Value {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let all = lists.iter().flat_map(|list| pod["status"][*list].as_array().cloned().unwrap_or_default());
    all.into_iter().find(|status| status["name"] == "istio-proxy").expect("a proxy")
}

/// What Prometheus gives: the value of each series by one label.
async fn query(sim: &Arc<Sim>, query: &str) -> Result<Vec<(Value, f64)>, String> {
    let form: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let request = Request::builder().method("POST").uri("/api/v1/query");
    let request = request.body(bytes::Bytes::from(format!("query={form}"))).expect("a request");
    let answer = sim.prometheus().oneshot(request).await.expect("an answer");
    let body: Value = serde_json::from_slice(answer.body()).expect("JSON");
    if body["status"] != json!("success") {
        return Err(body["error"].as_str().unwrap_or_default().to_owned());
    }
    let series = body["data"]["result"].as_array().cloned().expect("a vector");
    let value = |one: &Value| one["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number");
    Ok(series.iter().map(|one| (one["metric"].clone(), value(one))).collect())
}
