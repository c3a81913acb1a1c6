//! Pods as they are kept: small, and with their proxy where they have one.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::names::{Labels, Names, label};
use super::slim::{holds, since};
use crate::model::subject::Subject;

mod written;

pub(super) use written::Container;
pub use written::PodObject;
use written::{PodSpec, PodStatus};

/// A mesh, by the name of the container its proxies run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mesh {
    /// Istio.
    Istio,
    /// Linkerd.
    Linkerd,
}

impl Mesh {
    const ALL: [Self; 2] = [Self::Istio, Self::Linkerd];

    /// The word playbooks compare with.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::Linkerd => "linkerd",
        }
    }

    /// Name of the proxy's container.
    #[must_use]
    pub fn container(self) -> &'static str {
        match self {
            Self::Istio => "istio-proxy",
            Self::Linkerd => "linkerd-proxy",
        }
    }
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Nobody has said yet.
    Unknown,
    /// Waiting, with the reason: `CrashLoopBackOff`, `ContainerCreating`.
    Waiting(Arc<str>),
    /// Running, since when.
    Running(Option<Timestamp>),
    /// Ended, with the reason.
    Terminated(Arc<str>),
}

/// How the container ended last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEnd {
    /// Reason: `OOMKilled`, `Error`, `Completed`.
    pub reason: Arc<str>,
    /// Exit code.
    pub exit_code: i32,
    /// When.
    pub at: Option<Timestamp>,
}

/// The proxy container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Mesh.
    pub mesh: Mesh,
    /// Whether it is a native sidecar: an init container that is restarted always.
    pub native: bool,
    /// Image.
    pub image: Arc<str>,
    /// Id of the container that runs now; empty while none does.
    pub container_id: Box<str>,
    /// Whether it is ready.
    pub ready: bool,
    /// Restarts so far.
    pub restarts: u32,
    /// What it does.
    pub state: ContainerState,
    /// How it ended last time, if it did.
    pub last_end: Option<LastEnd>,
    /// Revision of the control plane it was injected by, where the pod says so.
    pub revision: Option<Arc<str>>,
    /// Limit of its CPU in thousandths of a core; nothing where none is set.
    pub cpu_limit_m: Option<u32>,
}

impl Proxy {
    /// Version of the image's tag; empty when there is none.
    #[must_use]
    pub fn version(&self) -> &str {
        tag(&self.image)
    }

    /// Whether the kubelet waits before it starts the container again.
    #[must_use]
    pub fn backs_off(&self) -> bool {
        matches!(&self.state, ContainerState::Waiting(reason) if &**reason == "CrashLoopBackOff")
    }
}

/// The tag of an image; empty when it has none.
pub(super) fn tag(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map_or("", |(_, tag)| tag)
}

/// Who controls an object, as its owner reference says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// API group.
    pub group: Arc<str>,
    /// Kind.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Controller {
    /// The controlling owner of an object.
    pub(super) fn of(meta: &ObjectMeta, names: &mut Names) -> Option<Self> {
        let owners = meta.owner_references.iter().flatten();
        let owner = owners.into_iter().find(|owner| owner.controller == Some(true))?;
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        Some(Self { group: names.text(group), kind: names.text(&owner.kind), name: names.text(&owner.name) })
    }

    pub(super) fn subject(&self, namespace: &str) -> Subject {
        Subject::new(&self.group, &self.kind, namespace, &self.name)
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Box<str>,
    /// Uid.
    pub uid: Box<str>,
    /// Labels.
    pub labels: Labels,
    /// Its controller.
    pub controller: Option<Controller>,
    /// Node; empty while it is not scheduled.
    pub node: Arc<str>,
    /// Address.
    pub ip: Option<IpAddr>,
    /// Phase.
    pub phase: Arc<str>,
    /// Restart policy.
    pub restart_policy: Arc<str>,
    /// Whether the pod is ready.
    pub ready: bool,
    /// Since when it has been ready, or not.
    pub ready_since: Option<Timestamp>,
    /// Whether all containers but the proxy are ready.
    pub others_ready: bool,
    /// Whether all containers but the proxy have ended, and there are some.
    pub others_ended: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// When it is to be gone, where it is being deleted: its grace period is over then.
    pub gone_by: Option<Timestamp>,
    /// Whether the init container that checks the network rules for the mesh ends again and again.
    pub network_unset: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Its proxy, if it has one.
    pub proxy: Option<Box<Proxy>>,
}

