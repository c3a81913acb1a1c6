//! The API server: paths, verbs and errors as Kubernetes has them, as far as meshmend uses them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Sim;
use super::store::{Key, Refused, Store, Write};

/// Resources served: group, versions, plural, kind, whether in a namespace.
const RESOURCES: [(&str, &[&str], &str, &str, bool); 6] = [
    ("", &["v1"], "namespaces", "Namespace", false),
    ("", &["v1"], "pods", "Pod", true),
    ("", &["v1"], "services", "Service", true),
    ("discovery.k8s.io", &["v1"], "endpointslices", "EndpointSlice", true),
    ("networking.istio.io", &["v1", "v1beta1"], "virtualservices", "VirtualService", true),
    ("networking.istio.io", &["v1", "v1beta1"], "destinationrules", "DestinationRule", true),
];

/// A watch without news says so this often, so that its version stays young.
const BOOKMARK: Duration = Duration::from_secs(30);

pub(super) fn router(sim: Arc<Sim>) -> Router {
    Router::new().fallback(serve).with_state(sim)
}

/// What a path names.
struct Target {
    api_version: String,
    plural: &'static str,
    kind: &'static str,
    namespace: Option<String>,
    name: Option<String>,
}

struct Request {
    target: Target,
    query: BTreeMap<String, String>,
    manager: String,
}

async fn serve(
    State(sim): State<Arc<Sim>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(target) = target(uri.path()) else {
        let text = "the server could not find the requested resource".to_owned();
        return refuse(&Refused(404, "NotFound", text), None);
    };
    let query: BTreeMap<String, String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), decode(value)))
        .collect();
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("unknown");
    let manager = query.get("fieldManager").cloned();
    let manager = manager.unwrap_or_else(|| agent.split('/').next().unwrap_or("unknown").to_owned());
    let kind =
        headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    let named = Named::of(&target, &body);
    let request = Request { target, query, manager };
    let watches = request.query.get("watch").is_some_and(|watch| watch == "true" || watch == "1");
    let answer = match method {
        Method::GET if watches => return watch(sim, &request),
        Method::GET => get(&sim, &request),
        Method::POST => create(&sim, request, &body),
        Method::PATCH => patch(&sim, request, &kind, &body),
        Method::DELETE => delete(&sim, request),
        _ => Err(Refused(405, "MethodNotAllowed", "the server does not allow this method".to_owned())),
    };
    match answer {
        Ok((code, value)) => (code, axum::Json(value)).into_response(),
        Err(refused) => refuse(&refused, named.as_ref()),
    }
}

type Answer = Result<(StatusCode, Value), Refused>;

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex: Vec<u8> = bytes.by_ref().take(2).collect();
            out.extend(std::str::from_utf8(&hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()));
        } else {
            out.push(if byte == b'+' { b' ' } else { byte });
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, plural, name) = match rest {
        ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, Some(*name)),
        ["namespaces", namespace, plural] => (Some(*namespace), *plural, None),
        [plural, name] => (None, *plural, Some(*name)),
        [plural] => (None, *plural, None),
        _ => return None,
    };
    let (_, _, plural, kind, namespaced) = RESOURCES
        .into_iter()
        .find(|(g, versions, p, _, _)| *g == group && versions.contains(&version) && *p == plural)?;
    if namespaced != namespace.is_some() && name.is_some() {
        return None;
    }
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(Target {
        api_version,
        plural,
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
    })
}

/// The object that a refusal is about.
struct Named {
    name: String,
    group: String,
    plural: &'static str,
}

impl Named {
    fn of(target: &Target, body: &Bytes) -> Option<Self> {
        let created = || parse(body).ok()?.pointer("/metadata/name")?.as_str().map(str::to_owned);
        let name = target.name.clone().or_else(created)?;
        let group = target.api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
        Some(Self { name, group, plural: target.plural })
    }
}

/// A refusal as the real server words it: the resource with its group, and the object in `details`.
fn refuse(Refused(code, reason, message): &Refused, named: Option<&Named>) -> Response {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    if let Some(Named { name, group, plural }) = named {
        status["details"] = json!({ "name": name, "kind": plural });
        if !group.is_empty() {
            status["details"]["group"] = json!(group);
            let bare = format!("{plural} {name:?}");
            status["message"] = json!(message.replace(&bare, &format!("{plural}.{group} {name:?}")));
        }
    }
    let code = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, axum::Json(status)).into_response()
}

impl Request {
    fn key(&self) -> Result<Key, Refused> {
        let name = self.target.name.clone();
        let name = name.ok_or_else(|| Refused(405, "MethodNotAllowed", "name an object".to_owned()))?;
        Ok((self.target.plural.to_owned(), self.target.namespace.clone().unwrap_or_default(), name))
    }

    fn dry(&self) -> bool {
        self.query.get("dryRun").is_some_and(|dry| dry == "All")
    }

