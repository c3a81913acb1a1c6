//! A stub of a kubelet: nodes, leases, pods as processes, port-forwards. The scheduler binds pods to its nodes,
//! and everybody learns from the API server what became of them.
//!
//! It differs from a kubelet in what is not there to be had: containers are processes of one network namespace,
//! each pod with an address of its own; volumes are ignored; only HTTP probes are made.

mod container;
mod node;
mod pod;
mod probe;
mod processes;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::control_plane::ControlPlane;
use crate::port_forward::{Door, Forward};
use crate::proxy::{LOOPBACK, own_loopback};

pub(crate) use processes::Process;

/// The address of all nodes: the kubelet listens there.
pub(crate) const NODE_ADDRESS: &str = "10.244.0.1";
/// The nodes of every proof.
pub(crate) const NODES: [&str; 2] = ["node-1", "node-2"];
/// A port of a pod that lives takes a connection at once; what is frozen takes it too.
const DIAL: Duration = Duration::from_secs(5);

/// What Prometheus asks of pods, and at which port.
pub(crate) const JOBS: [(&str, u16); 2] = [("envoy-stats", 15_020), ("istiod", 15_014)];

/// What the processes of pods are started with.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// Envoy itself.
    pub(crate) envoy: PathBuf,
    /// The folder that proxies and the control plane of the mesh share.
    pub(crate) root: PathBuf,
    /// Files that tell Prometheus whom to ask.
    pub(crate) targets: PathBuf,
    /// Logs of containers.
    pub(crate) logs: PathBuf,
    /// A kubeconfig of an administrator.
    pub(crate) kubeconfig: PathBuf,
}

/// Waits until the kubelet may speak.
async fn awake(awake: &mut watch::Receiver<bool>) {
    // Without a kubelet nobody is told anything.
    if awake.wait_for(|awake| *awake).await.is_err() {
        std::future::pending().await
    }
}

/// The running kubelet.
pub(crate) struct Kubelet {
    shared: Arc<Shared>,
}

struct Shared {
    client: kube::Client,
    launch: Launch,
    /// By uid.
    pods: Mutex<BTreeMap<String, Arc<pod::Live>>>,
    addresses: AtomicU16,
    /// Whether it says anything to anybody.
    awake: watch::Sender<bool>,
}

impl Kubelet {
    /// Registers the nodes and begins to run what is bound to them.
    pub(crate) async fn start(plane: &ControlPlane, launch: Launch) -> anyhow::Result<Self> {
        let client = plane.admin().await?;
        let door = Door::open(NODE_ADDRESS, plane).await?;
        node::register(&client, door.port).await?;
        let (pods, addresses, (awake, _)) = (Mutex::default(), AtomicU16::new(0), watch::channel(true));
        let shared = Arc::new(Shared { client, launch, pods, addresses, awake });
        tokio::spawn(node::beat(shared.client.clone(), shared.awake.subscribe()));
        tokio::spawn(Arc::clone(&shared).watch());
        tokio::spawn(Arc::clone(&shared).forward(door));
        Ok(Self { shared })
    }

    /// A container's processes, its main one first; zombies are none.
    pub(crate) fn container(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> anyhow::Result<Vec<Process>> {
        let live = self.shared.live(namespace, pod)?;
        let main = live.main_process(container)?;
        processes::of_group(main)
    }

    /// All processes of a pod.
    pub(crate) fn processes(&self, namespace: &str, pod: &str) -> anyhow::Result<Vec<Process>> {
        let mut found = Vec::new();
        for main in self.shared.live(namespace, pod)?.main_processes() {
            found.extend(processes::of_group(main)?);
        }
        Ok(found)
    }

    /// The Envoy of a pod.
    pub(crate) fn envoy(&self, namespace: &str, pod: &str) -> anyhow::Result<Process> {
        let all = self.container(namespace, pod, "istio-proxy")?;
        let found = all.into_iter().find(|process| process.name == "envoy");
        found.with_context(|| format!("{namespace}/{pod} runs no Envoy"))
    }

    /// The address of a pod.
    pub(crate) fn address(&self, namespace: &str, pod: &str) -> anyhow::Result<Ipv4Addr> {
        Ok(self.shared.live(namespace, pod)?.ip)
    }

    /// From now on nodes are silent: no leases, no statuses, no port-forwards; their pods run on.
    pub(crate) fn fall_silent(&self) {
        self.shared.awake.send_replace(false);
    }

    /// They speak again, and tell what has changed meanwhile.
    pub(crate) fn speak(&self) {
        self.shared.awake.send_replace(true);
    }
}

impl Shared {
    fn live(&self, namespace: &str, name: &str) -> anyhow::Result<Arc<pod::Live>> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let found = pods.values().find(|live| live.namespace == namespace && live.name == name);
        found.map(Arc::clone).with_context(|| format!("{namespace}/{name} does not run here"))
    }

