//! Prometheus' query API over what the simulated mesh counts: instant queries and ranges, evaluated by `promql`.
//! A number alone is answered as a series without labels.

mod series;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Sim;
use super::api::decode;
use crate::model::series::Labels;
use crate::promql::Query;
use series::Scraped;

/// Queries that are kept as they were read: those who ask ask the same again and again.
const KEPT: usize = 256;
/// Steps of a range, as many as Prometheus allows.
const MOST_STEPS: f64 = 11_000.0;

/// What answers.
struct Server {
    sim: Arc<Sim>,
    read: Mutex<BTreeMap<String, Arc<Query>>>,
}

pub(super) fn router(sim: Arc<Sim>) -> Router {
    let server = Arc::new(Server { sim, read: Mutex::default() });
    let instant =
        post(|State(server): State<Arc<Server>>, body: String| async move { server.instant(&body) });
    let instant = instant.get(|State(server): State<Arc<Server>>, RawQuery(query): RawQuery| async move {
        server.instant(&query.unwrap_or_default())
    });
    let range = post(|State(server): State<Arc<Server>>, body: String| async move { server.range(&body) });
    let range = range.get(|State(server): State<Arc<Server>>, RawQuery(query): RawQuery| async move {
        server.range(&query.unwrap_or_default())
    });
    Router::new()
        .route("/api/v1/query", instant)
        .route("/api/v1/query_range", range)
        .route("/-/ready", axum::routing::get(|| async { "Prometheus Server is Ready.\n" }))
        .with_state(server)
}

impl Server {
    fn instant(&self, form: &str) -> Response {
        answer("vector", self.vector(form))
    }

    fn range(&self, form: &str) -> Response {
        answer("matrix", self.matrix(form))
    }

    fn vector(&self, form: &str) -> Result<Vec<Value>, String> {
        let query = self.query(form)?;
        let at_s = time(form, "time")?.unwrap_or_else(|| whole(self.sim.clock.now()));
        let found = self.sim.look(|state| query.at(&Scraped(state), at_s))?;
        let one =
            |(labels, value): (Labels, f64)| json!({ "metric": labels, "value": [at_s, number(value)] });
        Ok(found.into_iter().map(one).collect())
    }

    fn matrix(&self, form: &str) -> Result<Vec<Value>, String> {
        let query = self.query(form)?;
        let needed = |name: &str| time(form, name)?.ok_or_else(|| format!("the parameter {name} is missing"));
        let (start_s, end_s, step_s) = (needed("start")?, needed("end")?, needed("step")?);
        if step_s <= 0.0 || end_s < start_s || (end_s - start_s) / step_s > MOST_STEPS {
            return Err(format!("a range goes from start to end in at most {MOST_STEPS} steps"));
        }
        let mut series: BTreeMap<Labels, Vec<Value>> = BTreeMap::new();
        self.sim.look(|state| {
            let mut at_s = start_s;
            while at_s <= end_s {
                for (labels, value) in query.at(&Scraped(state), at_s)? {
                    series.entry(labels).or_default().push(json!([at_s, number(value)]));
                }
                at_s += step_s;
            }
            Ok::<_, String>(())
        })?;
        Ok(series.into_iter().map(|(labels, values)| json!({ "metric": labels, "values": values })).collect())
    }

    fn query(&self, form: &str) -> Result<Arc<Query>, String> {
        let text = field(form, "query").ok_or("the parameter query is missing")?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(&text) {
            return Ok(Arc::clone(known));
        }
        let query = Arc::new(Query::parse(&text)?);
        if read.len() >= KEPT {
            read.clear();
        }
        read.insert(text, Arc::clone(&query));
        Ok(query)
    }
}

fn answer(kind: &str, found: Result<Vec<Value>, String>) -> Response {
    match found {
        Ok(series) => {
            let data = json!({ "resultType": kind, "result": series });
            Json(json!({ "status": "success", "data": data })).into_response()
        }
        Err(why) => {
            let body = json!({ "status": "error", "errorType": "bad_data", "error": why });
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

/// A field of a form.
fn field(form: &str, name: &str) -> Option<String> {
    let named = |pair: &str| pair.strip_prefix(name)?.strip_prefix('=').map(decode);
    form.split('&').find_map(named)
}

/// A time, or a number of seconds; RFC 3339 is a time as well.
fn time(form: &str, name: &str) -> Result<Option<f64>, String> {
    let Some(text) = field(form, name) else { return Ok(None) };
    let read = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    let read = read.or_else(|| text.parse::<Timestamp>().ok().map(|at| at.as_duration().as_secs_f64()));
    read.map(Some).ok_or_else(|| format!("{name} is neither seconds nor a time: {text:?}"))
}

/// The whole second of a time, in seconds since 1970.
fn whole(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64().floor()
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