impl Pod {
    /// Itself.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::pod(&self.namespace, &self.name)
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        label(&self.labels, key)
    }

    /// Whether it has a proxy of this mesh.
    #[must_use]
    pub fn is_meshed(&self, mesh: Mesh) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.mesh == mesh)
    }

    /// Whether it has ended for good.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(&*self.phase, "Succeeded" | "Failed")
    }

    pub(super) fn of(object: &PodObject, names: &mut Names) -> Self {
        let (meta, spec, status) = (&object.metadata, &object.spec, &object.status);
        let proxy = find_proxy(spec);
        let others = |at: &str| proxy.as_ref().is_none_or(|found| found.container.name != at);
        let classic = spec.containers.iter().map(|container| (container, &status.container_statuses));
        let native = spec.init_containers.iter().filter(|container| container.is_native());
        let native = native.map(|container| (container, &status.init_container_statuses));
        let others_ready = classic.chain(native).filter(|(container, _)| others(&container.name)).all(
            |(container, statuses)| {
                statuses.iter().any(|status| status.name == container.name && status.ready)
            },
        );
        Self {
            namespace: names.text(meta.namespace.as_deref().unwrap_or_default()),
            name: Box::from(meta.name.as_deref().unwrap_or_default()),
            uid: Box::from(meta.uid.as_deref().unwrap_or_default()),
            labels: names.labels(meta.labels.as_ref()),
            controller: Controller::of(meta, names),
            node: names.text(&spec.node_name),
            ip: status.pod_ip.as_deref().and_then(|text| text.parse().ok()),
            phase: names.text(&status.phase),
            restart_policy: names.text(&spec.restart_policy),
            ready: holds(&status.conditions, "Ready") == Some(true),
            ready_since: since(&status.conditions, "Ready"),
            others_ready,
            others_ended: ended(spec, status, proxy.as_ref()),
            terminating: meta.deletion_timestamp.is_some(),
            gone_by: meta.deletion_timestamp.as_ref().map(|time| time.0),
            network_unset: lacks_network(status),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            proxy: proxy.map(|found| Box::new(found.read(meta, status, names))),
        }
    }
}

/// Whether all containers but the proxy have ended. Those of a pod that only begins have not.
fn ended(spec: &PodSpec, status: &PodStatus, proxy: Option<&Found<'_>>) -> bool {
    let others = |name: &str| proxy.is_none_or(|found| found.container.name != name);
    let over = |container: &&Container| {
        let told = status.container_statuses.iter().find(|status| status.name == container.name);
        told.is_some_and(|status| status.state.terminated.is_some())
    };
    let mut others = spec.containers.iter().filter(|container| others(&container.name)).peekable();
    others.peek().is_some() && others.all(|container| over(&container))
}

/// Name of the init container with which Istio checks that its CNI plugin was there before the pod.
const VALIDATION: &str = "istio-validation";

fn lacks_network(status: &PodStatus) -> bool {
    let checks = status.init_container_statuses.iter().filter(|status| status.name == VALIDATION);
    checks.into_iter().any(|status| status.restart_count > 0 && !status.ready)
}

/// A proxy container as the pod's spec has it.
struct Found<'p> {
    mesh: Mesh,
    container: &'p Container,
    native: bool,
}

/// A proxy is a container of the pod, or an init container that is restarted always. Another init container
/// of that name (Istio's validation of its network rules had one) is none.
fn find_proxy(spec: &PodSpec) -> Option<Found<'_>> {
    let classic = spec.containers.iter().find_map(|container| Found::of(container, false));
    let native = spec.init_containers.iter().filter(|container| container.is_native());
    classic.or_else(|| native.into_iter().find_map(|container| Found::of(container, true)))
}

impl<'p> Found<'p> {
    fn of(container: &'p Container, native: bool) -> Option<Self> {
        let mesh = Mesh::ALL.into_iter().find(|mesh| mesh.container() == container.name)?;
        Some(Self { mesh, container, native })
    }

