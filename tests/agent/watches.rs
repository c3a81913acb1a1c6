//! The watches beside those of routes, the lookups in what they keep, and the facts read fresh, on recorded
//! objects of real components.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use meshmend::app::intake;
use meshmend::clock::Clock;
use meshmend::cluster::{Cluster, ProxyEyes, Seen, Sync, Watched};
use meshmend::effectors::Effectors;
use meshmend::model::effect::Inspect;
use meshmend::model::facts::{Findings, Population, SyncState};
use meshmend::model::incident::IncidentId;
use meshmend::model::rate::Rate;
use meshmend::model::subject::{CERT_MANAGER, Subject};
use meshmend::rules::{RuleFiles, Rules};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::stub::{Served, Stub};
use super::world::signal;

const CLASSIC: &str = include_str!("../recorded/pod-classic-sidecar.json");
const NATIVE: &str = include_str!("../recorded/pod-native-sidecar.json");
const DEPLOYMENT: &str = include_str!("../recorded/deployment.json");
const BUDGET: &str = include_str!("../recorded/poddisruptionbudget.json");
const CERTIFICATES: &str = include_str!("../recorded/certificates-before.json");
const CLUSTER_ISSUERS: &str = include_str!("../recorded/clusterissuers.json");
const NOW: &str = "2026-11-23T13:00:00Z";

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("it was recorded from a server")
}

fn items(text: &str) -> Vec<Value> {
    value(text)["items"].as_array().expect("it is a list").clone()
}

fn istiod(revision: &str, ready: u32) -> Value {
    json!({
        "metadata": { "name": format!("istiod-{revision}"), "namespace": "istio-system", "uid": revision,
                      "generation": 1, "labels": { "app": "istiod", "istio.io/rev": revision } },
        "spec": { "replicas": 2, "template": { "spec": { "containers": [
            { "name": "discovery", "image": "docker.io/istio/pilot:1.31.0" } ] } } },
        "status": { "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": ready },
    })
}

/// A server with the recorded shop, and with all kinds installed.
fn shop() -> Stub {
    let stub = Stub::with_kinds(&[
        "virtualservices",
        "destinationrules",
        "statefulsets",
        "daemonsets",
        "services",
        "endpointslices",
        "nodes",
        "namespaces",
        "issuers",
    ]);
    let replica_set = json!({ "metadata": { "namespace": "shop", "name": "client-v1-74867dcd64", "uid": "r",
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "client-v1", "uid": "d",
                              "controller": true }] } });
    let mut other = value(CLASSIC);
    other["metadata"]["name"] = json!("client-v1-74867dcd64-other");
    other["metadata"]["uid"] = json!("other");
    stub.serve("pods", Served::Objects(vec![value(CLASSIC), other, value(NATIVE)]));
    stub.serve("replicasets", Served::Objects(vec![replica_set]));
    stub.serve(
        "deployments",
        Served::Objects(vec![value(DEPLOYMENT), istiod("default", 0), istiod("next", 2)]),
    );
    stub.serve("poddisruptionbudgets", Served::Objects(vec![value(BUDGET)]));
    stub.serve("certificates", Served::Objects(items(CERTIFICATES)));
    stub.serve("clusterissuers", Served::Objects(items(CLUSTER_ISSUERS)));
    stub
}

async fn watching(stub: &Stub, namespaces: &[&str]) -> (Arc<Cluster>, mpsc::Receiver<Seen>) {
    let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
    let cluster = Arc::new(Cluster::new(stub.client(), namespaces));
    let (seen, news) = mpsc::channel(64);
    cluster.watches(&seen).into_iter().for_each(|watch| drop(tokio::spawn(watch)));
    tokio::time::timeout(Duration::from_secs(5), cluster.wait_synced()).await.expect("every kind answered");
    (cluster, news)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("never: {what}");
}

/// What vanished next; time is virtual, so the limit costs nothing.
async fn vanished(news: &mut mpsc::Receiver<Seen>) -> Subject {
    let seen = tokio::time::timeout(Duration::from_secs(120), news.recv()).await;
    let Ok(Some(Seen::Vanished(subject))) = seen else { panic!("nothing vanished: {seen:?}") };
    subject
}

fn classic() -> Subject {
    Subject::pod("shop", "client-v1-74867dcd64-7b5nd")
}

