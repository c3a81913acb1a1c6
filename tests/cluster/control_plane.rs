//! One control plane for the run: etcd and kube-apiserver as plain processes on loopback, with Istio's CRDs
//! and the rights that `meshmend rbac` prints; where it is wanted, with controllers and scheduler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::process::{Component, free_port};
use crate::wait::until;

/// How long a component may take until it is ready; on an idle machine it is 1 to 3 s.
const READY: Duration = Duration::from_secs(90);
/// The file of the repository that the README points to.
/// Every test has a namespace of its own, so the rights to act hold in all of them.
const POLICY: &str = "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: everywhere }\nspec:\n  \
                      scope: { namespaces: [\"*\"] }\n  mode: enforce\n";
/// The account of that file.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:meshmend:meshmend";

/// What is written down about requests: those of the agent, each with verb, object and answer.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - { level: Metadata, userGroups: ['system:serviceaccounts:meshmend'] }
  - { level: None }
";

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// etcd and the API server: nobody makes pods, endpoints or default accounts.
    Server,
    /// With controllers and scheduler.
    Whole,
}

/// Controllers beside those of nodes; the others need what is not there.
const CONTROLLERS: [&str; 17] = [
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "endpointslice-controller",
    "endpoints-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "root-ca-certificate-publisher-controller",
    "disruption-controller",
    "horizontal-pod-autoscaler-controller",
    "taint-eviction-controller",
    "pod-garbage-collector-controller",
    "node-lifecycle-controller",
];

/// The running control plane.
pub(crate) struct ControlPlane {
    /// Folder of what was built for the tests.
    made: PathBuf,
    binary: PathBuf,
    extent: Extent,
    /// Folder of everything the run writes.
    pub(crate) folder: PathBuf,
    certificates: Certificates,
    etcd_url: String,
    /// Address of the API server.
    pub(crate) url: String,
    /// In the order in which they were started.
    processes: Mutex<Vec<Arc<Component>>>,
}

