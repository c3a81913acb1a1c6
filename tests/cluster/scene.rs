//! What one test plays in: a namespace of its own with a route, where it leads, and the double of
//! Prometheus.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, ObjectMeta, Patch,
    PatchParams, PostParams,
};
use kube::discovery::{Discovery, Scope, verbs};
use serde_json::{Value, json};

use crate::agent::{Agent, Home, Pace, Place, SOON, Settings};
use crate::control_plane::{ACCOUNT, ControlPlane, apply};
use crate::prometheus::Prometheus;
use crate::wait::{same, until};

/// The route of every test.
pub(crate) const ROUTE: &str = "cart";

/// The stage of one test.
pub(crate) struct Scene {
    /// The control plane.
    pub(crate) plane: &'static ControlPlane,
    /// A client that may do everything: the people and tools beside the agent.
    pub(crate) client: kube::Client,
    /// The test's own namespace.
    pub(crate) namespace: String,
    /// The test's own folder.
    pub(crate) folder: PathBuf,
    /// What the agent measures with.
    pub(crate) prometheus: Prometheus,
}

impl Scene {
    /// Makes the namespace, and in it the two versions of a workload with their pods, endpoints and subsets.
    pub(crate) async fn make(plane: &'static ControlPlane, name: &str) -> anyhow::Result<Self> {
        let client = plane.admin().await?;
        let folder = plane.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let api: Api<Namespace> = Api::all(client.clone());
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        api.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await?;
        let prometheus = Prometheus::start().await?;
        let scene = Self { plane, client, namespace: name.to_owned(), folder, prometheus };
        for document in workload(name) {
            apply(&scene.client, document).await?;
        }
        Ok(scene)
    }

    /// The host that a route of this name serves.
    pub(crate) fn host(&self, name: &str) -> String {
        format!("{name}.{}.svc.cluster.local", self.namespace)
    }