    /// 10.244.1.1 and on: never one twice in a proof.
    fn next_address(&self) -> Ipv4Addr {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed);
        let (third, fourth) = (number / 250 + 1, number % 250 + 1);
        Ipv4Addr::new(
            10,
            244,
            u8::try_from(third).unwrap_or(u8::MAX),
            u8::try_from(fourth).unwrap_or(u8::MAX),
        )
    }

    async fn watch(self: Arc<Self>) {
        let events = watcher::watcher(Api::<Pod>::all(self.client.clone()), watcher::Config::default());
        let mut events = std::pin::pin!(events.default_backoff());
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(pod)) => {
                    listed.extend(pod.metadata.uid.clone());
                    self.see(pod);
                }
                Ok(Event::InitDone) => self.keep_only(&listed),
                Ok(Event::Apply(pod)) => self.see(pod),
                Ok(Event::Delete(pod)) => self.forget(&pod.metadata.uid.unwrap_or_default()),
                Err(error) => crate::say(&format!("kubelet: the watch of pods was cut: {error}")),
            }
        }
    }

    /// A pod of ours is started when it is seen first; later its worker hears of changes.
    fn see(self: &Arc<Self>, pod: Pod) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let (Some(node), Some(uid)) = (node, pod.metadata.uid.clone()) else { return };
        if !NODES.contains(&node) {
            return;
        }
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = pods.get(&uid) {
            live.hear(pod);
            return;
        }
        match pod::Live::new(pod, self.next_address(), &self.launch) {
            Ok(live) => {
                let live = Arc::new(live);
                pods.insert(uid, Arc::clone(&live));
                self.tell_targets(&pods);
                tokio::spawn(live.run(self.client.clone(), self.awake.subscribe()));
            }
            Err(error) => crate::say(&format!("kubelet: a pod cannot be run: {error:#}")),
        }
    }

    /// Its object has gone: its processes go without grace.
    fn forget(&self, uid: &str) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = pods.remove(uid) {
            live.vanish();
            self.tell_targets(&pods);
        }
    }

    /// Debian's Prometheus cannot ask the API server for pods, so it reads them here.
    fn tell_targets(&self, pods: &BTreeMap<String, Arc<pod::Live>>) {
        for (job, port) in JOBS {
            let targets: Vec<Value> = pods
                .values()
                .filter(|live| live.job == Some(job))
                .map(|live| {
                    let labels = json!({ "namespace": live.namespace, "pod": live.name });
                    json!({ "targets": [format!("{}:{port}", live.ip)], "labels": labels })
                })
                .collect();
            let path = self.launch.targets.join(format!("{job}.json"));
            let part = path.with_extension("part");
            let written = std::fs::write(&part, json!(targets).to_string());
            if let Err(error) = written.and_then(|()| std::fs::rename(&part, &path)) {
                crate::say(&format!("kubelet: {} was not written: {error}", path.display()));
            }
        }
    }

    fn keep_only(&self, listed: &BTreeSet<String>) {
        let known: Vec<String> =
            self.pods.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        known.iter().filter(|uid| !listed.contains(*uid)).for_each(|uid| self.forget(uid));
    }

    async fn forward(self: Arc<Self>, door: Door) {
        loop {
            let caller = match door.next().await {
                Ok(caller) => caller,
                Err(error) => {
                    crate::say(&format!("kubelet: no connection was taken: {error}"));
                    continue;
                }
            };
            if !*self.awake.borrow() {
                continue;
            }
            let shared = Arc::clone(&self);
            tokio::spawn(async move {
                let ended = match caller.take().await {
                    Ok(forward) => shared.carry(forward).await,
                    Err(error) => Err(error),
                };
                // A client that goes away in the middle is nothing to tell.
                if let Err(error) = ended {
                    tracing::debug!(%error, "port-forward ended");
                }
            });
        }
    }

    async fn carry(&self, forward: Forward) -> anyhow::Result<()> {
        let mut parts = forward.path.trim_start_matches("/portForward/").splitn(2, '/');
        let (namespace, pod) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let ip = match self.live(namespace, pod) {
            Ok(live) => live.ip,
            Err(error) => return forward.fail(&format!("{error:#}")).await,
        };
        match dial(ip, forward.port).await {
            Ok(stream) => forward.relay(stream).await,
            Err(error) => {
                let port = forward.port;
                let text = format!("error forwarding port {port} to pod {namespace}/{pod}: {error}");
                forward.fail(&text).await
            }
        }
    }
}

/// Dials from 127.0.0.1, which the pod's processes take for its own loopback; what listens only on the pod's
/// own loopback address is reached there.
async fn dial(ip: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let connect = async |to: Ipv4Addr| {
        let socket = TcpSocket::new_v4()?;
        socket.bind((LOOPBACK, 0).into())?;
        tokio::time::timeout(DIAL, socket.connect((to, port).into())).await?
    };
    match connect(ip).await {
        Ok(stream) => Ok(stream),
        Err(_) => connect(own_loopback(ip)).await,
    }
}
