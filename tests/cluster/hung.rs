//! Proxies that hang, through the agent: facts, refusals and a restart over the stub of a kubelet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::acts::{budget, change, objects, status};
use crate::agent::{Agent, Home, SOON};
use crate::control_plane::apply;
use crate::heal::results;
use crate::kubelet::{Answer, Kubelet};
use crate::least::{self, Duty};
use crate::scene::Scene;
use crate::wait::{same, until};

const RESTART: &str = include_str!("../../playbooks/restart-sidecar.rhai");
const ACCOUNT: &str = "agent-of-hung";
const ISTIO: &str = "istio-system";
/// The revision of this test's own control plane, which is not in the way of others.
const REVISION: &str = "of-hung";
/// A pod whose budget has no room, and one without a budget.
const FULL: &str = "full";
const MESHED: &str = "meshed";

/// A playbook that evicts at once.
const EVICT: &str = r#"//! Evict a pod whose proxy crashes.

fn about() {
    #{
        on: [symptom("data_plane.proxy_crashing")], needs: ["pod", "control_plane", "budget?"],
        recover: #{ indicator: "data_plane.proxy_liveness", soak: "1s", within: "20s", hold: "3s" }, priority: 50,
    }
}
fn applies() { this.subject.kind == "Pod" }
fn plan(facts) { [evict_pod(facts.pod)] }
fn next(history) { escalate("the pod cannot be evicted") }
fn tests() { [] }
"#;

/// Node, control plane and pods, and what answers in their place.
async fn stage(scene: &Scene, kubelet: &Kubelet) -> anyhow::Result<()> {
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": REVISION } });
    apply(&scene.client, node).await?;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(scene.client.clone());
    let state = json!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet.port } },
        "conditions": [{ "type": "Ready", "status": "True" }],
    } });
    nodes.patch_status(REVISION, &PatchParams::default(), &Patch::Merge(&state)).await?;
    istiod(scene).await?;
    for (name, version) in [(FULL, "v1"), (MESHED, "v9")] {
        meshed(scene, name, version).await?;
    }
    // It selects the pods of version v1: [`FULL`] is one of them.
    budget(scene, "tight", 0).await
}

fn kind(scene: &Scene, namespace: &str, group: &str, kind: &str) -> Api<DynamicObject> {
    let gvk = kube::api::GroupVersionKind::gvk(group, "v1", kind);
    let resource = kube::api::ApiResource::from_gvk(&gvk);
    Api::namespaced_with(scene.client.clone(), namespace, &resource)
}

fn container(name: &str, id: &str, restarts: u32) -> Value {
    json!({
        "name": name, "image": "docker.io/istio/proxyv2:1.31.0", "imageID": "x", "ready": true,
        "containerID": id, "restartCount": restarts,
        "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
    })
}

/// A Deployment with its ReplicaSet and its one replica, which is ready.
async fn istiod(scene: &Scene) -> anyhow::Result<()> {
    let client = &scene.client;
    apply(client, json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": ISTIO } })).await?;
    let name = format!("istiod-{REVISION}");
    let labels = json!({ "app": "istiod", "istio.io/rev": REVISION });
    let image = json!({ "name": "discovery", "image": "docker.io/istio/pilot:1.31.0" });
    let spec = json!({ "containers": [image], "nodeName": REVISION });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [image] } });
    let mut above: Option<(&str, String)> = None;
    for (group, what) in [("apps", "Deployment"), ("apps", "ReplicaSet"), ("", "Pod")] {
        let mut meta = json!({ "name": name, "namespace": ISTIO, "labels": labels });
        if let Some((owner, uid)) = &above {
            meta["ownerReferences"] = json!([{
                "apiVersion": "apps/v1", "kind": owner, "name": name, "uid": uid, "controller": true,
            }]);
        }
        let version = if group.is_empty() { "v1" } else { "apps/v1" };
        let of = json!({ "replicas": 1, "selector": { "matchLabels": labels }, "template": template });
        let spec = if group.is_empty() { spec.clone() } else { of };
        apply(client, json!({ "apiVersion": version, "kind": what, "metadata": meta, "spec": spec })).await?;
        let api = kind(scene, ISTIO, group, what);
        let state = match what {
            "Pod" => {
                json!({ "phase": "Running", "containerStatuses": [container("discovery", "containerd://0", 0)] })
            }
            _ => json!({ "observedGeneration": 1, "replicas": 1, "readyReplicas": 1 }),
        };
        status(&api, &name, &state).await?;
        above = Some((what, api.get(&name).await?.metadata.uid.context("an object has a uid")?));
    }
    Ok(())
}

