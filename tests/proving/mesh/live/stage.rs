//! One client with a sidecar, two servers without, an API server and the stand-in.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::api::Api;
use crate::mesh::bootstrap::{READINESS_PORT, arguments, bootstrap};
use crate::mesh::istiod::Options;
use crate::mesh::metrics::{Telemetry, merged};
use crate::mesh::objects::{Inbound, Labels};
use crate::mesh::proxy::ProxyFile;
use crate::mesh::translate::OUTBOUND_PORT;

/// The service that is called.
pub(super) const HOST: &str = "server.shop.svc.cluster.local";
/// Longest wait for anything: hundreds of times what it takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);
const APP_PORT: u16 = 9080;

/// Everything that runs.
pub(super) struct Stage {
    pub(super) api: Arc<Api>,
    /// Requests that were sent through the sidecar.
    pub(super) sent: usize,
    folder: TempDir,
    file: ProxyFile,
    kubeconfig: PathBuf,
    istiod: SocketAddr,
    stand_in: Option<Child>,
    binary: PathBuf,
    envoy: Option<Child>,
    /// Kills Envoy if this process is killed.
    guard: Option<Child>,
    telemetry: Telemetry,
    client: reqwest::Client,
    before: BTreeMap<String, String>,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// A VirtualService with these weights for the two subsets.
pub(super) fn split(v1: u32, v2: u32) -> Value {
    let to = |subset: &str, weight: u32| json!({"destination": {"host": "server", "subset": subset}, "weight": weight});
    json!({"kind": "VirtualService", "metadata": {"namespace": "shop", "name": "server"},
           "spec": {"hosts": ["server"], "http": [{"route": [to("v1", v1), to("v2", v2)]}]}})
}

/// The DestinationRule with this policy.
pub(super) fn rule(policy: Value) -> Value {
    let subsets = ["v1", "v2"].map(|version| json!({"name": version, "labels": {"version": version}}));
    let mut spec = json!({"host": "server", "subsets": subsets});
    if !policy.is_null() {
        spec["trafficPolicy"] = policy;
    }
    json!({"kind": "DestinationRule", "metadata": {"namespace": "shop", "name": "server"}, "spec": spec})
}

/// Addresses of this run's own: several runs on one machine do not meet.
fn address(last: u8) -> IpAddr {
    let [a, b] = [std::process::id() % 200, std::process::id() / 200 % 250]
        .map(|part| u8::try_from(part).unwrap_or(1));
    IpAddr::V4(Ipv4Addr::new(127, 50 + a, b, last))
}

fn app(name: &'static str) -> Router {
    let slow = get(move || async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        name
    });
    Router::new().route("/slow", slow).fallback(move || async move { name })
}