    fn shown(&self, object: &Value) -> Value {
        let mut object = object.clone();
        object["apiVersion"] = json!(self.target.api_version);
        object["kind"] = json!(self.target.kind);
        object
    }

    fn selects(&self, object: &Value) -> bool {
        let Some(selector) = self.query.get("labelSelector").filter(|text| !text.is_empty()) else {
            return true;
        };
        selector.split(',').all(|term| {
            let (key, value) = term.split_once('=').unwrap_or((term, ""));
            let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(key.trim()));
            label.and_then(Value::as_str) == Some(value.trim_start_matches('=').trim())
        })
    }
}

fn get(sim: &Sim, request: &Request) -> Answer {
    sim.with(|store, _| {
        if request.target.name.is_some() {
            let key = request.key()?;
            let found = store.get(&key).map(|object| request.shown(object));
            let missing = || Refused(404, "NotFound", format!("{} {:?} not found", key.0, key.2));
            return Ok((StatusCode::OK, found.ok_or_else(missing)?));
        }
        let items: Vec<Value> = store
            .list(request.target.plural, request.target.namespace.as_deref())
            .filter(|object| request.selects(object))
            .map(|object| request.shown(object))
            .collect();
        Ok((
            StatusCode::OK,
            json!({
                "apiVersion": request.target.api_version, "kind": format!("{}List", request.target.kind),
                "metadata": { "resourceVersion": store.version().to_string() }, "items": items,
            }),
        ))
    })
}

fn parse(body: &Bytes) -> Result<Value, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused(400, "BadRequest", error.to_string()))
}

fn create(sim: &Sim, mut request: Request, body: &Bytes) -> Answer {
    let object = parse(body)?;
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    let name = name.ok_or_else(|| Refused(422, "Invalid", "metadata.name: Required value".to_owned()))?;
    request.target.name = Some(name.to_owned());
    let key = request.key()?;
    sim.with(|store: &mut Store, at| {
        let write = Write { manager: &request.manager, at, dry: request.dry() };
        Ok((StatusCode::CREATED, store.create(key, object, &write)?))
    })
}

fn patch(sim: &Sim, request: Request, kind: &str, body: &Bytes) -> Answer {
    if kind != "application/merge-patch+json" {
        let text = format!(
            "the body of the request was in an unknown format - accepted media types include: application/merge-patch+json, not {kind}"
        );
        return Err(Refused(415, "UnsupportedMediaType", text));
    }
    let (key, patch) = (request.key()?, parse(body)?);
    sim.with(|store, at| {
        let write = Write { manager: &request.manager, at, dry: request.dry() };
        Ok((StatusCode::OK, request.shown(&store.patch(&key, &patch, &write)?)))
    })
}

fn delete(sim: &Sim, request: Request) -> Answer {
    let key = request.key()?;
    sim.with(|store, _| Ok((StatusCode::OK, request.shown(&store.delete(&key)?))))
}

/// Where a watch stands.
struct Watching {
    sim: Arc<Sim>,
    request: Request,
    version: u64,
    changed: tokio::sync::watch::Receiver<u64>,
    over: bool,
}

fn watch(sim: Arc<Sim>, request: &Request) -> Response {
    let version = request.query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
    let target = &request.target;
    let request = Request {
        target: Target {
            api_version: target.api_version.clone(),
            plural: target.plural,
            kind: target.kind,
            namespace: target.namespace.clone(),
            name: None,
        },
        query: request.query.clone(),
        manager: String::new(),
    };
    let changed = sim.changed.subscribe();
    let start = Watching { sim, request, version, changed, over: false };
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
        loop {
            self.changed.borrow_and_update();
            let target = &self.request.target;
            let news = self.sim.lock().store.since(self.version, target.plural, target.namespace.as_deref());
            let Some(news) = news else {
                self.over = true;
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired",
                    "message": format!("too old resource version: {}", self.version), "code": 410,
                });
                return Some(line("ERROR", &status));
            };
            if let Some(last) = news.last() {
                self.version = last.version;
                let lines: Vec<u8> = news
                    .iter()
                    .filter(|change| self.request.selects(&change.object))
                    .flat_map(|change| line(change.kind, &self.request.shown(&change.object)).to_vec())
                    .collect();
                return Some(Bytes::from(lines));
            }
            if tokio::time::timeout(BOOKMARK, self.changed.changed()).await.is_err() {
                self.version = self.sim.lock().store.version();
                let object = json!({
                    "apiVersion": self.request.target.api_version, "kind": self.request.target.kind,
                    "metadata": { "resourceVersion": self.version.to_string() },
                });
                return Some(line("BOOKMARK", &object));
            }
        }
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    let mut text = json!({ "type": kind, "object": object }).to_string();
    text.push('\n');
    Bytes::from(text)
}
