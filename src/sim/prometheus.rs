//! Prometheus' query API, for the queries of the catalogue and those built like them; anything else is an
//! error. Only instant queries, at the time they arrive; only `reporter="source"` exists.

mod evaluate;
mod parse;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Sim;
use super::api::decode;

/// Series of a result: labels and value.
type Vector = Vec<(BTreeMap<String, String>, f64)>;

pub(super) fn router(sim: Arc<Sim>) -> Router {
    Router::new()
        .route("/api/v1/query", post(by_form).get(by_query))
        .route("/-/ready", axum::routing::get(|| async { "Prometheus Server is Ready.\n" }))
        .with_state(sim)
}

async fn by_query(State(sim): State<Arc<Sim>>, RawQuery(query): RawQuery) -> Response {
    answer(&sim, &query.unwrap_or_default())
}

async fn by_form(State(sim): State<Arc<Sim>>, body: String) -> Response {
    answer(&sim, &body)
}

fn answer(sim: &Sim, form: &str) -> Response {
    let query = form.split('&').find_map(|pair| pair.strip_prefix("query=")).map(decode).unwrap_or_default();
    let found = parse::query(&query).and_then(|query| {
        sim.look(|state| evaluate::vector(&query, &state.mesh))
            .map(|found| (found, sim.clock.now().as_second()))
    });
    match found {
        Some((vector, at)) => {
            let series: Vec<Value> = vector
                .into_iter()
                .map(|(labels, value)| json!({ "metric": labels, "value": [at, number(value)] }))
                .collect();
            let data = json!({ "resultType": "vector", "result": series });
            Json(json!({ "status": "success", "data": data })).into_response()
        }
        None => {
            let error = "this simulation does not answer such a query";
            let body = json!({ "status": "error", "errorType": "bad_data", "error": error });
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

/// A value as Prometheus writes it.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}
