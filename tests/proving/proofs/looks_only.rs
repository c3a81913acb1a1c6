//! Mode observe: four faults at once, four plans, and not one write.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kube::api::ListParams;
use meshmend::clock::Clock;
use serde_json::{Value, json};

use super::busy::{self, BUSY, EASY};
use super::certs::{certificate, issued, issuer, nears_its_end};
use super::routing::{self, GOOD, HALF, ROUTE, SHOP, essence, leading, object};
use crate::agent::{Agent, Home, ROLL_BACK};
use crate::ground::{Duty, Ground, MESH_SOURCES, Workload};
use crate::table::Row;
use crate::traffic::Load;
use crate::wait::{same, until};

const RESTART: &str = include_str!("../../../playbooks/restart-sidecar.rhai");
const SHED: &str = include_str!("../../../playbooks/shed-with-destination-rule.rhai");
const ROTATE: &str = include_str!("../../../playbooks/rotate-certificate.rhai");
/// Overload is a symptom after twenty seconds, a hung proxy after three checks.
const LONG: Duration = Duration::from_secs(120);
/// Two pods that serve four at once in 200 ms serve 40 requests a second.
const TOO_MANY: u32 = 70;

const POLICY: &str = r#"apiVersion: meshmend.dev/v1alpha1
kind: Policy
metadata: { name: test }
spec:
  scope:
    namespaces: ["shop"]
    actions: ["rollback_route", "restart_sidecar", "shed_load", "rotate_certificate"]
  mode: observe
  limits: [ { per: target, acts: 10, window: 1h } ]
  cooldown: 1s
  blastRadius:
    storm: { namespace: { share: 100%, least: 20 }, mesh: { share: 100%, least: 20 } }
"#;

/// Kinds that nobody but a person, or an agent, writes to while cert-manager hangs.
const STILL: [(&str, &str); 6] = [
    ("networking.istio.io/v1", "VirtualService"),
    ("networking.istio.io/v1", "DestinationRule"),
    ("cert-manager.io/v1", "Certificate"),
    ("cert-manager.io/v1", "Issuer"),
    ("v1", "Service"),
    ("v1", "Secret"),
];
/// Kinds whose status others write.
const LIVE: [(&str, &str); 2] = [("v1", "Pod"), ("apps/v1", "Deployment")];

/// Symptom, name of the subject, playbook, and what the first step says as it would in mode enforce.
const PLANS: [(&str, &str, &str, &str); 4] = [
    ("traffic.route_errors", "server", "roll-back-virtual-service", "rollback_route"),
    ("data_plane.proxy_hung", "", "restart-sidecar", "restart_sidecar"),
    ("traffic.overload", "busy", "shed-with-destination-rule", "shed_load"),
    ("security.certificate_expiring", "web", "rotate-certificate", "rotate_certificate"),
];

async fn home(ground: &Ground) -> anyhow::Result<Home> {
    let playbooks = [
        ("roll-back-virtual-service", ROLL_BACK.to_owned()),
        ("restart-sidecar", RESTART.to_owned()),
        ("shed-with-destination-rule", SHED.to_owned()),
        ("rotate-certificate", ROTATE.to_owned()),
    ];
    let duty =
        Duty { namespace: SHOP, playbooks: &playbooks, policy: POLICY, sources: MESH_SOURCES, server: None };
    ground.agent(&duty).await
}

/// Everything that will fall ill, well: a route, an idle workload, one that is nearly busy, a certificate.
async fn stage(ground: &Ground) -> anyhow::Result<[Load; 2]> {
    routing::stage(ground).await?;
    let idle = Workload::new(SHOP, "idle", "v1", 2);
    ground.deploy(&idle).await?;
    let busy = busy::deploy(ground, "2s").await?;
    let rule = (SHOP, "networking.istio.io/v1", "DestinationRule", "busy");
    ground.apply_object(object(rule, &json!({ "host": "busy" }))).await?;
    ground.apply_object(object(ROUTE, &leading(&GOOD))).await?;
    for workload in [&idle, &busy] {
        ground.ready(SHOP, &workload.name()).await?;
    }
    issuer(ground, "own", &json!({ "selfSigned": {} })).await?;
    certificate(ground, ("web", "own"), &json!({})).await?;
    issued(ground, "web", 1).await?;
    let first = routing::traffic(ground).await?;
    Ok([first, ground.load((SHOP, "app=client"), BUSY, EASY).await?])
}