/// A pod with a classic sidecar on the node of the stub.
async fn meshed(scene: &Scene, name: &str, version: &str) -> anyhow::Result<()> {
    let labels = json!({ "app": "meshed", "version": version, "istio.io/rev": REVISION });
    let mut meta = json!({ "name": name, "namespace": scene.namespace, "labels": labels });
    if name == FULL {
        // A bare pod is never evicted: nobody would replace it.
        meta["ownerReferences"] = json!([{
            "apiVersion": "batch/v1", "kind": "Job", "name": "report", "uid": "j-1", "controller": true,
        }]);
    }
    let containers = json!([
        { "name": "app", "image": "example.com/app" },
        { "name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.31.0" },
    ]);
    apply(
        &scene.client,
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": meta,
            "spec": { "nodeName": REVISION, "restartPolicy": "Always", "containers": containers },
        }),
    )
    .await?;
    runs(scene, name, "containerd://1", 0).await
}

/// The kubelet says which container of the proxy runs.
async fn runs(scene: &Scene, name: &str, id: &str, restarts: u32) -> anyhow::Result<()> {
    let containers = [container("app", "containerd://9", 0), container("istio-proxy", id, restarts)];
    let ready = json!([{ "type": "Ready", "status": "True" }]);
    let state = json!({ "phase": "Running", "conditions": ready, "containerStatuses": containers });
    status(&objects(scene, "", "Pod"), name, &state).await
}

/// What istiod says of its proxies: all acknowledged what they were sent.
fn syncz(namespace: &str) -> String {
    let proxy = |name: &str| {
        json!({
            "proxy": format!("{name}.{namespace}"), "proxy_type": "sidecar", "istio_version": "1.31.0",
            "cluster_sent": "a", "cluster_acked": "a", "listener_sent": "b", "listener_acked": "b",
        })
    };
    json!([proxy(FULL), proxy(MESHED)]).to_string()
}

async fn home(scene: &Scene) -> anyhow::Result<Home> {
    let quick =
        [("soak: \"10s\", within: \"2m\", hold: \"30s\"", "soak: \"1s\", within: \"30s\", hold: \"3s\"")];
    let playbooks = [("restart-sidecar", least::with(RESTART, &quick)?), ("evict", EVICT.to_owned())];
    let sources = "  signals: {}\n  proxies: {}\n  istiod: {}\n";
    let (account, actions) = (ACCOUNT, "[\"restart_sidecar\", \"evict_pod\"]");
    let server = scene.plane.url.clone();
    least::home(scene, &Duty { account, server, sources, playbooks: &playbooks, actions }).await
}

async fn tell(scene: &Scene, agent: &Agent<'_>, symptom: &str, pod: &str) -> anyhow::Result<String> {
    let subject = json!({ "kind": "Pod", "namespace": scene.namespace, "name": pod });
    agent.signal(&least::signal(symptom, &subject)).await
}

/// Waits until an incident says this among its reasons.
async fn says(agent: &Agent<'_>, id: &str, words: &str) -> anyhow::Result<Value> {
    let last = std::cell::RefCell::new(Value::Null);
    let waited = until(words, SOON, async || {
        let incident = agent.incident(id).await?;
        let said = format!("{}{}{}", incident["reasons"], incident["verdict"], incident["rehearsal"]);
        last.replace(incident.clone());
        Ok(said.contains(words).then_some(incident))
    });
    waited.await.map_err(|error| error.context(last.borrow().to_string()))
}