// Mutations: the default revision for a pod that names none, or for a namespace that is not seen; the label of
// a revision before the older one; a tag taken for the revision that is there.
#[tokio::test(start_paused = true)]
async fn a_pod_that_names_no_revision_has_that_of_its_namespace() {
    let stub = shop();
    let mut bare = value(CLASSIC);
    for (map, key) in [
        ("annotations", "sidecar.istio.io/status"),
        ("annotations", "istio.io/rev"),
        ("labels", "istio.io/rev"),
    ] {
        bare["metadata"][map].as_object_mut().expect("a map").remove(key);
    }
    stub.serve("pods", Served::Objects(vec![bare]));
    let asks = async |labels: Option<Value>| {
        let space =
            labels.map(|labels| json!({ "metadata": { "name": "shop", "uid": "n", "labels": labels } }));
        stub.serve("namespaces", Served::Objects(space.into_iter().collect()));
        let (cluster, _news) = watching(&stub, &["*"]).await;
        until("namespaces are read", || cluster.whole(Watched::Namespaces, "").is_ok()).await;
        cluster.control_plane_of(&cluster.pod(&classic()).expect("it is kept"))
    };
    let plane = |name: &str| Ok(Subject::new("apps", "Deployment", "istio-system", name));
    assert_eq!(asks(Some(json!({ "istio.io/rev": "next" }))).await, plane("istiod-next"));
    assert_eq!(asks(Some(json!({ "istio-injection": "enabled" }))).await, plane("istiod-default"));
    let both = json!({ "istio-injection": "enabled", "istio.io/rev": "next" });
    assert_eq!(asks(Some(both)).await, plane("istiod-default"));
    let tag = asks(Some(json!({ "istio.io/rev": "prod-stable" }))).await.unwrap_err();
    assert!(tag.contains("revision prod-stable is seen; where prod-stable is a tag"), "{tag}");
    let unseen = asks(None).await.unwrap_err();
    assert!(unseen.contains("namespace shop is not seen"), "{unseen}");
    stub.serve("namespaces", Served::Refusal(403, "cannot list resource \"namespaces\""));
    let (cluster, _news) = watching(&stub, &["*"]).await;
    let why = cluster.control_plane_of(&cluster.pod(&classic()).expect("it is kept")).unwrap_err();
    assert!(why.contains("cannot list resource"), "{why}");
}

// Mutations: counting a 403 or a 404 as an interrupted watch that everybody waits for; never asking again;
// believing an empty store whose right is missing.
#[tokio::test(start_paused = true)]
async fn a_missing_right_or_kind_leaves_the_others_as_they_are() {
    let stub = shop();
    stub.serve("nodes", Served::Refusal(403, "nodes is forbidden: cannot list resource \"nodes\""));
    stub.uninstall("certificates");
    stub.serve("issuers", Served::Refusal(500, "conversion webhook failed"));
    let (cluster, _news) = watching(&stub, &["*"]).await;
    assert!(cluster.is_synced());
    assert_eq!(cluster.whole(Watched::Pods, "shop"), Ok(()));
    assert!(cluster.whole(Watched::Nodes, "").unwrap_err().contains("cannot list resource"));
    assert!(cluster.whole(Watched::Certificates, "demo").unwrap_err().contains("not installed"));
    assert_eq!(cluster.troubles(), Vec::<String>::new(), "routes can be acted on");
    let findings = cluster.findings();
    assert_eq!(findings.len(), 2, "what is not installed is no finding: {findings:?}");
    assert!(!cluster.is_absent(&Subject::new(CERT_MANAGER, "Certificate", "demo", "fast")));
    assert!(cluster.is_absent(&Subject::pod("shop", "nobody")));

    stub.serve("nodes", Served::Objects(Vec::new()));
    stub.serve("issuers", Served::Objects(Vec::new()));
    stub.serve("certificates", Served::Objects(items(CERTIFICATES)));
    until("the right is used", || cluster.findings().is_empty()).await;
    until("cert-manager is found", || cluster.whole(Watched::Certificates, "demo").is_ok()).await;
    assert_eq!(cluster.certificates().len(), items(CERTIFICATES).len());
}

