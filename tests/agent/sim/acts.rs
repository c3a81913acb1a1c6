//! Proxies, certificates and the control plane, and what acts on them do.

use http::{Method, StatusCode};
use meshmend::sim::{Fault, Sim};
use serde_json::{Value, json};
use std::sync::Arc;

use super::{ask, get, merge, new, pods, proxy, ready, wait};
use crate::healing::story;

fn answers(sim: &Arc<Sim>, pod: &str, port: u16) -> Option<u16> {
    sim.proxy_answer("shop", pod, port, "GET", "/healthz/ready").map(|(code, _)| code)
}

/// The line of a pod in what all replicas of istiod say.
async fn sync(sim: &Arc<Sim>, pod: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for replica in pods(sim, "istio-system", "app=istiod").await {
        let name = super::name(&replica);
        let (code, text) =
            sim.proxy_answer("istio-system", &name, 15014, "GET", "/debug/syncz").expect("no hang");
        assert_eq!(code, 200);
        let lines: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        found.extend(lines.into_iter().filter(|line| line["proxy"] == format!("{pod}.shop")));
    }
    found
}

async fn pod(sim: &Arc<Sim>, name: &str) -> Value {
    get(sim, &format!("/api/v1/namespaces/shop/pods/{name}")).await
}

// Mutations: answering where it hangs; keeping the container's id or its count; a new pod.
#[test]
fn a_hung_proxy_is_cured_by_a_restart_of_its_container_alone() {
    story(|| async {
        for seed in 1..4 {
            let sim = new(seed);
            let subject = sim.inject(Fault::HungProxy).subject;
            assert_eq!((subject.kind.as_str(), subject.namespace.as_str()), ("Pod", "shop"));
            let name = subject.name.as_str();
            assert_eq!((answers(&sim, name, 15021), answers(&sim, name, 15020)), (None, None));
            assert_eq!(sim.proxy_answer("shop", name, 15000, "GET", "/server_info"), None);
            wait(30).await;
            let before = pod(&sim, name).await;
            assert!(ready(&before), "the kubelet has not missed it often enough yet");
            let lines = sync(&sim, name).await;
            assert_eq!(lines.len(), 1, "one replica knows it");
            assert_ne!(lines[0]["route_sent"], lines[0]["route_acked"], "it does not follow");
            assert!(!lines[0].to_string().contains("lastError"));
            let tell =
                |method, path| sim.proxy_answer("shop", name, 15020, method, path).map(|(code, _)| code);
            assert_eq!(tell("GET", "/quitquitquit"), Some(405));
            assert_eq!((tell("POST", "/drain"), tell("POST", "/quitquitquit")), (Some(200), Some(200)));
            wait(1).await;
            assert_eq!(answers(&sim, name, 15021), Some(0), "nothing listens meanwhile");
            wait(5).await;
            let after = pod(&sim, name).await;
            assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
            assert_ne!(proxy(&after)["containerID"], proxy(&before)["containerID"]);
            assert_eq!((&proxy(&after)["restartCount"], ready(&after)), (&json!(1), true));
            assert_eq!(answers(&sim, name, 15021), Some(200));
            let line = sync(&sim, name).await;
            assert_eq!(line[0]["route_sent"], line[0]["route_acked"]);
        }
    });
}

// Mutations: forgetting the minute of misses; a replacement that inherits the hang.
#[test]
fn a_hung_proxy_gets_its_pod_out_of_the_endpoints_after_a_minute_and_a_new_pod_is_well() {
    story(|| async {
        let sim = new(1);
        let name = sim.inject(Fault::HungProxy).subject.name;
        wait(65).await;
        let seen = pod(&sim, &name).await;
        assert!(!ready(&seen) && proxy(&seen)["ready"] == false);
        let app = seen["metadata"]["labels"]["app"].as_str().expect("an app").to_owned();
        let slice =
            get(&sim, &format!("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/{app}-abcde")).await;
        let endpoints = slice["endpoints"].as_array().expect("endpoints").clone();
        let ours =
            endpoints.iter().find(|endpoint| endpoint["targetRef"]["name"] == *name).expect("it is listed");
        assert_eq!(ours["conditions"]["ready"], false);
        ask(&sim, Method::DELETE, &format!("/api/v1/namespaces/shop/pods/{name}"), "", &Value::Null).await;
        wait(10).await;
        let now = pods(&sim, "shop", &format!("app={app}")).await;
        assert!(now.iter().all(ready) && now.iter().all(|pod| super::name(pod) != name));
    });
}

// Mutation: letting a classic proxy that may not restart come back.
#[test]
fn a_proxy_that_may_not_restart_is_gone_unless_it_is_native() {
    story(|| async {
        let sim = new(1);
        let sidecar = json!({ "name": "istio-proxy", "image": "p" });
        let mut native = sidecar.clone();
        native["restartPolicy"] = json!("Always");
        let app = json!({ "name": "app", "image": "a" });
        for (name, spec) in [
            ("classic", json!({ "restartPolicy": "OnFailure", "containers": [app, sidecar] })),
            ("native", json!({ "restartPolicy": "Never", "containers": [app], "initContainers": [native] })),
        ] {
            let object = json!({ "metadata": { "name": name }, "spec": spec });
            super::post(&sim, "/api/v1/namespaces/shop/pods", &object).await;
        }
        wait(6).await;
        for name in ["classic", "native"] {
            assert!(ready(&pod(&sim, name).await), "{name}");
            sim.proxy_answer("shop", name, 15020, "POST", "/quitquitquit").expect("an answer");
        }
        wait(6).await;
        let (classic, native) = (pod(&sim, "classic").await, pod(&sim, "native").await);
        assert_eq!(
            (proxy(&classic)["state"]["terminated"]["exitCode"].clone(), ready(&classic)),
            (json!(0), false)
        );
        assert_eq!((proxy(&native)["restartCount"].clone(), ready(&native)), (json!(1), true));
    });
}