    fn routes(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind))
    }

    /// Creates a route with this spec, and with a label and an annotation that belong to somebody else.
    pub(crate) async fn create_route(&self, name: &str, spec: &Value) -> anyhow::Result<()> {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {
                "name": name, "labels": { "team": "shop" }, "annotations": { "example.com/runbook": "r-17" },
            },
            "spec": spec,
        }))?;
        let params = PostParams { field_manager: Some("kubectl-create".to_owned()), ..PostParams::default() };
        self.routes().create(&params, &object).await?;
        Ok(())
    }

    /// Changes something else of a route than its spec, as a tool would.
    pub(crate) async fn patch_route(&self, name: &str, patch: &Value) -> anyhow::Result<()> {
        let params = PatchParams { field_manager: Some("on-call-tool".to_owned()), ..PatchParams::default() };
        self.routes().patch(name, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Replaces the spec of a route as a person would.
    pub(crate) async fn edit_spec(&self, name: &str, spec: &Value) -> anyhow::Result<()> {
        let mut object = self.routes().get(name).await?;
        object.data["spec"] = spec.clone();
        let params = PostParams { field_manager: Some("kubectl-edit".to_owned()), ..PostParams::default() };
        self.routes().replace(name, &params, &object).await?;
        Ok(())
    }

    /// Deletes a route.
    pub(crate) async fn delete_route(&self, name: &str) -> anyhow::Result<()> {
        self.routes().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    fn of(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(group, version, kind);
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind))
    }

    /// An object of the test's namespace as it is.
    pub(crate) async fn read(
        &self,
        group: &str,
        version: &str,
        kind: &str,
        name: &str,
    ) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.of(group, version, kind).get(name).await?)?)
    }

    /// Deletes an object of the core group at once: no kubelet confirms it here.
    pub(crate) async fn delete_now(&self, version: &str, kind: &str, name: &str) -> anyhow::Result<()> {
        self.of("", version, kind).delete(name, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }

    /// A route as it is.
    pub(crate) async fn route(&self, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.routes().get(name).await?)?)
    }

    /// Waits until the route of the test has this spec.
    pub(crate) async fn route_becomes(&self, spec: &Value) -> anyhow::Result<()> {
        until("the route has the wanted spec", SOON, async || {
            Ok((self.route(ROUTE).await?["spec"] == *spec).then_some(()))
        })
        .await
    }

    /// Fails unless the route of the test has this spec.
    pub(crate) async fn route_is(&self, spec: &Value) -> anyhow::Result<()> {
        same("the spec of the route", &self.route(ROUTE).await?["spec"], spec)
    }

    /// Requests to the route's host within any window from now on, and the bad ones among them.
    pub(crate) fn traffic(&self, all: u32, bad: u32) {
        self.prometheus.traffic(&self.host(ROUTE), all, bad);
    }

    /// Where its agents live.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { plane: self.plane, client: &self.client, folder: &self.folder, namespace: &self.namespace }
    }

    /// Settings of an agent with all its rights, straight at the API server.
    pub(crate) fn settings(&self, mode: &'static str, pace: Pace) -> Settings {
        Settings {
            server: self.plane.url.clone(),
            account: "meshmend",
            mode: Some(mode),
            pace,
            prometheus: Some(self.prometheus.url.clone()),
            sources: "",
        }
    }

    /// Starts an agent that knows the good revision by a person's word, then puts the bad one in force and
    /// lets it make errors.
    pub(crate) async fn fall_ill<'h>(&self, home: &'h Home) -> anyhow::Result<Agent<'h>> {
        self.create_route(ROUTE, &good_spec()).await?;
        self.traffic(500, 0);
        let agent = home.start_ready().await?;
        agent.revisions(ROUTE, 1).await?;
        agent.bless(ROUTE).await?;
        self.edit_spec(ROUTE, &bad_spec()).await?;
        agent.revisions(ROUTE, 2).await?;
        self.traffic(500, 200);
        Ok(agent)
    }

    /// Real writes (not dry runs) of the agent's account in this namespace, with their answers, as the API
    /// server wrote them down.
    pub(crate) fn written(&self) -> anyhow::Result<Vec<u64>> {
        self.written_by(ACCOUNT)
    }

    /// The same of another account.
    pub(crate) fn written_by(&self, user: &str) -> anyhow::Result<Vec<u64>> {
        const READS: [&str; 3] = ["get", "list", "watch"];
        let ours = self.plane.requests()?.into_iter().filter(|request| {
            let verb = request["verb"].as_str().unwrap_or_default();
            request["user"]["username"] == user
                && request["objectRef"]["namespace"] == self.namespace.as_str()
                && !READS.contains(&verb)
                && !request["requestURI"].as_str().unwrap_or_default().contains("dryRun=All")
        });
        ours.map(|request| request["responseStatus"]["code"].as_u64().context("an answer has a code"))
            .collect()
    }

    /// The resourceVersion of every object of the namespace, of whatever kind.
    pub(crate) async fn versions(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let discovery = Discovery::new(self.client.clone()).run().await?;
        let mut found = BTreeMap::new();
        for (resource, capabilities) in discovery.groups().flat_map(|group| group.recommended_resources()) {
            if capabilities.scope != Scope::Namespaced || !capabilities.supports_operation(verbs::LIST) {
                continue;
            }
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
            let listed = until("a kind can be listed", SOON, async || {
                match api.list(&ListParams::default()).await {
                    // The server says "storage is (re)initializing" for a moment after a CRD was made.
                    Err(kube::Error::Api(status)) if status.code == 429 => Ok(None),
                    listed => Ok(Some(listed?)),
                }
            });
            for object in listed.await?.items {
                let name = format!("{}/{}", resource.plural, object.metadata.name.unwrap_or_default());
                found.insert(name, object.metadata.resource_version.unwrap_or_default());
            }
        }
        Ok(found)
    }

    /// An alert of a common rule set about the route's host, in the form of Alertmanager's webhook.
    pub(crate) fn alert(&self) -> Value {
        self.alert_about(ROUTE)
    }

    /// The same about the host of another route.
    pub(crate) fn alert_about(&self, name: &str) -> Value {
        let now = meshmend::clock::Clock::wall();
        let labels = json!({
            "alertname": "IstioHigh5xxResponseRate", "severity": "critical", "cluster": "tests",
            "destination_service": self.host(name), "namespace": self.namespace,
        });
        json!({
            "version": "4", "status": "firing", "receiver": "meshmend", "truncatedAlerts": 0,
            "groupKey": "{}:{alertname=\"IstioHigh5xxResponseRate\"}", "externalURL": "http://alertmanager:9093",
            "groupLabels": { "alertname": "IstioHigh5xxResponseRate" },
            "commonLabels": labels, "commonAnnotations": {},
            "alerts": [{
                "status": "firing", "labels": labels, "fingerprint": format!("c16947b2d5583c80-{name}"),
                "annotations": { "summary": "more than 5 % of the requests are answered 5xx" },
                "startsAt": now, "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus:9090/graph?g0.expr=rate",
            }],
        })
    }
}

