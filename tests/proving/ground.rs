//! The ground of one proof: a control plane with its controllers, nodes that run pods, and what proofs need to
//! put faults into them and to see what came of it.

mod objects;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use meshmend::clock::Clock;
use serde_json::Value;
use tokio::time::Instant;

use crate::agent::{Home, Pace, Place, Settings};
use crate::control_plane::{ControlPlane, apply};
use crate::grant::{account, grant};
use crate::kubelet::{Kubelet, Launch};
use crate::monitoring;
use crate::parts::Parts;
use crate::process::Component;
use crate::table::Row;
use crate::traffic::{Load, Wanted};
use crate::wait::until;

pub(crate) use objects::{Sidecar, Workload};

/// How long a workload may take until all its pods are ready, on a machine busy with other proofs.
pub(crate) const SOON: Duration = Duration::from_secs(90);
/// The agent takes the silence of proxies younger than a minute for their start; the others are a little older.
const SETTLED: SignedDuration = SignedDuration::from_secs(62);
/// The account of every proof's agent.
pub(crate) const ACCOUNT: &str = "prover";

/// The file of people who may do everything.
const KUBECONFIG: &str = "people.kubeconfig";

/// Everything a proof stands on.
pub(crate) struct Ground {
    /// The control plane.
    pub(crate) plane: ControlPlane,
    /// The nodes and their pods.
    pub(crate) kubelet: Kubelet,
    /// Everything the proof writes.
    pub(crate) folder: PathBuf,
    client: kube::Client,
    parts: Parts,
    began: Instant,
    prometheus: OnceLock<Arc<Component>>,
}

/// What an agent is there for.
pub(crate) struct Duty<'d> {
    /// The namespace it acts in.
    pub(crate) namespace: &'d str,
    /// Names and texts of its playbooks.
    pub(crate) playbooks: &'d [(&'d str, String)],
    /// Its policy, whole.
    pub(crate) policy: &'d str,
    /// Further sources, as lines of the configuration.
    pub(crate) sources: &'static str,
    /// Address of the API server, where it is not to be the plain one.
    pub(crate) server: Option<String>,
}

/// istiod and proxies are asked as often as can be.
pub(crate) const MESH_SOURCES: &str = "  proxies: { interval: 5s }\n  istiod: { interval: 5s }\n";

/// The agent's account as the API server calls it.
fn user() -> String {
    format!("system:serviceaccount:meshmend:{ACCOUNT}")
}

impl Ground {
    /// Starts the nodes of a control plane that runs.
    pub(crate) async fn start(plane: ControlPlane, parts: Parts) -> anyhow::Result<Self> {
        let folder = plane.folder.clone();
        let client = plane.admin().await?;
        let kubeconfig = folder.join(KUBECONFIG);
        std::fs::write(&kubeconfig, plane.admin_kubeconfig().to_string())?;
        let launch = Launch {
            envoy: parts.envoy.clone(),
            root: folder.join("mesh"),
            targets: folder.join("targets"),
            logs: folder.join("pods"),
            kubeconfig,
        };
        std::fs::create_dir_all(&launch.root)?;
        std::fs::create_dir_all(&launch.targets)?;
        let kubelet = Kubelet::start(&plane, launch).await?;
        let prometheus = OnceLock::new();
        Ok(Self { plane, kubelet, folder, client, parts, began: Instant::now(), prometheus })
    }

    /// Prints a line of the proof's report: what, and how long it took.
    pub(crate) fn report(&self, what: &str, took: Duration) -> anyhow::Result<()> {
        self.note(&format!("{what}: {:.1} s", took.as_secs_f64()))
    }

    /// Prints a line of the proof's report.
    pub(crate) fn note(&self, line: &str) -> anyhow::Result<()> {
        use std::io::Write as _;
        let at = self.began.elapsed().as_secs_f64();
        Ok(writeln!(std::io::stdout(), "  {at:7.2}  {line}")?)
    }

    /// Adds a row to the table of all proofs.
    pub(crate) fn row(&self, row: &Row) -> anyhow::Result<()> {
        // The folder of the proof is where all its temporary files go.
        row.keep(&std::env::temp_dir())
    }

