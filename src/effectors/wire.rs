//! The wire: reads and writes as the API server takes them. A write is one request that can be sent as a
//! dry run and then for real, word for word the same.

use http::{Method, Request, header};
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::limited;
use crate::model::digest::Digest;
use crate::model::history::FIELD_MANAGER;
use crate::model::subject::Subject;

/// A right, as a missing one is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
}

/// A kind of object: where its objects lie, and how rights name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    root: &'static str,
    plural: &'static str,
    /// `plural.group`.
    pub(super) resource: &'static str,
}

const KINDS: [(&str, Kind); 9] = [
    (
        "VirtualService",
        kind("apis/networking.istio.io/v1", "virtualservices", "virtualservices.networking.istio.io"),
    ),
    (
        "DestinationRule",
        kind("apis/networking.istio.io/v1", "destinationrules", "destinationrules.networking.istio.io"),
    ),
    (
        "HTTPRoute",
        kind("apis/gateway.networking.k8s.io/v1", "httproutes", "httproutes.gateway.networking.k8s.io"),
    ),
    ("Pod", kind("api/v1", "pods", "pods")),
    ("Deployment", kind("apis/apps/v1", "deployments", "deployments.apps")),
    ("StatefulSet", kind("apis/apps/v1", "statefulsets", "statefulsets.apps")),
    ("DaemonSet", kind("apis/apps/v1", "daemonsets", "daemonsets.apps")),
    ("Certificate", kind("apis/cert-manager.io/v1", "certificates", "certificates.cert-manager.io")),
    ("Issuer", kind("apis/cert-manager.io/v1", "issuers", "issuers.cert-manager.io")),
];

/// Issuers of the whole cluster lie in no namespace.
const CLUSTER_ISSUER: Kind =
    kind("apis/cert-manager.io/v1", "clusterissuers", "clusterissuers.cert-manager.io");

const fn kind(root: &'static str, plural: &'static str, resource: &'static str) -> Kind {
    Kind { root, plural, resource }
}

impl Kind {
    /// The kind of a subject; `None` for one that we never read or write.
    pub(super) fn of(subject: &Subject) -> Option<Self> {
        if subject.kind == "ClusterIssuer" {
            return Some(CLUSTER_ISSUER);
        }
        KINDS.iter().find(|(name, _)| *name == subject.kind).map(|(_, kind)| *kind)
    }

    /// The path of its objects.
    pub(super) fn list(self, namespace: &str) -> String {
        if namespace.is_empty() {
            format!("/{}/{}", self.root, self.plural)
        } else {
            format!("/{}/namespaces/{namespace}/{}", self.root, self.plural)
        }
    }

    /// The path of one of them.
    pub(super) fn path(self, subject: &Subject) -> String {
        format!("{}/{}", self.list(&subject.namespace), subject.name)
    }
}

/// An error with the right that was used.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) right: Right,
    pub(super) error: Box<kube::Error>,
}

/// What the server makes of a write has to be what was wanted, or an admission webhook changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Nothing of the answer is ours to look at.
    Nothing,
    /// The spec has this hash.
    Spec(Digest),
    /// This field has this value.
    Field(String, Value),
    /// The condition of this type says True.
    Condition(&'static str),
}

impl Expect {
    /// What is wrong with the answer.
    pub(super) fn unmet(&self, answer: &Value) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Spec(wanted) => {
                let found = Digest::of_json(answer.get("spec").unwrap_or(&Value::Null));
                let what = "the server makes revision";
                let why = "of what is sent: something mutates the object";
                (found != *wanted).then(|| format!("{what} {} {why}", found.short()))
            }
            Self::Field(pointer, wanted) => (answer.pointer(pointer) != Some(wanted))
                .then(|| format!("the server drops or changes {pointer} of what is sent")),
            Self::Condition(kind) => (condition(answer, kind).and_then(|found| found["status"].as_str())
                != Some("True"))
            .then(|| format!("the server drops the condition {kind} of what is sent")),
        }
    }
}

/// A condition of an object's status.
pub(super) fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// A text of an object, empty when it is not there.
pub(super) fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A count of an object, zero when it is not there, as the API leaves zeros out.
pub(super) fn count(object: &Value, pointer: &str) -> u64 {
    object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// One request that changes something.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) right: Right,
    pub(super) method: Method,
    pub(super) path: String,
    /// `Content-Type`: how a patch is meant.
    pub(super) media: &'static str,
    pub(super) body: Value,
    pub(super) expect: Expect,
    /// What it changes, for people.
    pub(super) diff: String,
    /// What is said when it was done.
    pub(super) done: String,
    /// What people should know when it is refused.
    pub(super) hint: String,
}

pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(super) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
pub(super) const JSON: &str = "application/json";

impl Write {
    /// A merge patch of an object.
    pub(super) fn merge(kind: Kind, subject: &Subject, body: Value) -> Self {
        Self {
            right: Right { verb: "patch", resource: kind.resource },
            method: Method::PATCH,
            path: kind.path(subject),
            media: MERGE_PATCH,
            body,
            expect: Expect::Nothing,
            diff: String::new(),
            done: String::new(),
            hint: String::new(),
        }
    }
}

/// A dry run changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Dry,
    Real,
}

/// The way to the API server. Every request has a time limit.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) client: Client,
}

impl Wire {
    /// Sends a write.
    pub(super) async fn send(&self, write: &Write, run: Run) -> kube::Result<Value> {
        let mut body = write.body.clone();
        let mut uri = format!("{}?fieldManager={FIELD_MANAGER}", write.path);
        if run == Run::Dry {
            uri.push_str("&dryRun=All");
            // A delete with a body takes its options from there alone.
            if write.method == Method::DELETE {
                body["dryRun"] = json!(["All"]);
            }
        }
        self.request(&write.method, &uri, write.media, &body).await
    }

    /// Reads an object; `None` when it does not exist.
    pub(super) async fn get(&self, subject: &Subject) -> Result<Option<Value>, Trouble> {
        let Some(kind) = Kind::of(subject) else {
            // No playbook can name such a target; nothing is there to be found.
            return Ok(None);
        };
        let right = Right { verb: "get", resource: kind.resource };
        match self.request(&Method::GET, &kind.path(subject), JSON, &Value::Null).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(Trouble { right, error: Box::new(error) }),
        }
    }

    /// Any request with a JSON answer.
    pub(super) async fn request(
        &self,
        method: &Method,
        uri: &str,
        media: &str,
        body: &Value,
    ) -> kube::Result<Value> {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder()
            .method(method.clone())
            .uri(uri)
            .header(header::CONTENT_TYPE, media)
            .header(header::ACCEPT, JSON)
            .body(bytes)
            .map_err(|error| kube::Error::Service(Box::new(error)))?;
        limited(self.client.request(request)).await
    }
}
