//! Evictions, rollouts and sheds on real objects, with the least rights, and what refuses them.

use anyhow::{Context as _, ensure};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use meshmend::cluster::fqdn;
use meshmend::model::action::{Action, Limits};
use meshmend::model::digest::Digest;
use meshmend::model::mark::RESTORE;
use meshmend::model::plan::Rehearsal;
use meshmend::model::subject::Subject;
use serde_json::{Value, json};

use crate::agent::{Home, Pace, SOON};
use crate::control_plane::apply;
use crate::deed::{Hands, INCIDENT, is, why};
use crate::scene::Scene;
use crate::wait::{same, until};

const ISTIO: &str = "networking.istio.io";
const RULE: &str = "cart";

/// Objects of one kind in the test's namespace.
pub(crate) fn objects(scene: &Scene, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource)
}

/// An object as it is.
pub(crate) async fn read(api: &Api<DynamicObject>, name: &str) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(api.get(name).await?)?)
}

pub(crate) async fn change(api: &Api<DynamicObject>, name: &str, patch: &Value) -> anyhow::Result<()> {
    let params = PatchParams { field_manager: Some("on-call".to_owned()), ..PatchParams::default() };
    api.patch(name, &params, &Patch::Merge(patch)).await?;
    Ok(())
}

pub(crate) async fn status(api: &Api<DynamicObject>, name: &str, patch: &Value) -> anyhow::Result<()> {
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": patch }))).await?;
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn evict(pod: &Value) -> Action {
    let meta = &pod["metadata"];
    Action::EvictPod {
        target: Subject::pod(&text(&meta["namespace"]), &text(&meta["name"])),
        uid: text(&meta["uid"]),
    }
}

/// A budget of the test's pods that allows so many disruptions, as its controller would have written it.
pub(crate) async fn budget(scene: &Scene, name: &str, allowed: u32) -> anyhow::Result<()> {
    let spec = json!({ "minAvailable": 2, "selector": { "matchLabels": { "version": "v1" } } });
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": name, "namespace": scene.namespace }, "spec": spec,
    });
    apply(&scene.client, budget).await?;
    let api = objects(scene, "policy", "PodDisruptionBudget");
    let generation = read(&api, name).await?["metadata"]["generation"].clone();
    let state = json!({
        "disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2,
        "observedGeneration": generation,
    });
    status(&api, name, &state).await
}

/// A budget's 429 is an answer: it is told at once with the budget's name and asked for once, as the dry run;
/// with room in the budget the pod goes, and only this very one.
///
/// Mutations that break it: trying again after the 429; kube's own `evict`, whose preconditions the server
/// does not see; leaving the uid out.
pub(crate) async fn eviction(scene: Scene) -> anyhow::Result<()> {
    let rights: [(&str, &str, &[&str]); 3] = [
        ("", "pods", &["get"]),
        ("", "pods/eviction", &["create"]),
        ("policy", "poddisruptionbudgets", &["list"]),
    ];
    let hands = Hands::with(&scene, &rights).await?;
    let pods = objects(&scene, "", "Pod");
    budget(&scene, "tight", 0).await?;
    let first = read(&pods, "cart-v1-a").await?;
    // A pod that does not run is no disruption.
    status(
        &pods,
        "cart-v1-a",
        &json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }),
    )
    .await?;
    let outcome = hands.execute(&evict(&first)).await?;
    is(&outcome, "failed")?;
    for word in ["disruption budget", "tight", "allows 0 disruptions (2 healthy, 2 wanted)"] {
        ensure!(why(&outcome).contains(word), "it names {word}: {outcome:?}");
    }
    let one = ("create".to_owned(), "pods/eviction".to_owned(), true, 429);
    same("what was asked", &hands.asked(&scene)?, &vec![one.clone()])?;
    let rehearsal = hands.rehearse(&evict(&first)).await;
    ensure!(matches!(&rehearsal, Rehearsal::Refused { why } if why.contains("tight")), "{rehearsal:?}");

    budget(&scene, "second", 1).await?;
    let outcome = hands.execute(&evict(&first)).await?;
    is(&outcome, "failed")?;
    ensure!(why(&outcome).contains("more than one PodDisruptionBudget"), "{outcome:?}");
    objects(&scene, "policy", "PodDisruptionBudget")
        .delete("tight", &kube::api::DeleteParams::default())
        .await?;

    let mut other = first.clone();
    other["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    is(&hands.execute(&evict(&other)).await?, "stale")?;
    is(&hands.execute(&evict(&first)).await?, "done")?;
    let gone = pods.get_opt("cart-v1-a").await?.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some());
    ensure!(gone, "the pod goes");
    let asked = hands.asked(&scene)?;
    let (last, before) = asked.split_last().context("it was asked")?;
    same("the last request", last, &("create".to_owned(), "pods/eviction".to_owned(), false, 201))?;
    ensure!(before.iter().all(|(_, _, dry, _)| *dry), "one real eviction: {asked:?}");
    Ok(())
}

