//! As much of an API server as the stand-in's watches ask for: lists, and watches from a version on.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The objects, and everything that ever happened to them.
pub(super) struct Api {
    state: Mutex<Known>,
    changed: watch::Sender<usize>,
}

#[derive(Default)]
struct Known {
    objects: BTreeMap<[String; 3], Value>,
    log: Vec<Value>,
}

impl Api {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: watch::Sender::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates or replaces an object.
    pub(super) fn put(&self, mut object: Value) {
        let state = &mut *self.lock();
        let name = name(&object);
        let before = state.objects.get(&name);
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        object["apiVersion"] = json!("v1");
        object["metadata"]["resourceVersion"] = json!((state.log.len() + 1).to_string());
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        state.objects.insert(name, object.clone());
        self.tell(state, kind, object);
    }

    /// Deletes an object.
    pub(super) fn delete(&self, object: &Value) {
        let state = &mut *self.lock();
        if let Some(object) = state.objects.remove(&name(object)) {
            self.tell(state, "DELETED", object);
        }
    }

    fn tell(&self, state: &mut Known, kind: &str, object: Value) {
        state.log.push(json!({"type": kind, "object": object}));
        self.changed.send_replace(state.log.len());
    }

    /// The server.
    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new().route("/{*path}", axum::routing::get(answer)).with_state(self)
    }
}

fn name(object: &Value) -> [String; 3] {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    [text(&object["kind"]), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"])]
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

async fn answer(
    State(api): State<Arc<Api>>,
    Path(path): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let wanted = path.rsplit('/').next().unwrap_or_default().to_owned();
    if query.get("watch").is_none_or(|watch| watch != "true") {
        let state = api.lock();
        let items = state.objects.iter().filter(|(name, _)| plural(&name[0]) == wanted);
        let items: Vec<&Value> = items.map(|(_, object)| object).collect();
        let meta = json!({"resourceVersion": state.log.len().to_string()});
        return axum::Json(json!({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items}))
            .into_response();
    }
    let Some(from) = query.get("resourceVersion").and_then(|version| version.parse::<usize>().ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let changed = api.changed.subscribe();
    let events = futures::stream::unfold((api, from, changed), move |(api, mut at, mut changed)| {
        let wanted = wanted.clone();
        async move {
            loop {
                let event = api.lock().log.get(at).cloned();
                let Some(event) = event else {
                    changed.changed().await.ok()?;
                    continue;
                };
                at += 1;
                if plural(event["object"]["kind"].as_str().unwrap_or_default()) == wanted {
                    let line = Bytes::from(format!("{event}\n"));
                    return Some((Ok::<_, Infallible>(line), (api, at, changed)));
                }
            }
        }
    });
    Body::from_stream(events).into_response()
}
