//! The watches of the API server, and what they know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use serde_json::Value;
use tokio::task::JoinSet;

use super::Plane;

/// After a watch broke it is taken up again so much later: an API server that restarts needs seconds, and
/// nobody else waits for this one.
const PAUSE: Duration = Duration::from_millis(250);

/// Group, version, kind.
const KINDS: [(&str, &str, &str); 7] = [
    ("networking.istio.io", "v1", "VirtualService"),
    ("networking.istio.io", "v1", "DestinationRule"),
    ("networking.istio.io", "v1alpha3", "EnvoyFilter"),
    ("", "v1", "Service"),
    ("discovery.k8s.io", "v1", "EndpointSlice"),
    ("", "v1", "Pod"),
    ("", "v1", "Node"),
];

type Name = (String, String);

/// The objects, by kind and name.
#[derive(Default)]
pub(super) struct Objects {
    kinds: BTreeMap<&'static str, BTreeMap<Name, Value>>,
    listed: BTreeSet<&'static str>,
}

impl Objects {
    /// Whether every kind was listed once. Before that nothing is sent: half a mesh has no endpoints.
    pub(super) fn whole(&self) -> bool {
        self.listed.len() == KINDS.len()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.kinds.values().flat_map(BTreeMap::values)
    }

    /// How many there are of a kind.
    pub(super) fn count(&self, kind: &str) -> usize {
        self.kinds.get(kind).map_or(0, BTreeMap::len)
    }

    /// One object as it is now, or that it is gone. Whether routing could care.
    fn take(&mut self, kind: &'static str, name: Name, object: Option<Value>) -> bool {
        let known = self.kinds.entry(kind).or_default();
        match object {
            Some(object) => {
                let before = known.insert(name, object.clone());
                before.is_none_or(|before| slim(before) != slim(object))
            }
            None => known.remove(&name).is_some(),
        }
    }

    fn replace(&mut self, kind: &'static str, objects: BTreeMap<Name, Value>) {
        self.kinds.insert(kind, objects);
        self.listed.insert(kind);
    }
}

/// Without what changes on every write.
fn slim(mut object: Value) -> Value {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.retain(|key, _| {
            !["resourceVersion", "managedFields", "generation", "annotations"].contains(&key.as_str())
        });
    }
    object
}

/// A client of the API server of a kubeconfig.
pub(super) async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    let named = || format!("the kubeconfig {} cannot be used", kubeconfig.display());
    let file = Kubeconfig::read_from(kubeconfig).with_context(named)?;
    let config =
        Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.with_context(named)?;
    Client::try_from(config).with_context(named)
}

/// Starts one watch for each kind.
pub(super) fn start(client: &Client, plane: &Arc<Plane>, tasks: &mut JoinSet<anyhow::Result<()>>) {
    for (group, version, kind) in KINDS {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        tasks.spawn(watch(api, kind, Arc::clone(plane)));
    }
}

async fn watch(api: Api<DynamicObject>, kind: &'static str, plane: Arc<Plane>) -> anyhow::Result<()> {
    let mut stream = watcher(api, watcher::Config::default()).boxed();
    let mut list = BTreeMap::new();
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            // It starts over by itself; the store keeps what it knows meanwhile, as istiod's does.
            Err(error) => {
                tracing::warn!(kind, %error, "watch broke");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let cared = match event {
            watcher::Event::Init => {
                list = BTreeMap::new();
                false
            }
            watcher::Event::InitApply(object) => {
                let (name, object) = written(kind, &object)?;
                list.insert(name, object);
                false
            }
            watcher::Event::InitDone => {
                plane.lock().objects.replace(kind, std::mem::take(&mut list));
                true
            }
            watcher::Event::Apply(object) => {
                let (name, object) = written(kind, &object)?;
                let state = &mut *plane.lock();
                let known = state.objects.kinds.get(kind).is_some_and(|known| known.contains_key(&name));
                state.numbers.event(kind, if known { "update" } else { "add" });
                state.objects.take(kind, name, Some(object))
            }
            watcher::Event::Delete(object) => {
                let (name, _) = written(kind, &object)?;
                let state = &mut *plane.lock();
                state.numbers.event(kind, "delete");
                state.objects.take(kind, name, None)
            }
        };
        if cared {
            plane.changed.notify_one();
        }
    }
    anyhow::bail!("the watch of kind {kind} ended")
}

/// Items of a list do not say their kind.
fn written(kind: &str, object: &DynamicObject) -> anyhow::Result<(Name, Value)> {
    let name = (
        object.metadata.namespace.clone().unwrap_or_default(),
        object.metadata.name.clone().unwrap_or_default(),
    );
    let mut object = serde_json::to_value(object)?;
    object["kind"] = Value::from(kind);
    Ok((name, object))
}