async fn deployment(scene: &Scene, name: &str) -> anyhow::Result<Value> {
    let labels = json!({ "app": name });
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": scene.namespace },
        "spec": { "replicas": 1, "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "app", "image": "example.com/app" }] },
        } },
    });
    apply(&scene.client, object).await?;
    let api = objects(scene, "apps", "Deployment");
    let generation = read(&api, name).await?["metadata"]["generation"].clone();
    let conditions = json!([{ "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable" }]);
    let state = json!({
        "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 0,
        "unavailableReplicas": 1, "conditions": conditions,
    });
    status(&api, name, &state).await?;
    read(&api, name).await
}

fn roll(found: &Value) -> Action {
    let meta = &found["metadata"];
    Action::RolloutRestart {
        target: Subject::new("apps", "Deployment", &text(&meta["namespace"]), &text(&meta["name"])),
        uid: text(&meta["uid"]),
        generation: meta["generation"].as_u64().unwrap_or(0),
        restarted_at: None,
    }
}

/// A rollout is started with kubectl's own annotation, never twice, never on a paused workload; and what an
/// admission policy denies is told as that, not as a missing right.
///
/// Mutations that break it: leaving the generation out; reading the policy's 403 as a missing right; a patch
/// that replaces the annotations of the template.
pub(crate) async fn rollout(scene: Scene) -> anyhow::Result<()> {
    let hands = Hands::with(&scene, &[("apps", "deployments", &["get", "patch"])]).await?;
    let found = deployment(&scene, "web").await?;
    let rehearsal = hands.rehearse(&roll(&found)).await;
    ensure!(
        matches!(&rehearsal, Rehearsal::Accepted { diff } if diff.contains("+kubectl.kubernetes.io/restartedAt: 20")),
        "{rehearsal:?}"
    );
    let api = objects(&scene, "apps", "Deployment");
    same("after the dry run", &read(&api, "web").await?["metadata"], &found["metadata"])?;
    is(&hands.execute(&roll(&found)).await?, "done")?;
    let after = read(&api, "web").await?;
    let restarted =
        &after["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"];
    ensure!(restarted.is_string(), "kubectl's annotation is there: {after}");
    same("the labels", &after["spec"]["template"]["metadata"]["labels"], &json!({ "app": "web" }))?;
    is(&hands.execute(&roll(&found)).await?, "stale")?;
    let again = hands.execute(&roll(&after)).await?;
    ensure!(why(&again).contains("a rollout is under way"), "{again:?}");

    let paused = deployment(&scene, "paused").await?;
    change(&api, "paused", &json!({ "spec": { "paused": true } })).await?;
    let paused_now = read(&api, "paused").await?;
    ensure!(paused["metadata"]["uid"] == paused_now["metadata"]["uid"], "it is the same");
    let outcome = hands.execute(&roll(&paused_now)).await?;
    is(&outcome, "failed")?;
    ensure!(why(&outcome).contains("paused"), "{outcome:?}");

    let guarded = deployment(&scene, "guarded").await?;
    forbid(&scene, "guarded").await?;
    let told = until("the policy is in force", SOON, async || {
        let rehearsal = hands.rehearse(&roll(&guarded)).await;
        Ok(matches!(rehearsal, Rehearsal::Refused { .. }).then_some(rehearsal))
    })
    .await?;
    let denied = |why: &str| why.starts_with("denied by admission: ") && why.contains("hands off");
    ensure!(matches!(&told, Rehearsal::Refused { why } if denied(why)), "{told:?}");
    let outcome = hands.execute(&roll(&guarded)).await?;
    is(&outcome, "failed")?;
    ensure!(denied(why(&outcome)), "{outcome:?}");

    // An account without the right is told which one it lacks.
    let role =
        json!({ "rules": [{ "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"] }] });
    change(&objects(&scene, "rbac.authorization.k8s.io", "Role"), "deed", &role).await?;
    let free = deployment(&scene, "free").await?;
    until("the right is gone", SOON, async || {
        let rehearsal = hands.rehearse(&roll(&free)).await;
        let named = matches!(&rehearsal, Rehearsal::Forbidden { verb, resource, .. }
            if verb == "patch" && resource == "deployments.apps");
        Ok(named.then_some(()))
    })
    .await
}

