//! The server: verbs, parts, selectors, and refusals as the real one was seen to word them.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use meshmend::cluster::Cluster;
use meshmend::model::subject::Subject;

use super::{ask, get, merge, name, new, pods, post, ready, wait};
use crate::healing::story;

const CART: &str = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/cart";

// Mutations: letting a write of the main resource change the status, or the reverse; counting a
// generation for the status.
#[test]
fn the_status_is_written_by_its_own_address_only() {
    story(|| async {
        let sim = new(1);
        let path = "/apis/cert-manager.io/v1/namespaces/istio-system/certificates/gateway-tls";
        let before = get(&sim, path).await;
        let patch = json!({ "status": { "revision": 77 }, "spec": { "renewBefore": "700h" } });
        let (_, main) = merge(&sim, path, &patch).await;
        assert_eq!(main["status"], before["status"]);
        assert_eq!(
            (&main["spec"]["renewBefore"], &main["metadata"]["generation"]),
            (&json!("700h"), &json!(2))
        );
        let patch = json!({ "status": { "revision": 77 }, "spec": { "renewBefore": "1h" } });
        let (_, status) = merge(&sim, &format!("{path}/status"), &patch).await;
        assert_eq!(status["spec"], main["spec"]);
        assert_eq!(
            (&status["status"]["revision"], &status["metadata"]["generation"]),
            (&json!(77), &json!(2))
        );
        let managers = status["metadata"]["managedFields"].as_array().expect("entries").clone();
        assert!(managers.iter().any(|entry| entry["subresource"] == "status"
            && entry["fieldsV1"]["f:status"]["f:revision"] == json!({})));
    });
}

// Mutations: applying steps before a failed test; taking a strategic patch for a custom resource.
#[test]
fn json_patches_test_first_and_custom_resources_know_no_strategic_patch() {
    story(|| async {
        let sim = new(1);
        let patch = json!([
            { "op": "replace", "path": "/spec/hosts", "value": ["x"] },
            { "op": "test", "path": "/metadata/name", "value": "other" },
        ]);
        let before = get(&sim, CART).await;
        let (code, body) = ask(&sim, Method::PATCH, CART, "application/json-patch+json", &patch).await;
        assert_eq!(
            (code, body),
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "the server rejected our request due to an error in our request",
                    "reason": "Invalid", "details": {}, "code": 422 })
            )
        );
        assert_eq!(get(&sim, CART).await, before);
        let strategic = "application/strategic-merge-patch+json";
        let (code, _) = ask(&sim, Method::PATCH, CART, strategic, &json!({ "spec": {} })).await;
        assert_eq!(code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    });
}

// Mutation: forgetting who owns a field when somebody else changes it.
#[test]
fn apply_conflicts_name_the_managers_and_force_takes_the_fields() {
    story(|| async {
        let sim = new(1);
        let wish = json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": "cart" }, "spec": { "hosts": ["other"] } });
        let apply = "application/apply-patch+yaml";
        let by = format!("{CART}?fieldManager=tester");
        let (code, body) = ask(&sim, Method::PATCH, &by, apply, &wish).await;
        assert_eq!(code, StatusCode::CONFLICT);
        assert_eq!(
            body["message"],
            "Apply failed with 1 conflict: conflict with \"kubectl\" using networking.istio.io/v1: .spec.hosts"
        );
        assert_eq!(
            body["details"],
            json!({ "causes": [{ "reason": "FieldManagerConflict", "field": ".spec.hosts",
                "message": "conflict with \"kubectl\" using networking.istio.io/v1" }] })
        );
        let (code, body) = ask(&sim, Method::PATCH, &format!("{by}&force=true"), apply, &wish).await;
        assert_eq!((code, &body["spec"]["hosts"]), (StatusCode::OK, &json!(["other"])));
        // What is not applied any more goes, and only that.
        let wish = json!({ "metadata": { "name": "cart", "labels": { "a": "b" } } });
        let (_, body) = ask(&sim, Method::PATCH, &by, apply, &wish).await;
        assert_eq!((&body["spec"]["hosts"], &body["metadata"]["labels"]["a"]), (&Value::Null, &json!("b")));
        assert!(body["spec"]["http"].is_array(), "others own it");
    });
}

