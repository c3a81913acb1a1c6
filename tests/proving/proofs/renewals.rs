//! Certificates near their end, with cert-manager's own controllers. One is renewed; one is asked for, and then
//! the authority that should sign it is lost; one is not asked for, because nobody could sign it; and one was
//! asked for by cert-manager itself, and hangs. The agent finds all of them by itself.

mod refused;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use meshmend::clock::Clock;
use serde_json::{Value, json};

use super::certs::{self, certificate, conditions, issued, nears_its_end, place};
use super::routing::{SHOP, reasons, shorter};
use super::shop::between;
use crate::agent::{Agent, Home};
use crate::ground::{Duty, Ground, SOON};
use crate::process::Component;
use crate::table::Row;
use crate::wait::{same, until};

const ROTATE: &str = include_str!("../../../playbooks/rotate-certificate.rhai");
const EXPIRING: &str = "security.certificate_expiring";
/// The issuer whose key is lost.
const AUTHORITY: &str = "authority";
/// A life of 80 seconds, to be renewed after 30 of them: overdue after 38, when half of it is left.
const SHORT: [(&str, &str); 2] = [("duration", "80s"), ("renewBefore", "50s")];
/// The longest wait is that for the end of the time in which a renewal has to come.
const LONG: Duration = Duration::from_secs(120);

const POLICY: &str = r#"apiVersion: meshmend.dev/v1alpha1
kind: Policy
metadata: { name: test }
spec:
  scope: { namespaces: ["shop"], actions: ["rotate_certificate"] }
  mode: enforce
  limits: [ { per: target, acts: 5, window: 1h } ]
  cooldown: 1s
  attempts: { max: 3, refill: 1h }
  blastRadius:
    storm: { namespace: { share: 100%, least: 20 }, mesh: { share: 100%, least: 20 } }
"#;

/// The ground with an agent and cert-manager's controllers on it.
struct Scene<'g> {
    ground: &'g Ground,
    agent: &'g Agent<'g>,
    controllers: &'g Arc<Component>,
}

async fn home(ground: &Ground) -> anyhow::Result<Home> {
    let waits =
        [("soak: \"5s\", within: \"3m\", hold: \"10s\"", "soak: \"1s\", within: \"20s\", hold: \"3s\"")];
    let playbooks = [("rotate-certificate", shorter(ROTATE, &waits)?)];
    let sources = "  signals: {}\n";
    ground
        .agent(&Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources, server: None })
        .await
}

/// Two certificates are asked for, each once. Nothing else is written.
pub(crate) async fn told(ground: &Ground) -> anyhow::Result<()> {
    ground
        .apply_object(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SHOP } }))
        .await?;
    let controllers = ground.cert_manager()?;
    certs::authority(ground, AUTHORITY).await?;
    certificate(ground, ("web", "root"), &json!({})).await?;
    for name in ["late", "stuck"] {
        certificate(ground, (name, AUTHORITY), &json!({})).await?;
    }
    for name in ["web", "late", "stuck"] {
        issued(ground, name, 1).await?;
    }
    let home = home(ground).await?;
    let agent = home.start_ready().await?;
    let scene = Scene { ground, agent: &agent, controllers: &controllers };
    renewed(&scene).await?;
    let told = hangs(&scene).await?;
    refused::told_again(&scene, &told).await?;
    refused::not_asked(&scene).await?;
    refused::stuck(&scene).await?;
    same("the writes", &ground.writes()?.len(), &2)?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

impl Scene<'_> {
    /// The case that the agent opened by itself.
    async fn found(&self, name: &str) -> anyhow::Result<Value> {
        match self.agent.incident_about((EXPIRING, SHOP, name), LONG).await {
            Ok(found) => Ok(found),
            Err(error) => {
                let seen = self.ground.read(place(name)).await.unwrap_or_default();
                Err(error.context(seen["status"].to_string()))
            }
        }
    }

    /// The one write about a certificate, once it was made.
    async fn asked(&self, name: &str) -> anyhow::Result<Value> {
        until(&format!("{name} is asked for"), SOON, async || Ok(self.writes(name)?.pop())).await
    }

    /// Everything that the agent wrote about a certificate.
    fn writes(&self, name: &str) -> anyhow::Result<Vec<Value>> {
        let mut writes = self.ground.writes()?;
        writes.retain(|write| write["objectRef"]["name"] == name);
        Ok(writes)
    }
}

fn id_of(id: &Value) -> anyhow::Result<&str> {
    id.as_str().context("an incident has an id")
}

