//! The API server: paths, verbs and errors as Kubernetes has them, as far as meshmend and kubectl use them.

mod discovery;
mod forward;
mod parts;
mod read;
mod request;
mod selector;
mod shape;
mod table;
mod watch;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::Sim;
use super::refused::Refused;
use request::{Call, Target};

pub(super) use request::decode;

type Answer = Result<(StatusCode, Value), Refused>;
/// A list, as a text.
type Page = Result<String, Refused>;

/// Bodies larger than this are refused by the real server as well.
const LARGEST: usize = 3 << 20;

/// A part that a custom kind does not have: the real server says that the object is missing.
fn unknown_part(path: &str) -> Option<Refused> {
    let target = Target::of(path.rsplit_once('/')?.0)?;
    let key = target.key().ok().filter(|_| !target.kind.native && target.part.is_none())?;
    Some(Refused::not_found(&key))
}

pub(super) fn router(sim: Arc<Sim>) -> Router {
    Router::new().fallback(serve).with_state(sim)
}

async fn serve(State(sim): State<Arc<Sim>>, request: http::Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some(answer) = discovery::answer(&parts) {
        return answer;
    }
    let Some(target) = Target::of(parts.uri.path()) else {
        if let Some(refused) = unknown_part(parts.uri.path()) {
            return refused.into_response();
        }
        let reviewed = parts.uri.path().ends_with("accessreviews");
        let body = axum::body::to_bytes(body, LARGEST).await.unwrap_or_default();
        return match reviewed {
            true => discovery::review(&body),
            false if discovery::knows(parts.uri.path()) => Refused::no_such_path().into_response(),
            false => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
        };
    };
    if target.part == Some("portforward") {
        return forward::upgrade(&sim, &target, &mut parts);
    }
    let body = match axum::body::to_bytes(body, LARGEST).await {
        Ok(body) => body,
        Err(_) => {
            let text = format!("limit is {LARGEST}");
            return Refused::new(413, "RequestEntityTooLarge", text).into_response();
        }
    };
    let call = Call::of(target, &parts, body, sim.clock.now());
    if let Some(refused) = write::unknown_options(&call, &parts.method) {
        return refused.into_response();
    }
    if call.target.part.is_none() && call.target.name.is_none() {
        let page = match parts.method {
            Method::GET if call.watches() => return watch::watch(sim, call),
            Method::GET => Some(read::list(&sim, &call)),
            Method::DELETE => Some(write::delete_all(&sim, &call)),
            _ => None,
        };
        if let Some(page) = page {
            return page.map(|page| ([(CONTENT_TYPE, "application/json")], page)).into_response();
        }
    }
    let answer = match (call.target.part, &parts.method) {
        (None, &Method::GET) => read::get(&sim, &call),
        (None, &Method::POST) => write::create(&sim, &call),
        (None, &Method::DELETE) => write::delete(&sim, &call),
        (None | Some("status"), &Method::PATCH | &Method::PUT) => write::change(&sim, &call),
        (Some("status"), &Method::GET) => read::get(&sim, &call),
        (Some("scale"), &Method::GET | &Method::PATCH | &Method::PUT) => parts::scale(&sim, &call),
        (Some("eviction"), &Method::POST) => parts::evict(&sim, &call),
        _ => Err(Refused::method()),
    };
    match answer {
        Ok((code, value)) => (code, axum::Json(value)).into_response(),
        Err(refused) => refused.into_response(),
    }
}
