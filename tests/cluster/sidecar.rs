//! Restarts of a sidecar through the real API server, to a stub of the kubelet.

use std::sync::Arc;

use anyhow::ensure;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use meshmend::model::action::Action;
use meshmend::model::plan::{Outcome, Rehearsal};
use meshmend::model::subject::Subject;
use serde_json::{Value, json};

use crate::acts::{objects, read};
use crate::control_plane::apply;
use crate::deed::{Hands, is, why};
use crate::kubelet::{Agent, Answer, Kubelet};
use crate::scene::Scene;
use crate::wait::{same, until};

const POD: &str = "meshed";
const FIRST: &str = "containerd://1";

/// A node whose kubelet is the stub, and a pod with a classic sidecar on it.
async fn pod(scene: &Scene, kubelet: &Kubelet) -> anyhow::Result<Api<DynamicObject>> {
    let node = format!("node-{}", scene.namespace);
    let object = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node } });
    apply(&scene.client, object).await?;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(scene.client.clone());
    let state = json!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet.port } },
    } });
    nodes.patch_status(&node, &PatchParams::default(), &Patch::Merge(&state)).await?;
    let containers = json!([
        { "name": "app", "image": "example.com/app" }, { "name": "istio-proxy", "image": "example.com/proxy" },
    ]);
    apply(
        &scene.client,
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": POD, "namespace": scene.namespace },
            "spec": { "nodeName": node, "restartPolicy": "Always", "containers": containers },
        }),
    )
    .await?;
    let pods = objects(scene, "", "Pod");
    runs(&pods, FIRST, 0).await?;
    Ok(pods)
}

/// The kubelet says which container of the proxy runs.
async fn runs(pods: &Api<DynamicObject>, id: &str, restarts: u32) -> anyhow::Result<()> {
    let state = json!({ "status": { "phase": "Running", "containerStatuses": [{
        "name": "istio-proxy", "image": "example.com/proxy", "imageID": "x", "ready": true,
        "containerID": id, "restartCount": restarts, "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
    }] } });
    pods.patch_status(POD, &PatchParams::default(), &Patch::Merge(&state)).await?;
    Ok(())
}

fn restart(pod: &Value, container: &str) -> Action {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Action::RestartSidecar {
        target: Subject::pod(&text(&pod["metadata"]["namespace"]), POD),
        uid: text(&pod["metadata"]["uid"]),
        container: container.to_owned(),
        container_id: FIRST.to_owned(),
        drain_s: 1,
    }
}

fn agent(quit: Answer) -> Agent {
    Arc::new(move |port, line| match (port, line) {
        (15_020, "POST /quitquitquit") => quit.clone(),
        (15_020, "POST /drain") => Answer::Status(200),
        (15_020, _) => Answer::Status(405),
        _ => Answer::Silence,
    })
}

const RIGHTS: [(&str, &str, &[&str]); 2] =
    [("", "pods", &["get"]), ("", "pods/portforward", &["get", "create"])];

/// Drain and quit arrive at the agent of the very pod, with `get` and `create` on `pods/portforward` and no
/// more; a second time there is nothing to do; without `create` the missing right is named beforehand.
///
/// Mutations that break it: a quit without a drain; asking for one of the two rights only; comparing no
/// container ids.
pub(crate) async fn quits(scene: Scene) -> anyhow::Result<()> {
    let hands = Hands::with(&scene, &RIGHTS).await?;
    let kubelet = Kubelet::start(scene.plane, agent(Answer::Closed)).await?;
    let pods = pod(&scene, &kubelet).await?;
    let action = restart(&read(&pods, POD).await?, "istio-proxy");
    let rehearsal = hands.rehearse(&action).await;
    ensure!(
        matches!(&rehearsal, Rehearsal::Accepted { diff } if diff.contains("POST /quitquitquit on port 15020")),
        "{rehearsal:?}"
    );
    same("asked by the rehearsal", &kubelet.asked(), &Vec::new())?;
    let outcome = hands.execute(&action).await?;
    is(&outcome, "done")?;
    ensure!(why(&outcome).contains("drained for 1 s"), "{outcome:?}");
    let asked = ["15020 GET /drain", "15020 POST /drain", "15020 POST /quitquitquit"].map(str::to_owned);
    same("what the agent was asked", &kubelet.asked(), &asked.to_vec())?;
    runs(&pods, "containerd://2", 1).await?;
    same("a second time", &hands.execute(&action).await?, &Outcome::AlreadyDone)?;
    same("what the agent was asked then", &kubelet.asked().len(), &3)?;

    runs(&pods, FIRST, 0).await?;
    let less = json!({ "rules": [
        { "apiGroups": [""], "resources": ["pods", "pods/portforward"], "verbs": ["get"] },
    ] });
    let roles = objects(&scene, "rbac.authorization.k8s.io", "Role");
    roles.patch("deed", &PatchParams::default(), &Patch::Merge(&less)).await?;
    until("the right is gone", crate::agent::SOON, async || {
        let rehearsal = hands.rehearse(&action).await;
        let named = matches!(&rehearsal, Rehearsal::Forbidden { verb, resource, .. }
            if verb == "create" && resource == "pods/portforward");
        Ok(named.then_some(()))
    })
    .await?;
    let outcome = hands.execute(&action).await?;
    is(&outcome, "failed")?;
    ensure!(why(&outcome).contains("a right is missing"), "{outcome:?}");
    same("what the agent was asked at last", &kubelet.asked().len(), &3)
}

/// An agent that hangs is found out before anything is drained, within seconds; one that hangs on the quit
/// leaves nobody knowing.
///
/// Mutations that break it: no time limit on a port-forward; draining before asking whether anybody lives.
pub(crate) async fn hangs(scene: Scene) -> anyhow::Result<()> {
    let hands = Hands::with(&scene, &RIGHTS).await?;
    let silent: Agent = Arc::new(|_, _| Answer::Silence);
    let hung = Kubelet::start(scene.plane, silent).await?;
    let pods = pod(&scene, &hung).await?;
    let action = restart(&read(&pods, POD).await?, "istio-proxy");
    let start = tokio::time::Instant::now();
    let outcome = hands.execute(&action).await?;
    is(&outcome, "failed")?;
    ensure!(why(&outcome).contains("evict_pod or rollout_restart"), "{outcome:?}");
    ensure!(start.elapsed().as_secs() < 12, "it took {:?}", start.elapsed());
    same("what was asked", &hung.asked(), &vec!["15020 GET /drain".to_owned()])?;

    let kubelet = Kubelet::start(scene.plane, agent(Answer::Silence)).await?;
    let pods = pod(&scene, &kubelet).await?;
    let outcome = hands.execute(&restart(&read(&pods, POD).await?, "istio-proxy")).await?;
    is(&outcome, "unknown")
}
