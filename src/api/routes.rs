//! The routes of the API, with limits on size and time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::LengthLimitError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::operators;
use super::{Agent, Ballot, Metrics, Notification, Refusal, Tokens};
use crate::config::{Intake, Role};
use crate::model::digest::Digest;
use crate::model::event::Vote;
use crate::model::signal::Signal;
use crate::model::subject::Subject;

/// A group of ten thousand alerts is 10 MB; this is three times that.
const MAX_BODY: usize = 32 << 20;
/// A commit takes milliseconds; who waits longer should come again.
const TIME_LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) agent: Arc<dyn Agent>,
    pub(super) tokens: Arc<Tokens>,
    metrics: Metrics,
}

/// The API of this agent.
pub fn router(agent: Arc<dyn Agent>, tokens: Tokens, metrics: Metrics, open: &BTreeSet<Intake>) -> Router {
    let shared = Shared { agent, tokens: Arc::new(tokens), metrics };
    let intake = open.iter().fold(Router::new(), |router, intake| match intake {
        Intake::Alertmanager => router.route("/v1/alerts/alertmanager", post(alerts)),
        Intake::Signals => router.route("/v1/signals", post(signals)),
    });
    intake
        .route("/v1/incidents", get(incidents))
        .route("/v1/incidents/{id}", get(incident))
        .route("/v1/incidents/{id}/approve", post(approve))
        .route("/v1/incidents/{id}/deny", post(deny))
        .route("/v1/health", get(health))
        .route("/v1/history", get(history))
        .route("/v1/history/bless", post(bless))
        .merge(operators::router())
        .fallback(nothing)
        .method_not_allowed_fallback(no_method)
        .with_state(shared)
}

impl Shared {
    fn answer(&self, found: Result<Value, Refusal>) -> Response {
        match found {
            Ok(value) => Json(value).into_response(),
            Err(refusal) => {
                self.metrics.refused.get_or_create(&Metrics::label("code", refusal.code)).inc();
                tracing::warn!(
                    status = refusal.status,
                    code = refusal.code,
                    why = refusal.message,
                    "request refused"
                );
                let body = json!({ "error": { "code": refusal.code, "message": refusal.message } });
                let status =
                    StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, Json(body)).into_response()
            }
        }
    }

    pub(super) async fn timed(&self, work: impl Future<Output = Result<Value, Refusal>>) -> Response {
        let late = || Refusal::new(503, "late", "the journal did not answer in time; send it again");
        let found = tokio::time::timeout(TIME_LIMIT, work).await.unwrap_or_else(|_| Err(late()));
        self.answer(found)
    }
}

pub(super) async fn read(body: Body) -> Result<Bytes, Refusal> {
    to_bytes(body, MAX_BODY).await.map_err(|error| {
        let too_long = std::error::Error::source(&error).is_some_and(|cause| cause.is::<LengthLimitError>());
        if too_long {
            let text = "the body is longer than 32 MiB; set max_alerts, or send fewer at once";
            return Refusal::new(413, "too_large", text);
        }
        Refusal::new(400, "bad_request", format!("the body could not be read to its end: {error}"))
    })
}

pub(super) fn parse<'b, T: Deserialize<'b>>(body: &'b Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, "bad_request", format!("the body is not as expected: {error}")))
}

/// Counted and logged like every refusal: a sender with a wrong path repeats itself for ever.
async fn nothing(State(shared): State<Shared>, uri: Uri) -> Response {
    shared.answer(Err(Refusal::new(404, "not_found", format!("there is nothing at {}", uri.path()))))
}

async fn no_method(State(shared): State<Shared>, method: Method, uri: Uri) -> Response {
    let text = format!("{} does not take {method}", uri.path());
    shared.answer(Err(Refusal::new(405, "method_not_allowed", text)))
}