/// The revision that works: keys at every depth that the bad one changes, lacks, or has in addition.
pub(crate) fn good_spec() -> Value {
    json!({
        "hosts": [ROUTE],
        "http": [{
            "name": "all",
            "timeout": "5s",
            "retries": { "attempts": 2, "perTryTimeout": "2s" },
            "route": [{ "destination": { "host": ROUTE, "subset": "v1" }, "weight": 100 }],
        }],
    })
}

/// The same spec for another host, with the same destinations.
pub(crate) fn serving(name: &str, mut spec: Value) -> Value {
    spec["hosts"] = json!([name]);
    spec
}

/// The revision that makes errors: another subset, and a key at the top that the good one does not have.
pub(crate) fn bad_spec() -> Value {
    json!({
        "hosts": [ROUTE],
        "gateways": ["mesh"],
        "http": [{
            "name": "all",
            "match": [{ "uri": { "prefix": "/" } }],
            "route": [
                { "destination": { "host": ROUTE, "subset": "v1" }, "weight": 60 },
                { "destination": { "host": ROUTE, "subset": "v2" }, "weight": 40 },
            ],
        }],
    })
}

/// A third revision, of somebody who acts while we do.
pub(crate) fn other_spec() -> Value {
    let mut spec = good_spec();
    spec["http"][0]["timeout"] = json!("9s");
    spec
}

/// Two pods of version v1 and one of v2, all ready, and the rule that makes subsets of them. EndpointSlices
/// refuse loopback addresses; nothing is ever sent to these.
fn workload(namespace: &str) -> Vec<Value> {
    let pods = [
        ("cart-v1-a", "v1", "10.244.1.1"),
        ("cart-v1-b", "v1", "10.244.1.2"),
        ("cart-v2-a", "v2", "10.244.1.3"),
    ];
    let mut documents: Vec<Value> = pods
        .iter()
        .map(|(name, version, _)| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": name, "namespace": namespace, "labels": { "app": ROUTE, "version": version },
                },
                "spec": { "nodeName": "node-1", "containers": [{ "name": "app", "image": "example.com/cart" }] },
            })
        })
        .collect();
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|(name, _, address)| {
            json!({
                "addresses": [address], "conditions": { "ready": true },
                "targetRef": { "kind": "Pod", "name": name, "namespace": namespace },
            })
        })
        .collect();
    documents.push(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "cart-1", "namespace": namespace, "labels": { "kubernetes.io/service-name": ROUTE },
        },
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }], "endpoints": endpoints,
    }));
    documents.push(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": { "name": ROUTE, "namespace": namespace },
        "spec": {
            "host": ROUTE,
            "subsets": [
                { "name": "v1", "labels": { "version": "v1" } }, { "name": "v2", "labels": { "version": "v2" } },
            ],
        },
    }));
    documents
}
