//! What a world stands on: objects as the API server keeps them, pods as their kubelets know them, and what
//! can be made ill of them.

use jiff::Timestamp;
use serde_json::Value;

use crate::model::merge::merged;
use crate::sim::control::{Control, Pod, Run};
use crate::sim::kinds::key;
use crate::sim::store::{Part, Parting, Store, Write};

/// The cluster under a world.
pub struct Ground<'g> {
    store: &'g mut Store,
    control: &'g mut Control,
    at: Timestamp,
}

/// A pod as its kubelet knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct PodLife {
    /// Its uid.
    pub uid: String,
    /// Its address.
    pub address: String,
    /// Whether it is ready.
    pub ready: bool,
    /// The second since which that is so.
    pub since: i64,
    /// Whether every container but the proxy runs.
    pub app_runs: bool,
    /// The second it is gone, once it was told to go.
    pub stops: Option<i64>,
    /// Its proxy, where it has one.
    pub proxy: Option<ProxyLife>,
}

/// The proxy of a pod as its kubelet knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyLife {
    /// The second its container started; `None` while it does not run.
    pub runs: Option<i64>,
    /// The second since which it accepts and does not answer.
    pub hung: Option<i64>,
    /// It was told to drain.
    pub draining: bool,
    /// It has a configuration.
    pub configured: bool,
    /// It is a native sidecar.
    pub native: bool,
}

/// Whether istiod gives configuration to proxies that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// It does.
    Given,
    /// It is ready, and gives none.
    Withheld,
    /// No istiod gets ready.
    Down,
}

impl<'g> Ground<'g> {
    pub(super) fn new(store: &'g mut Store, control: &'g mut Control, at: Timestamp) -> Self {
        Self { store, control, at }
    }

