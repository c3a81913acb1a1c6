//! cert-manager: certificates are issued, renewed in time, and on demand.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Control, keys, number, text};
use crate::sim::kinds::key;
use crate::sim::store::{Key, Store, second};

const BY: &str = "cert-manager-certificates-issuing";

pub(super) fn keep(control: &mut Control, store: &mut Store, at: Timestamp) {
    for key in keys(store, "certificates") {
        let Some(certificate) = store.get(&key).cloned() else { continue };
        let issuing = condition(&certificate, "Issuing").is_some_and(|c| c["status"] == "True");
        if issuing {
            proceed(control, store, &key, &certificate, at);
            continue;
        }
        let renewal: Option<Timestamp> = text(&certificate, "/status/renewalTime").parse().ok();
        let due = renewal.is_none_or(|renewal| renewal <= at);
        if due && !control.faults.forgotten.contains(&key) {
            trigger(store, &key, &certificate, at);
            control.again(at.as_second() + 1);
        } else if let Some(renewal) = renewal.filter(|renewal| *renewal > at) {
            control.again(renewal.as_second());
        }
    }
}

fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// The conditions but one.
fn others(object: &Value, kind: &str) -> Vec<Value> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).cloned();
    conditions.unwrap_or_default().into_iter().filter(|condition| condition["type"] != kind).collect()
}

fn trigger(store: &mut Store, key: &Key, certificate: &Value, at: Timestamp) {
    let first = certificate.pointer("/status/notAfter").is_none();
    let (reason, message) = if first {
        ("DoesNotExist", "Issuing certificate as Secret does not exist")
    } else {
        ("Renewing", "Renewing certificate as renewal was scheduled")
    };
    let mut conditions = others(certificate, "Issuing");
    conditions.push(json!({
        "type": "Issuing", "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": second(at), "observedGeneration": certificate["metadata"]["generation"],
    }));
    store.report(key, &json!({ "conditions": conditions }), BY, at);
    super::event(store, key, ("Issuing", message), at);
}

/// One step of an issuance: a key first, a second later the certificate. Without a ready issuer it waits.
fn proceed(control: &mut Control, store: &mut Store, at_key: &Key, certificate: &Value, at: Timestamp) {
    if !issuer_ready(store, at_key, certificate) {
        return;
    }
    if certificate.pointer("/status/nextPrivateKeySecretName").is_none() {
        let word = control.word(&at_key.2);
        let secret = format!("{}-{word}", at_key.2);
        store.report(at_key, &json!({ "nextPrivateKeySecretName": secret }), BY, at);
        control.again(at.as_second() + 1);
        return;
    }
    let span = |pointer: &str| text(certificate, pointer).parse().unwrap_or(SignedDuration::ZERO);
    let (life, before) = (span("/spec/duration"), span("/spec/renewBefore"));
    let life = if life.is_zero() { SignedDuration::from_hours(2_160) } else { life };
    let before = if before.is_zero() { life / 3 } else { before };
    let after = |span: SignedDuration| second(at.checked_add(span).unwrap_or(Timestamp::MAX));
    // The new dates are seen before the new revision, as with the real controllers.
    let dates =
        json!({ "notBefore": second(at), "notAfter": after(life), "renewalTime": after(life - before) });
    store.report(at_key, &dates, "cert-manager-certificates-readiness", at);
    let revision = number(certificate, "/status/revision").unwrap_or(0) + 1;
    let mut conditions = others(certificate, "Issuing");
    if condition(certificate, "Ready").is_none_or(|ready| ready["status"] != "True") {
        conditions.retain(|condition| condition["type"] != "Ready");
        conditions.push(json!({
            "type": "Ready", "status": "True", "reason": "Ready", "lastTransitionTime": second(at),
            "message": "Certificate is up to date and has not expired", "observedGeneration": certificate["metadata"]["generation"],
        }));
    }
    let done = json!({ "revision": revision, "conditions": conditions, "nextPrivateKeySecretName": null });
    store.report(at_key, &done, BY, at);
    control.faults.forgotten.retain(|forgotten| forgotten != at_key);
    super::event(store, at_key, ("Issuing", "The certificate has been successfully issued"), at);
}

fn issuer_ready(store: &Store, of: &Key, certificate: &Value) -> bool {
    let name = text(certificate, "/spec/issuerRef/name");
    let issuer = match text(certificate, "/spec/issuerRef/kind") {
        "ClusterIssuer" => key("clusterissuers", "", name),
        _ => key("issuers", &of.1, name),
    };
    let issuer = store.get(&issuer);
    issuer.and_then(|issuer| condition(issuer, "Ready")).is_some_and(|ready| ready["status"] == "True")
}