// The body was recorded from kube-apiserver 1.36. Mutations: taking the room also in a dry run, or after
// all when there is none.
#[test]
fn an_eviction_needs_room_in_the_one_budget_of_its_pod() {
    story(|| async {
        let sim = new(1);
        let evict = async |app: &str, query: &str| {
            let pod = name(&pods(&sim, "shop", &format!("app={app}")).await[0]);
            let path = format!("/api/v1/namespaces/shop/pods/{pod}/eviction{query}");
            let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod } });
            post(&sim, &path, &body).await
        };
        let (code, body) = evict("payment", "").await;
        assert_eq!(code, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(
            body,
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Cannot evict pod as it would violate the pod's disruption budget.",
                "reason": "TooManyRequests", "details": { "causes": [{ "reason": "DisruptionBudget",
                    "message": "The disruption budget payment needs 2 healthy pods and has 2 currently" }] },
                "code": 429 })
        );
        for _ in 0..3 {
            assert_eq!(evict("web", "?dryRun=All").await.0, StatusCode::CREATED);
        }
        assert_eq!(
            evict("web", "").await,
            (
                StatusCode::CREATED,
                json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
            )
        );
        let left = pods(&sim, "shop", "app=web").await;
        let left =
            left.iter().find(|pod| pod["metadata"]["deletionTimestamp"].is_null()).expect("two are left");
        let path = format!("/api/v1/namespaces/shop/pods/{}/eviction", name(left));
        assert_eq!(post(&sim, &path, &Value::Null).await.0, StatusCode::TOO_MANY_REQUESTS);
        let second = json!({ "metadata": { "name": "second" }, "spec": { "maxUnavailable": 1,
            "selector": { "matchLabels": { "app": "cart" } } } });
        post(&sim, "/apis/policy/v1/namespaces/shop/poddisruptionbudgets", &second).await;
        let (code, body) = evict("cart", "").await;
        assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body["message"].as_str().expect("words").contains("more than one PodDisruptionBudget"));
    });
}

// Mutations: leaving out a precondition; deleting in a dry run.
#[test]
fn a_delete_keeps_to_its_preconditions() {
    story(|| async {
        let sim = new(1);
        let wrong = json!({ "preconditions": { "uid": "other" } });
        let (code, body) = ask(&sim, Method::DELETE, CART, "application/json", &wrong).await;
        assert_eq!((code, &body["reason"]), (StatusCode::CONFLICT, &json!("Conflict")));
        let found = get(&sim, CART).await;
        let right = json!({ "preconditions": { "uid": found["metadata"]["uid"],
            "resourceVersion": found["metadata"]["resourceVersion"] } });
        let dry = format!("{CART}?dryRun=All");
        assert_eq!(ask(&sim, Method::DELETE, &dry, "application/json", &right).await.0, StatusCode::OK);
        let (code, body) = ask(&sim, Method::DELETE, CART, "application/json", &right).await;
        assert_eq!((code, &body["details"]["uid"]), (StatusCode::OK, &found["metadata"]["uid"]));
        assert_eq!(get(&sim, CART).await["code"], 404);
    });
}

