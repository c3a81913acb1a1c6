//! Rotate: cert-manager is asked for a new certificate now, as `cmctl renew` asks. Secrets are never read,
//! written or deleted.

use serde_json::{Value, json};

use super::Effectors;
use super::act::Prepared;
use super::wire::{Expect, Kind, Right, Trouble, Write, condition, count, text};
use crate::model::subject::{CERT_MANAGER, Subject};

const STATUS: Right = Right { verb: "patch", resource: "certificates.cert-manager.io/status" };

impl Effectors {
    pub(super) async fn prepare_rotation(
        &self,
        target: &Subject,
        uid: &str,
        revision: u64,
        incident: &str,
    ) -> Result<Prepared, Trouble> {
        let (Some(found), Some(kind)) = (self.wire.get(target).await?, Kind::of(target)) else {
            return Ok(Prepared::stale("the certificate does not exist any more"));
        };
        if text(&found, "/metadata/uid") != uid {
            return Ok(Prepared::stale("it is another certificate of the same name"));
        }
        let words = format!("meshmend asks for a new certificate (incident {incident})");
        match standing(&found, revision, &words) {
            Standing::Ready => {}
            Standing::Done => return Ok(Prepared::AlreadyDone),
            Standing::Changed(why) => return Ok(Prepared::Stale(why)),
            Standing::Busy(why) => return Ok(Prepared::Impossible(why)),
        }
        if let Some(why) = self.unready(target, &found).await? {
            return Ok(Prepared::Impossible(why));
        }
        let now = self.clock.elsewhere().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let asked = json!({
            "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": words,
            "lastTransitionTime": now, "observedGeneration": count(&found, "/metadata/generation"),
        });
        // A merge patch replaces the list whole: the other conditions go along as they are, and the version
        // makes the server refuse when one of them changed since.
        let others = found.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let mut conditions: Vec<Value> =
            others.filter(|condition| condition["type"] != "Issuing").cloned().collect();
        conditions.push(asked);
        let body = json!({
            "metadata": { "resourceVersion": text(&found, "/metadata/resourceVersion") },
            "status": { "conditions": conditions },
        });
        let until = text(&found, "/status/notAfter");
        Ok(Prepared::send(Write {
            right: STATUS,
            // On the object itself the same patch is accepted and does nothing.
            path: format!("{}/status", kind.path(target)),
            expect: Expect::Condition("Issuing"),
            diff: format!(
                "asks for revision {} of {target}, which ends at {until}\n+Issuing: True (ManuallyTriggered)\n",
                revision + 1
            ),
            done: format!("asked for revision {}", revision + 1),
            ..Write::merge(kind, target, body)
        }))
    }

    /// Why the issuer would not answer.
    async fn unready(&self, target: &Subject, found: &Value) -> Result<Option<String>, Trouble> {
        let reference =
            |key: &str, default: &'static str| match text(found, &format!("/spec/issuerRef/{key}")) {
                "" => default.to_owned(),
                given => given.to_owned(),
            };
        let (group, kind) = (reference("group", CERT_MANAGER), reference("kind", "Issuer"));
        let name = reference("name", "");
        if group != CERT_MANAGER {
            return Ok(Some(format!("nobody can tell whether issuer {name} of {group} is ready")));
        }
        let namespace = if kind == "ClusterIssuer" { "" } else { &target.namespace };
        let issuer = Subject::new(&group, &kind, namespace, &name);
        let Some(state) = self.wire.get(&issuer).await? else {
            return Ok(Some(format!("{issuer} does not exist")));
        };
        let ready = condition(&state, "Ready");
        if ready.is_some_and(|found| found["status"] == "True") {
            return Ok(None);
        }
        let why = ready.map_or("it has not said so yet", |found| text(found, "/message"));
        Ok(Some(format!("{issuer} is not ready, so asking would change nothing: {why}")))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Ready,
    Done,
    Changed(String),
    Busy(String),
}

fn standing(found: &Value, revision: u64, words: &str) -> Standing {
    let now = count(found, "/status/revision");
    if now > revision {
        return Standing::Done;
    }
    if now < revision {
        return Standing::Changed(format!("expected revision {revision}, found {now}"));
    }
    let Some(issuing) = condition(found, "Issuing").filter(|found| found["status"] == "True") else {
        return Standing::Ready;
    };
    // Our own request, of which nobody told us that it arrived.
    if text(issuing, "/message") == words {
        return Standing::Done;
    }
    let (reason, since) = (text(issuing, "/reason"), text(issuing, "/lastTransitionTime"));
    Standing::Busy(format!(
        "an issuance is under way since {since} ({reason}), so asking again would change nothing"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutations: asking on top of an issuance; taking a lower revision for a renewed certificate.
    #[test]
    fn a_certificate_is_asked_for_once() {
        let at = |revision: u64, conditions: Value| {
            standing(&json!({ "status": { "revision": revision, "conditions": conditions } }), 4, "ours")
        };
        let issuing = |status: &str, message: &str| json!([{ "type": "Ready", "status": "True" }, { "type": "Issuing", "status": status, "message": message }]);
        assert_eq!(at(4, json!([])), Standing::Ready);
        assert_eq!(at(4, issuing("False", "signing was refused")), Standing::Ready);
        assert!(matches!(at(4, issuing("True", "renewal")), Standing::Busy(_)));
        assert_eq!(at(4, issuing("True", "ours")), Standing::Done);
        assert_eq!(at(5, json!([])), Standing::Done);
        assert!(matches!(at(3, json!([])), Standing::Changed(_)));
    }
}
