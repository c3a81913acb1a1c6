//! Why the simulated server says no, worded as the real one words it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::kinds::Kind;
use super::store::Key;

/// A refusal: the `Status` that is answered.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: u16,
    status: Box<Value>,
}

impl Refused {
    pub(super) fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message.into(), "code": code,
        });
        if !reason.is_empty() {
            status["reason"] = json!(reason);
        }
        Self { code, status: Box::new(status) }
    }

    pub(super) fn detailed(mut self, details: Value) -> Self {
        self.status["details"] = details;
        self
    }

    /// What it says to people.
    pub(super) fn message(&self) -> String {
        self.status["message"].as_str().unwrap_or_default().to_owned()
    }

    /// With a token to go on listing from.
    pub(super) fn going_on(mut self, token: &str) -> Self {
        self.status["metadata"] = json!({ "continue": token });
        self
    }

    fn about(self, key: &Key, kind: Option<&str>) -> Self {
        let group = Kind::of(&key.0).map_or("", |kind| kind.group);
        let mut details = json!({ "kind": kind.unwrap_or(&key.0) });
        if !key.2.is_empty() {
            details["name"] = json!(key.2);
        }
        if !group.is_empty() {
            details["group"] = json!(group);
        }
        self.detailed(details)
    }

    pub(super) fn not_found(key: &Key) -> Self {
        Self::new(404, "NotFound", format!("{} {:?} not found", resource(key), key.2)).about(key, None)
    }

    pub(super) fn exists(key: &Key, leaving: &str) -> Self {
        let text = format!("{leaving}{} {:?} already exists", resource(key), key.2);
        Self::new(409, "AlreadyExists", text).about(key, None)
    }

    pub(super) fn conflict(key: &Key, why: &str) -> Self {
        let text = format!("Operation cannot be fulfilled on {} {:?}: {why}", resource(key), key.2);
        Self::new(409, "Conflict", text).about(key, None)
    }

    /// A precondition of a delete does not hold: there the real server names the kind.
    pub(super) fn unlike(key: &Key, why: &str) -> Self {
        let kind = Kind::of(&key.0);
        let (name, group) = kind.map_or(("", ""), |kind| (kind.kind, kind.group));
        let full = if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") };
        let text = format!("Operation cannot be fulfilled on {full} {:?}: {why}", key.2);
        Self::new(409, "Conflict", text).about(key, Some(name))
    }

    pub(super) fn modified(key: &Key) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(key, why)
    }

    pub(super) fn invalid(key: &Key, field: &str, why: &str) -> Self {
        let kind = Kind::of(&key.0);
        Self::invalid_of(key, kind.map_or(("", ""), |kind| (kind.kind, kind.group)), (field, why))
    }

    pub(super) fn invalid_scale(key: &Key, field: &str, why: &str) -> Self {
        let mut refused = Self::invalid_of(key, ("Scale", "autoscaling"), (field, why));
        refused.status["details"]["group"] = json!("autoscaling");
        refused
    }

    fn invalid_of(key: &Key, (name, group): (&str, &str), (field, why): (&str, &str)) -> Self {
        let full = if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") };
        let mut refused = Self::new(422, "Invalid", format!("{full} {:?} is invalid: {field}: {why}", key.2));
        refused = refused.about(key, Some(name));
        let reason = if why.starts_with("Required") { "FieldValueRequired" } else { "FieldValueInvalid" };
        refused.status["details"]["causes"] = json!([{ "reason": reason, "message": why, "field": field }]);
        refused
    }

    /// Options of a request that are not known: which kind of options, and what is wrong with which.
    pub(super) fn options(kind: &str, field: &str, (reason, why): (&str, &str)) -> Self {
        let text = format!("{kind}.meta.k8s.io \"\" is invalid: {field}: {why}");
        let causes = json!([{ "reason": reason, "message": why, "field": field }]);
        Self::new(422, "Invalid", text)
            .detailed(json!({ "group": "meta.k8s.io", "kind": kind, "causes": causes }))
    }

    /// A uid cannot be changed; the real server says so twice.
    pub(super) fn other_uid(key: &Key, uid: &str) -> Self {
        let mut refused =
            Self::invalid(key, "metadata.uid", &format!("Invalid value: {uid:?}: field is immutable"));
        let causes = &mut refused.status["details"]["causes"];
        let again = causes[0].clone();
        *causes = json!([again, again]);
        refused
    }

    /// An object of this kind is replaced only by who says which version.
    pub(super) fn unversioned(key: &Key) -> Self {
        let (field, why) = ("metadata.resourceVersion", "Invalid value: 0: must be specified for an update");
        let text = format!("{} {:?} is invalid: {field}: {why}", resource(key), key.2);
        let mut refused = Self::new(422, "Invalid", text).about(key, None);
        refused.status["details"]["causes"] =
            json!([{ "reason": "FieldValueInvalid", "message": why, "field": field }]);
        refused
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").detailed(json!({}))
    }

    pub(super) fn method() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .detailed(json!({}))
    }

    pub(super) fn status(&self) -> &Value {
        &self.status
    }
}

fn resource(key: &Key) -> String {
    Kind::of(&key.0).map_or_else(|| key.0.clone(), Kind::resource)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let again = self.status.pointer("/details/retryAfterSeconds").and_then(Value::as_u64);
        let mut response = (code, axum::Json(*self.status)).into_response();
        if let Some(seconds) = again {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