/// The four plans are those of mode enforce, each is held by the mode, and nothing in the mesh is another one
/// afterwards: by the versions of all objects, and by the audit log of the API server.
///
/// Mutations that break it: a dry run without `dryRun=All`; a mode that is looked at before the plan only; a
/// mark left on a rule or a certificate; a drain before the gate.
pub(crate) async fn writes_nothing(ground: &Ground) -> anyhow::Result<()> {
    let controllers = ground.cert_manager()?;
    let loads = stage(ground).await?;
    let home = home(ground).await?;
    let agent = home.start_ready().await?;
    routing::proven(ground, &agent).await?;
    ground.settled(SHOP, "app=idle").await?;

    let begun = Clock::wall();
    let hung = ground.pods(SHOP, "app=idle").await?;
    let hung = hung.first().and_then(|pod| pod.metadata.name.clone()).context("idle has pods")?;
    ground.kubelet.envoy(SHOP, &hung)?.freeze()?;
    nears_its_end(ground, &controllers, "web").await?;
    ground.change(ROUTE, &json!({ "spec": leading(&HALF) })).await?;
    let more = ground.load((SHOP, "app=client"), BUSY, TOO_MANY).await?;
    let before = (still(ground).await?, live(ground).await?);
    for (symptom, name, playbook, action) in PLANS {
        let name = if name.is_empty() { &hung } else { name };
        let held = held(&agent, (symptom, name)).await?;
        same("the playbook", &held["plan"]["playbook"], &json!(playbook))?;
        as_enforced(ground, (&held, action)).await?;
        ground.note(&format!("{symptom} of {name}: {playbook}, held"))?;
        let opened: jiff::Timestamp = held["opened_at"].as_str().context("a time")?.parse()?;
        let fault = match action {
            "rollback_route" => "observe: route sends half to errors",
            "restart_sidecar" => "observe: Envoy frozen",
            "shed_load" => "observe: overload",
            _ => "observe: certificate near its end",
        };
        let detected = opened.duration_since(begun).try_into().ok();
        ground.row(&Row { fault, detected, acted: None, recovered: None, lost: None, writes: 0 })?;
    }
    same("the writes", &ground.writes()?, &Vec::new())?;
    same("port-forwards to agents of proxies", &ground.forwards(15_020)?, &0)?;
    same("the versions of all that nobody writes to", &still(ground).await?, &before.0)?;
    same("all else but its status", &live(ground).await?, &before.1)?;
    for load in loads.into_iter().chain([more]) {
        load.stop().await?;
    }
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// The plan of a symptom, once the gate holds it for its mode and for no other reason than rights that an
/// observer is not given.
async fn held(agent: &Agent<'_>, (symptom, name): (&str, &str)) -> anyhow::Result<Value> {
    let found = agent.incident_about((symptom, SHOP, name), LONG).await?;
    let id = found["id"].as_str().context("an incident has an id")?;
    let held = until(&format!("{symptom} of {name} is held"), LONG, async || {
        let incident = agent.incident(id).await?;
        let phase = &incident["phase"];
        ensure!(*phase != "escalated", "{symptom} of {name}: {}", incident["passed_over"]);
        Ok((incident["verdict"]["verdict"] == "hold").then_some(incident))
    })
    .await?;
    let holds = held["verdict"]["holds"].as_array().into_iter().flatten();
    let mut codes: Vec<&str> = holds.filter_map(|hold| hold["reason"]["code"].as_str()).collect();
    codes.retain(|code| *code != "right_missing");
    same("what holds it", &codes, &vec!["mode_observe"])?;
    Ok(held)
}

/// One step, and what it says is what would be done.
async fn as_enforced(ground: &Ground, (held, action): (&Value, &str)) -> anyhow::Result<()> {
    let steps = held["plan"]["steps"].as_array().cloned().unwrap_or_default();
    same("the steps", &steps.len(), &1)?;
    let step = &steps[0];
    same("the act", &step["action"], &json!(action))?;
    let kind = step["target"]["kind"].as_str().context("it has a target")?;
    let version = STILL.iter().chain(&LIVE).find(|(_, known)| *known == kind).map(|(version, _)| *version);
    let name = step["target"]["name"].as_str().context("it has a name")?;
    let object = ground.read((SHOP, version.context("its kind is known")?, kind, name)).await?;
    same("the uid of its target", &step["uid"], &object["metadata"]["uid"])?;
    match action {
        "shed_load" => {
            let limit = step["limits"]["max_requests"].as_u64().context("it limits requests")?;
            ensure!((1..200).contains(&limit), "70 % of what is under way: {limit}");
        }
        "rotate_certificate" => same("the revision", &step["revision"], &json!(1))?,
        "restart_sidecar" => same("the container", &step["container"], &json!("istio-proxy"))?,
        _ => same("an undo", &step["from"].is_null(), &false)?,
    }
    Ok(())
}

/// The versions of all objects that only an act would change.
async fn still(ground: &Ground) -> anyhow::Result<BTreeMap<String, String>> {
    let mut versions = BTreeMap::new();
    for (version, kind) in STILL {
        for object in ground.api(SHOP, version, kind).list(&ListParams::default()).await? {
            let name = object.metadata.name.unwrap_or_default();
            versions.insert(format!("{kind}/{name}"), object.metadata.resource_version.unwrap_or_default());
        }
    }
    ensure!(versions.len() >= 8, "there are objects of all kinds: {versions:?}");
    Ok(versions)
}

/// All else, without status.
async fn live(ground: &Ground) -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (version, kind) in LIVE {
        for object in ground.api(SHOP, version, kind).list(&ListParams::default()).await? {
            let name = object.metadata.name.clone().unwrap_or_default();
            let mut rest = essence(&serde_json::to_value(object)?);
            if let Some(fields) = rest.as_object_mut() {
                fields.remove("status");
            }
            all.insert(format!("{kind}/{name}"), rest.to_string());
        }
    }
    Ok(all)
}