// Mutations: a relist without sweeping (the deleted pod stays); comparing names without uids (the case of
// the pod that was replaced waits on for one that is gone).
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_too_old_finds_what_vanished_meanwhile() {
    let stub = shop();
    let (cluster, mut news) = watching(&stub, &["*"]).await;
    assert_eq!(cluster.proxies().len(), 3);
    let mut replaced = value(CLASSIC);
    replaced["metadata"]["uid"] = json!("another");
    stub.serve("pods", Served::Objects(vec![replaced, value(NATIVE)]));
    stub.expire("pods");
    let mut gone = Vec::new();
    for _ in 0..2 {
        gone.push(vanished(&mut news).await);
    }
    assert_eq!(gone, [classic(), Subject::pod("shop", "client-v1-74867dcd64-other")]);
    until("the watch is whole again", || cluster.whole(Watched::Pods, "shop").is_ok()).await;
    assert_eq!(&*cluster.pod(&classic()).unwrap().uid, "another");
    // And it goes on from there.
    stub.tell("pods", "DELETED", &value(NATIVE));
    assert_eq!(vanished(&mut news).await.name, "server-v2-5c45b84778-f5z2g");
    assert_eq!(cluster.proxies().len(), 1);
}

// Mutations: the ReplicaSet as the owner; any istiod, or one that is ready, instead of the revision's; all
// budgets of the namespace.
#[tokio::test(start_paused = true)]
async fn pods_are_looked_up_with_all_they_belong_to() {
    let stub = shop();
    let (cluster, _news) = watching(&stub, &["*"]).await;
    let deployment = |name: &str| Subject::new("apps", "Deployment", "shop", name);
    assert_eq!(cluster.top_owner(&classic()), deployment("client-v1"));
    // Its ReplicaSet is not there: name and hash tell.
    let native = Subject::pod("shop", "server-v2-5c45b84778-f5z2g");
    assert_eq!(cluster.top_owner(&native), deployment("server-v2"));
    assert_eq!(cluster.population(&classic()), Population { workload: 2, namespace: 3, mesh: 3 });
    assert_eq!(cluster.pods_of(&deployment("client-v1")).len(), 2);
    let pod = cluster.pod(&classic()).unwrap();
    let plane = cluster.control_plane_of(&pod).unwrap();
    assert_eq!(plane, Subject::new("apps", "Deployment", "istio-system", "istiod-default"));
    let planes: Vec<_> =
        cluster.control_planes().iter().map(|p| (p.revision.clone(), p.workload.ready)).collect();
    assert_eq!(planes, [("default".to_owned(), 0), ("next".to_owned(), 2)]);
    assert!(cluster.budgets_of(&pod).is_empty(), "the budget selects the other workload");
    let mut protected = (*pod).clone();
    protected.labels = cluster.workload(&deployment("server-v1")).unwrap().labels.clone();
    assert_eq!(cluster.budgets_of(&protected).len(), 1);

    let mut told = signal("data_plane.proxy_hung", classic(), NOW.parse().unwrap());
    told.owner = Some(deployment("what-a-sender-says"));
    let told = intake::resolved(told, &cluster);
    assert_eq!((told.owner, told.depends_on), (Some(deployment("client-v1")), Some(plane)));
}

// Mutations: taking a pod for known because the labels name it; telling nobody why it is not.
#[tokio::test(start_paused = true)]
async fn alerts_about_pods_are_about_pods_that_we_see() {
    let text = "apiVersion: meshmend.dev/v1alpha1\nkind: AlertMap\nalerts:\n  - names: [ProxyHangs]\n    \
                symptom: data_plane.proxy_hung\n";
    let mut files = RuleFiles::embedded();
    files.policies.insert("alerts.yaml".to_owned(), text.to_owned());
    let map = Rules::load(&files, None).expect("the rules of the test are right").rules.alerts;
    let (cluster, _news) = watching(&shop(), &["*"]).await;
    let here = intake::Here { cluster: &cluster, name: None, now: NOW.parse().unwrap() };
    let told = |pod: &str| {
        let labels = json!({ "alertname": "ProxyHangs", "namespace": "shop", "pod": pod });
        let notification = json!({ "version": "4", "status": "firing", "receiver": "m", "alerts": [
            { "status": "firing", "labels": labels, "annotations": {}, "startsAt": NOW, "fingerprint": "f" }] });
        let notification = serde_json::from_value(notification).expect("it is a notification");
        intake::alerts(&notification, "am", &map, &here).remove(0)
    };
    let known = told(&classic().name);
    assert_eq!((known.symptom.as_str(), &known.subject), ("data_plane.proxy_hung", &classic()));
    assert_eq!(known.owner.unwrap().name, "client-v1");
    assert_eq!(known.depends_on.unwrap().name, "istiod-default");
    let unknown = told("nobody");
    assert_eq!((unknown.symptom.as_str(), unknown.subject), ("custom.alert", Subject::of_namespace("shop")));
    assert_eq!(unknown.labels["meshmend_unmapped"], "Pod shop/nobody is not in our cache");
}