/// With a budget without room the playbook refuses and nothing is asked of anybody; nor is an eviction, by
/// the engine's own refusal, while the budget's status is about another spec than its own; and where there is room, the
/// sidecar alone is drained, quits, comes back and answers.
///
/// Mutations that break it: no fact `budget`; believing a budget's old status; a workload that is unknown for
/// a bare pod; an unreadable istiod that counts as "in step"; a right missing in what `meshmend rbac` prints.
pub(crate) async fn story(scene: Scene) -> anyhow::Result<()> {
    let again = Arc::new(AtomicBool::new(false));
    let (quit, body) = (Arc::clone(&again), Arc::<str>::from(syncz(&scene.namespace)));
    let answers = Arc::new(move |port: u16, line: &str| match (port, line) {
        (15_014, "GET /debug/syncz") => Answer::Body(Arc::clone(&body)),
        (15_020, "POST /drain") => Answer::Status(200),
        (15_020, "POST /quitquitquit") => {
            quit.store(true, Ordering::SeqCst);
            Answer::Closed
        }
        (15_020, _) => Answer::Status(405),
        (15_021, _) if quit.load(Ordering::SeqCst) => Answer::Status(200),
        _ => Answer::Silence,
    });
    let kubelet = Kubelet::start(scene.plane, answers).await?;
    stage(&scene, &kubelet).await?;
    let home = home(&scene).await?;
    let agent = home.start_ready().await?;

    let id = tell(&scene, &agent, "data_plane.proxy_hung", FULL).await?;
    says(&agent, &id, "disruption budget tight has no room").await?;
    // By its status there is room again, but the status is about another spec: the API server would say 429.
    budget(&scene, "tight", 1).await?;
    let spec = json!({ "spec": { "minAvailable": 1 } });
    change(&objects(&scene, "policy", "PodDisruptionBudget"), "tight", &spec).await?;
    let id = tell(&scene, &agent, "data_plane.proxy_crashing", FULL).await?;
    says(&agent, &id, "no_budget").await?;
    let user = least::user(ACCOUNT);
    same("the writes", &scene.written_by(&user)?, &Vec::new())?;
    same("the evictions", &evictions(&scene, &user)?, &Vec::new())?;
    ensure!(kubelet.asked().iter().all(|asked| asked.contains(" GET ")), "{:?}", kubelet.asked());

    let id = tell(&scene, &agent, "data_plane.proxy_hung", MESHED).await?;
    until("the proxy quits", SOON, async || Ok(again.load(Ordering::SeqCst).then_some(())))
        .await
        .map_err(|error| error.context(format!("{:?}", kubelet.asked())))?;
    runs(&scene, MESHED, "containerd://2", 1).await?;
    let incident = agent.phase(&id, "resolved", Duration::from_secs(60)).await?;
    same("the playbook", &incident["plan"]["playbook"], &json!("restart-sidecar"))?;
    same("the steps", &results(&incident), &vec!["done".to_owned()])?;
    let posts: Vec<String> = kubelet.asked().into_iter().filter(|asked| asked.contains(" POST ")).collect();
    let once = ["15020 POST /drain", "15020 POST /quitquitquit"].map(str::to_owned);
    same("what the proxy's agent was told", &posts, &once.to_vec())?;
    least::nothing_was_forbidden(&scene, ACCOUNT)?;
    ensure!(agent.terminate().await?.success(), "SIGTERM ends it with 0");
    home.journal_holds().await
}

/// Answers to this account's evictions in the test's namespace, dry runs too.
fn evictions(scene: &Scene, user: &str) -> anyhow::Result<Vec<u64>> {
    let ours = scene.plane.requests()?.into_iter().filter(|request| {
        request["user"]["username"] == user
            && request["objectRef"]["namespace"] == scene.namespace.as_str()
            && request["objectRef"]["subresource"] == "eviction"
    });
    Ok(ours.map(|request| request["responseStatus"]["code"].as_u64().unwrap_or(0)).collect())
}