/// A certificate in use is young, and its status alone says that it ends: the controllers find nothing due,
/// and issue because they were asked.
///
/// Mutations that break it: a patch of the object instead of its status; the other conditions lost by it; asked
/// for again while the first one is on its way.
async fn renewed(scene: &Scene<'_>) -> anyhow::Result<()> {
    let Scene { ground, controllers, .. } = scene;
    let before = certs::text(ground, "web").await?;
    let fault = Clock::wall();
    nears_its_end(ground, controllers, "web").await?;
    let found = scene.found("web").await?;
    let write = scene.asked("web").await?;
    let asked = ground.read(place("web")).await?;
    same("the conditions", &conditions(&asked), &vec!["Ready".to_owned(), "Issuing".to_owned()])?;
    same("the revision that is in use", &asked["status"]["revision"], &json!(1))?;
    controllers.thaw()?;
    issued(ground, "web", 2).await?;
    let over = Clock::wall();
    let ended = scene.agent.phase(id_of(&found["id"])?, "resolved", LONG).await?;
    same("the playbook", &ended["plan"]["playbook"], &json!("rotate-certificate"))?;
    same("the attempts", &ended["attempts"], &json!(1))?;
    let probe = &ended["last_probe"];
    same("what was verified", &probe["indicator"], &json!("security.certificate_validity"))?;
    same("how it is", &probe["level"], &json!("healthy"))?;
    same("the revision", &issued(ground, "web", 2).await?["status"]["revision"], &json!(2))?;
    ensure!(certs::text(ground, "web").await? != before, "the Secret has another certificate");
    let writes = scene.writes("web")?;
    same("the writes", &writes.len(), &1)?;
    as_status(&writes[0])?;
    ground.row(&Row {
        fault: "certificate near its end",
        detected: Some(between(fault, &ended["opened_at"])?),
        acted: Some(between(fault, &write["requestReceivedTimestamp"])?),
        recovered: over.duration_since(fault).try_into().ok(),
        lost: None,
        writes: writes.len(),
    })
}

/// A write of the one condition, which the API server took.
fn as_status(write: &Value) -> anyhow::Result<()> {
    let of = &write["objectRef"];
    let what = (&write["verb"], &of["resource"], &of["subresource"], &write["responseStatus"]["code"]);
    same("the write", &what, &(&json!("patch"), &json!("certificates"), &json!("status"), &json!(200)))
}

/// The renewal of a certificate is overdue in truth, and is asked for while its issuer is ready; then the key
/// that should sign it is lost. In use is still the old one, which has life left: it is the renewal that did
/// not come, and people are told.
///
/// Mutations that break it: `left` where the indicator reads `validity`, which makes "recovered" of asking
/// alone; a playbook whose `next` tries again; a write that is made twice.
async fn hangs(scene: &Scene<'_>) -> anyhow::Result<Value> {
    let Scene { ground, agent, controllers } = scene;
    let short: Value = SHORT.into_iter().map(|(key, span)| (key.to_owned(), json!(span))).collect();
    certificate(ground, ("api", AUTHORITY), &short).await?;
    let first = issued(ground, "api", 1).await?;
    let before = certs::text(ground, "api").await?;
    controllers.freeze()?;
    let overdue = overdue(&first)?;
    let found = scene.found("api").await?;
    let write = scene.asked("api").await?;
    certs::lose_authority(ground, controllers, AUTHORITY).await?;
    let ended = agent.phase(id_of(&found["id"])?, "escalated", LONG).await?;
    let why = reasons(&ended);
    for part in ["not_recovered", "the certificate was not renewed in time"] {
        ensure!(why.contains(part), "its reasons tell of {part:?}: {why}");
    }
    let after = ground.read(place("api")).await?;
    same("the revision", &after["status"]["revision"], &json!(1))?;
    ensure!(conditions(&after).contains(&"Issuing".to_owned()), "it is still on its way: {after}");
    let request = certs::request(ground, "api", 2).await?.context("cert-manager has made a request of it")?;
    let waits = request["status"]["conditions"].to_string();
    ensure!(waits.contains("\"Pending\""), "the request waits for its issuer: {waits}");
    same("the certificate in use", &certs::text(ground, "api").await?, &before)?;
    let writes = scene.writes("api")?;
    same("the writes", &writes.len(), &1)?;
    as_status(&writes[0])?;
    ground.row(&Row {
        fault: "renewal, its issuer is not ready",
        detected: Some(between(overdue, &ended["opened_at"])?),
        acted: Some(between(overdue, &write["requestReceivedTimestamp"])?),
        recovered: None,
        lost: None,
        writes: writes.len(),
    })?;
    Ok(ended)
}

/// When a renewal was overdue: a tenth of the life after its time.
fn overdue(certificate: &Value) -> anyhow::Result<Timestamp> {
    let time = |key: &str| -> anyhow::Result<Timestamp> {
        Ok(certificate["status"][key].as_str().with_context(|| format!("it says {key}"))?.parse()?)
    };
    let life = time("notAfter")?.duration_since(time("notBefore")?);
    Ok(time("renewalTime")? + life / 10)
}
