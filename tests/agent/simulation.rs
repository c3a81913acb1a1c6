//! The simulated API server, held against what a real one was seen to answer.

use futures::{StreamExt as _, pin_mut};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use meshmend::clock::Clock;
use meshmend::sim::{Fault, Sim};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt as _;

use crate::healing::story;

const ROUTE: &str = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/cart";
const ROUTES: &str = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices";

fn sim() -> Arc<Sim> {
    Sim::new(1, Clock::starting_at("2026-01-01T00:00:00Z".parse().expect("a time")))
}

async fn call(sim: &Arc<Sim>, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let request = request.body(axum::body::Body::from(body.to_string())).expect("a request");
    let answer = sim.api_router().oneshot(request).await.expect("a router always answers");
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("a body in memory").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

async fn get(sim: &Arc<Sim>) -> Value {
    call(sim, Method::GET, ROUTE, &Value::Null).await.1
}

/// The first lines of a watch; a quiet one goes on for ever.
async fn watch(sim: &Arc<Sim>, path: &str, lines_wanted: usize) -> Vec<Value> {
    let request = Request::get(path).body(axum::body::Body::empty()).expect("a request");
    let answer = sim.api_router().oneshot(request).await.expect("a router always answers");
    let lines = answer.into_body().into_data_stream();
    pin_mut!(lines);
    let mut found = Vec::new();
    while found.len() < lines_wanted
        && let Ok(Some(chunk)) = tokio::time::timeout(Duration::from_secs(60), lines.next()).await
    {
        let chunk = chunk.expect("a chunk in memory");
        let text = String::from_utf8(chunk.to_vec()).expect("text");
        found.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
    }
    found
}

// The bodies were recorded from kube-apiserver 1.36.
#[test]
fn refusals_are_worded_as_the_real_server_words_them() {
    story(|| async {
        let sim = sim();
        let stale = json!({ "metadata": { "resourceVersion": "1" }, "spec": { "hosts": ["x"] } });
        assert_eq!(
            call(&sim, Method::PATCH, ROUTE, &stale).await,
            (
                StatusCode::CONFLICT,
                json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "Operation cannot be fulfilled on virtualservices.networking.istio.io \"cart\": the object has been modified; please apply your changes to the latest version and try again",
                    "reason": "Conflict", "code": 409,
                    "details": { "name": "cart", "group": "networking.istio.io", "kind": "virtualservices" },
                })
            )
        );
        assert_eq!(
            call(&sim, Method::PATCH, &ROUTE.replace("cart", "nope"), &json!({})).await,
            (
                StatusCode::NOT_FOUND,
                json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "virtualservices.networking.istio.io \"nope\" not found", "reason": "NotFound", "code": 404,
                    "details": { "name": "nope", "group": "networking.istio.io", "kind": "virtualservices" },
                })
            )
        );
        assert_eq!(
            call(&sim, Method::POST, "/api/v1/namespaces", &json!({ "metadata": { "name": "shop" } })).await,
            (
                StatusCode::CONFLICT,
                json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "namespaces \"shop\" already exists", "reason": "AlreadyExists", "code": 409,
                    "details": { "name": "shop", "kind": "namespaces" },
                })
            )
        );
    });
}

// Mutation: storing what a dry run answers.
#[test]
fn a_patch_takes_nulls_away_counts_generations_and_signs_and_a_dry_run_keeps_nothing() {
    story(|| async {
        let sim = sim();
        let before = get(&sim).await;
        let version = before["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "http": null, "exportTo": ["."] } });
        let dry = format!("{ROUTE}?dryRun=All&fieldManager=tester");
        let (status, shown) = call(&sim, Method::PATCH, &dry, &patch).await;
        assert_eq!(
            (status, &shown["spec"]),
            (StatusCode::OK, &json!({ "hosts": ["cart"], "exportTo": ["."] }))
        );
        assert_eq!(get(&sim).await, before, "a dry run changes nothing");
        let (_, written) = call(&sim, Method::PATCH, &format!("{ROUTE}?fieldManager=tester"), &patch).await;
        assert_eq!(written["spec"], shown["spec"]);
        assert_eq!(written["metadata"]["generation"], json!(2));
        let managers = written["metadata"]["managedFields"].as_array().expect("entries");
        assert_eq!(managers.last().expect("one")["manager"], "tester");
        let (status, _) = call(&sim, Method::PATCH, ROUTE, &patch).await;
        assert_eq!(status, StatusCode::CONFLICT, "the version is used up");
    });
}

#[test]
fn a_watch_tells_changes_in_order_then_bookmarks_and_refuses_what_is_too_old() {
    story(|| async {
        let sim = sim();
        let (_, list) = call(&sim, Method::GET, ROUTES, &Value::Null).await;
        let version = list["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
        sim.inject(Fault::BadRoute);
        let since = format!("{ROUTES}?watch=true&allowWatchBookmarks=true&resourceVersion={version}");
        let told = watch(&sim, &since, 2).await;
        let kinds: Vec<&str> =
            told.iter().take(2).map(|line| line["type"].as_str().expect("a type")).collect();
        assert_eq!(kinds, ["MODIFIED", "BOOKMARK"]);
        assert_eq!(told[0]["object"]["metadata"]["name"], "cart");
        for number in 0..1_100 {
            let patch = json!({ "metadata": { "labels": { "n": number.to_string() } } });
            call(&sim, Method::PATCH, ROUTE, &patch).await;
        }
        let told = watch(&sim, &since, 5).await;
        assert_eq!(
            (told.len(), &told[0]["type"], &told[0]["object"]["code"]),
            (1, &json!("ERROR"), &json!(410))
        );
        assert_eq!(told[0]["object"]["reason"], "Expired");
    });
}
