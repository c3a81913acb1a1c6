//! A stub of the API server that serves what a test puts there, kind by kind: objects, refusals, and news for
//! its watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// The API server: what it serves by plural. A kind that is not there is not installed.
#[derive(Clone)]
pub(crate) struct Stub {
    pages: Arc<Mutex<BTreeMap<String, &'static str>>>,
    kinds: Arc<Mutex<BTreeMap<String, Served>>>,
    news: broadcast::Sender<(String, Bytes)>,
}

/// What a kind answers with.
#[derive(Clone)]
pub(crate) enum Served {
    /// These objects.
    Objects(Vec<Value>),
    /// This code, with words.
    Refusal(u16, &'static str),
}

impl Stub {
    pub(crate) fn new() -> Self {
        Self { pages: Arc::default(), kinds: Arc::default(), news: broadcast::channel(64).0 }
    }

    /// One with these kinds installed, and nothing of them there.
    pub(crate) fn with_kinds(plurals: &[&str]) -> Self {
        let stub = Self::new();
        plurals.iter().for_each(|plural| stub.serve(plural, Served::Objects(Vec::new())));
        stub
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<String, Served>> {
        self.kinds.lock().expect("nobody panics with it")
    }

    /// From now on this path is answered with this text.
    pub(crate) fn page(&self, path: &str, text: &'static str) {
        self.pages.lock().expect("nobody panics with it").insert(path.to_owned(), text);
    }

    /// From now on a kind answers so.
    pub(crate) fn serve(&self, plural: &str, served: Served) {
        self.kinds().insert(plural.to_owned(), served);
    }

    /// A kind that is not served any more, or never was.
    pub(crate) fn uninstall(&self, plural: &str) {
        self.kinds().remove(plural);
    }

    /// Tells the watches of a kind.
    pub(crate) fn tell(&self, plural: &str, event: &str, object: &Value) {
        let line = format!("{}\n", json!({ "type": event, "object": object }));
        self.news.send((plural.to_owned(), Bytes::from(line))).ok();
    }

    /// Tells the watches of a kind that they are too old.
    pub(crate) fn expire(&self, plural: &str) {
        self.tell(plural, "ERROR", &status(410, "Expired", "too old resource version"));
    }

    pub(crate) fn client(&self) -> kube::Client {
        let stub = self.clone();
        let router = Router::new().fallback(move |uri: Uri| {
            let stub = stub.clone();
            async move { stub.answer(&uri) }
        });
        kube::Client::new(router, "default")
    }

    fn answer(&self, uri: &Uri) -> Response {
        let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        if let Some(text) = self.pages.lock().expect("nobody panics with it").get(uri.path()) {
            return (*text).into_response();
        }
        let rest = match parts[0] {
            "api" => &parts[2..],
            "apis" => &parts[3..],
            _ => return refuse(404, "NotFound", "nothing but objects is served here"),
        };
        let (namespace, plural, name) = match rest {
            ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, Some(*name)),
            ["namespaces", namespace, plural] => (Some(*namespace), *plural, None),
            [plural, name] => (None, *plural, Some(*name)),
            [plural] => (None, *plural, None),
            _ => panic!("an unexpected path: {uri}"),
        };
        let served = self.kinds().get(plural).cloned();
        let objects = match served {
            None => return refuse(404, "NotFound", "the server could not find the requested resource"),
            Some(Served::Refusal(code, words)) => return refuse(code, "Refused", words),
            Some(Served::Objects(objects)) => objects,
        };
        let fits = |object: &&Value| namespace.is_none_or(|n| object["metadata"]["namespace"] == n);
        if let Some(name) = name {
            let found = objects.iter().filter(fits).find(|object| object["metadata"]["name"] == name);
            return match found {
                Some(object) => axum::Json(object.clone()).into_response(),
                None => refuse(404, "NotFound", "not found"),
            };
        }
        if uri.query().unwrap_or_default().contains("watch=true") {
            let plural = plural.to_owned();
            let news = futures::stream::unfold(self.news.subscribe(), |mut news| async move {
                Some((news.recv().await.ok()?, news))
            });
            let lines = news.filter_map(move |(of, line)| {
                let ours = (of == plural).then_some(Ok::<_, std::convert::Infallible>(line));
                async move { ours }
            });
            return Body::from_stream(lines).into_response();
        }
        let items: Vec<&Value> = objects.iter().filter(fits).collect();
        axum::Json(json!({ "metadata": { "resourceVersion": "1" }, "items": items })).into_response()
    }
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "reason": reason, "message": message, "code": code })
}

fn refuse(code: u16, reason: &str, message: &str) -> Response {
    let answer = axum::Json(status(code, reason, message));
    (StatusCode::from_u16(code).expect("it is a code"), answer).into_response()
}