    /// The time of writes.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Grows with each change of an object.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.store.version()
    }

    /// Whether an object of these plurals may have changed after a version.
    #[must_use]
    pub fn touched(&self, after: u64, plurals: &[&str]) -> bool {
        self.store.touched(after, plurals)
    }

    /// Grows whenever a pod may live otherwise than before.
    #[must_use]
    pub fn lives(&self) -> u64 {
        self.control.lives
    }

    /// Objects of a plural, in one namespace or all.
    pub fn list<'s>(
        &'s self,
        plural: &'s str,
        namespace: Option<&'s str>,
    ) -> impl Iterator<Item = &'s Value> {
        self.store.list(plural, namespace)
    }

    /// An object.
    #[must_use]
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.store.get(&key(plural, namespace, name))
    }

    /// Creates an object.
    ///
    /// # Errors
    /// What the API server says.
    pub fn create(
        &mut self,
        manager: &str,
        (plural, namespace, name): (&str, &str, &str),
        object: Value,
    ) -> Result<(), String> {
        let write = Write::by(manager, self.at, Part::Main);
        let made = self.store.create(key(plural, namespace, name), object, &write);
        made.map(drop).map_err(|refused| refused.message())
    }

    /// Changes an object by a merge patch.
    ///
    /// # Errors
    /// What the API server says.
    pub fn patch(&mut self, manager: &str, of: (&str, &str, &str), patch: &Value) -> Result<(), String> {
        self.change(Write::by(manager, self.at, Part::Main), of, |old| merged(old, patch))
    }

    /// Changes the status of an object by a merge patch of the status.
    ///
    /// # Errors
    /// What the API server says.
    pub fn report(&mut self, manager: &str, of: (&str, &str, &str), status: &Value) -> Result<(), String> {
        let patch = serde_json::json!({ "status": status });
        self.change(Write::by(manager, self.at, Part::Status), of, |old| merged(old, &patch))
    }

    /// Replaces an object's spec, labels and annotations, as who applies a file by force does.
    ///
    /// # Errors
    /// What the API server says.
    pub fn replace(&mut self, manager: &str, of: (&str, &str, &str), object: &Value) -> Result<(), String> {
        self.change(Write::by(manager, self.at, Part::Main), of, |old| {
            let mut new = old.clone();
            for pointer in ["/metadata/labels", "/metadata/annotations"] {
                let of = object.pointer(pointer).cloned().unwrap_or(Value::Null);
                let name = pointer.rsplit('/').next().unwrap_or_default();
                if let Some(meta) = new["metadata"].as_object_mut() {
                    if of.is_null() {
                        meta.remove(name)
                    } else {
                        meta.insert(name.to_owned(), of)
                    };
                }
            }
            new["spec"] = object["spec"].clone();
            new
        })
    }

    fn change(
        &mut self,
        write: Write<'_>,
        (plural, namespace, name): (&str, &str, &str),
        new: impl FnOnce(&Value) -> Value,
    ) -> Result<(), String> {
        let done = self.store.change(&key(plural, namespace, name), &write, |old| Ok(new(old)));
        done.map(drop).map_err(|refused| refused.message())
    }

    /// Deletes an object; a pod takes its time.
    ///
    /// # Errors
    /// What the API server says.
    pub fn delete(&mut self, plural: &str, namespace: &str, name: &str) -> Result<(), String> {
        let gone = self.store.delete(&key(plural, namespace, name), self.at, Parting::default());
        gone.map(drop).map_err(|refused| refused.message())
    }

    /// All pods: namespace, name, life.
    pub fn pods(&self) -> impl Iterator<Item = (&str, &str, PodLife)> {
        let pods = self.control.pods.iter();
        pods.map(|((namespace, name), pod)| (namespace.as_str(), name.as_str(), life(pod)))
    }

    /// One pod.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<PodLife> {
        self.control.pod(namespace, name).map(life)
    }

    /// Lets a pod's proxy hang from now on, or answer again.
    pub fn hang(&mut self, namespace: &str, name: &str, since: Option<i64>) {
        self.change_pod(namespace, name, |pod| {
            if let Some(proxy) = pod.proxy.as_mut() {
                proxy.hung = since;
            }
        });
    }

    /// Lets a container end, held back until a second.
    pub fn crash(&mut self, namespace: &str, name: &str, container: &str, until: i64) {
        let at = self.at.as_second();
        self.change_pod(namespace, name, |pod| {
            if let Some(container) = pod.containers.iter_mut().find(|one| one.name == container) {
                container.restarts += 1;
                container.run = Run::Crashing { at, until: Some(until) };
            }
        });
        self.control.wake(until);
    }

    /// New pods with this beginning of their name take so many seconds until their containers run.
    pub fn start_takes(&mut self, namespace: &str, beginning: &str, seconds: i64) {
        self.control.faults.slow.insert((namespace.to_owned(), beginning.to_owned()), seconds);
    }

    /// How istiod serves proxies without configuration.
    pub fn supply(&mut self, supply: Supply) {
        self.control.faults.istiod_down = supply == Supply::Down;
        self.control.faults.withheld = supply == Supply::Withheld;
        self.control.wake(self.at.as_second() + 1);
    }

    fn change_pod(&mut self, namespace: &str, name: &str, change: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self.control.pods.get_mut(&(namespace.to_owned(), name.to_owned())) {
            change(pod);
            self.control.lives += 1;
            self.control.wake(self.at.as_second() + 1);
        }
    }
}

fn life(pod: &Pod) -> PodLife {
    let container = pod.proxy_container();
    let proxy = pod.proxy.map(|proxy| ProxyLife {
        runs: container.and_then(|container| match container.run {
            Run::Running(since) => Some(since),
            Run::Waiting | Run::Ended { .. } | Run::Crashing { .. } => None,
        }),
        hung: proxy.hung,
        draining: proxy.draining,
        configured: proxy.configured,
        native: container.is_some_and(|container| container.native),
    });
    let mut apps = pod.containers.iter().filter(|container| container.name != "istio-proxy");
    PodLife {
        uid: pod.uid.clone(),
        address: pod.address.clone(),
        ready: pod.ready.0,
        since: pod.ready.1,
        app_runs: apps.all(|container| container.running()),
        stops: pod.stops,
        proxy,
    }
}
