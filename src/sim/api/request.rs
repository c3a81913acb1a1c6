//! What a request asks for.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{header, request};
use jiff::Timestamp;
use serde_json::Value;

use super::shape::Form;
use crate::sim::kinds::{KINDS, Kind};
use crate::sim::refused::Refused;
use crate::sim::store::Key;

/// What a path names.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) api_version: String,
    pub(super) kind: &'static Kind,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    /// A part of the object with an address of its own.
    pub(super) part: Option<&'static str>,
}

impl Target {
    pub(super) fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, plural, name, part) = match rest {
            ["namespaces", name] => (None, "namespaces", Some(*name), None),
            ["namespaces", name, part @ ("status" | "finalize")] => {
                (None, "namespaces", Some(*name), Some(*part))
            }
            ["namespaces", namespace, plural] => (Some(*namespace), *plural, None, None),
            ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, Some(*name), None),
            ["namespaces", namespace, plural, name, part] => {
                (Some(*namespace), *plural, Some(*name), Some(*part))
            }
            [plural, name, part] => (None, *plural, Some(*name), Some(*part)),
            [plural, name] => (None, *plural, Some(*name), None),
            [plural] => (None, *plural, None, None),
            _ => return None,
        };
        let kind = KINDS
            .iter()
            .find(|kind| kind.group == group && kind.versions.contains(&version) && kind.plural == plural)?;
        let part = match part {
            Some(part) => Some(*kind.sub.iter().find(|known| **known == part)?),
            None => None,
        };
        if (kind.namespaced != namespace.is_some() && name.is_some())
            || (namespace.is_some() && !kind.namespaced)
        {
            return None;
        }
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let owned = |text: Option<&str>| text.map(decode_path);
        Some(Self { api_version, kind, namespace: owned(namespace), name: owned(name), part })
    }

    pub(super) fn key(&self) -> Result<Key, Refused> {
        let name = self.name.clone().ok_or_else(Refused::method)?;
        Ok((self.kind.plural.to_owned(), self.namespace.clone().unwrap_or_default(), name))
    }
}

/// A request with everything that matters of it.
pub(super) struct Call {
    pub(super) target: Target,
    pub(super) query: BTreeMap<String, String>,
    pub(super) manager: String,
    pub(super) form: Form,
    pub(super) media: String,
    pub(super) put: bool,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn of(target: Target, parts: &request::Parts, body: Bytes, now: Timestamp) -> Self {
        let pairs = parts.uri.query().unwrap_or_default().split('&');
        let query: BTreeMap<String, String> = pairs
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(key, value)| (decode(key), decode(value)))
            .collect();
        let head = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let agent = head(header::USER_AGENT).split('/').next().unwrap_or_default();
        let agent = if agent.is_empty() { "unknown" } else { agent };
        let named = query.get("fieldManager").filter(|name| !name.is_empty());
        let manager = named.map_or_else(|| agent.to_owned(), Clone::clone);
        let media = head(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_owned();
        let form = Form::of(head(header::ACCEPT), now);
        Self { target, manager, form, media, put: parts.method == http::Method::PUT, query, body }
    }

    pub(super) fn asks(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self.asks(name), Some("true" | "1"))
    }

    pub(super) fn watches(&self) -> bool {
        self.is("watch")
    }

    pub(super) fn json(&self) -> Result<Value, Refused> {
        let json = self.media.is_empty() || self.media.ends_with("json") || self.media.ends_with("yaml");
        if !json {
            let text = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf";
            return Err(Refused::new(415, "UnsupportedMediaType", text));
        }
        serde_json::from_slice(&self.body).map_err(|error| Refused::bad(error.to_string()))
    }

    /// Whether nothing is to be kept; options in the body count as those of the query.
    pub(super) fn dry(&self) -> bool {
        self.asks("dryRun") == Some("All")
    }
}

/// Undoes the escapes of a form.
pub(in crate::sim) fn decode(text: &str) -> String {
    decode_path(&text.replace('+', " "))
}

fn decode_path(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex: Vec<u8> = bytes.by_ref().take(2).collect();
            out.extend(std::str::from_utf8(&hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()));
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