// Mutations: a page that shows its last object again; a selector that is not looked at.
#[test]
fn lists_come_in_pages_and_by_selectors() {
    story(|| async {
        let sim = new(1);
        let all = pods(&sim, "shop", "").await;
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = get(&sim, &format!("/api/v1/namespaces/shop/pods?limit=4&continue={token}")).await;
            found.extend(page["items"].as_array().expect("a page").clone());
            match page["metadata"]["continue"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(found, all);
        let of = async |query: &str| {
            let list = get(&sim, &format!("/api/v1/pods?{query}")).await;
            list["items"].as_array().map(Vec::len)
        };
        assert_eq!(of("labelSelector=app%20in%20(cart,web),version!=v1").await, Some(4));
        assert_eq!(of("fieldSelector=metadata.namespace=mail,status.phase=Running").await, Some(1));
        let (a, b) =
            (of("fieldSelector=spec.nodeName=node-a").await, of("fieldSelector=spec.nodeName!=node-a").await);
        assert_eq!(a.zip(b).map(|(a, b)| a + b), of("").await);
        assert_eq!(of("fieldSelector=spec.foo=1").await, None, "an unknown field is refused");
        for number in 0..1_100 {
            merge(&sim, CART, &json!({ "metadata": { "labels": { "n": number.to_string() } } })).await;
        }
        let old = get(&sim, &format!("/api/v1/namespaces/shop/pods?limit=4&continue={token}")).await;
        assert_eq!((&old["code"], &old["reason"]), (&json!(410), &json!("Expired")));
        assert!(old["metadata"]["continue"].is_string());
    });
}

// Mutations: taking an old pod away before the new one is ready; keeping the uid of a replaced pod.
#[test]
fn a_rollout_restart_replaces_pods_one_after_the_other_and_scale_is_followed() {
    story(|| async {
        let sim = new(1);
        let deployment = "/apis/apps/v1/namespaces/shop/deployments/web-v1";
        let before = pods(&sim, "shop", "app=web").await;
        let restart = json!({ "spec": { "template": { "metadata": { "annotations": {
            "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z" } } } } });
        let strategic = "application/strategic-merge-patch+json";
        assert_eq!(ask(&sim, Method::PATCH, deployment, strategic, &restart).await.0, StatusCode::OK);
        let slices = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-abcde";
        for _ in 0..60 {
            wait(1).await;
            let now = pods(&sim, "shop", "app=web").await;
            let staying = now.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count();
            let up =
                now.iter().filter(|pod| ready(pod) && pod["metadata"]["deletionTimestamp"].is_null()).count();
            assert!(up >= 3 && staying <= 4, "{up} ready of {staying}");
            let slice = get(&sim, slices).await;
            let in_use = slice["endpoints"].as_array().expect("endpoints").iter();
            assert!(in_use.filter(|endpoint| endpoint["conditions"]["ready"] == true).count() >= 2);
        }
        let after = pods(&sim, "shop", "app=web").await;
        assert_eq!(after.len(), 3);
        assert!(
            after
                .iter()
                .all(|pod| !before.iter().any(|old| old["metadata"]["uid"] == pod["metadata"]["uid"]))
        );
        let status = get(&sim, deployment).await["status"].clone();
        assert_eq!((&status["updatedReplicas"], &status["readyReplicas"]), (&json!(3), &json!(3)));
        let cluster = Cluster::new(sim.client(), vec!["*".to_owned()]);
        let read =
            async || cluster.read_workload(&Subject::new("apps", "Deployment", "shop", "web-v1")).await;
        let restarted = read().await.expect("it is read").expect("it exists");
        assert_eq!(restarted.restarted_at.as_deref(), Some("2026-01-01T00:00:00Z"));
        let scale = format!("{deployment}/scale");
        let (_, scaled) = merge(&sim, &scale, &json!({ "spec": { "replicas": 5 } })).await;
        assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
        wait(20).await;
        assert_eq!(pods(&sim, "shop", "app=web").await.iter().filter(|pod| ready(pod)).count(), 5);
        // A scale raises the generation and leaves kubectl's annotation as it is.
        let scaled = read().await.expect("it is read").expect("it exists");
        assert!(scaled.workload.generation > restarted.workload.generation);
        assert_eq!(scaled.restarted_at, restarted.restarted_at);
        let budget = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web";
        assert_eq!(get(&sim, budget).await["status"]["disruptionsAllowed"], 3);
    });
}

// Mutation: names that do not follow from the seed.
#[test]
fn the_same_seed_and_the_same_writes_give_the_same_cluster() {
    story(|| async {
        let run = async |seed: u64| {
            let sim = new(seed);
            let pod = name(&pods(&sim, "shop", "app=cart").await[0]);
            ask(&sim, Method::DELETE, &format!("/api/v1/namespaces/shop/pods/{pod}"), "", &Value::Null).await;
            wait(10).await;
            let mut all = get(&sim, "/api/v1/pods").await;
            // The clock of the test goes on between the runs: times differ, and nothing else may.
            all["items"].as_array_mut().expect("pods").iter_mut().for_each(|pod| pod["status"] = Value::Null);
            let names: Vec<(String, Value)> = all["items"]
                .as_array()
                .expect("pods")
                .iter()
                .map(|pod| (name(pod), pod["metadata"]["uid"].clone()))
                .collect();
            (pod, names)
        };
        let (gone, one) = run(3).await;
        assert_eq!(one, run(3).await.1);
        assert_ne!(one, run(4).await.1);
        assert!(!one.iter().any(|(name, _)| *name == gone));
    });
}
