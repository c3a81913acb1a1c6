//! The mark of a shed: what it leaves on the object, so that it can be taken back exactly, even with the
//! agent and its journal gone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::Digest;
use super::subject::Subject;

/// The annotation that bears it.
pub const RESTORE: &str = "meshmend.dev/restore";

/// The mark. Unknown keys are let through: an older program must be able to restore what a newer one did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Incident for which it was done.
    pub incident: String,
    /// When it is taken back.
    pub expires: Timestamp,
    /// Hash of the spec as we left it: anything else is somebody else's work and is not touched.
    pub spec: Digest,
    /// Hash of the spec before; absent when the object was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Digest>,
    /// Merge patch of the spec that leads back; absent when the object was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Value>,
    /// Whether we created the object: then it goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
}

/// A mark as the watch sees it on an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marked {
    /// The object.
    pub subject: Subject,
    /// Its uid.
    pub uid: String,
    /// Its labels: policies may select it by them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Incident for which it was done; empty where the mark cannot be read.
    pub incident: String,
    /// When it is taken back; absent where the mark cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Hash of the spec before; absent when the object was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Digest>,
}

impl Mark {
    /// Reads the annotation's text.
    ///
    /// # Errors
    /// It is no mark of ours, with what is wrong about it.
    pub fn read(text: &str) -> Result<Self, String> {
        let mark: Self = serde_json::from_str(text)
            .map_err(|error| format!("the annotation {RESTORE} cannot be read: {error}"))?;
        if !mark.created && (mark.undo.is_none() || mark.was.is_none()) {
            return Err(format!("the annotation {RESTORE} does not say what was before"));
        }
        Ok(mark)
    }

    /// The annotation's text.
    #[must_use]
    pub fn written(&self) -> String {
        serde_json::to_value(self).map(|value| value.to_string()).unwrap_or_default()
    }

    /// One line for people that does the same with kubectl alone.
    #[must_use]
    pub fn by_hand(&self, namespace: &str, name: &str) -> String {
        let Some(undo) = self.undo.as_ref().filter(|_| !self.created) else {
            return format!("kubectl -n {namespace} delete destinationrule {name}");
        };
        let patch = serde_json::json!({ "metadata": { "annotations": { RESTORE: null } }, "spec": undo });
        // For a shell: a quote ends the text, is written by itself, and begins it again.
        let patch = patch.to_string().replace('\'', "'\\''");
        format!("kubectl -n {namespace} patch destinationrule {name} --type merge -p '{patch}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mark() -> Mark {
        Mark {
            incident: "k-1".to_owned(),
            expires: "2026-01-01T00:10:00Z".parse().unwrap(),
            spec: Digest::of_bytes(b"after"),
            was: Some(Digest::of_bytes(b"before")),
            undo: Some(json!({ "trafficPolicy": null, "note": "it's" })),
            created: false,
        }
    }

    // Mutations: leaving `was` out of the text; writing a quote as it is.
    #[test]
    fn a_mark_is_read_back_and_told_as_one_shell_line() {
        let mark = mark();
        assert_eq!(Mark::read(&mark.written()), Ok(mark.clone()));
        assert_eq!(
            mark.by_hand("shop", "cart"),
            r#"kubectl -n shop patch destinationrule cart --type merge -p '{"metadata":{"annotations":{"meshmend.dev/restore":null}},"spec":{"note":"it'\''s","trafficPolicy":null}}'"#
        );
        let created = Mark { created: true, was: None, undo: None, ..mark.clone() };
        assert_eq!(Mark::read(&created.written()), Ok(created.clone()));
        assert_eq!(created.by_hand("shop", "cart"), "kubectl -n shop delete destinationrule cart");
        assert!(Mark::read(&Mark { undo: None, ..mark }.written()).is_err());
    }
}
