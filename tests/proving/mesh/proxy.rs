//! How a proxy makes itself known: the file that its agent drops, and the folder of its own.
//!
//! `ROOT/NAMESPACE/POD/proxy.json` is what istiod would learn when a proxy connects. The xDS files lie beside
//! it. Both sides write by rename, so nobody ever reads half a file.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::objects::{Inbound, Labels, Locality, Proxy, Sidecar};

/// What a proxy agent says of its proxy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProxyFile {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// The pod's own address: every listener binds it, and requests are sent from it.
    pub(crate) ip: IpAddr,
    /// Where Envoy's admin interface listens.
    pub(crate) admin: SocketAddr,
    /// Where the agent answers `/healthz/ready`; port 15021 leads there.
    pub(crate) agent: SocketAddr,
    pub(crate) labels: Labels,
    /// Name of the workload, such as the Deployment.
    pub(crate) workload: String,
    pub(crate) service_account: String,
    #[serde(default)]
    pub(crate) locality: Locality,
    /// Ports that the sidecar takes for the application.
    pub(crate) inbound: Vec<Inbound>,
    /// Which start of Envoy this is. A new one is a new connection: it has nothing yet.
    pub(crate) start: u64,
}

/// Name of the file.
pub(crate) const FILE: &str = "proxy.json";

impl ProxyFile {
    /// The folder of a proxy.
    pub(crate) fn folder(&self, root: &Path) -> PathBuf {
        root.join(&self.namespace).join(&self.pod)
    }

    /// Where Envoy writes its access log.
    pub(crate) fn access_log(&self, root: &Path) -> PathBuf {
        self.folder(root).join("access.log")
    }

    /// Makes the proxy known, for the start of Envoy that comes next. What an Envoy before it had is taken
    /// away: a new one gets its configuration from the control plane or not at all.
    pub(crate) fn announce(&self, root: &Path) -> anyhow::Result<()> {
        let folder = self.folder(root);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot empty {}", folder.display()));
            }
            _ => {}
        }
        fs::create_dir_all(folder.join("eds"))
            .with_context(|| format!("cannot make {}", folder.display()))?;
        replace(&folder.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// What is announced now under its name.
    pub(crate) fn read_again(&self, root: &Path) -> anyhow::Result<Self> {
        let path = self.folder(root).join(FILE);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no proxy", path.display()))
    }

    /// Takes the proxy out of the control plane's sight.
    pub(crate) fn withdraw(&self, root: &Path) -> anyhow::Result<()> {
        let path = self.folder(root).join(FILE);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Whether the control plane wrote what Envoy needs to start. Envoy ends itself if the files are missing.
    pub(crate) fn configured(&self, root: &Path) -> bool {
        ["lds.json", "cds.json"].iter().all(|name| self.folder(root).join(name).exists())
    }

    /// The proxy as translation sees it.
    pub(crate) fn proxy(&self, root: &Path) -> Proxy {
        let sidecar = Sidecar {
            ip: self.ip,
            inbound: self.inbound.clone(),
            access_log: self.access_log(root).display().to_string(),
            folder: self.folder(root).display().to_string(),
        };
        Proxy {
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            locality: self.locality.clone(),
            imports: Vec::new(),
            sidecar: Some(sidecar),
        }
    }
}

/// Writes a file whole: readers and Envoy see the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("cannot replace {}", path.display()))
}

/// All proxies that are known under a folder, by namespace and pod. A file that cannot be read is an error:
/// a proxy must not vanish because of it.
pub(crate) fn announced(root: &Path) -> anyhow::Result<BTreeMap<(String, String), ProxyFile>> {
    let mut found = BTreeMap::new();
    for namespace in folders(root)? {
        for pod in folders(&namespace)? {
            let path = pod.join(FILE);
            let text = match fs::read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.with_context(|| format!("cannot read {}", path.display()))?,
            };
            let file: ProxyFile =
                serde_json::from_slice(&text).with_context(|| format!("{} is no proxy", path.display()))?;
            found.insert((file.namespace.clone(), file.pod.clone()), file);
        }
    }
    Ok(found)
}

fn folders(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