// Mutation: watching control planes only where routes are watched: no proxy would have one.
#[tokio::test(start_paused = true)]
async fn control_planes_are_seen_also_from_a_single_namespace() {
    let (cluster, _news) = watching(&shop(), &["shop"]).await;
    let pod = cluster.pod(&classic()).unwrap();
    assert!(cluster.control_plane_of(&pod).is_ok());
    assert!(cluster.whole(Watched::Budgets, "istio-system").is_err());
}

struct Eyes(bool, SyncState);

impl ProxyEyes for Eyes {
    fn answering(&self, _: &Subject) -> BoxFuture<'_, Result<bool, String>> {
        async { Ok(self.0) }.boxed()
    }

    fn sync(&self, _: &Subject) -> BoxFuture<'_, Result<Sync, String>> {
        async { Ok((self.1, None, None)) }.boxed()
    }
}

async fn findings(effectors: &Effectors, subject: Subject, needs: &[&str]) -> Findings {
    let owner = subject.clone();
    findings_of(effectors, (subject, owner), needs).await
}

async fn findings_of(
    effectors: &Effectors,
    (subject, owner): (Subject, Subject),
    needs: &[&str],
) -> Findings {
    let inspect = Inspect {
        incident: IncidentId::new("t", 1),
        inspection: 1,
        owner,
        subject,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        indicators: Vec::new(),
        uid: String::new(),
        good: Vec::new(),
        rules: Vec::new(),
    };
    effectors.inspect(&inspect).await
}

// Mutations: reading the pod from the watch (it is gone there); a fact without eyes that reads "answering";
// several budgets that read as none; the desired replicas for the ready ones.
#[tokio::test(start_paused = true)]
async fn facts_of_a_pod_are_read_fresh_and_what_is_not_known_is_missing() {
    let stub = shop();
    let (cluster, _news) = watching(&stub, &["*"]).await;
    let clock = Clock::starting_at(NOW.parse().unwrap());
    let blind = Effectors::new(Arc::clone(&cluster), clock, Rate::Off);
    let seeing = Effectors::new(Arc::clone(&cluster), clock, Rate::Off)
        .with_eyes(Arc::new(Eyes(false, SyncState::Rejected)));
    let needs = ["pod", "proxy", "control_plane", "workload", "budget"];
    stub.serve("deployments", Served::Objects(vec![istiod("default", 1)]));

    let found = findings(&blind, classic(), &needs).await;
    assert!(found.facts.proxy.is_none() && found.hopeless.contains("proxy"), "{found:?}");
    assert_eq!(found.missing["workload"], "Deployment shop/client-v1 does not exist any more");
    assert!(found.facts.budget.is_none() && !found.missing.contains_key("budget"), "none selects it");
    let pod = found.facts.pod.unwrap();
    assert_eq!((pod.owner.kind.as_str(), pod.owner.name.as_str()), ("Deployment", "client-v1"));
    assert_eq!((pod.ready, pod.others_ready, pod.age_s), (true, true, 1_166));
    let plane = found.facts.control_plane.unwrap();
    assert_eq!((plane.replicas, plane.ready_replicas, plane.version.as_str()), (2, 1, "1.31.0"));
    assert_eq!(found.population.workload, 2);

    let proxy = findings(&seeing, classic(), &needs).await.facts.proxy.unwrap();
    assert!(!proxy.answering && proxy.rejected && !proxy.native && proxy.last_restart_s.is_none());
    assert_eq!((proxy.container.as_str(), proxy.version.as_str()), ("istio-proxy", "1.31.0"));

    let budget = |name: &str| {
        json!({ "metadata": { "namespace": "shop", "name": name }, "spec": {
        "selector": { "matchLabels": { "app": "client" } } }, "status": { "disruptionsAllowed": 1 } })
    };
    stub.serve("poddisruptionbudgets", Served::Objects(vec![budget("a")]));
    let one = findings(&blind, classic(), &needs).await.facts.budget.unwrap();
    assert_eq!(
        (one.name.as_str(), one.disruptions_allowed, one.unhealthy_policy.as_str()),
        ("a", 1, "IfHealthyBudget")
    );
    stub.serve("poddisruptionbudgets", Served::Objects(vec![budget("a"), budget("b")]));
    let several = findings(&blind, classic(), &needs).await;
    assert!(several.missing["budget"].contains("a, b"), "{several:?}");
    stub.serve("poddisruptionbudgets", Served::Refusal(403, "cannot list resource"));
    let forbidden = findings(&blind, classic(), &needs).await;
    assert!(forbidden.missing["budget"].contains("cannot list resource"), "{forbidden:?}");

    stub.serve("pods", Served::Objects(Vec::new()));
    assert!(findings(&blind, classic(), &needs).await.gone, "the watch has not told yet, the server does");
    let odd = findings(&blind, Subject::service("shop", "server"), &["pod", "destination_rule"]).await;
    assert_eq!(odd.missing.len(), 2, "{odd:?}");
}