async fn alerts(State(shared): State<Shared>, request: Request) -> Response {
    let work = async {
        let (parts, body) = request.into_parts();
        let grant = shared.tokens.check(&parts.headers, Role::Intake)?;
        let body = read(body).await?;
        let notification: Notification = parse(&body)?;
        if notification.version != "4" {
            let text =
                format!("version {:?} of the webhook is not known; 4 is expected", notification.version);
            return Err(Refusal::new(400, "bad_version", text));
        }
        if notification.truncated_alerts > 0 {
            let (left_out, group) = (notification.truncated_alerts, &notification.group_key);
            tracing::warn!(left_out, group, "alerts left out by the sender; raise max_alerts");
        }
        let incidents = shared.agent.alerts(notification, grant.name.clone()).await?;
        Ok(json!({ "incidents": incidents }))
    };
    shared.timed(work).await
}

/// One signal or many.
#[derive(Deserialize)]
#[serde(untagged)]
enum Signals {
    Many(Vec<Value>),
    One(Value),
}

async fn signals(State(shared): State<Shared>, request: Request) -> Response {
    let work = async {
        let (parts, body) = request.into_parts();
        let grant = shared.tokens.check(&parts.headers, Role::Intake)?;
        let body = read(body).await?;
        let values = match parse::<Signals>(&body)? {
            Signals::Many(values) => values,
            Signals::One(value) => vec![value],
        };
        let mut signals = Vec::with_capacity(values.len());
        let mut wrong = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            match serde_json::from_value::<Signal>(value) {
                Ok(signal) => signals.push(signal),
                Err(error) => wrong.push(format!("signal {index}: {error}")),
            }
        }
        if !wrong.is_empty() {
            return Err(Refusal::new(400, "bad_request", wrong.join("; ")));
        }
        let incidents = shared.agent.signals(signals, grant.name.clone()).await?;
        Ok(json!({ "incidents": incidents }))
    };
    shared.timed(work).await
}

async fn incidents(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let work = async {
        shared.tokens.check(&headers, Role::Read)?;
        Ok(json!({ "incidents": shared.agent.incidents().await? }))
    };
    shared.timed(work).await
}

async fn incident(State(shared): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let work = async {
        shared.tokens.check(&headers, Role::Read)?;
        let found = shared.agent.incident(id.clone()).await?;
        let missing =
            || Refusal::new(404, "not_found", format!("there is no incident {id} in memory; see audit show"));
        Ok(json!(found.ok_or_else(missing)?))
    };
    shared.timed(work).await
}

async fn history(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let work = async {
        shared.tokens.check(&headers, Role::Read)?;
        shared.agent.history().await
    };
    shared.timed(work).await
}

async fn health(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let work = async {
        shared.tokens.check(&headers, Role::Read)?;
        shared.agent.health().await
    };
    shared.timed(work).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoteBody {
    plan: Digest,
    #[serde(default)]
    comment: String,
}

async fn approve(State(shared): State<Shared>, Path(id): Path<String>, request: Request) -> Response {
    vote(&shared, id, Vote::Approve, request).await
}

async fn deny(State(shared): State<Shared>, Path(id): Path<String>, request: Request) -> Response {
    vote(&shared, id, Vote::Deny, request).await
}

async fn vote(shared: &Shared, incident: String, vote: Vote, request: Request) -> Response {
    let work = async {
        let (parts, body) = request.into_parts();
        let by = shared.tokens.check(&parts.headers, Role::Approve)?.name.clone();
        let body = read(body).await?;
        let VoteBody { plan, comment } = parse(&body)?;
        let after = shared.agent.vote(Ballot { incident, plan, vote, comment, by }).await?;
        Ok(json!(after))
    };
    shared.timed(work).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlessBody {
    subject: Subject,
    #[serde(default)]
    spec_hash: Option<Digest>,
}

async fn bless(State(shared): State<Shared>, request: Request) -> Response {
    let work = async {
        let (parts, body) = request.into_parts();
        let by = shared.tokens.check(&parts.headers, Role::Approve)?.name.clone();
        let body = read(body).await?;
        let BlessBody { subject, spec_hash } = parse(&body)?;
        let hash = shared.agent.bless(subject, spec_hash, by).await?;
        Ok(json!({ "spec_hash": hash }))
    };
    shared.timed(work).await
}
