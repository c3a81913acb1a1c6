//! A certificate comes to its end: its controllers hang, and an issuer is no more.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use kube::api::DeleteParams;
use meshmend::clock::Clock;
use serde_json::{Value, json};

use super::certs::{self, asked_for, certificate, conditions, issued, issuer, nears_its_end, place};
use super::routing::{self, SHOP};
use crate::agent::{Agent, Home};
use crate::ground::{Duty, Ground, SOON};
use crate::table::Row;
use crate::wait::{same, until};

/// The whole of an incident: the probe's window and its grace of a minute.
const LONG: Duration = Duration::from_secs(150);

const POLICY: &str = r#"apiVersion: meshmend.dev/v1alpha1
kind: Policy
metadata: { name: test }
spec:
  scope: { namespaces: ["shop"], actions: ["rotate_certificate"] }
  mode: enforce
  limits: [ { per: target, acts: 10, window: 1h } ]
  cooldown: 1s
  attempts: { max: 5, refill: 1h }
"#;

async fn home(ground: &Ground) -> anyhow::Result<Home> {
    let playbooks = [("rotate-certificate", certs::rotate()?)];
    let sources = "  signals: {}\n";
    ground
        .agent(&Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources, server: None })
        .await
}

/// With cert-manager's own controllers. They hang; a certificate comes to its end; the agent asks for another
/// one, once; they go on, and issue it. It counts as done by its revision, not by what was asked for.
/// The second certificate's issuer loses its key, and new ones take their place: what is asked for is never issued. That ends
/// by the age of the request, with people, and nobody asks again, not even when it is reported again.
///
/// Mutations that break it: calling it recovered once it was asked for; asking while an issuance is under way;
/// a condition that is set on the object instead of its status; a right missing in what `meshmend rbac` prints.
pub(crate) async fn asked_once(ground: &Ground) -> anyhow::Result<()> {
    let controllers = ground.cert_manager()?;
    ground
        .apply_object(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SHOP } }))
        .await?;
    issuer(ground, "own", &json!({ "selfSigned": {} })).await?;
    certificate(ground, ("root", "own"), &json!({ "isCA": true, "commonName": "root" })).await?;
    issuer(ground, "authority", &json!({ "ca": { "secretName": "root-tls" } })).await?;
    certificate(ground, ("web", "own"), &json!({})).await?;
    certificate(ground, ("late", "authority"), &json!({})).await?;
    for name in ["root", "web", "late"] {
        issued(ground, name, 1).await?;
    }
    let home = home(ground).await?;
    let agent = home.start_ready().await?;

    let fault = Clock::wall();
    nears_its_end(ground, &controllers, "web").await?;
    let id = found(&agent, "web").await?;
    asked_for(ground, "web").await?;
    // Asked for is not done: the controllers hang for some looks longer.
    until("its probe has begun", SOON, async || {
        Ok((agent.incident(&id).await?["phase"] == "probing").then_some(()))
    })
    .await?;
    let thawed = Clock::wall();
    controllers.thaw()?;
    issued(ground, "web", 2).await?;
    let ended = agent.phase(&id, "resolved", LONG).await?;
    ensure!(at(&ended["phase_since"])? > thawed, "it is done by its revision: {ended}");
    row(ground, (fault, &ended), "certificate near its end", 1)?;

    let fault = Clock::wall();
    nears_its_end(ground, &controllers, "late").await?;
    asked_for(ground, "late").await?;
    without_issuer(ground).await?;
    // Those that went on might sign before they hear that the key is gone; new ones know it from the start.
    controllers.kill();
    controllers.start()?;
    let id = found(&agent, "late").await?;
    let ended = agent.phase(&id, "escalated", LONG).await?;
    let authority = ground.read((SHOP, "cert-manager.io/v1", "Issuer", "authority")).await?;
    same("the issuer's state", &authority["status"]["conditions"][0]["status"], &json!("False"))?;
    let now = ground.read(place("late")).await?;
    ensure!(conditions(&now).contains(&"Issuing".to_owned()), "it is still asked for: {now}");
    same("its revision", &now["status"]["revision"], &json!(1))?;
    row(ground, (fault, &ended), "the same, its issuer is gone", 1)?;
    again(&agent).await?;
    same("the writes in the end", &ground.writes()?.len(), &2)?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

fn at(time: &Value) -> anyhow::Result<Timestamp> {
    Ok(time.as_str().context("a time is a text")?.parse()?)
}

async fn found(agent: &Agent<'_>, name: &str) -> anyhow::Result<String> {
    let about = ("security.certificate_expiring", SHOP, name);
    let found = agent.incident_about(about, SOON).await?;
    Ok(found["id"].as_str().context("an incident has an id")?.to_owned())
}

/// Somebody deletes the authority and its key; whoever signs with it cannot do so any more.
async fn without_issuer(ground: &Ground) -> anyhow::Result<()> {
    let gone = DeleteParams::default();
    ground.api(SHOP, "cert-manager.io/v1", "Certificate").delete("root", &gone).await?;
    ground.api(SHOP, "v1", "Secret").delete("root-tls", &gone).await?;
    Ok(())
}

/// Reported again, it is looked at, and not asked for: it is under way.
async fn again(agent: &Agent<'_>) -> anyhow::Result<()> {
    let subject =
        json!({ "group": "cert-manager.io", "kind": "Certificate", "namespace": SHOP, "name": "late" });
    let signal = json!({
        "symptom": "security.certificate_expiring", "subject": subject, "state": "firing",
        "severity": "critical", "at": Clock::wall(),
    });
    let id = agent.signal(&signal).await?;
    let ended = agent.phase(&id, "escalated", SOON).await?;
    same("its steps", &ended["steps"].as_array().map_or(0, Vec::len), &0).or_else(|error| {
        // The same incident, still with people: it has the one step that it had.
        let one = ended["steps"].as_array().map_or(0, Vec::len) == 1;
        if one { Ok(()) } else { Err(error) }
    })
}

/// The row of a certificate; `writes` of them were made for it.
fn row(
    ground: &Ground,
    (fault, ended): (Timestamp, &Value),
    name: &'static str,
    writes: usize,
) -> anyhow::Result<()> {
    let since = |time: &Value| -> anyhow::Result<Duration> {
        Ok(at(time)?.duration_since(fault).try_into().unwrap_or_default())
    };
    let mine: Vec<Value> = ground
        .writes()?
        .into_iter()
        .filter(|write| at(&write["requestReceivedTimestamp"]).is_ok_and(|at| at > fault))
        .collect();
    same("the writes", &mine.len(), &writes)?;
    same("what was written", &mine[0]["objectRef"]["subresource"], &json!("status"))?;
    ground.note(&format!("{name}: {} {}", ended["phase"], routing::reasons(ended)))?;
    let recovered = (ended["phase"] == "resolved").then(|| since(&ended["phase_since"])).transpose()?;
    ground.row(&Row {
        fault: name,
        detected: Some(since(&ended["opened_at"])?),
        acted: Some(since(&mine[0]["requestReceivedTimestamp"])?),
        recovered,
        lost: None,
        writes,
    })
}
