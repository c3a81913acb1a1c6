//! One pod: its containers in order, its status, and its end.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodSpec};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use meshmend::clock::Clock;
use rustix::process::Pid;
use serde_json::json;
use tokio::sync::{Notify, watch};

use super::container::{Container, Restart, Start};
use super::status::{Said, is_sidecar, of_pod, passed};
use super::{Launch, awake};
use crate::proxy::BEHIND;

/// Between two tries to tell the API server, which may be away.
const AGAIN: Duration = Duration::from_millis(500);
/// An API server that hangs is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks whether a container has come as far as the next one needs it.
const LOOK: Duration = Duration::from_millis(50);

/// What a pod is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Run,
    /// It is being deleted, with this grace.
    End(Duration),
    /// Its object has gone.
    Vanish,
}

/// A pod that is run.
pub(super) struct Live {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) ip: Ipv4Addr,
    /// What Prometheus asks it for.
    pub(super) job: Option<&'static str>,
    uid: String,
    /// Where its proxy and the control plane of the mesh meet.
    mesh: PathBuf,
    init: Vec<Arc<Container>>,
    main: Vec<Arc<Container>>,
    changed: Arc<Notify>,
    wish: watch::Sender<Wish>,
}

impl Live {
    /// Reads what is to be run. Nothing is started yet.
    pub(super) fn new(pod: Pod, ip: Ipv4Addr, launch: &Launch) -> anyhow::Result<Self> {
        let wish = wish(&pod);
        let labels = serde_json::to_string(&pod.metadata.labels.clone().unwrap_or_default())?;
        let workload = workload(&pod);
        let spec = pod.spec.context("a pod has a spec")?;
        let (namespace, name) = (pod.metadata.namespace, pod.metadata.name);
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        let uid = pod.metadata.uid.context("a pod has a uid")?;
        let node = spec.node_name.clone().unwrap_or_default();
        let changed = Arc::new(Notify::new());
        let parts = Parts::of(&spec);
        let init = spec.init_containers.unwrap_or_default();
        let common = environment(&(namespace.clone(), name.clone(), ip), &parts, launch);
        let given = [("POD_LABELS", labels), ("POD_WORKLOAD", workload), ("NODE_NAME", node)];
        let account = ("SERVICE_ACCOUNT", spec.service_account_name.unwrap_or_default());
        let common: Vec<(&str, String)> = common.into_iter().chain(given).chain([account]).collect();
        let logs = launch.logs.join(&namespace).join(&name);
        let make = |spec: Spec, restart: Restart| -> anyhow::Result<Arc<Container>> {
            let mut env: Vec<(String, String)> =
                common.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            for variable in spec.env.clone().unwrap_or_default() {
                let value =
                    variable.value.with_context(|| format!("{} has no plain value", variable.name))?;
                env.push((variable.name, value));
            }
            let start = Start {
                program: std::env::current_exe()?,
                args: vec![format!("--role={}", role(&spec)?)],
                env,
                log: logs.join(format!("{}.log", spec.name)),
            };
            let of = (uid.clone(), ip);
            Ok(Arc::new(Container::new((spec, restart), of, start, Arc::clone(&changed))))
        };
        let policy = match spec.restart_policy.as_deref() {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        };
        let of_init = |spec: &Spec| match (spec.restart_policy.as_deref(), policy) {
            (Some("Always"), _) => Restart::Always,
            (_, Restart::Never) => Restart::Never,
            (_, Restart::Always | Restart::OnFailure) => Restart::OnFailure,
        };
        let init: Result<Vec<_>, _> =
            init.into_iter().map(|spec| make(spec.clone(), of_init(&spec))).collect();
        let main: Result<Vec<_>, _> = spec.containers.into_iter().map(|spec| make(spec, policy)).collect();
        let (init, main) = (init?, main?);
        let (wish, _) = watch::channel(wish);
        let mesh = launch.root.join(&namespace).join(&name);
        Ok(Self { namespace, name, ip, job: parts.job, uid, mesh, init, main, changed, wish })
    }