    /// A client that may do everything.
    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Applies all documents of a YAML text, as a person would.
    pub(crate) async fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        for document in serde_saphyr::from_multiple::<Value>(yaml)? {
            self.apply_object(document).await?;
        }
        Ok(())
    }

    /// Applies one object.
    pub(crate) async fn apply_object(&self, object: Value) -> anyhow::Result<()> {
        apply(&self.client, object).await.map(|_| ())
    }

    /// Changes an object by a merge patch, as a person with kubectl would; the answer is the object.
    pub(crate) async fn change(
        &self,
        (namespace, version, kind, name): (&str, &str, &str, &str),
        patch: &Value,
    ) -> anyhow::Result<Value> {
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        let changed = self.api(namespace, version, kind).patch(name, &params, &Patch::Merge(patch)).await?;
        Ok(serde_json::to_value(changed)?)
    }

    /// An object as it is.
    pub(crate) async fn read(
        &self,
        (namespace, version, kind, name): (&str, &str, &str, &str),
    ) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.api(namespace, version, kind).get(name).await?)?)
    }

    /// Starts cert-manager's own controllers; they are at work when the first issuer is ready.
    pub(crate) fn cert_manager(&self) -> anyhow::Result<Arc<Component>> {
        let mut command = Command::new(self.plane.built("cert_manager"));
        command.arg("--kubeconfig").arg(self.folder.join(KUBECONFIG));
        let log = self.folder.join("cert-manager.log");
        Ok(Arc::new(Component::start_as("cert-manager", &command, &log)?))
    }

    /// Objects of a kind in a namespace.
    pub(crate) fn api(&self, namespace: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client(), namespace, &resource)
    }

    /// A component: `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler`.
    pub(crate) fn component(&self, name: &str) -> anyhow::Result<Arc<Component>> {
        self.plane.component(name)
    }

    /// The pods with these labels, sorted by name; those that are being deleted are left out.
    pub(crate) async fn pods(&self, namespace: &str, labels: &str) -> anyhow::Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        let listed = api.list(&ListParams::default().labels(labels)).await?;
        let mut pods: Vec<Pod> =
            listed.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        Ok(pods)
    }

    /// Waits until a Deployment has all its replicas ready.
    pub(crate) async fn ready(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client(), namespace);
        until(&format!("{namespace}/{name} is ready"), SOON, async || {
            let found = api.get(name).await?;
            let wanted = found.spec.replicas.unwrap_or(1);
            let ready = found.status.and_then(|status| status.ready_replicas).unwrap_or(0);
            Ok((ready == wanted).then_some(()))
        })
        .await
    }

    /// Starts the stand-in for istiod, as a Deployment in `istio-system`, and waits until it is ready.
    pub(crate) async fn istiod(&self) -> anyhow::Result<()> {
        for object in objects::istiod() {
            self.apply_object(object).await?;
        }
        self.ready("istio-system", "istiod").await
    }

    /// Makes a namespace, and in it a Deployment and a Service of the same name; waits for nothing.
    pub(crate) async fn deploy(&self, workload: &Workload<'_>) -> anyhow::Result<()> {
        for object in workload.objects() {
            self.apply_object(object).await?;
        }
        Ok(())
    }

    /// Begins to send requests through the sidecar of a pod.
    pub(crate) async fn load(
        &self,
        (namespace, labels): (&str, &str),
        host: &str,
        rate: u32,
    ) -> anyhow::Result<Load> {
        let pods = self.pods(namespace, labels).await?;
        let name =
            pods.first().and_then(|pod| pod.metadata.name.clone()).context("no pod has these labels")?;
        let client = self.kubelet.address(namespace, &name)?;
        Load::start(Wanted { client, host: host.to_owned(), path: "/".to_owned(), rate })
    }

    /// Starts Prometheus with these groups of rules; it asks istiod and all proxies once a second.
    pub(crate) async fn prometheus(&self, rules: &Value) -> anyhow::Result<Arc<Component>> {
        let folder = self.folder.join("prometheus");
        let started =
            monitoring::prometheus((&self.parts, &folder, &self.folder.join("targets")), rules).await?;
        self.prometheus.set(Arc::clone(&started)).ok();
        Ok(started)
    }

    /// Prometheus, once it was started.
    pub(crate) fn monitor(&self) -> Option<Arc<Component>> {
        self.prometheus.get().cloned()
    }

    /// Starts Alertmanager; it posts to this agent.
    pub(crate) async fn alertmanager(&self, home: &Home) -> anyhow::Result<Arc<Component>> {
        let folder = self.folder.join("alertmanager");
        monitoring::alertmanager((&self.parts, &folder), (&home.alerts_url(), &home.intake_file())).await
    }

    /// Asks Prometheus; the answer is its `result`.
    pub(crate) async fn query(&self, promql: &str) -> anyhow::Result<Value> {
        self.ask(&[("query", promql)]).await.map(|mut data| data["result"].take())
    }

    /// Asks Prometheus for a moment, in seconds since 1970; the answer is its `data`.
    pub(crate) async fn query_at(&self, promql: &str, at_s: f64) -> anyhow::Result<Value> {
        self.ask(&[("query", promql), ("time", &at_s.to_string())]).await
    }

    async fn ask(&self, form: &[(&str, &str)]) -> anyhow::Result<Value> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let url = format!("{}/api/v1/query", monitoring::PROMETHEUS);
        let mut answer: Value = http.post(url).form(form).send().await?.json().await?;
        anyhow::ensure!(answer["status"] == "success", "{form:?}: {answer}");
        Ok(answer["data"].take())
    }

    /// Files, account and rights of an agent: exactly what `meshmend rbac` prints for its files. It is started
    /// with [`Home::start_ready`], and again after it was killed.
    pub(crate) async fn agent(&self, duty: &Duty<'_>) -> anyhow::Result<Home> {
        account(&self.client, ACCOUNT).await?;
        let folder: &Path = &self.folder;
        let place = Place { plane: &self.plane, client: &self.client, folder, namespace: duty.namespace };
        let settings = Settings {
            server: duty.server.clone().unwrap_or_else(|| self.plane.url.clone()),
            account: ACCOUNT,
            mode: Some("enforce"),
            pace: Pace::Own,
            prometheus: self.prometheus.get().map(|_| monitoring::PROMETHEUS.to_owned()),
            sources: duty.sources,
        };
        let home = Home::make(&place, "agent", &settings).await?;
        for (name, text) in duty.playbooks {
            home.put(&format!("playbooks/{name}.rhai"), text)?;
        }
        home.put("policies/test.yaml", duty.policy)?;
        grant(&place, &home, ACCOUNT).await?;
        Ok(home)
    }

    /// Waits until pods and their proxies are older than a minute: the agent takes the silence of younger ones
    /// for their start.
    pub(crate) async fn settled(&self, namespace: &str, labels: &str) -> anyhow::Result<()> {
        let young = SETTLED;
        until("the pods are a minute old", SOON, async || {
            let pods = self.pods(namespace, labels).await?;
            let old = |pod: &Pod| {
                let status = pod.status.as_ref()?;
                let init = status.init_container_statuses.iter().flatten();
                let all = status.container_statuses.iter().flatten().chain(init);
                let since =
                    all.filter_map(|one| Some(one.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0));
                Some(Clock::wall().duration_since(since.max()?) > young)
            };
            Ok(pods.iter().all(|pod| old(pod) == Some(true)).then_some(()))
        })
        .await
    }

    /// How often the agent's account came by port-forward to a port of a pod: 15020 is asked by acts alone,
    /// 15021 and 15014 by checks.
    pub(crate) fn forwards(&self, port: u16) -> anyhow::Result<usize> {
        Ok(self.forwarded(port)?.len())
    }

    /// When the agent's account came by port-forward to a port of this pod for the last time.
    pub(crate) fn last_forward(&self, pod: &str, port: u16) -> anyhow::Result<Option<Value>> {
        let mut all = self.forwarded(port)?.into_iter();
        let last = all.rfind(|request| request["objectRef"]["name"] == pod);
        Ok(last.map(|request| request["requestReceivedTimestamp"].clone()))
    }

    fn forwarded(&self, port: u16) -> anyhow::Result<Vec<Value>> {
        let (user, port) = (user(), format!("ports={port}"));
        let ours = |request: &Value| {
            request["user"]["username"] == user.as_str()
                && request["objectRef"]["subresource"] == "portforward"
                && request["requestURI"].as_str().is_some_and(|uri| uri.contains(&port))
        };
        Ok(self.plane.requests()?.into_iter().filter(ours).collect())
    }

    /// What the agent's account asked of the API server and was answered. Reads, dry runs, questions about its
    /// own rights and port-forwards (the API server calls them reads) are left out. The oldest comes first, also
    /// where two API servers tell.
    pub(crate) fn writes(&self) -> anyhow::Result<Vec<Value>> {
        const READS: [&str; 3] = ["get", "list", "watch"];
        let user = user();
        let mut all = self.plane.requests()?;
        all.sort_by(|a, b| {
            let at = |request: &Value| request["requestReceivedTimestamp"].as_str().map(str::to_owned);
            at(a).cmp(&at(b))
        });
        Ok(all
            .into_iter()
            .filter(|request| {
                let text =
                    |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                text("/user/username") == user
                    && !READS.contains(&text("/verb"))
                    && !text("/requestURI").contains("dryRun=All")
                    && !text("/objectRef/resource").starts_with("selfsubject")
            })
            .collect())
    }
}
