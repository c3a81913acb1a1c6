//! What the kubelets know of a pod: its containers, and how its proxy is.

use serde_json::Value;

use super::{Push, hash, text};

/// A pod that was given to a node.
pub(in crate::sim) struct Pod {
    pub(in crate::sim) uid: String,
    pub(in crate::sim) address: String,
    /// The second it was given to its node, and the second its containers start.
    pub(in crate::sim) bound: i64,
    pub(in crate::sim) starts: i64,
    /// The second it is gone, once it was told to go.
    pub(in crate::sim) stops: Option<i64>,
    pub(in crate::sim) containers: Vec<Container>,
    pub(in crate::sim) proxy: Option<Proxy>,
    pub(in crate::sim) restart_policy: String,
    /// Whether it was ready, and since when that is so.
    pub(in crate::sim) ready: (bool, i64),
    /// What was last written of it.
    pub(in crate::sim) reported: Value,
}

/// A container of a pod.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Container {
    pub(in crate::sim) name: String,
    pub(in crate::sim) image: String,
    /// An init container that runs on: a native sidecar.
    pub(in crate::sim) native: bool,
    pub(in crate::sim) restarts: u32,
    pub(in crate::sim) run: Run,
}

/// How a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Run {
    /// Not started yet.
    Waiting,
    /// Since a second.
    Running(i64),
    /// Ended in a second, and starts again in another.
    Ended { at: i64, again: Option<i64> },
    /// Ended so often that it is held back until a second, or for as long as istiod is down.
    Crashing { at: i64, until: Option<i64> },
}

/// The proxy of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Proxy {
    /// The second since which it accepts and does not answer.
    pub(in crate::sim) hung: Option<i64>,
    pub(in crate::sim) draining: bool,
    /// It rejects the newest configuration, and works on with what it had.
    pub(in crate::sim) rejected: bool,
    /// It has a configuration: without an istiod a new one gets none.
    pub(in crate::sim) configured: bool,
    /// The last push it took.
    pub(in crate::sim) acked: Push,
}

/// A kubelet takes a container for not ready after four misses, 15 s apart.
pub(in crate::sim) const MISSES_S: i64 = 60;

impl Proxy {
    pub(in crate::sim) fn new() -> Self {
        Self { hung: None, draining: false, rejected: false, configured: false, acked: Push::default() }
    }

    pub(in crate::sim) fn answers(&self) -> bool {
        self.hung.is_none() && self.configured
    }

    /// What the kubelet's readiness check makes of it.
    pub(in crate::sim) fn passes(&self, second: i64) -> bool {
        self.configured && !self.draining && self.hung.is_none_or(|since| second - since < MISSES_S)
    }
}

impl Container {
    pub(in crate::sim) fn running(&self) -> bool {
        matches!(self.run, Run::Running(_))
    }

    /// The id of the container that runs, or ran last.
    pub(in crate::sim) fn id(&self, uid: &str) -> String {
        let seed = hash(u64::from(self.restarts), uid);
        let word = |number: u64| format!("{:016x}", hash(seed ^ number, &self.name));
        format!("containerd://{}{}{}{}", word(1), word(2), word(3), word(4))
    }
}

impl Pod {
    /// A pod as its object asks for it.
    pub(in crate::sim) fn of(object: &Value, address: String, bound: i64, starts: i64) -> Self {
        let list = |pointer: &str, native: bool| -> Vec<Container> {
            let containers = object.pointer(pointer).and_then(Value::as_array);
            let lasting = |container: &&Value| !native || text(container, "/restartPolicy") == "Always";
            let of = |container: &Value| Container {
                name: text(container, "/name").to_owned(),
                image: text(container, "/image").to_owned(),
                native,
                restarts: 0,
                run: Run::Waiting,
            };
            containers.into_iter().flatten().filter(lasting).map(of).collect()
        };
        let mut containers = list("/spec/initContainers", true);
        containers.extend(list("/spec/containers", false));
        let meshed = containers.iter().any(|container| container.name == "istio-proxy");
        let policy = text(object, "/spec/restartPolicy");
        Self {
            uid: text(object, "/metadata/uid").to_owned(),
            address,
            bound,
            starts,
            stops: None,
            containers,
            proxy: meshed.then(Proxy::new),
            restart_policy: if policy.is_empty() { "Always".to_owned() } else { policy.to_owned() },
            ready: (false, bound),
            reported: Value::Null,
        }
    }

    pub(in crate::sim) fn started(&self) -> bool {
        self.containers.iter().any(|container| container.run != Run::Waiting)
    }

    pub(in crate::sim) fn proxy_container(&self) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == "istio-proxy")
    }

    pub(in crate::sim) fn proxy_container_mut(&mut self) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.name == "istio-proxy")
    }

    /// Whether its proxy runs.
    pub(in crate::sim) fn proxy_runs(&self) -> bool {
        self.proxy_container().is_some_and(Container::running)
    }

    /// Whether a container counts as ready.
    pub(in crate::sim) fn passes(&self, container: &Container, second: i64) -> bool {
        let proxy = self.proxy.filter(|_| container.name == "istio-proxy");
        container.running() && proxy.is_none_or(|proxy| proxy.passes(second))
    }
}