// Mutations: a restart that keeps the last good configuration; a lastError on what is not rejected.
#[test]
fn a_rejected_configuration_is_told_by_istiod_and_lost_by_a_restart() {
    story(|| async {
        let sim = new(1);
        let name = sim.inject(Fault::RejectedConfiguration).subject.name;
        let line = sync(&sim, &name).await.remove(0);
        assert_ne!(line["listener_sent"], line["listener_acked"]);
        assert_eq!(line["cluster_sent"], line["cluster_acked"]);
        let listener = &line["resources"]["type.googleapis.com/envoy.config.listener.v3.Listener"];
        assert!(listener["lastError"].as_str().is_some_and(|text| text.contains("listener")));
        assert_eq!(answers(&sim, &name, 15021), Some(200), "it works on with what it had");
        sim.proxy_answer("shop", &name, 15020, "POST", "/quitquitquit").expect("an answer");
        wait(10).await;
        assert_eq!(answers(&sim, &name, 15021), Some(503));
    });
}

// Mutations: proxies that get their configuration from nobody; istiod that stays ready.
#[test]
fn without_a_control_plane_a_new_proxy_gets_no_configuration() {
    story(|| async {
        let sim = new(1);
        let subject = sim.inject(Fault::ControlPlaneDown).subject;
        assert_eq!((subject.kind.as_str(), subject.name.as_str()), ("Deployment", "istiod"));
        wait(3).await;
        let deployment = "/apis/apps/v1/namespaces/istio-system/deployments/istiod";
        assert_eq!(get(&sim, deployment).await["status"]["readyReplicas"], Value::Null);
        let istiod = super::name(&pods(&sim, "istio-system", "app=istiod").await[0]);
        let asked = sim.proxy_answer("istio-system", &istiod, 15014, "GET", "/debug/syncz");
        assert_eq!(asked.map(|(code, _)| code), Some(0));
        let web = super::name(&pods(&sim, "shop", "app=web").await[0]);
        assert_eq!(answers(&sim, &web, 15021), Some(200), "those that have one keep it");
        sim.proxy_answer("shop", &web, 15020, "POST", "/quitquitquit").expect("an answer");
        wait(10).await;
        assert_eq!(answers(&sim, &web, 15021), Some(503));
        sim.lift(Fault::ControlPlaneDown);
        wait(10).await;
        assert_eq!(get(&sim, deployment).await["status"]["readyReplicas"], 2);
        assert_eq!(answers(&sim, &web, 15021), Some(200));
    });
}

// Mutation: forgetting that nothing helps.
#[test]
fn where_nothing_helps_a_restarted_proxy_hangs_again() {
    story(|| async {
        let sim = new(1);
        let name = sim.inject(Fault::NotHelping).subject.name;
        sim.proxy_answer("shop", &name, 15020, "POST", "/quitquitquit").expect("an answer");
        wait(10).await;
        assert_eq!(proxy(&pod(&sim, &name).await)["restartCount"], 1);
        assert_eq!(answers(&sim, &name, 15021), None);
    });
}

const TLS: &str = "/apis/cert-manager.io/v1/namespaces/istio-system/certificates/gateway-tls";

fn renew() -> Value {
    json!({ "status": { "conditions": [
        { "type": "Ready", "status": "True", "reason": "Ready", "message": "" },
        { "type": "Issuing", "status": "True", "reason": "Anything", "message": "" },
    ] } })
}

fn issuing(certificate: &Value) -> bool {
    certificate["status"]["conditions"].as_array().expect("conditions").iter().any(|c| c["type"] == "Issuing")
}

// Mutations: the revision before the condition is gone; renewal without being asked; an issuer not asked.
#[test]
fn a_certificate_is_renewed_on_demand_when_its_issuer_is_ready() {
    story(|| async {
        let sim = new(1);
        let subject = sim.inject(Fault::ExpiringCertificate).subject;
        assert_eq!((subject.group.as_str(), subject.name.as_str()), ("cert-manager.io", "gateway-tls"));
        assert!((sim.health(Fault::ExpiringCertificate) - 0.1).abs() < 0.01);
        wait(60).await;
        let before = get(&sim, TLS).await;
        assert!(!issuing(&before), "it was forgotten");
        let issuer = "/apis/cert-manager.io/v1/clusterissuers/mesh-ca/status";
        let is =
            |status: &str| json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } });
        merge(&sim, issuer, &is("False")).await;
        assert_eq!(merge(&sim, &format!("{TLS}/status"), &renew()).await.0, StatusCode::OK);
        wait(60).await;
        let stuck = get(&sim, TLS).await;
        assert!(issuing(&stuck) && stuck["status"]["revision"] == before["status"]["revision"]);
        merge(&sim, issuer, &is("True")).await;
        for _ in 0..5 {
            wait(1).await;
            let now = get(&sim, TLS).await;
            let done = now["status"]["revision"] != before["status"]["revision"];
            assert_ne!(done, issuing(&now), "the revision and the end of issuing are one");
        }
        let after = get(&sim, TLS).await;
        assert_eq!(after["status"]["revision"], 2);
        assert_ne!(after["status"]["notAfter"], before["status"]["notAfter"]);
        assert!(sim.health(Fault::ExpiringCertificate) > 0.99);
    });
}
