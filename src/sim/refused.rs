//! Why the simulated server says no, worded as the real one words it.

use axum::http::StatusCode;
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

    /// With a token to go on listing from.
    pub(super) fn going_on(mut self, token: &str) -> Self {
        self.status["metadata"] = json!({ "continue": token });
        self
    }

    fn about(self, key: &Key, kind: Option<&str>) -> Self {
        let group = Kind::of(&key.0).map_or("", |kind| kind.group);
        let mut details = json!({ "name": key.2, "kind": kind.unwrap_or(&key.0) });
        if !group.is_empty() {
            details["group"] = json!(group);
        }
        self.detailed(details)
    }

    pub(super) fn not_found(key: &Key) -> Self {
        Self::new(404, "NotFound", format!("{} {:?} not found", resource(key), key.2)).about(key, None)
    }

    pub(super) fn exists(key: &Key) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {:?} already exists", resource(key), key.2))
            .about(key, None)
    }

    pub(super) fn conflict(key: &Key, why: &str) -> Self {
        let text = format!("Operation cannot be fulfilled on {} {:?}: {why}", resource(key), key.2);
        Self::new(409, "Conflict", text).about(key, None)
    }

    pub(super) fn modified(key: &Key) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(key, why)
    }

    pub(super) fn invalid(key: &Key, field: &str, why: &str) -> Self {
        let kind = Kind::of(&key.0);
        let name = kind.map_or("", |kind| kind.kind);
        let group = kind.map_or("", |kind| kind.group);
        let full = if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") };
        let mut refused = Self::new(422, "Invalid", format!("{full} {:?} is invalid: {field}: {why}", key.2));
        refused = refused.about(key, Some(name));
        let reason = if why.starts_with("Required") { "FieldValueRequired" } else { "FieldValueInvalid" };
        refused.status["details"]["causes"] = json!([{ "reason": reason, "message": why, "field": field }]);
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
        (code, axum::Json(*self.status)).into_response()
    }
}
