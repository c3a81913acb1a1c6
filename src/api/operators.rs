//! What operators do: pause, resume and abort. Each answer is durable when it comes.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::routes::{Shared, parse, read};
use super::{Halt, Refusal, Stop};
use crate::config::Role;
use crate::model::digest::Digest;
use crate::model::duration;
use crate::model::event::InForce;
use crate::model::incident::{Incident, IncidentId, Phase};
use crate::model::pause::{LONGEST_PAUSE_S, Reach};

/// The routes of operators.
pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .route("/v1/pauses", get(pauses))
        .route("/v1/abort", post(abort_all))
        .route("/v1/incidents/{id}/abort", post(abort))
}

/// How far a wish reaches, as a body says it: `{"all": true}`, or a namespace, or a playbook.
#[derive(Deserialize)]
struct ReachBody {
    #[serde(default)]
    all: bool,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    playbook: Option<String>,
    /// For a pause: how long.
    #[serde(default, rename = "for")]
    lasts: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

impl ReachBody {
    /// The reach, if exactly one is named and nothing that is not known here.
    fn reach(&self) -> Result<Reach, Refusal> {
        if let Some(key) = self.rest.keys().next() {
            return Err(bad(format!("the key {key:?} is not known here")));
        }
        match (self.all, &self.namespace, &self.playbook) {
            (true, None, None) => Ok(Reach::All),
            (false, Some(name), None) if !name.is_empty() => Ok(Reach::Namespace(name.clone())),
            (false, None, Some(name)) if !name.is_empty() => Ok(Reach::Playbook(name.clone())),
            _ => Err(bad("say exactly one of \"all\": true, \"namespace\": NAME and \"playbook\": NAME")),
        }
    }

    fn reason(&self) -> Result<String, Refusal> {
        let text = self.reason.trim();
        if text.is_empty() {
            return Err(bad("the key \"reason\" is missing: say why, others will ask"));
        }
        Ok(text.to_owned())
    }

    fn seconds(&self) -> Result<u64, Refusal> {
        let text = self.lasts.as_deref();
        let text = text.ok_or_else(|| bad("the key \"for\" is missing: say how long, for instance 1h"))?;
        let seconds = duration::parse(text).map_err(bad)?.as_secs();
        if (1..=LONGEST_PAUSE_S).contains(&seconds) {
            return Ok(seconds);
        }
        Err(bad("a pause lasts between 1s and 7d; what is meant to last longer belongs into a policy"))
    }
}

fn bad(text: impl Into<String>) -> Refusal {
    Refusal::new(400, "bad_request", text)
}

async fn body(shared: &Shared, request: Request) -> Result<(ReachBody, String), Refusal> {
    let (parts, body) = request.into_parts();
    let by = shared.tokens.check(&parts.headers, Role::Approve)?.name.clone();
    Ok((parse(&read(body).await?)?, by))
}

async fn pause(State(shared): State<Shared>, request: Request) -> Response {
    let work = async {
        let (body, by) = body(&shared, request).await?;
        let (reach, reason, for_s) = (body.reach()?, body.reason()?, body.seconds()?);
        let pause = shared.agent.pause(Halt { reach, by, reason }, for_s).await?;
        Ok(json!(pause))
    };
    shared.timed(work).await
}

async fn resume(State(shared): State<Shared>, request: Request) -> Response {
    let work = async {
        let (body, by) = body(&shared, request).await?;
        let reach = body.reach()?;
        shared.agent.resume(reach.clone(), by).await?;
        Ok(json!({ "resumed": reach }))
    };
    shared.timed(work).await
}

async fn pauses(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let work = async {
        shared.tokens.check(&headers, Role::Read)?;
        shared.agent.stops().await
    };
    shared.timed(work).await
}

async fn abort_all(State(shared): State<Shared>, request: Request) -> Response {
    let work = async {
        let (mut body, by) = body(&shared, request).await?;
        let in_force = body.rest.remove("inForce").map(serde_json::from_value).transpose();
        let in_force = in_force.map_err(|_| bad("\"inForce\" is \"keep\" or \"undo\""))?;
        let (reach, comment) = (body.reach()?, body.reason()?);
        let stopped = shared.agent.abort_all(reach, Stop { by, comment, in_force }).await?;
        let ids: Vec<&IncidentId> = stopped.iter().map(|case| &case.id).collect();
        let kept: Vec<Value> = stopped.iter().filter_map(|case| kept(case)).collect();
        let mut answer = json!({ "incidents": ids });
        if !kept.is_empty() {
            answer["inForce"] = json!(kept);
        }
        Ok(answer)
    };
    shared.timed(work).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AbortBody {
    /// Only if this is still the plan.
    #[serde(default)]
    plan: Option<Digest>,
    #[serde(default)]
    comment: String,
    /// What becomes of what is in force; absent: it is kept, and the answer says how it is undone.
    #[serde(default, rename = "inForce")]
    in_force: Option<InForce>,
}

/// What a stopped case did that stays in force, and how it is undone; `None` where nothing is, or it is being
/// undone.
fn kept(case: &Incident) -> Option<Value> {
    let act = case.in_force().filter(|_| case.wanted() == Some(InForce::Keep))?;
    let id = &case.id;
    Some(json!({
        "incident": id,
        "act": act.to_string(),
        "running": case.phase == Phase::Executing,
        "healthy": case.probed_healthy(),
        "expires": case.expires_at,
        "undo": format!("meshmend abort {id} --undo --reason TEXT"),
    }))
}

async fn abort(State(shared): State<Shared>, Path(id): Path<String>, request: Request) -> Response {
    let work = async {
        let (parts, body) = request.into_parts();
        let by = shared.tokens.check(&parts.headers, Role::Approve)?.name.clone();
        let AbortBody { plan, comment, in_force } = parse(&read(body).await?)?;
        let stopped = shared.agent.abort(id, plan, Stop { by, comment, in_force }).await?;
        let mut answer = json!(stopped);
        if let Some(kept) = kept(&stopped) {
            answer["inForce"] = kept;
        }
        Ok(answer)
    };
    shared.timed(work).await
}
