//! The main job: an alert about a bad route leads to a rolled back route and a resolved incident.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::agent::{Home, Pace, ROLL_BACK, SOON};
use crate::least::{self, Duty};
use crate::scene::{ROUTE, Scene, bad_spec, good_spec};
use crate::wait::{same, until};

/// Soak, hold and a probe every ten seconds of the shipped playbook, and as much again.
const HEALED: Duration = Duration::from_secs(100);
const ACCOUNT: &str = "agent-of-heal";

/// From the first traffic to the resolved incident, with the shipped playbook and the shipped rights.
///
/// Mutations that break it: restoring by a patch without nulls (the key `gateways` stays); writing without a
/// field manager; patching metadata that is not ours; a right missing in, or too much in, what `meshmend rbac` prints.
pub(crate) async fn alert(scene: Scene) -> anyhow::Result<()> {
    let (server, actions) = (scene.plane.url.clone(), "[\"rollback_route\"]");
    let playbooks = [("roll-back-virtual-service", ROLL_BACK.to_owned())];
    let duty = Duty { account: ACCOUNT, server, sources: "", playbooks: &playbooks, actions };
    let home = least::home(&scene, &duty).await?;
    scene.create_route(ROUTE, &good_spec()).await?;
    scene.traffic(500, 0);
    let agent = home.start_ready().await?;
    let history = until("traffic proves the first revision", SOON, async || {
        let history = agent.history(ROUTE).await?;
        Ok((history["revisions"][0]["standing"]["standing"] == "good").then_some(history))
    })
    .await?;
    same("what proved it", &history["revisions"][0]["standing"]["proof"]["kind"], &json!("traffic"))?;

    scene.edit_spec(ROUTE, &bad_spec()).await?;
    scene.traffic(500, 200);
    agent.revisions(ROUTE, 2).await?;
    let before = scene.route(ROUTE).await?;
    let id = agent.alert(&scene.alert()).await?;
    scene.route_becomes(&good_spec()).await?;
    scene.traffic(500, 0);
    let incident = agent.phase(&id, "resolved", HEALED).await?;

    scene.route_is(&good_spec()).await?;
    let after = scene.route(ROUTE).await?;
    for key in ["uid", "labels", "annotations"] {
        same(key, &after["metadata"][key], &before["metadata"][key])?;
    }
    our_fields_are_of_the_spec_only(&after)?;
    same("the playbook", &incident["plan"]["playbook"], &json!("roll-back-virtual-service"))?;
    same("the steps", &results(&incident), &vec!["done".to_owned()])?;
    let history = agent.history(ROUTE).await?;
    same("the bad revision", &history["revisions"][1]["standing"]["standing"], &json!("bad"))?;
    same("the writes", &scene.written_by(&least::user(ACCOUNT))?, &vec![200])?;
    rights_granted_are_rights_used(&scene).await?;
    scene.prometheus.nothing_strange()?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// Results of an incident's steps, in order.
pub(crate) fn results(incident: &Value) -> Vec<String> {
    let steps = incident["steps"].as_array().into_iter().flatten();
    steps.map(|step| step["outcome"]["result"].as_str().unwrap_or_default().to_owned()).collect()
}

fn our_fields_are_of_the_spec_only(route: &Value) -> anyhow::Result<()> {
    let entries = route["metadata"]["managedFields"].as_array().context("the server keeps managed fields")?;
    let ours: Vec<&Value> = entries.iter().filter(|entry| entry["manager"] == "meshmend").collect();
    ensure!(ours.len() == 1, "one entry is ours: {entries:?}");
    let fields = ours[0]["fieldsV1"].as_object().context("an entry names fields")?;
    same("the fields that are ours", &fields.keys().map(String::as_str).collect::<Vec<_>>(), &vec!["f:spec"])
}

type Rights = BTreeSet<(String, String)>;

/// What `meshmend rbac` grants is what the agent asked for, no less (it would have been refused) and no more.
async fn rights_granted_are_rights_used(scene: &Scene) -> anyhow::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let user = least::user(ACCOUNT);
    let mut used = Rights::new();
    for request in
        scene.plane.requests()?.iter().filter(|request| request["user"]["username"] == user.as_str())
    {
        let decision = &request["annotations"]["authorization.k8s.io/decision"];
        ensure!(decision == "allow", "a right is missing: {request}");
        let resource = &request["objectRef"]["resource"];
        // What is open to everybody, as the list of all kinds is, has no resource.
        if resource.is_string() {
            used.insert((text(&request["verb"]), text(resource)));
        }
    }
    let mut granted = Rights::new();
    for role in [
        least::role(scene, "meshmend-observe", None, ACCOUNT).await?,
        least::role(scene, "meshmend-act", Some(&scene.namespace), ACCOUNT).await?,
    ] {
        for rule in role["rules"].as_array().context("a role has rules")? {
            for resource in rule["resources"].as_array().into_iter().flatten() {
                let verbs = rule["verbs"].as_array().into_iter().flatten();
                granted.extend(verbs.map(|verb| (text(verb), text(resource))));
            }
        }
    }
    same("rights used and rights granted", &used, &granted)
}

/// With a Prometheus that knows nothing the hold time passes and no revision is good; on a person's word one
/// is, and only then a rollback has somewhere to go.
///
/// Mutation that breaks it: counting a reading without samples as healthy.
pub(crate) async fn bless(scene: Scene) -> anyhow::Result<()> {
    let home = Home::make(&scene.place(), "agent", &scene.settings("enforce", Pace::Quick)).await?;
    scene.create_route(ROUTE, &good_spec()).await?;
    let agent = home.start_ready().await?;
    agent.revisions(ROUTE, 1).await?;
    // Window and hold are 5 s each; traffic would have proven it after 11 s.
    tokio::time::sleep(Duration::from_secs(16)).await;
    let standing = |history: &Value| history["revisions"][0]["standing"]["standing"].clone();
    same("after the hold time", &standing(&agent.history(ROUTE).await?), &json!("seen"))?;

    agent.bless(ROUTE).await?;
    let blessed = agent.history(ROUTE).await?;
    same("after the blessing", &standing(&blessed), &json!("good"))?;
    let proof = &blessed["revisions"][0]["standing"]["proof"];
    same("the proof", proof, &json!({ "kind": "blessed", "by": "approve" }))?;

    scene.edit_spec(ROUTE, &bad_spec()).await?;
    agent.revisions(ROUTE, 2).await?;
    scene.traffic(500, 200);
    let id = agent.alert(&scene.alert()).await?;
    scene.route_becomes(&good_spec()).await?;
    scene.traffic(500, 0);
    agent.phase(&id, "resolved", SOON).await.map(|_| ())
}