    /// Its object changed.
    pub(super) fn hear(&self, pod: Pod) {
        let wish = wish(&pod);
        self.wish.send_if_modified(|now| {
            let changes = *now != wish && *now != Wish::Vanish;
            if changes {
                *now = wish;
            }
            changes
        });
    }

    /// Its object has gone.
    pub(super) fn vanish(&self) {
        self.wish.send_replace(Wish::Vanish);
    }

    /// The main process of a container.
    pub(super) fn main_process(&self, container: &str) -> anyhow::Result<Pid> {
        let mut all = self.init.iter().chain(&self.main);
        let found = all.find(|known| known.spec.name == container);
        let found = found.with_context(|| format!("{} has no container {container}", self.name))?;
        found.main_process().with_context(|| format!("container {container} of {} does not run", self.name))
    }

    /// The main processes of all containers that run.
    pub(super) fn main_processes(&self) -> Vec<Pid> {
        self.init.iter().chain(&self.main).filter_map(|container| container.main_process()).collect()
    }

    /// Runs it until it has gone.
    pub(super) async fn run(self: Arc<Self>, client: kube::Client, speaks: watch::Receiver<bool>) {
        let telling = tokio::spawn(Arc::clone(&self).tell(client.clone(), speaks.clone()));
        self.changed.notify_one();
        let mut wishes = self.wish.subscribe();
        let ran = async {
            self.bring_up().await;
            self.all_done().await;
            // A native sidecar goes when the containers that it was there for have gone.
            self.end_all(&self.init, GRACE).await;
        };
        let wish = tokio::select! {
            wish = ended(&mut wishes) => wish,
            () = ran => ended(&mut wishes).await,
        };
        let grace = if let Wish::End(grace) = wish { grace } else { Duration::ZERO };
        self.end_all(&self.main, grace).await;
        self.end_all(&self.init, grace).await;
        // The control plane of the mesh forgets its proxy; a pod without one has no folder there.
        match std::fs::remove_dir_all(&self.mesh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                crate::say(&format!("kubelet: {} was not removed: {error}", self.mesh.display()));
            }
            _ => {}
        }
        if wish != Wish::Vanish {
            self.delete(client, speaks).await;
        }
        telling.abort();
    }

    async fn bring_up(&self) {
        for container in &self.init {
            tokio::spawn(Arc::clone(container).live());
            while !passed(container) {
                tokio::time::sleep(LOOK).await;
                if container.state().done && !is_sidecar(container) && !passed(container) {
                    // Its pod has failed; the others never start.
                    return std::future::pending().await;
                }
            }
            self.changed.notify_one();
        }
        for container in &self.main {
            tokio::spawn(Arc::clone(container).live());
        }
    }

    async fn all_done(&self) {
        while !self.main.iter().all(|container| container.state().done) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends containers and waits until they have ended. What never began is done, too.
    async fn end_all(&self, containers: &[Arc<Container>], grace: Duration) {
        containers.iter().for_each(|container| container.end(grace));
        while containers.iter().any(|container| container.main_process().is_some()) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells the API server of every change, as it is when it is told.
    async fn tell(self: Arc<Self>, client: kube::Client, mut speaks: watch::Receiver<bool>) {
        let pods: Api<Pod> = Api::namespaced(client, &self.namespace);
        let (said, since, params) = (Said::default(), Clock::wall(), PatchParams::default());
        loop {
            self.changed.notified().await;
            loop {
                awake(&mut speaks).await;
                let status = of_pod((&self.init, &self.main), (self.ip.to_string(), since), &said);
                // The uid keeps another pod of the same name from being told.
                let patch = Patch::Merge(json!({ "metadata": { "uid": self.uid }, "status": status }));
                let told = pods.patch_status(&self.name, &params, &patch);
                match tokio::time::timeout(PATIENCE, told).await {
                    Ok(Ok(_)) => break,
                    Ok(Err(kube::Error::Api(status))) if [404, 409].contains(&status.code) => break,
                    Ok(Err(error)) => {
                        crate::say(&format!("kubelet: status of {} not told: {error}", self.name));
                    }
                    Err(_) => crate::say(&format!("kubelet: status of {} not told in time", self.name)),
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Its processes have ended: the object may go.
    async fn delete(&self, client: kube::Client, mut speaks: watch::Receiver<bool>) {
        let pods: Api<Pod> = Api::namespaced(client, &self.namespace);
        let this = Preconditions { uid: Some(self.uid.clone()), ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(this), ..DeleteParams::default() }.grace_period(0);
        loop {
            awake(&mut speaks).await;
            match tokio::time::timeout(PATIENCE, pods.delete(&self.name, &params)).await {
                Ok(Ok(_)) => return,
                Ok(Err(kube::Error::Api(status))) if [404, 409].contains(&status.code) => return,
                Ok(Err(_)) | Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

/// A sidecar whose pod is done has as long as a kubelet would give it.
const GRACE: Duration = Duration::from_secs(30);

async fn ended(wishes: &mut watch::Receiver<Wish>) -> Wish {
    match wishes.wait_for(|wish| *wish != Wish::Run).await {
        Ok(wish) => *wish,
        Err(_) => Wish::Vanish,
    }
}

fn wish(pod: &Pod) -> Wish {
    if pod.metadata.deletion_timestamp.is_none() {
        return Wish::Run;
    }
    let grace = pod.metadata.deletion_grace_period_seconds.and_then(|grace| u64::try_from(grace).ok());
    Wish::End(Duration::from_secs(grace.unwrap_or(30)))
}

/// What of a pod's containers all of its processes are told.
struct Parts {
    meshed: bool,
    /// What Prometheus asks it for.
    job: Option<&'static str>,
    ports: Vec<String>,
}

impl Parts {
    fn of(spec: &PodSpec) -> Self {
        let all = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let meshed = all().any(|container| container.name == "istio-proxy");
        let plane = all().any(|container| container.name == "discovery");
        let job = if meshed { Some("envoy-stats") } else { plane.then_some("istiod") };
        let beside = spec.containers.iter().filter(|container| container.name != "istio-proxy");
        let ports = beside.flat_map(|container| container.ports.iter().flatten());
        Self { meshed, job, ports: ports.map(|port| port.container_port.to_string()).collect() }
    }
}

fn environment(
    (namespace, name, ip): &(String, String, Ipv4Addr),
    parts: &Parts,
    launch: &Launch,
) -> [(&'static str, String); 8] {
    let text = |path: &Path| path.display().to_string();
    let shift = if parts.meshed { BEHIND } else { 0 };
    [
        ("POD_NAMESPACE", namespace.clone()),
        ("POD_NAME", name.clone()),
        ("POD_IP", ip.to_string()),
        ("POD_PORTS", parts.ports.join(",")),
        ("APP_SHIFT", shift.to_string()),
        ("PROVING_ROOT", text(&launch.root)),
        ("PROVING_ENVOY", text(&launch.envoy)),
        ("KUBECONFIG", text(&launch.kubeconfig)),
    ]
}

/// The Deployment above a pod, or what else owns it, or itself.
fn workload(pod: &Pod) -> String {
    let owner = pod.metadata.owner_references.iter().flatten().next();
    let hash = pod.metadata.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    match (owner, hash) {
        (Some(owner), Some(hash)) => owner.name.trim_end_matches(&format!("-{hash}")).to_owned(),
        (Some(owner), None) => owner.name.clone(),
        (None, _) => pod.metadata.name.clone().unwrap_or_default(),
    }
}

/// What plays the part of an image, by the image's own name.
fn role(spec: &Spec) -> anyhow::Result<&'static str> {
    let image = spec.image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default().split(':').next().unwrap_or_default();
    match name {
        "app" => Ok("app"),
        "proxyv2" => Ok("proxy"),
        "pilot" => Ok("istiod"),
        other => anyhow::bail!("no part plays the image {other}; known: app, proxyv2, pilot"),
    }
}
