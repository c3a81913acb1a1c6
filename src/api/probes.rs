//! `/livez`, `/readyz` and `/metrics`: open, on a port of their own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Agent, Metrics};

/// A scraper gives up after ten seconds; without the figures of the mesh it gets those of the process.
const PATIENCE: Duration = Duration::from_secs(5);

/// The probes of this agent.
pub fn router(agent: Arc<dyn Agent>, metrics: Metrics) -> Router {
    let live =
        get(|State(agent): State<Arc<dyn Agent>>| async move { answer(agent.live().map(|()| Vec::new())) });
    let ready = get(|State(agent): State<Arc<dyn Agent>>| async move { answer(agent.ready()) });
    let text = get(move |State(agent): State<Arc<dyn Agent>>| async move {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let figures = tokio::time::timeout(PATIENCE, agent.figures()).await;
        let figures = figures.ok().and_then(Result::ok).unwrap_or_default();
        ([(header::CONTENT_TYPE, kind)], metrics.text(&agent.parts(), &figures))
    });
    Router::new().route("/livez", live).route("/readyz", ready).route("/metrics", text).with_state(agent)
}

/// `ok`, and below it what is wrong without keeping the agent from its work.
fn answer(found: Result<Vec<String>, String>) -> Response {
    match found {
        Ok(said) => {
            let lines = std::iter::once("ok".to_owned()).chain(said);
            (StatusCode::OK, lines.map(|line| format!("{line}\n")).collect::<String>()).into_response()
        }
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
