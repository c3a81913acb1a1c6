//! A stage: the whole agent on the simulated cluster in virtual time, with an API that takes requests in
//! process, and a Prometheus that can be told to misbehave.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::api::{Api, Patch, PatchParams};
use meshmend::api::{self, Agent, Metrics, Tokens};
use meshmend::app::agent::Running;
use meshmend::app::board::Boards;
use meshmend::app::driver::Driver;
use meshmend::app::feed;
use meshmend::app::outbox::Outbox;
use meshmend::app::queue::Queues;
use meshmend::clock::Clock;
use meshmend::cluster::{Cluster, VirtualService};
use meshmend::config::{History, Intake, Role, Token};
use meshmend::effectors::{Effectors, Notifier};
use meshmend::journal::{OpenOptions, SqliteJournal};
use meshmend::model::incident::Incident;
use meshmend::model::rate::Rate;
use meshmend::rules::{RuleFiles, Rules};
use meshmend::sim::{Http, Sim};
use meshmend::sources::prometheus::Prometheus;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

/// How Prometheus answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answering {
    /// As the mesh is.
    Truly,
    /// With this body instead.
    With(&'static str),
    /// Never.
    Never,
    /// With the truth of an hour ago.
    Late,
    /// As if the requests of cart failed for ever. Where every service looked ill it would be a storm.
    Badly,
}

/// The agent with everything around it.
pub(crate) struct Stage {
    pub(crate) sim: Arc<Sim>,
    pub(crate) client: kube::Client,
    pub(crate) api: Router,
    pub(crate) prometheus: Arc<Mutex<Answering>>,
    folder: tempfile::TempDir,
}

/// The tokens of a stage, one a role.
pub(crate) const TOKENS: [(&str, Role); 3] = [
    ("intake-0123456789", Role::Intake),
    ("read-0123456789ab", Role::Read),
    ("approve-012345678", Role::Approve),
];

const START: &str = "2026-01-01T00:00:00Z";

impl Stage {
    /// A healthy shop, watched under this policy.
    pub(crate) async fn under(policy: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let clock = Clock::starting_at(START.parse().expect("a time"));
        let mut files = RuleFiles::embedded();
        files.policies.remove("observe.yaml");
        files.policies.insert("test.yaml".to_owned(), policy.to_owned());
        let rules = Arc::new(Rules::load(&files, None).expect("the policy is right").rules);
        let sim = Sim::new(1, clock);
        let client = sim.client();
        let cluster = Arc::new(Cluster::new(client.clone(), vec!["*".to_owned()]));
        let prometheus = Arc::new(Mutex::new(Answering::Truly));
        let reader = Prometheus::over(wayward(sim.prometheus(), Arc::clone(&prometheus)), clock);
        let history = History { hold_s: 20, min_requests: 100 };
        let boards =
            Arc::new(Boards::new(Arc::clone(&cluster), Arc::clone(&rules), Some(reader), clock, history));
        let options = OpenOptions { id: Some("t1".to_owned()), key_file: None };
        let journal =
            SqliteJournal::open(&folder.path().join("journal.db"), &options).expect("a new journal opens");
        let mut driver = Driver::new(Box::new(journal), Arc::clone(&rules), clock).expect("it is empty");

        let failing = driver.failing();
        let (results, results_in) = mpsc::unbounded_channel();
        let (sources, sources_in) = mpsc::channel(1_024);
        let (launches, launches_in) = mpsc::unbounded_channel();
        feed::first_records(&results, &files, None, "t1".to_owned());
        let outbox = Arc::new(Outbox {
            effectors: Effectors::new(Arc::clone(&cluster), clock, Rate::Off),
            boards: Arc::clone(&boards),
            notifier: Notifier::default(),
            results: results.clone(),
            running: tokio_util::task::TaskTracker::new(),
        });
        tokio::spawn(async move {
            driver.run(Queues { results: results_in, sources: sources_in, launches }).await
        });
        tokio::spawn(outbox.run(launches_in));
        feed::watch(&cluster, &sources);
        tokio::spawn(Arc::clone(&boards).poll(Duration::from_secs(2), sources.clone()));
        cluster.wait_synced().await;
        let draining = Arc::new(AtomicBool::new(false));
        let agent: Arc<dyn Agent> = Arc::new(Running {
            cluster,
            boards,
            rules,
            name: Some("shop-eu1".to_owned()),
            clock,
            failing,
            results,
            sources,
            draining,
        });
        let open = [Intake::Alertmanager, Intake::Signals].into_iter().collect();
        let api = api::router(agent, tokens(folder.path()), Metrics::default(), &open);
        Self { sim, client, api, prometheus, folder }
    }

