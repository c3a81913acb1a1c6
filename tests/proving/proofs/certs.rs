//! What proofs of certificates have in common: issuers and certificates of cert-manager's own controllers, and
//! how a certificate comes to its end while they hang.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::SignedDuration;
use kube::api::{Patch, PatchParams};
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
    let now = Clock::wall();
    let minutes = |minutes: i64| (now + SignedDuration::from_mins(minutes)).strftime("%FT%TZ").to_string();
    let old = json!({ "status": {
        "notBefore": minutes(-55), "renewalTime": minutes(-10), "notAfter": minutes(5),
    } });
    ground
        .api(SHOP, VERSION, "Certificate")
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&old))
        .await
        .with_context(|| format!("the status of {name}"))?;
    Ok(())
}

/// Types of the conditions that say True.
pub(crate) fn conditions(certificate: &Value) -> Vec<String> {
    let all = certificate["status"]["conditions"].as_array().into_iter().flatten();
    let holds = all.filter(|condition| condition["status"] == "True");
    holds.map(|condition| condition["type"].as_str().unwrap_or_default().to_owned()).collect()
}