    fn read(&self, meta: &ObjectMeta, status: &PodStatus, names: &mut Names) -> Proxy {
        let statuses = if self.native { &status.init_container_statuses } else { &status.container_statuses };
        let told = statuses.iter().find(|status| status.name == self.container.name);
        let (state, last) = match told {
            Some(told) => (told.state.read(names), told.last_state.terminated.as_ref()),
            None => (ContainerState::Unknown, None),
        };
        Proxy {
            mesh: self.mesh,
            native: self.native,
            image: names.text(&self.container.image),
            container_id: Box::from(told.and_then(|told| told.container_id.as_deref()).unwrap_or_default()),
            ready: told.is_some_and(|told| told.ready),
            restarts: told.map_or(0, |told| told.restart_count),
            state,
            last_end: last.map(|last| LastEnd {
                reason: names.text(&last.reason),
                exit_code: last.exit_code,
                at: last.finished_at,
            }),
            revision: revision(self.mesh, meta).map(|text| names.text(&text)),
            cpu_limit_m: self.container.cpu_limit_m(),
        }
    }
}

/// The revision that injected the proxy. The injector's own annotations come first: a label may be a tag
/// that stands for another revision by now.
fn revision(mesh: Mesh, meta: &ObjectMeta) -> Option<String> {
    if mesh != Mesh::Istio {
        return None;
    }
    let annotation = |key: &str| meta.annotations.as_ref()?.get(key).filter(|text| !text.is_empty());
    if let Some(named) = annotation("istio.io/rev") {
        return Some(named.clone());
    }
    #[derive(Deserialize)]
    struct Injected {
        revision: Option<String>,
    }
    let injected = annotation("sidecar.istio.io/status");
    let injected = injected.and_then(|text| serde_json::from_str::<Injected>(text).ok()?.revision);
    let labelled = || meta.labels.as_ref()?.get("istio.io/rev").cloned();
    injected.filter(|text| !text.is_empty()).or_else(labelled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const CLASSIC: &str = include_str!("../../tests/recorded/pod-classic-sidecar.json");
    const NATIVE: &str = include_str!("../../tests/recorded/pod-native-sidecar.json");
    const LINKERD: &str = include_str!("../../tests/recorded/pod-linkerd-native-sidecar.json");
    const ON_DEAD_NODE: &str = include_str!("../../tests/recorded/pod-node-notready-list.json");

    fn read(value: &Value) -> Pod {
        Pod::of(&serde_json::from_value(value.clone()).unwrap(), &mut Names::default())
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    // Mutations: looking for proxies in `containers` alone; reading the status of a native one from
    // `containerStatuses`; taking any init container of that name.
    #[test]
    fn recorded_pods_have_the_proxy_they_have() {
        for (text, mesh, native, version, id) in [
            (CLASSIC, Mesh::Istio, false, "1.31.0", "containerd://697374696f"),
            (NATIVE, Mesh::Istio, true, "1.31.0", "containerd://697374696f"),
            (LINKERD, Mesh::Linkerd, true, "edge-26.8.3", ""),
        ] {
            let pod = read(&value(text));
            let proxy = pod.proxy.as_ref().unwrap();
            assert_eq!((proxy.mesh, proxy.native, proxy.version()), (mesh, native, version));
            assert!(proxy.container_id.starts_with(id), "{}", proxy.container_id);
            // Mutation: cores read as thousandths.
            let limit = (mesh == Mesh::Istio).then_some(2000);
            assert_eq!(proxy.cpu_limit_m, limit);
            assert!(proxy.ready && pod.ready && pod.others_ready && !pod.terminating, "{}", pod.name);
            assert!(matches!(proxy.state, ContainerState::Running(Some(_))), "{:?}", proxy.state);
        }
        let mut once = value(NATIVE);
        once["spec"]["initContainers"][0]["restartPolicy"] = Value::Null;
        assert!(read(&once).proxy.is_none());
    }

    #[test]
    fn a_recorded_pod_says_where_it_is_and_whose() {
        let pod = read(&value(CLASSIC));
        assert_eq!(pod.subject(), Subject::pod("shop", "client-v1-74867dcd64-7b5nd"));
        assert_eq!(&*pod.uid, "66865dc4-3922-4115-b0af-bd1a56e97683");
        assert_eq!(pod.controller.as_ref().map(|owner| &*owner.name), Some("client-v1-74867dcd64"));
        assert_eq!((&*pod.node, &*pod.restart_policy, &*pod.phase), ("node-a", "Always", "Running"));
        assert_eq!(pod.ip, Some("10.244.1.10".parse().unwrap()));
        assert_eq!(pod.proxy.unwrap().revision.as_deref(), Some("default"));
        let dead = read(&value(ON_DEAD_NODE)["items"][0]);
        assert!(!dead.ready && dead.others_ready, "containers of a silent node are as last told");
    }

    // Mutations: the label, which may be a tag, before the injector's own annotation; a revision for Linkerd.
    #[test]
    fn the_injector_says_which_revision_it_was() {
        let mut pod = value(CLASSIC);
        pod["metadata"]["labels"]["istio.io/rev"] = json!("stable");
        assert_eq!(read(&pod).proxy.unwrap().revision.as_deref(), Some("default"));
        pod["metadata"]["annotations"]["istio.io/rev"] = json!("1-31");
        assert_eq!(read(&pod).proxy.unwrap().revision.as_deref(), Some("1-31"));
        pod["metadata"]["annotations"] = json!({});
        assert_eq!(read(&pod).proxy.unwrap().revision.as_deref(), Some("stable"));
        assert_eq!(read(&value(LINKERD)).proxy.unwrap().revision, None);
    }

    // Mutations: taking a container without a status for ready; counting the proxy among the others.
    #[test]
    fn a_crash_loop_is_told_and_the_others_are_judged_without_the_proxy() {
        let mut pod = value(CLASSIC);
        pod["status"]["containerStatuses"][1] = json!({
            "name": "istio-proxy", "ready": false, "restartCount": 7, "containerID": "containerd://x",
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } },
            "lastState": { "terminated": {
                "reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-11-23T12:50:00Z",
            } },
        });
        let crashing = read(&pod);
        let proxy = crashing.proxy.as_ref().unwrap();
        assert!(proxy.backs_off() && !proxy.ready && crashing.others_ready);
        assert_eq!(proxy.restarts, 7);
        let last = proxy.last_end.as_ref().unwrap();
        assert_eq!((&*last.reason, last.exit_code), ("OOMKilled", 137));
        pod["status"]["containerStatuses"].as_array_mut().unwrap().remove(0);
        assert!(!read(&pod).others_ready);
    }

    // Mutations: containers without a status as ended; the proxy counted among the others; a check of the network
    // that passed in the end.
    #[test]
    fn a_pod_says_what_it_waits_for() {
        let mut pod = value(CLASSIC);
        assert!(!read(&pod).others_ended && !read(&pod).network_unset && read(&pod).gone_by.is_none());
        let over = json!({ "terminated": { "reason": "Completed", "exitCode": 0, "finishedAt": "2026-11-23T12:50:00Z" } });
        for status in pod["status"]["containerStatuses"].as_array_mut().unwrap() {
            if status["name"] != "istio-proxy" {
                status["state"] = over.clone();
            }
        }
        assert!(read(&pod).others_ended);
        pod["status"]["containerStatuses"] = json!([]);
        assert!(!read(&pod).others_ended, "it only begins");
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-23T12:50:00Z");
        assert_eq!(read(&pod).gone_by, Some("2026-11-23T12:50:00Z".parse().unwrap()));
        for (ready, restarts, unset) in [(false, 4, true), (false, 0, false), (true, 4, false)] {
            pod["status"]["initContainerStatuses"] =
                json!([{ "name": "istio-validation", "ready": ready, "restartCount": restarts }]);
            assert_eq!(read(&pod).network_unset, unset, "{ready} {restarts}");
        }
    }

    #[test]
    fn tags_of_images() {
        for (image, expected) in [
            ("docker.io/istio/proxyv2:1.31.0", "1.31.0"),
            ("registry:5000/proxyv2", ""),
            ("registry:5000/proxyv2:1.2@sha256:00", "1.2"),
            ("proxyv2@sha256:00", ""),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }
}