impl ControlPlane {
    /// Starts it from the folder that `tests/control_plane/build.sh` made.
    pub(crate) fn start(built: &Path, extent: Extent) -> anyhow::Result<Self> {
        let binary = built.join("control_plane");
        let crds = ["istio", "cert-manager", "gateway"].map(|of| built.join(format!("{of}-crds.yaml")));
        for file in crds.iter().chain([&binary, &built.join("cert_manager")]) {
            anyhow::ensure!(
                file.is_file(),
                "MESHMEND_TEST_CONTROL_PLANE names {}, which holds no {}; use the folder that \
                 tests/control_plane/build.sh prints",
                built.display(),
                file.file_name().unwrap_or_default().to_string_lossy()
            );
        }
        let folder = tempfile::Builder::new().prefix("meshmend-cluster-").tempdir()?.keep();
        let certificates = Certificates::make(&folder.join("certificates"))?;
        std::fs::write(folder.join("audit.yaml"), AUDIT)?;
        let etcd_url = format!("http://127.0.0.1:{}", free_port()?);
        let made = built.to_path_buf();
        let mut plane = Self {
            made,
            binary,
            extent,
            folder,
            certificates,
            etcd_url,
            url: String::new(),
            processes: Mutex::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(plane.bring_up(&crds)) {
            Ok(()) => Ok(plane),
            Err(error) => {
                plane.stop();
                Err(error.context(crate::process::logs(&plane.folder)))
            }
        }
    }

    async fn bring_up(&mut self, crds: &[PathBuf]) -> anyhow::Result<()> {
        self.start_etcd().await?;
        self.url = self.start_api_server("kube-apiserver").await?;
        let client = self.admin().await?;
        if self.extent == Extent::Whole {
            self.start_controllers()?;
            self.start_scheduler()?;
        }
        let mut names = Vec::new();
        for file in crds {
            for document in serde_saphyr::from_multiple::<Value>(&std::fs::read_to_string(file)?)? {
                if document.is_object() {
                    names.push(apply(&client, document).await?);
                }
            }
        }
        let known: Api<CustomResourceDefinition> = Api::all(client.clone());
        for name in names {
            until("a CRD is established", READY, async || {
                let status = known.get(&name).await?.status.unwrap_or_default();
                let conditions = status.conditions.unwrap_or_default();
                let there = conditions.iter().any(|c| c.type_ == "Established" && c.status == "True");
                Ok(there.then_some(()))
            })
            .await?;
        }
        for document in serde_saphyr::from_multiple::<Value>(&self.rights()?)? {
            apply(&client, document).await?;
        }
        self.bind_the_observer(&client).await
    }

    /// What `meshmend rbac` prints for the shipped playbooks where they may act in every namespace.
    fn rights(&self) -> anyhow::Result<String> {
        let policies = self.folder.join("rights");
        std::fs::create_dir_all(&policies)?;
        std::fs::write(policies.join("everywhere.yaml"), POLICY)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshmend"));
        command.env_clear().env("HOME", &self.folder).arg("rbac").arg("--policies").arg(&policies);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "meshmend rbac: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A second account that may look, and nothing more.
    async fn bind_the_observer(&self, client: &kube::Client) -> anyhow::Result<()> {
        for name in ["observer", "nobody"] {
            let account = json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": { "name": name, "namespace": "meshmend" },
            });
            apply(client, account).await?;
        }
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": "observer" },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "meshmend-observe",
            },
            "subjects": [{ "kind": "ServiceAccount", "name": "observer", "namespace": "meshmend" }],
        });
        apply(client, binding).await.map(|_| ())
    }

    /// Files and flags that controllers and scheduler have in common.
    fn client_command(&self, name: &str) -> anyhow::Result<Command> {
        let kubeconfig = self.folder.join("admin.kubeconfig");
        std::fs::write(&kubeconfig, self.admin_kubeconfig().to_string())?;
        let mut command = Command::new(&self.binary);
        command.arg(name).args(["--bind-address=127.0.0.1", "--leader-elect=false"]);
        command.arg(format!("--secure-port={}", free_port()?));
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(format!("--{flag}={}", kubeconfig.display()));
        }
        Ok(command)
    }

    fn start_controllers(&self) -> anyhow::Result<()> {
        const NAME: &str = "kube-controller-manager";
        let files = &self.certificates;
        let mut command = self.client_command(NAME)?;
        command
            .args(["--kube-api-qps=500", "--kube-api-burst=1000", "--use-service-account-credentials=true"])
            // A node is looked at every 5 s otherwise, and a fresh one takes no pods until then.
            .args(["--node-monitor-period=1s", &format!("--controllers={}", CONTROLLERS.join(","))])
            .arg(format!("--cert-dir={}", self.folder.join("certificates").display()))
            .arg(format!("--root-ca-file={}", files.ca.display()))
            .arg(format!("--service-account-private-key-file={}", files.accounts.1.display()));
        self.keep(NAME, &command)
    }

    fn start_scheduler(&self) -> anyhow::Result<()> {
        const NAME: &str = "kube-scheduler";
        let mut command = self.client_command(NAME)?;
        command.arg(format!("--cert-dir={}", self.folder.join("certificates").display()));
        self.keep(NAME, &command)
    }

    async fn start_etcd(&self) -> anyhow::Result<()> {
        let data = self.folder.join("etcd");
        let mut command = Command::new(&self.binary);
        command
            .args([
                "etcd",
                "--client",
                &self.etcd_url,
                "--peer",
                &format!("http://127.0.0.1:{}", free_port()?),
            ])
            .arg("--data-dir")
            .arg(&data);
        self.keep("etcd", &command)?;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        let health = format!("{}/health", self.etcd_url);
        until("etcd is healthy", READY, async || {
            self.alive()?;
            let answer = http.get(&health).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })
        .await
    }

    /// Starts an API server on the same etcd and waits until it is ready; the answer is its address. A
    /// second one knows only what happened since its own start.
    pub(crate) async fn start_api_server(&self, name: &'static str) -> anyhow::Result<String> {
        let port = free_port()?;
        let files = &self.certificates;
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let mut command = Command::new(&self.binary);
        command
            .args(["kube-apiserver", "--bind-address=127.0.0.1", "--advertise-address=10.244.0.1"])
            .args(["--endpoint-reconciler-type=none", "--authorization-mode=Node,RBAC", "--profiling=false"])
            .args(["--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true"])
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(format!("--etcd-servers={}", self.etcd_url))
            .arg(format!("--secure-port={port}"))
            .arg(file("cert-dir", &self.folder.join("certificates")))
            .arg(file("tls-cert-file", &files.server.0))
            .arg(file("tls-private-key-file", &files.server.1))
            .arg(file("client-ca-file", &files.ca))
            .arg(file("service-account-key-file", &files.accounts.0))
            .arg(file("service-account-signing-key-file", &files.accounts.1))
            // For port-forwards to the stub of a kubelet.
            .arg(file("kubelet-certificate-authority", &files.ca))
            .arg(file("kubelet-client-certificate", &files.admin.0))
            .arg(file("kubelet-client-key", &files.admin.1))
            .arg("--kubelet-preferred-address-types=InternalIP")
            .arg(file("audit-policy-file", &self.folder.join("audit.yaml")))
            .arg(file("audit-log-path", &self.folder.join(format!("{name}-audit.jsonl"))));
        if self.extent == Extent::Server {
            // No controller runs that would make the default accounts that pods are given otherwise.
            command.arg("--disable-admission-plugins=ServiceAccount");
        }
        if self.extent == Extent::Whole {
            // The controllers complain all the time where it is missing; nobody comes by this way.
            command.arg(file("requestheader-client-ca-file", &files.ca));
            command.arg("--requestheader-allowed-names=nobody");
        }
        self.keep(name, &command)?;
        let url = format!("https://127.0.0.1:{port}");
        let client = self.admin_at(&url).await?;
        until("the API server is ready", READY, async || {
            self.alive()?;
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(client.request_text(request).await.is_ok().then_some(()))
        })
        .await?;
        Ok(url)
    }

    fn keep(&self, name: &'static str, command: &Command) -> anyhow::Result<()> {
        let component = Component::start_as(name, command, &self.folder.join(format!("{name}.log")))?;
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(component));
        Ok(())
    }

    fn alive(&self) -> anyhow::Result<()> {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.iter().try_for_each(|component| component.alive())
    }

    /// A component by its name, for instance `kube-apiserver`.
    pub(crate) fn component(&self, name: &str) -> anyhow::Result<Arc<Component>> {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        let found = processes.iter().find(|component| component.name() == name);
        found.map(Arc::clone).with_context(|| format!("no component is called {name}"))
    }

    /// A client that may do everything.
    pub(crate) async fn admin(&self) -> anyhow::Result<kube::Client> {
        self.admin_at(&self.url).await
    }

    /// Something else that was built for the tests.
    pub(crate) fn built(&self, name: &str) -> PathBuf {
        self.made.join(name)
    }

    /// Certificate and key of a server on loopback.
    pub(crate) fn server_files(&self) -> (&Path, &Path) {
        (&self.certificates.server.0, &self.certificates.server.1)
    }

    /// A kubeconfig of a client that may do everything.
    pub(crate) fn admin_kubeconfig(&self) -> Value {
        self.admin_kubeconfig_at(&self.url)
    }

    fn admin_kubeconfig_at(&self, url: &str) -> Value {
        let (certificate, key) = &self.certificates.admin;
        self.kubeconfig(url, &json!({ "client-certificate": certificate, "client-key": key }))
    }

    async fn admin_at(&self, url: &str) -> anyhow::Result<kube::Client> {
        let file: Kubeconfig = serde_json::from_value(self.admin_kubeconfig_at(url))?;
        let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.proxy_url = None;
        config.default_retry = false;
        Ok(kube::Client::try_from(config)?)
    }

    /// A kubeconfig for an address and a user.
    pub(crate) fn kubeconfig(&self, url: &str, user: &Value) -> Value {
        let mut cluster = json!({ "server": url });
        if url.starts_with("https:") {
            cluster["certificate-authority"] = json!(self.certificates.ca);
        }
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        })
    }

    /// A client for the proxy of a test.
    pub(crate) fn http(&self) -> anyhow::Result<reqwest::Client> {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&self.certificates.ca)?)?;
        Ok(reqwest::Client::builder().no_proxy().no_gzip().tls_certs_only([ca]).build()?)
    }

    /// A token of a service account in the namespace `meshmend`.
    pub(crate) async fn token(&self, client: &kube::Client, account: &str) -> anyhow::Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "meshmend");
        let wanted = TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
        let given = accounts.create_token_request(account, &PostParams::default(), &wanted).await?;
        given.status.and_then(|status| status.token).context("the API server gave no token")
    }

    /// What the accounts of the namespace `meshmend` asked of the API servers, oldest first.
    pub(crate) fn requests(&self) -> anyhow::Result<Vec<Value>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != "jsonl") {
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            // The last line may be half written.
            found.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
        Ok(found)
    }

    /// Ends the processes, the last one started first: etcd goes after those who write to it.
    pub(crate) fn stop(&self) {
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.drain(..).rev().for_each(|component| component.stop());
    }
}

/// Applies one document; the answer is its name.
pub(crate) async fn apply(client: &kube::Client, document: Value) -> anyhow::Result<String> {
    let text = |path: &str| document.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let namespace = text("/metadata/namespace");
    let api: Api<DynamicObject> = if namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), &namespace, &resource)
    };
    let params = PatchParams::apply("tests").force();
    api.patch(&name, &params, &Patch::Apply(&document))
        .await
        .with_context(|| format!("{kind} {name} could not be applied"))?;
    Ok(name)
}
