//! One connected proxy: what it was sent, what it took.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use meshmend::clock::Clock;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::numbers::Numbers;
use crate::mesh::bootstrap::ISTIO_VERSION;
use crate::mesh::objects::Mesh;
use crate::mesh::proxy::{ProxyFile, replace};
use crate::mesh::translate::translate;

/// The types of resources that a sidecar takes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Type {
    Cluster,
    Listener,
    Route,
    Endpoint,
}

impl Type {
    /// In the order in which they are written: nothing may lead to what is not there yet.
    pub(super) const ALL: [Self; 4] = [Self::Endpoint, Self::Cluster, Self::Route, Self::Listener];

    pub(super) fn url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        }
    }

    /// The key of old releases in syncz.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Endpoint => "endpoint",
        }
    }

    /// The name in metrics.
    pub(super) fn short(self) -> &'static str {
        match self {
            Self::Cluster => "cds",
            Self::Listener => "lds",
            Self::Route => "rds",
            Self::Endpoint => "eds",
        }
    }
}

/// One type of resources at one proxy.
#[derive(Clone, Default)]
pub(super) struct Watched {
    pub(super) sent: String,
    pub(super) acked: String,
    pub(super) sent_time: String,
    pub(super) error: Option<String>,
    /// What was sent last, to see whether there is anything new.
    pub(super) resources: Vec<Value>,
    /// Rejections that Envoy had counted before it was sent.
    pub(super) before: u64,
}

impl Watched {
    /// Whether Envoy said yes or no to what was sent last.
    pub(super) fn settled(&self) -> bool {
        self.sent == self.acked || self.error.is_some()
    }
}

/// One proxy.
pub(super) struct Connection {
    file: ProxyFile,
    since: String,
    pub(super) types: BTreeMap<Type, Watched>,
    /// Rejections that Envoy counted when it was asked last.
    pub(super) rejections: BTreeMap<Type, u64>,
    /// Whether its admin port takes connections.
    pub(super) answers: bool,
    /// Whether it was asked once. Before that nothing is sent: rejections of a control plane that was here
    /// before this one would be taken for ours.
    pub(super) greeted: bool,
    files: BTreeSet<String>,
}

impl Connection {
    pub(super) fn new(file: ProxyFile) -> Self {
        let (types, rejections) = (BTreeMap::new(), BTreeMap::new());
        let since = Clock::wall().to_string();
        Self { file, since, types, rejections, answers: false, greeted: false, files: BTreeSet::new() }
    }

    pub(super) fn file(&self) -> &ProxyFile {
        &self.file
    }

    /// `pod.namespace`, as istiod calls it.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.file.pod, self.file.namespace)
    }

    /// Its part of adsz.
    pub(super) fn adsz(&self) -> Value {
        // It takes all there is of each type, and names none.
        let watches: BTreeMap<&str, [&str; 0]> = Type::ALL.into_iter().map(|kind| (kind.url(), [])).collect();
        json!({
            "connectionId": format!("{}-{}", self.name(), self.file.start), "connectedAt": self.since,
            "address": self.file.admin.to_string(), "labels": self.file.labels,
            "metadata": { "ISTIO_VERSION": ISTIO_VERSION, "NAMESPACE": self.file.namespace },
            "locality": {}, "watches": watches,
        })
    }

    /// Writes what is new of this mesh for this proxy; how many types of resources that were.
    pub(super) fn push(
        &mut self,
        root: &Path,
        mesh: &Mesh,
        push: u64,
        numbers: &mut Numbers,
    ) -> anyhow::Result<usize> {
        let folder = self.file.folder(root);
        // An Envoy that starts anew gets everything as a new proxy, and nothing as the old one.
        if !self.greeted || self.file.read_again(root)? != self.file {
            return Ok(0);
        }
        let mut sent = 0;
        let mut made = translate(mesh, &self.file.proxy(root));
        for kind in Type::ALL {
            let resources = std::mem::take(match kind {
                Type::Cluster => &mut made.clusters,
                Type::Listener => &mut made.listeners,
                Type::Route => &mut made.routes,
                Type::Endpoint => &mut made.endpoints,
            });
            let watched = self.types.entry(kind).or_default();
            if !watched.sent.is_empty() && watched.resources == resources {
                continue;
            }
            let now = Clock::wall();
            let nonce = Sha256::digest(format!("{push} {now} {}", self.file.pod));
            let nonce: String = nonce[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            watched.sent = format!("{now:.0}/{push}{nonce}");
            watched.sent_time = now.to_string();
            watched.error = None;
            watched.before = self.rejections.get(&kind).copied().unwrap_or_default();
            let written = write(&folder, kind, &watched.sent, &resources, &watched.resources)?;
            if kind == Type::Endpoint {
                self.files.extend(written);
            }
            watched.resources = resources;
            numbers.pushed(kind);
            sent += 1;
        }
        self.sweep(&folder)?;
        Ok(sent)
    }

    /// Takes away the files of clusters that are gone.
    fn sweep(&mut self, folder: &Path) -> anyhow::Result<()> {
        let wanted: BTreeSet<String> = self.types[&Type::Endpoint].resources.iter().map(file_of).collect();
        for name in self.files.difference(&wanted) {
            let path = folder.join("eds").join(name);
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        self.files = wanted;
        Ok(())
    }

    /// Its entry of `/debug/syncz`.
    pub(super) fn syncz(&self) -> Value {
        let mut entry = json!({
            "cluster_id": "Kubernetes", "proxy": self.name(), "proxy_type": "sidecar",
            "istio_version": ISTIO_VERSION,
        });
        let mut resources = serde_json::Map::new();
        for (kind, watched) in &self.types {
            let Watched { sent, acked, sent_time, error, .. } = watched;
            entry[format!("{}_sent", kind.key())] = json!(sent);
            entry[format!("{}_acked", kind.key())] = json!(acked);
            let mut resource = json!({"sent": sent, "acked": acked, "sentTime": sent_time});
            if let Some(error) = error {
                resource["lastError"] = json!(error);
            }
            resources.insert(kind.url().to_owned(), resource);
        }
        entry["resources"] = Value::Object(resources);
        entry
    }
}

/// The file of a load assignment.
fn file_of(assignment: &Value) -> String {
    format!("{}.json", assignment["cluster_name"].as_str().unwrap_or_default())
}

/// Writes what differs from what was there before; the names of the files of single resources.
fn write(
    folder: &Path,
    kind: Type,
    version: &str,
    resources: &[Value],
    before: &[Value],
) -> anyhow::Result<Vec<String>> {
    let response =
        |resources: Vec<Value>| serde_json::to_vec(&json!({"version_info": version, "resources": resources}));
    let typed = |resource: &Value| {
        let mut resource = resource.clone();
        resource["@type"] = json!(kind.url());
        resource
    };
    if kind != Type::Endpoint {
        let path = folder.join(format!("{}.json", kind.short()));
        replace(&path, &response(resources.iter().map(typed).collect())?)?;
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for resource in resources {
        let name = file_of(resource);
        if !before.contains(resource) {
            replace(&folder.join("eds").join(&name), &response(vec![typed(resource)])?)?;
        }
        names.push(name);
    }
    Ok(names)
}
