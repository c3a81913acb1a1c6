//! Prometheus' query API, for the queries of the catalogue and no others.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Sim;

pub(super) fn router(sim: Arc<Sim>) -> Router {
    Router::new().route("/api/v1/query", post(by_form).get(by_query)).with_state(sim)
}

async fn by_query(State(sim): State<Arc<Sim>>, RawQuery(query): RawQuery) -> Response {
    answer(&sim, &query.unwrap_or_default())
}

async fn by_form(State(sim): State<Arc<Sim>>, body: String) -> Response {
    answer(&sim, &body)
}

fn answer(sim: &Sim, form: &str) -> Response {
    let query = form.split('&').find_map(|pair| pair.strip_prefix("query=")).map(decode).unwrap_or_default();
    match evaluate(sim, &query) {
        Some(result) => {
            let data = json!({ "resultType": "vector", "result": result });
            Json(json!({ "status": "success", "data": data })).into_response()
        }
        None => {
            let error = format!("this simulation does not answer {query:?}");
            let body = json!({ "status": "error", "errorType": "bad_data", "error": error });
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex: Vec<u8> = rest.by_ref().take(2).collect();
                let hex = std::str::from_utf8(&hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.extend(hex);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Request counts by destination service over a window, all or only those answered 5xx.
fn evaluate(sim: &Sim, query: &str) -> Option<Vec<Value>> {
    if !query.starts_with("sum by (destination_service) (increase(istio_requests_total{reporter=\"source\",")
    {
        return None;
    }
    let (_, rest) = query.split_once("destination_service=~\"")?;
    let (hosts, rest) = rest.split_once('"')?;
    let only_bad = rest.contains("response_code=~\"5..\"");
    let (_, window) = rest.rsplit_once('[')?;
    let seconds: i64 = window.split_once("s]")?.0.parse().ok()?;
    let now = sim.clock.now();
    let at = now.as_second();
    let mut state = sim.lock();
    let super::State { store, mesh } = &mut *state;
    mesh.catch_up(store, now);
    let series = hosts.split('|').filter_map(|host| {
        let host = host.replace("\\\\.", ".");
        let (all, bad) = mesh.increase(&host, seconds)?;
        let value = if only_bad { bad } else { all };
        Some(json!({ "metric": { "destination_service": host }, "value": [at, value.to_string()] }))
    });
    Some(series.collect())
}
