//! What proofs of certificates have in common: issuers and certificates of cert-manager's own controllers, and
//! how a certificate comes to its end while they hang.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use meshmend::clock::Clock;
use serde_json::{Value, json};

use super::routing::{SHOP, object};
use crate::ground::Ground;
use crate::process::Component;
use crate::wait::until;

const VERSION: &str = "cert-manager.io/v1";
/// Controllers that start on a busy machine take a while; an issuance itself takes less than a second.
const ISSUED: Duration = Duration::from_secs(90);

/// A certificate's place.
pub(crate) fn place(name: &str) -> (&str, &str, &str, &str) {
    (SHOP, VERSION, "Certificate", name)
}

/// Makes an issuer in the namespace.
pub(crate) async fn issuer(ground: &Ground, name: &str, spec: &Value) -> anyhow::Result<()> {
    ground.apply_object(object((SHOP, VERSION, "Issuer", name), spec)).await
}

/// Asks for a certificate; `more` is what its spec has beside the usual.
pub(crate) async fn certificate(
    ground: &Ground,
    (name, issuer): (&str, &str),
    more: &Value,
) -> anyhow::Result<()> {
    let mut spec = json!({
        "secretName": format!("{name}-tls"), "dnsNames": [format!("{name}.example.com")],
        "issuerRef": { "name": issuer, "kind": "Issuer" },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    ground.apply_object(object(place(name), &spec)).await
}

/// Waits until a certificate is at this revision and nothing is under way.
pub(crate) async fn issued(ground: &Ground, name: &str, revision: u64) -> anyhow::Result<Value> {
    until(&format!("revision {revision} of {name} is issued"), ISSUED, async || {
        let found = ground.read(place(name)).await?;
        // The revision is written a moment before the certificate is called ready.
        let idle = conditions(&found) == ["Ready"];
        Ok((found["status"]["revision"] == revision && idle).then_some(found))
    })
    .await
}

/// While the controllers hang, a certificate of an hour has five minutes left, and its renewal is ten late.
pub(crate) async fn nears_its_end(
    ground: &Ground,
    controllers: &Arc<Component>,
    name: &str,
) -> anyhow::Result<()> {
    controllers.freeze()?;
    let minutes = |minutes: i64| second(Clock::wall() + SignedDuration::from_mins(minutes));
    let old = json!({ "notBefore": minutes(-55), "renewalTime": minutes(-10), "notAfter": minutes(5) });
    report(ground, name, &old).await
}

/// While the controllers hang, a certificate has been on its way since then.
pub(crate) async fn issuing_since(ground: &Ground, name: &str, since: Timestamp) -> anyhow::Result<()> {
    let found = ground.read(place(name)).await?;
    let all = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let mut conditions: Vec<Value> = all.into_iter().filter(|one| one["type"] != "Issuing").collect();
    conditions.push(json!({
        "type": "Issuing", "status": "True", "reason": "Renewing", "lastTransitionTime": second(since),
        "message": "Renewing certificate as renewal was scheduled",
    }));
    report(ground, name, &json!({ "conditions": conditions })).await
}

/// Writes into the status of a certificate.
async fn report(ground: &Ground, name: &str, status: &Value) -> anyhow::Result<()> {
    let patch = json!({ "status": status });
    ground
        .api(SHOP, VERSION, "Certificate")
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .with_context(|| format!("the status of {name}"))?;
    Ok(())
}

/// A time as Kubernetes writes it.
fn second(at: Timestamp) -> String {
    at.strftime("%FT%TZ").to_string()
}

/// Makes an authority of our own, with its key in a Secret that nobody keeps, and an issuer of that name that
/// signs with it.
pub(crate) async fn authority(ground: &Ground, name: &str) -> anyhow::Result<()> {
    issuer(ground, "root", &json!({ "selfSigned": {} })).await?;
    certificate(ground, ("root", "root"), &json!({ "isCA": true, "commonName": "root" })).await?;
    issued(ground, "root", 1).await?;
    let data = ground.read((SHOP, "v1", "Secret", "root-tls")).await?["data"].take();
    ground
        .apply_object(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": SHOP },
            "type": "kubernetes.io/tls", "data": data,
        }))
        .await?;
    issuer(ground, name, &json!({ "ca": { "secretName": name } })).await
}

/// Takes the key of an authority away, and waits until its issuer says that it is not ready.
pub(crate) async fn lose_authority(
    ground: &Ground,
    controllers: &Arc<Component>,
    name: &str,
) -> anyhow::Result<()> {
    ground.api(SHOP, "v1", "Secret").delete(name, &DeleteParams::default()).await?;
    controllers.thaw()?;
    until(&format!("issuer {name} is not ready"), ISSUED, async || {
        let found = ground.read((SHOP, VERSION, "Issuer", name)).await?;
        Ok(conditions(&found).is_empty().then_some(()))
    })
    .await
}

/// What cert-manager says of the request for this revision of a certificate.
pub(crate) async fn request(ground: &Ground, name: &str, revision: u64) -> anyhow::Result<Option<Value>> {
    let all = ground.api(SHOP, VERSION, "CertificateRequest").list(&ListParams::default()).await?;
    let revision = revision.to_string();
    let ours = |request: &Value| {
        let notes = &request["metadata"]["annotations"];
        notes["cert-manager.io/certificate-name"] == name
            && notes["cert-manager.io/certificate-revision"] == revision.as_str()
    };
    let all = all.items.into_iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().find(ours))
}

/// The certificate in its Secret.
pub(crate) async fn text(ground: &Ground, name: &str) -> anyhow::Result<Value> {
    let secret = format!("{name}-tls");
    let text = ground.read((SHOP, "v1", "Secret", &secret)).await?["data"]["tls.crt"].take();
    anyhow::ensure!(text.is_string(), "{secret} has a certificate: {text}");
    Ok(text)
}

/// Types of the conditions that say True.
pub(crate) fn conditions(certificate: &Value) -> Vec<String> {
    let all = certificate["status"]["conditions"].as_array().into_iter().flatten();
    let holds = all.filter(|condition| condition["status"] == "True");
    holds.map(|condition| condition["type"].as_str().unwrap_or_default().to_owned()).collect()
}
