//! A request in a form that both servers can be asked, and how it is asked.
//!
//! What a server gives out itself (versions, uids, tokens) differs; a request names it in angle brackets, and
//! each side puts in its own: `<<ns>>`, `<<rv Pod/a>>` (last seen), `<<old Pod/a>>` (first seen),
//! `<<uid Pod/a>>`, `<<continue>>`, `<<start>>` (the version of the last list), `<<born>>` (the version of the namespace).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

/// A server that does not answer, or a watch that does not show what was written, is a failure.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON: &str = "application/json";

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path: String,
    pub(crate) media: &'static str,
    pub(crate) body: String,
    /// A watch is read until it tells of an object of this name; others until the answer ends.
    pub(crate) until: Option<&'static str>,
}

impl Ask {
    fn new(method: Method, path: impl Into<String>, media: &'static str, body: String) -> Self {
        Self { method, path: path.into(), media, body, until: None }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, JSON, String::new())
    }

    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Method::POST, path, JSON, body.to_string())
    }

    pub(crate) fn put(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Method::PUT, path, JSON, body.to_string())
    }

    pub(crate) fn patch(path: impl Into<String>, media: &'static str, body: &Value) -> Self {
        Self::new(Method::PATCH, path, media, body.to_string())
    }

    pub(crate) fn merge(path: impl Into<String>, body: &Value) -> Self {
        Self::patch(path, MERGE, body)
    }

    pub(crate) fn delete(path: impl Into<String>, options: &Value) -> Self {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        Self::new(Method::DELETE, path, JSON, body)
    }

    /// A watch from a version on, until an object of this name is told of.
    pub(crate) fn watch(path: impl Into<String>, until: &'static str) -> Self {
        Self { until: Some(until), ..Self::get(path) }
    }

    /// The same request with another media type, or a body that is no JSON.
    pub(crate) fn raw(self, media: &'static str, body: &str) -> Self {
        Self { media, body: body.to_owned(), ..self }
    }

    /// The same with more in its query.
    pub(crate) fn with(mut self, query: &str) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(query);
        self
    }

    pub(crate) fn dry(&self) -> bool {
        self.path.contains("dryRun=All") || self.body.contains("\"dryRun\"")
    }
}

impl std::fmt::Display for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({}) {}", self.method, self.path, self.media, short(&self.body))
    }
}

/// A text as a failure shows it.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 600;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text.to_owned(),
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) media: String,
    /// One document, or the lines of a watch.
    pub(crate) body: Value,
}

/// One of the two servers, in one namespace, with what it gave out there.
pub(crate) struct Side {
    client: kube::Client,
    namespace: String,
    versions: BTreeMap<String, Vec<String>>,
    uids: BTreeMap<String, String>,
    token: Option<String>,
    start: Option<String>,
}

impl Side {
    /// Makes the namespace.
    pub(crate) async fn open(client: &kube::Client, namespace: &str) -> anyhow::Result<Self> {
        let (versions, uids) = (BTreeMap::new(), BTreeMap::new());
        let (client, namespace) = (client.clone(), namespace.to_owned());
        let mut side = Self { client, namespace, versions, uids, token: None, start: None };
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": side.namespace },
        });
        let made = side.ask(&Ask::post("/api/v1/namespaces", &object)).await?;
        anyhow::ensure!(made.code == 201, "the namespace was not made: {}", made.body);
        Ok(side)
    }

    /// Asks, and remembers what the answer gives out.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> anyhow::Result<Answer> {
        let path = self.fill(&ask.path).replace(' ', "%20");
        let mut request = Request::builder().method(&ask.method).uri(path);
        if !ask.body.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, ask.media);
        }
        let request = request.body(Body::from(self.fill(&ask.body).into_bytes()))?;
        let asked = tokio::time::timeout(PATIENCE, self.send(request, ask.until));
        let Ok(answer) = asked.await else {
            let (media, body) = (String::new(), json!("no answer in time"));
            return Ok(Answer { code: 0, retry_after: None, media, body });
        };
        let answer = answer.with_context(|| ask.to_string())?;
        if !ask.dry() {
            self.learn(&answer.body);
        }
        Ok(answer)
    }

    async fn send(&self, request: Request<Body>, until: Option<&str>) -> anyhow::Result<Answer> {
        let response = self.client.send(request).await?;
        let head = |name: http::header::HeaderName| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        let code = response.status().as_u16();
        let (retry_after, media) = (head(http::header::RETRY_AFTER), head(http::header::CONTENT_TYPE));
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame?.into_data() {
                text.extend_from_slice(&bytes);
            }
            if until.is_some_and(|name| tells_of(&text, name)) {
                break;
            }
        }
        let text = String::from_utf8(text)?;
        let lines: Vec<Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>().unwrap_or_default();
        let body = match serde_json::from_str(&text) {
            Ok(value) if until.is_none() => value,
            _ if lines.is_empty() => Value::String(text),
            _ => Value::Array(lines),
        };
        Ok(Answer { code, retry_after, media: media.unwrap_or_default(), body })
    }

    fn fill(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("<<") {
            let (what, after) = after.split_once(">>").unwrap_or((after, ""));
            out.push_str(before);
            out.push_str(&self.own(what));
            rest = after;
        }
        out + rest
    }

    /// What is not known is asked for in the same words on both sides.
    fn own(&self, what: &str) -> String {
        let (what, of) = what.split_once(' ').unwrap_or((what, ""));
        let of = if what == "born" { format!("Namespace/{}", self.namespace) } else { of.to_owned() };
        let versions = self.versions.get(&of);
        let found = match what {
            "ns" => Some(&self.namespace),
            "rv" => versions.and_then(|all| all.last()),
            "old" | "born" => versions.and_then(|all| all.first()),
            "uid" => self.uids.get(&of),
            "continue" => self.token.as_ref(),
            "start" => self.start.as_ref(),
            _ => None,
        };
        found.cloned().unwrap_or_else(|| "1".to_owned())
    }

    fn learn(&mut self, body: &Value) {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        if let Some(items) = body["items"].as_array() {
            self.token = text("/metadata/continue");
            self.start = text("/metadata/resourceVersion");
            let kind = text("/kind").unwrap_or_default();
            let kind = kind.trim_end_matches("List");
            for item in items {
                self.note(kind, item);
            }
        } else if let Some(kind) = text("/kind").filter(|kind| kind != "Status" && kind != "Scale") {
            self.note(&kind, body);
        }
    }

    fn note(&mut self, kind: &str, object: &Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let name = format!("{kind}/{}", text("name"));
        let known = self.versions.entry(name.clone()).or_default();
        let version = text("resourceVersion");
        if known.last() != Some(&version) {
            known.push(version);
        }
        self.uids.insert(name, text("uid"));
    }
}

fn tells_of(text: &[u8], name: &str) -> bool {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &text[..end]);
    whole
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .any(|event| event["type"] == "ERROR" || event["object"]["metadata"]["name"] == name)
}