    /// Lets virtual time pass.
    pub(crate) async fn wait(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Long enough for every route of the shop to have proven itself.
    pub(crate) async fn until_proven(&self) {
        self.wait(60).await;
    }

    /// How Prometheus answers from now on.
    pub(crate) fn let_prometheus_answer(&self, answering: Answering) {
        *self.prometheus.lock().expect("nobody panics with it") = answering;
    }

    /// Sends a request; the answer's status and JSON.
    pub(crate) async fn call(&self, role: Role, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let (token, _) = TOKENS.iter().find(|(_, has)| *has == role).expect("each role has a token");
        let builder = Request::builder().uri(path).header("authorization", format!("Bearer {token}"));
        let request = match body {
            Some(body) => builder.method("POST").body(Body::from(body.to_string())),
            None => builder.body(Body::empty()),
        };
        self.send(request.expect("a request")).await
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let answer = self.api.clone().oneshot(request).await.expect("a router always answers");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body in memory").to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// All incidents, oldest first.
    pub(crate) async fn incidents(&self) -> Vec<Incident> {
        let (_, found) = self.call(Role::Read, "/v1/incidents", None).await;
        serde_json::from_value(found["incidents"].clone()).expect("incidents as documented")
    }

    /// The spec of a VirtualService now.
    pub(crate) async fn spec(&self, namespace: &str, name: &str) -> Value {
        let api: Api<VirtualService> = Api::namespaced(self.client.clone(), namespace);
        api.get(name).await.expect("it exists").spec
    }

    /// Merge-patches a VirtualService as somebody else.
    pub(crate) async fn edit(&self, namespace: &str, name: &str, patch: &Value) {
        let api: Api<VirtualService> = Api::namespaced(self.client.clone(), namespace);
        let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
        api.patch(name, &params, &Patch::Merge(patch)).await.expect("the simulated server takes it");
    }

    /// Resource versions of all routes: equal before and after means that nothing was written.
    pub(crate) async fn versions(&self) -> Vec<(String, String)> {
        let api: Api<VirtualService> = Api::all(self.client.clone());
        let listed = api.list(&kube::api::ListParams::default()).await.expect("the list is served");
        let version = |route: VirtualService| {
            let meta = route.metadata;
            (meta.name.unwrap_or_default(), meta.resource_version.unwrap_or_default())
        };
        listed.items.into_iter().map(version).collect()
    }

    /// Where the journal lies.
    pub(crate) fn journal(&self) -> std::path::PathBuf {
        self.folder.path().join("journal.db")
    }
}

fn tokens(folder: &Path) -> Tokens {
    let write = |(text, role): (&str, Role)| {
        let file = folder.join(text);
        std::fs::write(&file, text).expect("the folder can be written to");
        Token { name: format!("{role:?}").to_lowercase(), roles: [role].into_iter().collect(), file }
    };
    Tokens::load(&TOKENS.map(write)).expect("the tokens are long enough")
}

/// Prometheus, true or not.
fn wayward(truth: Http, how: Arc<Mutex<Answering>>) -> Http {
    Http::new(tower::service_fn(move |request: Request<Bytes>| {
        let (truth, how) = (truth.clone(), *how.lock().expect("nobody panics with it"));
        async move {
            match how {
                Answering::Truly => truth.oneshot(request).await,
                Answering::With(body) => Ok(Response::new(Bytes::from_static(body.as_bytes()))),
                Answering::Never => std::future::pending().await,
                Answering::Late => Ok(truth.oneshot(request).await?.map(|body| shifted(&body))),
                Answering::Badly => {
                    let holds = |words: &[u8]| request.body().windows(words.len()).any(|part| part == words);
                    // What fails is answered, and no pool is full.
                    if holds(b"overflow") {
                        return truth.oneshot(request).await;
                    }
                    let only_bad = holds(b"5..");
                    let value = if only_bad { "900" } else { "1000" };
                    Ok(truth.oneshot(request).await?.map(|body| valued(&body, value)))
                }
            }
        }
    }))
}

fn edited(body: &Bytes, edit: impl Fn(&mut Value)) -> Bytes {
    let mut answer: Value = serde_json::from_slice(body).expect("the simulation answers JSON");
    if let Some(series) = answer.pointer_mut("/data/result").and_then(Value::as_array_mut) {
        series.iter_mut().for_each(edit);
    }
    Bytes::from(answer.to_string())
}

fn shifted(body: &Bytes) -> Bytes {
    edited(body, |series| {
        let at = series["value"][0].as_f64().expect("a time");
        series["value"][0] = json!(at - 3_600.0);
    })
}

fn valued(body: &Bytes, value: &str) -> Bytes {
    edited(body, |series| {
        if series["metric"].to_string().contains("cart.shop") {
            series["value"][1] = json!(value);
        }
    })
}