// Mutations: what a vanished pod belonged to is not read, so that a rollout that took it away cannot be read
// back; read without being asked for; an owner that is gone too, or cannot be read, taken for the other.
#[tokio::test(start_paused = true)]
async fn the_workload_of_a_pod_that_is_gone_is_read_all_the_same() {
    let stub = shop();
    let (cluster, _news) = watching(&stub, &["*"]).await;
    let effectors = Effectors::new(cluster, Clock::starting_at(NOW.parse().unwrap()), Rate::Off);
    stub.serve("pods", Served::Objects(Vec::new()));
    let of = async |name: &str, needs: &[&str]| {
        let pair = (classic(), Subject::new("apps", "Deployment", "istio-system", name));
        let found = findings_of(&effectors, pair, needs).await;
        assert!(found.gone, "{found:?}");
        found
    };
    let needs = ["workload", "control_plane"];
    let found = of("istiod-default", &needs).await;
    assert_eq!(found.facts.workload.map(|workload| workload.name), Some("istiod-default".to_owned()));
    let found = of("istiod-default", &["pod"]).await;
    assert!(found.facts.workload.is_none() && found.missing.is_empty(), "{found:?}");
    let found = of("istiod-of-yesterday", &needs).await;
    assert!(found.facts.workload.is_none() && found.missing.is_empty(), "{found:?}");
    stub.serve("deployments", Served::Refusal(500, "no answer"));
    let found = of("istiod-default", &needs).await;
    assert!(found.facts.workload.is_none() && found.missing.contains_key("workload"), "{found:?}");
}

// Mutations: an issuer that is not there counts as ready; a certificate that was never issued has no life
// left instead of none known.
#[tokio::test(start_paused = true)]
async fn facts_of_a_certificate_come_with_its_issuer() {
    let stub = shop();
    let (cluster, _news) = watching(&stub, &["*"]).await;
    let effectors =
        Effectors::new(cluster, Clock::starting_at("2026-11-23T13:12:44Z".parse().unwrap()), Rate::Off);
    let certificate = |name: &str| Subject::new(CERT_MANAGER, "Certificate", "demo", name);
    let found = findings(&effectors, certificate("fast"), &["certificate"]).await.facts.certificate.unwrap();
    assert_eq!((found.not_after_s, found.renewal_s, found.life_s), (3_580, 10, 3_600));
    assert!(found.issuer_ready && !found.issuing && found.revision == 2);
    stub.serve("clusterissuers", Served::Objects(Vec::new()));
    let found = findings(&effectors, certificate("fast"), &["certificate"]).await.facts.certificate.unwrap();
    assert!(!found.issuer_ready);
    let never = findings(&effectors, certificate("on-broken-issuer"), &["certificate"]).await;
    assert!(never.missing["certificate"].contains("nothing has been issued"), "{never:?}");
    assert!(findings(&effectors, certificate("nobody"), &["certificate"]).await.gone);
}
