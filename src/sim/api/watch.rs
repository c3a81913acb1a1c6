//! Watching.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::read::no_version;
use super::request::Call;
use super::selector::Selector;
use crate::sim::Sim;
use crate::sim::refused::Refused;
use crate::sim::store::Changed;

/// A watch without news says so this often, so that its version stays young.
const BOOKMARK: Duration = Duration::from_secs(30);

/// Where a watch stands.
struct Watching {
    sim: Arc<Sim>,
    call: Call,
    selector: Selector,
    /// Everything up to here was told; `None` before the objects that are there were.
    version: Option<u64>,
    changed: tokio::sync::watch::Receiver<u64>,
    bookmark: Instant,
    end: Option<Instant>,
    over: bool,
}

pub(super) fn watch(sim: Arc<Sim>, call: Call) -> Response {
    let selector = match Selector::of(&call) {
        Ok(selector) => selector,
        Err(refused) => return refused.into_response(),
    };
    let version = call.asks("resourceVersion").filter(|version| *version != "0").map(str::parse::<u64>);
    let version = match version.transpose() {
        Ok(version) => version,
        Err(_) => {
            let said = call.asks("resourceVersion").unwrap_or_default();
            return Refused::new(500, "", no_version(said)).into_response();
        }
    };
    if call.is("sendInitialEvents") && call.asks("resourceVersionMatch") != Some("NotOlderThan") {
        let why = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        let wrong = ("FieldValueForbidden", why);
        return Refused::options("ListOptions", "resourceVersionMatch", wrong).into_response();
    }
    let version = version.filter(|_| !call.is("sendInitialEvents"));
    let lasts = call.asks("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
    let end = lasts.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (changed, bookmark) = (sim.changed.subscribe(), Instant::now() + BOOKMARK);
    let start = Watching { sim, call, selector, version, changed, bookmark, end, over: false };
    let stream = futures::stream::unfold(start, |mut watching| async move {
        let lines = watching.next().await?;
        Some((Ok::<_, std::convert::Infallible>(lines), watching))
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream)).into_response()
}

impl Watching {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let Some(mut version) = self.version else { return Some(self.first()) };
        loop {
            self.changed.borrow_and_update();
            let target = &self.call.target;
            let news = self.sim.with(|store, _| {
                store.since(version, target.kind.plural, target.namespace.as_deref()).ok_or(store.oldest())
            });
            let news = match news {
                Ok(news) => news,
                Err(oldest) => {
                    self.over = true;
                    let text = format!("too old resource version: {version} ({oldest})");
                    return Some(line("ERROR", Refused::new(410, "Expired", text).status()));
                }
            };
            if let Some(last) = news.last() {
                version = last.version;
                self.version = Some(version);
                let lines: Vec<u8> = news.iter().filter_map(|change| self.tell(change)).flatten().collect();
                if !lines.is_empty() {
                    self.bookmark = Instant::now() + BOOKMARK;
                    return Some(Bytes::from(lines));
                }
            }
            let now = Instant::now();
            if self.end.is_some_and(|end| end <= now) {
                return None;
            }
            if self.bookmark <= now {
                self.bookmark = now + BOOKMARK;
                version = self.sim.lock().store.version();
                self.version = Some(version);
                if self.call.is("allowWatchBookmarks") {
                    return Some(self.bookmark_line(version, &json!({})));
                }
            }
            self.rest(now).await;
        }
    }

    /// Waits for a change, for what the controllers have to do, or for the next bookmark.
    async fn rest(&mut self, now: Instant) {
        let due = self.sim.next_look().map(|wait| now + wait.max(Duration::from_millis(1)));
        let wake = [Some(self.bookmark), self.end, due].into_iter().flatten().min().unwrap_or(self.bookmark);
        // Either way one looks again.
        timeout_at(wake, self.changed.changed()).await.ok();
    }

    /// What is there, before any change.
    fn first(&mut self) -> Bytes {
        let target = &self.call.target;
        let (version, objects) = self.sim.with(|store, _| {
            let found = store.list(target.kind.plural, target.namespace.as_deref());
            let found: Vec<Value> = found.filter(|object| self.selector.picks(object)).cloned().collect();
            (store.version(), found)
        });
        let mut lines: Vec<u8> =
            objects.iter().flat_map(|object| line("ADDED", &self.call.form.one(target, object))).collect();
        if self.call.is("sendInitialEvents") {
            let end = json!({ "k8s.io/initial-events-end": "true" });
            lines.extend(self.bookmark_line(version, &end));
        }
        self.version = Some(version);
        Bytes::from(lines)
    }

    /// A change as this watch sees it: with a selector, objects come and go without being made or deleted.
    fn tell(&self, change: &Changed) -> Option<Bytes> {
        let now = change.kind != "DELETED" && self.selector.picks(&change.object);
        let before = change.before.as_ref().is_some_and(|before| self.selector.picks(before));
        let kind = match (before, now) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        let Some(before) = change.before.as_ref().filter(|_| kind == "DELETED" && change.kind != "DELETED")
        else {
            return Some(line(kind, &self.call.form.one(&self.call.target, &change.object)));
        };
        // Who leaves the selector is shown as it was in it, with the version of the change.
        let mut gone = Value::clone(before);
        gone["metadata"]["resourceVersion"] = json!(change.version.to_string());
        Some(line(kind, &self.call.form.one(&self.call.target, &gone)))
    }

    fn bookmark_line(&self, version: u64, annotations: &Value) -> Bytes {
        let mut meta = json!({ "resourceVersion": version.to_string() });
        if *annotations != json!({}) {
            meta["annotations"] = annotations.clone();
        }
        let target = &self.call.target;
        let object = json!({ "kind": target.kind.kind, "apiVersion": target.api_version, "metadata": meta });
        line("BOOKMARK", &self.call.form.bookmark(target, &object))
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    let mut text = json!({ "type": kind, "object": object }).to_string();
    text.push('\n');
    Bytes::from(text)
}