/// An admission policy that denies every update of one Deployment of the namespace.
async fn forbid(scene: &Scene, name: &str) -> anyhow::Result<()> {
    let of = format!("{}-hands-off", scene.namespace);
    let version = "admissionregistration.k8s.io/v1";
    let rules = json!([{
        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"],
    }]);
    let expression = format!("object.metadata.name != '{name}'");
    apply(
        &scene.client,
        json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": of },
            "spec": {
                "failurePolicy": "Fail", "matchConstraints": { "resourceRules": rules },
                "validations": [{ "expression": expression, "message": "hands off", "reason": "Forbidden" }],
            },
        }),
    )
    .await?;
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": scene.namespace } });
    apply(&scene.client, json!({
        "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": of },
        "spec": {
            "policyName": of, "validationActions": ["Deny"], "matchResources": { "namespaceSelector": selector },
        },
    }))
    .await
    .map(|_| ())
}

fn shed(rule: &Value) -> Action {
    let meta = &rule["metadata"];
    let namespace = text(&meta["namespace"]);
    Action::ShedLoad {
        host: fqdn(&text(&rule["spec"]["host"]), &namespace),
        target: Subject::destination_rule(&namespace, &text(&meta["name"])),
        uid: text(&meta["uid"]),
        from: Some(Digest::of_json(&rule["spec"])),
        limits: Limits { max_connections: None, max_pending: Some(2), max_requests: Some(4) },
        expires_s: 600,
    }
}

/// A spec with a word in every block that has a say, and things around them that must stay.
fn spec() -> Value {
    json!({
        "host": "cart",
        "trafficPolicy": {
            "connectionPool": { "http": { "http2MaxRequests": 100, "idleTimeout": "30s" } },
            "portLevelSettings": [{ "port": { "number": 80 }, "loadBalancer": { "simple": "RANDOM" } }],
        },
        "subsets": [
            { "name": "v1", "labels": { "version": "v1" },
              "trafficPolicy": { "connectionPool": { "tcp": { "connectTimeout": "1s" } } } },
            { "name": "v2", "labels": { "version": "v2" } },
        ],
    })
}

/// A shed lowers the limits in every block with a say and nothing else, says how to take it back, and is
/// taken back byte for byte; and never over somebody else's change.
///
/// Mutations that break it: patching only the top; an undo that leaves an empty map; taking back without
/// looking at the spec in force.
pub(crate) async fn shedding(scene: Scene) -> anyhow::Result<()> {
    let hands =
        Hands::with(&scene, &[(ISTIO, "destinationrules", &["get", "patch", "create", "delete"])]).await?;
    let api = objects(&scene, ISTIO, "DestinationRule");
    change(&api, RULE, &json!({ "spec": spec() })).await?;
    let before = read(&api, RULE).await?;
    let action = shed(&before);

    let rehearsal = hands.rehearse(&action).await;
    let Rehearsal::Accepted { diff } = &rehearsal else { anyhow::bail!("{rehearsal:?}") };
    let line = format!("kubectl -n {} patch destinationrule cart --type merge -p '", scene.namespace);
    for word in ["port 80 of the rule", "subset v1", "+", line.as_str()] {
        ensure!(diff.contains(word), "the diff shows {word}: {diff}");
    }
    same("after the dry run", &read(&api, RULE).await?, &before)?;

    is(&hands.execute(&action).await?, "done")?;
    let during = read(&api, RULE).await?;
    let pool = json!({ "http2MaxRequests": 4, "http1MaxPendingRequests": 2 });
    let at = |pointer: &str| during.pointer(pointer).cloned().unwrap_or_default();
    same("the port", &at("/spec/trafficPolicy/portLevelSettings/0/connectionPool/http"), &pool)?;
    same("the subset", &at("/spec/subsets/0/trafficPolicy/connectionPool/http"), &pool)?;
    same("what is not ours", &at("/spec/trafficPolicy/connectionPool/http/idleTimeout"), &json!("30s"))?;
    same("the other subset", &at("/spec/subsets/1"), &before["spec"]["subsets"][1])?;
    ensure!(text(&during["metadata"]["annotations"][RESTORE]).contains(INCIDENT), "{during}");
    is(&hands.execute(&action).await?, "already_done")?;

    is(&hands.undo(&action).await?, "done")?;
    let after = read(&api, RULE).await?;
    same("the spec, byte for byte", &after["spec"].to_string(), &before["spec"].to_string())?;
    same("the annotations", &after["metadata"]["annotations"], &before["metadata"]["annotations"])?;
    is(&hands.undo(&action).await?, "already_done")?;

    is(&hands.execute(&action).await?, "done")?;
    change(&api, RULE, &json!({ "spec": { "trafficPolicy": { "loadBalancer": { "simple": "RANDOM" } } } }))
        .await?;
    let touched = read(&api, RULE).await?;
    let outcome = hands.undo(&action).await?;
    is(&outcome, "stale")?;
    ensure!(why(&outcome).contains("somebody changed the object"), "{outcome:?}");
    same("somebody's change", &read(&api, RULE).await?, &touched)?;
    created(&scene, &hands).await
}

