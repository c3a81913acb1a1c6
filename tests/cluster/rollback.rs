//! Rollbacks of the other two kinds of routing objects: a DestinationRule and an HTTPRoute, with the rights
//! that `meshmend rbac` prints for them.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::acts::{change, objects, read};
use crate::agent::{Agent, Home, ROLL_BACK, SOON};
use crate::control_plane::apply;
use crate::heal::results;
use crate::least::{self, Duty};
use crate::scene::{ROUTE, Scene, good_spec};
use crate::wait::{same, until};

const ROLL_BACK_RULE: &str = include_str!("../../playbooks/roll-back-destination-rule.rhai");
const QUICK: (&str, &str) =
    ("soak: \"5s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"20s\", hold: \"3s\"");
const ISTIO: &str = "networking.istio.io";
const GATEWAY: &str = "gateway.networking.k8s.io";
/// A soak, a hold and a probe, and as much again on a machine that is busy with all tests at once.
const HEALED: Duration = Duration::from_secs(60);

async fn home(scene: &Scene, account: &'static str, playbooks: &[(&str, String)]) -> anyhow::Result<Home> {
    let server = scene.plane.url.clone();
    least::home(scene, &Duty { account, server, sources: "", playbooks, actions: "[\"rollback_route\"]" })
        .await
}

/// Waits until traffic has proven the revision in force.
async fn proven(agent: &Agent<'_>, kind: &str) -> anyhow::Result<()> {
    until(&format!("traffic proves the {kind}"), SOON, async || {
        let history = agent.history_of(kind, ROUTE).await?;
        Ok((history["revisions"][0]["standing"]["standing"] == "good").then_some(()))
    })
    .await
}

/// Waits until the agent has seen the second revision.
async fn changed(agent: &Agent<'_>, kind: &str) -> anyhow::Result<()> {
    until(&format!("the change of the {kind} is seen"), SOON, async || {
        let history = agent.history_of(kind, ROUTE).await?;
        Ok((history["revisions"].as_array().map_or(0, Vec::len) == 2).then_some(()))
    })
    .await
}

/// From the alert to the resolved incident; the object is what it was, and nothing was asked for in vain.
async fn healed(
    scene: &Scene,
    agent: Agent<'_>,
    (group, kind): (&str, &str),
    before: &Value,
    account: &str,
) -> anyhow::Result<Value> {
    let api = objects(scene, group, kind);
    let home = agent.home;
    let id = agent.alert(&scene.alert()).await?;
    until(&format!("the {kind} is what it was"), SOON, async || {
        Ok((read(&api, ROUTE).await?["spec"] == before["spec"]).then_some(()))
    })
    .await?;
    scene.traffic(500, 0);
    let incident = agent.phase(&id, "resolved", HEALED).await?;
    let after = read(&api, ROUTE).await?;
    for key in ["uid", "labels", "annotations"] {
        same(key, &after["metadata"][key], &before["metadata"][key])?;
    }
    same("the steps", &results(&incident), &vec!["done".to_owned()])?;
    same("the writes", &scene.written_by(&least::user(account))?, &vec![200])?;
    least::nothing_was_forbidden(scene, account)?;
    scene.prometheus.nothing_strange()?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await?;
    Ok(incident)
}

/// The route is good and the rule has changed: the playbook for routes passes on, and the rule goes back.
///
/// Mutations that break it: rights that are printed for VirtualServices only; a patch without nulls (the pool
/// of the bad revision stays).
pub(crate) async fn rule(scene: Scene) -> anyhow::Result<()> {
    const ACCOUNT: &str = "agent-of-rules";
    let playbooks = [
        ("roll-back-virtual-service", least::with(ROLL_BACK, &[QUICK])?),
        ("roll-back-destination-rule", least::with(ROLL_BACK_RULE, &[QUICK])?),
    ];
    let home = home(&scene, ACCOUNT, &playbooks).await?;
    scene.create_route(ROUTE, &good_spec()).await?;
    scene.traffic(500, 0);
    let agent = home.start_ready().await?;
    proven(&agent, "VirtualService").await?;
    proven(&agent, "DestinationRule").await?;
    let api = objects(&scene, ISTIO, "DestinationRule");
    let before = read(&api, ROUTE).await?;
    let bad = json!({ "spec": {
        "trafficPolicy": { "connectionPool": { "http": { "http2MaxRequests": 1 } } },
        "subsets": [{ "name": "v1", "labels": { "version": "v2" } }],
    } });
    change(&api, ROUTE, &bad).await?;
    changed(&agent, "DestinationRule").await?;
    scene.traffic(500, 200);
    let incident = healed(&scene, agent, (ISTIO, "DestinationRule"), &before, ACCOUNT).await?;
    same("the playbook", &incident["plan"]["playbook"], &json!("roll-back-destination-rule"))?;
    scene.route_is(&good_spec()).await
}

fn http_route(namespace: &str, weights: [u32; 2]) -> Value {
    let backends: Vec<Value> = ["cart-v1", "cart-v2"]
        .iter()
        .zip(weights)
        .map(|(name, weight)| json!({ "name": name, "port": 8080, "weight": weight }))
        .collect();
    json!({
        "apiVersion": format!("{GATEWAY}/v1"), "kind": "HTTPRoute",
        "metadata": { "name": ROUTE, "namespace": namespace, "labels": { "team": "shop" } },
        "spec": {
            "parentRefs": [{ "group": "", "kind": "Service", "name": ROUTE, "port": 8080 }],
            "rules": [{ "backendRefs": backends }],
        },
    })
}

/// The endpoints of the Service of one version.
fn slice(namespace: &str, service: &str, address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{service}-1"), "namespace": namespace,
            "labels": { "kubernetes.io/service-name": service },
        },
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
    })
}

/// An HTTPRoute of the Gateway API, with the defaults that its CRD fills in.
///
/// Mutations that break it: rights that are printed for VirtualServices only; writing to the group of Istio.
pub(crate) async fn http(scene: Scene) -> anyhow::Result<()> {
    const ACCOUNT: &str = "agent-of-http-routes";
    let ours = ("this.subject.kind == \"VirtualService\"", "this.subject.kind == \"HTTPRoute\"");
    let tests = ("kind: \"VirtualService\", namespace: \"shop\"", "kind: \"HTTPRoute\", namespace: \"shop\"");
    let text = least::with(ROLL_BACK, &[QUICK, ours, tests])?;
    let home = home(&scene, ACCOUNT, &[("roll-back-http-route", text)]).await?;
    for (service, address) in [("cart-v1", "10.244.1.1"), ("cart-v2", "10.244.1.3")] {
        apply(&scene.client, slice(&scene.namespace, service, address)).await?;
    }
    apply(&scene.client, http_route(&scene.namespace, [1, 0])).await?;
    scene.traffic(500, 0);
    let agent = home.start_ready().await?;
    proven(&agent, "HTTPRoute").await?;
    let api = objects(&scene, GATEWAY, "HTTPRoute");
    let before = read(&api, ROUTE).await?;
    ensure!(before["spec"]["rules"][0]["matches"].is_array(), "the CRD fills in its defaults: {before}");
    let bad = http_route(&scene.namespace, [3, 2]);
    change(&api, ROUTE, &json!({ "spec": bad["spec"] })).await?;
    changed(&agent, "HTTPRoute").await?;
    scene.traffic(500, 200);
    let incident = healed(&scene, agent, (GATEWAY, "HTTPRoute"), &before, ACCOUNT).await?;
    same("whose incident it is", &incident["key"]["owner"]["kind"], &json!("HTTPRoute"))
}