fn objects(api: &Api) {
    let pod = |name: &str, version: &str, last: u8| {
        json!({"kind": "Pod", "spec": {}, "status": {"podIP": address(last)},
               "metadata": {"namespace": "shop", "name": name, "labels": {"app": "server", "version": version}}})
    };
    let endpoint = |name: &str, last: u8| json!({"addresses": [address(last)], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": name}});
    for object in [
        pod("server-v1", "v1", 2),
        pod("server-v2", "v2", 3),
        json!({"kind": "Service", "metadata": {"namespace": "shop", "name": "server"},
               "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80}, {"name": "alt", "port": 8081}]}}),
        // Not the service, though it sounds like it: Envoy would refuse the domain twice.
        json!({"kind": "VirtualService", "metadata": {"namespace": "shop", "name": "partly"},
               "spec": {"hosts": ["server.shop"], "http": [{"route": [{"destination": {"host": "server"}}]}]}}),
        json!({"kind": "EndpointSlice", "ports": [{"name": "http", "port": APP_PORT}, {"name": "alt", "port": APP_PORT}],
               "metadata": {"namespace": "shop", "name": "server-1", "labels": {"kubernetes.io/service-name": "server"}},
               "endpoints": [endpoint("server-v1", 2), endpoint("server-v2", 3)]}),
        rule(Value::Null),
        split(50, 50),
    ] {
        api.put(object);
    }
}

/// A kubeconfig of an API server that asks nobody who they are.
fn kubeconfig_of(server: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x", "users": [{"name": "x", "user": {}}],
        "clusters": [{"name": "x", "cluster": {"server": format!("http://{server}")}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    })
}

/// The client, before its first start.
fn proxy(agent: SocketAddr) -> ProxyFile {
    ProxyFile {
        namespace: "shop".to_owned(),
        pod: "client-1".to_owned(),
        ip: address(1),
        admin: SocketAddr::new(address(1), 15000),
        agent,
        labels: Labels::from([("app".to_owned(), "client".to_owned())]),
        workload: "client".to_owned(),
        service_account: "default".to_owned(),
        locality: Default::default(),
        inbound: vec![Inbound { port: 8080, app_port: APP_PORT }],
        start: 0,
    }
}

/// A shell that waits on a pipe; when that closes because nobody holds it any more, it kills `pid`, which may
/// be frozen. It is killed itself where all goes well.
fn guard(pid: u32) -> anyhow::Result<Child> {
    let script = format!("read -r word; kill -KILL {pid}");
    let mut shell = tokio::process::Command::new("sh");
    let shell = shell.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.kill_on_drop(true).spawn().context("cannot start a shell")
}

impl Stage {
    pub(super) async fn build(binary: PathBuf) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("proxies");
        std::fs::create_dir(&root)?;
        let mut tasks = JoinSet::new();
        let mut listen = async |last: u8, port: u16, router: Router| {
            let listener = TcpListener::bind((address(last), port)).await?;
            let bound = listener.local_addr()?;
            tasks.spawn(async move { Ok(axum::serve(listener, router).await?) });
            anyhow::Ok(bound)
        };
        listen(1, APP_PORT, app("client")).await?;
        listen(2, APP_PORT, app("v1")).await?;
        listen(3, APP_PORT, app("v2")).await?;
        let agent = listen(1, 15020, app("ready")).await?;
        let api = Api::new();
        objects(&api);
        let server = listen(9, 0, Arc::clone(&api).router()).await?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_of(server).to_string())?;
        let file = proxy(agent);
        let istiod = SocketAddr::new(address(9), 15014);
        let telemetry = Telemetry::new(&root, &file);
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5));
        let client = client.redirect(reqwest::redirect::Policy::none()).build()?;
        let (sent, before) = (0, BTreeMap::new());
        let stand_in = None;
        let (envoy, guard) = (None, None);
        Ok(Self {
            api,
            sent,
            folder,
            binary,
            file,
            kubeconfig,
            istiod,
            stand_in,
            envoy,
            guard,
            telemetry,
            client,
            before,
            tasks,
        })
    }

    /// Starts the stand-in anew; the one before it is gone first.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        if let Some(mut before) = self.stand_in.take() {
            before.kill().await?;
        }
        let log = std::fs::File::create(self.folder.path().join("stand-in.log"))?;
        let options = Options { kubeconfig: self.kubeconfig.clone(), root: self.root(), listen: self.istiod };
        let mut command = tokio::process::Command::from(options.command()?);
        let started = command.stdout(log.try_clone()?).stderr(log).kill_on_drop(true).spawn();
        self.stand_in = Some(started.context("cannot start the stand-in")?);
        let url = format!("http://{}/ready", self.istiod);
        let until = Instant::now() + PATIENCE;
        while !self.client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
            ensure!(Instant::now() < until, "the stand-in is not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("proxies")
    }

    /// Starts Envoy as an agent would: it is announced, the control plane writes, then Envoy may start.
    pub(super) async fn launch(&mut self) -> anyhow::Result<()> {
        let root = self.root();
        self.file.start += 1;
        self.file.announce(&root)?;
        self.telemetry = Telemetry::new(&root, &self.file);
        let until = Instant::now() + PATIENCE;
        while !self.file.configured(&root) {
            if let Some(ended) = self.tasks.try_join_next() {
                ended?.context("something ended too early")?;
            }
            ensure!(Instant::now() < until, "the stand-in wrote nothing");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let config = self.folder.path().join("bootstrap.json");
        std::fs::write(&config, serde_json::to_vec(&bootstrap(&root, &self.file))?)?;
        let log = std::fs::File::create(self.folder.path().join("envoy.log"))?;
        let envoy = tokio::process::Command::new(&self.binary)
            .args(arguments(&config))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Envoy")?;
        self.guard = Some(guard(envoy.id().context("Envoy ended at once")?)?);
        self.envoy = Some(envoy);
        let until = Instant::now() + PATIENCE;
        while let Err(error) = self.ready(Duration::from_secs(1)).await {
            ensure!(Instant::now() < until, "Envoy is not ready: {error:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.synced().await
    }

    /// What Envoy and the stand-in wrote.
    pub(super) fn log(&self) -> String {
        let read = |name: &str| {
            let text = std::fs::read_to_string(self.folder.path().join(name));
            text.unwrap_or_else(|error| format!("no {name}: {error}"))
        };
        format!("{}\n{}", read("envoy.log"), read("stand-in.log"))
    }

    /// Asks the readiness port of the pod.
    pub(super) async fn ready(&self, limit: Duration) -> anyhow::Result<()> {
        let url = format!("http://{}:{READINESS_PORT}/healthz/ready", self.file.ip);
        let answer = self.client.get(url).timeout(limit).send().await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        Ok(())
    }

    async fn syncz(&self) -> anyhow::Result<Value> {
        Ok(self.client.get(format!("http://{}/debug/syncz", self.istiod)).send().await?.json().await?)
    }

    async fn sent_versions(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let syncz = self.syncz().await?;
        let resources = syncz[0]["resources"].as_object().cloned().unwrap_or_default();
        Ok(resources
            .into_iter()
            .map(|(url, one)| (url, one["sent"].as_str().unwrap_or_default().to_owned()))
            .collect())
    }

    /// Waits for a condition on syncz, and on the proxy's and the stand-in's metrics.
    pub(super) async fn wait(
        &mut self,
        what: &str,
        met: impl Fn(&Value, &str) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let syncz = self.syncz().await?;
            let own = self.client.get(format!("http://{}/metrics", self.istiod)).send().await?.text().await?;
            let text = merged(&self.client, &mut self.telemetry).await? + own.as_str();
            if met(&syncz, &text) {
                return Ok(());
            }
            let counts: Vec<&str> =
                text.lines().filter(|l| l.starts_with("istio_re") && !l.contains("_bucket")).collect();
            ensure!(Instant::now() < until, "not seen: {what}\n{syncz:#}\n{own}\n{}", counts.join("\n"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until everything that was sent is acknowledged.
    pub(super) async fn synced(&mut self) -> anyhow::Result<()> {
        self.wait("all acknowledged", |syncz, _| {
            let types = syncz[0]["resources"].as_object();
            types.is_some_and(|types| {
                types.len() == 4 && types.values().all(|one| one["sent"] == one["acked"] && one["sent"] != "")
            })
        })
        .await?;
        self.before = self.sent_versions().await?;
        Ok(())
    }

    /// Waits until something new of a type was sent and acknowledged.
    pub(super) async fn next(&mut self, kind: &str) -> anyhow::Result<()> {
        let before = self.before.clone();
        let newer = move |syncz: &Value, _: &str| {
            let types = syncz[0]["resources"].as_object().into_iter().flatten();
            types.into_iter().any(|(url, one)| {
                url.ends_with(&format!(".{kind}"))
                    && one["sent"] == one["acked"]
                    && one["sent"].as_str() != before.get(url).map(String::as_str)
            })
        };
        self.wait(&format!("the next {kind} acknowledged"), newer).await?;
        self.synced().await
    }

    async fn one(client: reqwest::Client, url: String, host: String) -> anyhow::Result<String> {
        let answer = client.get(url).header("host", host).send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok(if status == 200 { text } else { status.to_string() })
    }

    /// Sends requests one after the other; how often which answer came.
    pub(super) async fn send(
        &mut self,
        count: usize,
        host: &str,
        path: &str,
    ) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut answers = BTreeMap::new();
        let url = format!("http://{}:{OUTBOUND_PORT}{path}", self.file.ip);
        for _ in 0..count {
            let answer = Self::one(self.client.clone(), url.clone(), host.to_owned()).await?;
            *answers.entry(answer).or_default() += 1;
        }
        self.sent += count;
        for version in ["v1", "v2"] {
            answers.entry(version.to_owned()).or_default();
        }
        answers.retain(|who, count| *count > 0 || who.starts_with('v') && path == "/" && host == HOST);
        Ok(answers)
    }

    /// Sends requests all at once.
    pub(super) async fn at_once(
        &mut self,
        count: usize,
        path: &str,
    ) -> anyhow::Result<BTreeMap<String, usize>> {
        let url = format!("http://{}:{OUTBOUND_PORT}{path}", self.file.ip);
        let all = (0..count).map(|_| Self::one(self.client.clone(), url.clone(), HOST.to_owned()));
        let mut answers = BTreeMap::new();
        for answer in futures::future::try_join_all(all).await? {
            *answers.entry(answer).or_default() += 1;
        }
        self.sent += count;
        Ok(answers)
    }

    /// Asks the application through its sidecar.
    pub(super) async fn inbound(&self) -> anyhow::Result<String> {
        let url = format!("http://{}:8080/", self.file.ip);
        Ok(self.client.get(url).send().await?.text().await?)
    }

    /// Sends Envoy a signal.
    pub(super) fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.envoy.as_ref().and_then(Child::id).context("Envoy does not run")?;
        let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?;
        ensure!(sent.success(), "kill -{name} {pid} failed");
        Ok(())
    }

    /// Kills Envoy; it stays announced.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        let envoy = self.envoy.as_mut().context("Envoy does not run")?;
        envoy.kill().await.context("cannot kill Envoy")?;
        if let Some(mut guard) = self.guard.take() {
            guard.kill().await?;
        }
        Ok(())
    }

    /// Takes the proxy away while Envoy runs on.
    pub(super) fn withdraw(&self) -> anyhow::Result<()> {
        self.file.withdraw(&self.root())
    }
}