/// Where no rule matches, one is made, and it goes when the shed is over; where one does, none is.
async fn created(scene: &Scene, hands: &Hands) -> anyhow::Result<()> {
    let api = objects(scene, ISTIO, "DestinationRule");
    let fresh = |host: &str| Action::ShedLoad {
        target: Subject::destination_rule(&scene.namespace, &format!("meshmend-shed-{host}")),
        uid: String::new(),
        from: None,
        host: format!("{host}.{}.svc.cluster.local", scene.namespace),
        limits: Limits { max_requests: Some(4), ..Limits::default() },
        expires_s: 600,
    };
    let outcome = hands.execute(&fresh("cart")).await?;
    is(&outcome, "stale")?;
    ensure!(why(&outcome).contains("a second rule would break"), "{outcome:?}");
    let action = fresh("web");
    ensure!(matches!(hands.rehearse(&action).await, Rehearsal::Accepted { .. }), "it can be made");
    ensure!(api.get_opt("meshmend-shed-web").await?.is_none(), "a dry run makes none");
    is(&hands.execute(&action).await?, "done")?;
    let made = read(&api, "meshmend-shed-web").await?;
    same(
        "its limit",
        &made["spec"]["trafficPolicy"]["connectionPool"]["http"]["http2MaxRequests"],
        &json!(4),
    )?;
    is(&hands.execute(&action).await?, "already_done")?;
    is(&hands.undo(&action).await?, "done")?;
    ensure!(api.get_opt("meshmend-shed-web").await?.is_none(), "it is gone");
    is(&hands.undo(&action).await?, "already_done")
}

/// With no agent and no journal, the command alone takes every shed back; one that somebody changed is left
/// alone and told with its line, and the exit code says so.
///
/// Mutations that break it: `--dry-run` that writes; exit 0 although one is left; stopping at the first.
pub(crate) async fn restore_all(scene: Scene) -> anyhow::Result<()> {
    let hands =
        Hands::with(&scene, &[(ISTIO, "destinationrules", &["get", "patch", "create", "delete"])]).await?;
    let home = Home::make(&scene.place(), "nobody-runs", &scene.settings("observe", Pace::Shipped)).await?;
    let api = objects(&scene, ISTIO, "DestinationRule");
    let mut before = Vec::new();
    for name in ["cart", "second", "third"] {
        let host = format!("{name}.elsewhere.example");
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": { "name": name, "namespace": scene.namespace }, "spec": { "host": host },
        });
        apply(&scene.client, object).await?;
        let rule = read(&api, name).await?;
        is(&hands.execute(&shed(&rule)).await?, "done")?;
        before.push(rule);
    }
    change(&api, "second", &json!({ "spec": { "host": "changed.example" } })).await?;
    let kubeconfig = hands.kubeconfig.to_str().context("a temporary path is UTF-8")?.to_owned();
    let run = async |more: &[&str]| {
        let mut args = vec!["restore", "--namespace", &scene.namespace, "--kubeconfig", &kubeconfig];
        args.extend(more);
        home.meshmend(&args).await
    };
    let marked = async |name: &str| {
        anyhow::Ok(read(&api, name).await?["metadata"]["annotations"][RESTORE].is_string())
    };
    let (code, said) = run(&["--all", "--dry-run"]).await?;
    same("the exit code of the dry run", &code, &Some(2))?;
    ensure!(said.contains("would be restored") && marked("cart").await?, "{said}");

    let (code, said) = run(&["--all", "-o", "json"]).await?;
    same("the exit code", &code, &Some(2))?;
    let rows: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    let results: Vec<String> =
        rows["restored"].as_array().into_iter().flatten().map(|row| text(&row["result"])).collect();
    same("the results", &results, &["done", "stale", "done"].map(str::to_owned).to_vec())?;
    let left = &rows["restored"][1];
    ensure!(text(&left["why"]).contains("somebody changed the object"), "{left}");
    ensure!(text(&left["by_hand"]).starts_with("kubectl -n "), "{left}");
    for (name, rule) in ["cart", "third"].iter().zip([&before[0], &before[2]]) {
        let now = read(&api, name).await?;
        same("the spec, byte for byte", &now["spec"].to_string(), &rule["spec"].to_string())?;
        ensure!(!marked(name).await?, "{name} bears no mark any more");
    }
    // The printed line itself, as kubectl would send it: put the host back as it was left, and one is whole.
    change(&api, "second", &json!({ "spec": { "host": "second.elsewhere.example" } })).await?;
    let (code, said) = run(&["destinationrule/second"]).await?;
    same("the exit code for one", &code, &Some(0)).with_context(|| said)?;
    same("the spec", &read(&api, "second").await?["spec"], &before[1]["spec"])?;
    let (code, said) = run(&["--all"]).await?;
    ensure!(code == Some(0) && said.contains("nothing is to be restored"), "{said}");
    Ok(())
}
