//! Where obligations are tested: a simulated cluster whose writes can be refused, and agents that come and go on it.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use http::{Method, Request, StatusCode};
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use meshmend::api::Agent as _;
use meshmend::app::agent::Running;
use meshmend::app::board::Boards;
use meshmend::app::driver::Driver;
use meshmend::app::feed;
use meshmend::app::outbox::Outbox;
use meshmend::app::queue::Queues;
use meshmend::clock::Clock;
use meshmend::cluster::{Cluster, DestinationRule};
use meshmend::config::History;
use meshmend::effectors::{Effectors, Notifier};
use meshmend::journal::{AppendError, Head, Journal, JournalError, OpenOptions, SqliteJournal};
use meshmend::model::digest::Digest;
use meshmend::model::incident::Incident;
use meshmend::model::mark::{Mark, RESTORE};
use meshmend::model::rate::Rate;
use meshmend::model::record::{Draft, Record};
use meshmend::model::verdict::Mode;
use meshmend::rules::{RuleFiles, Rules};
use meshmend::sim::{Fault, Sim};
use meshmend::sources::prometheus::Prometheus;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tower::ServiceExt as _;

/// Sheds what is overloaded, whatever else the shipped playbook asks for: these stories are about its end.
const SHED: &str = "//! Shed.\nfn about() { #{ on: [symptom(\"traffic.overload\")], needs: [\"traffic\", \"destination_rule?\"],\n\
    recover: #{ indicator: \"traffic.success_rate\", soak: \"10s\", within: \"2m\", hold: \"30s\" }, priority: 90 } }\n\
    fn applies() { this.subject.kind == \"Service\" }\n\
    fn plan(facts) {\n\
      let limit = per_client(facts.traffic.concurrency, facts.traffic.clients, 0.7);\n\
      let options = #{ max_requests: limit, max_pending: limit, expires: \"10m\" };\n\
      if \"destination_rule\" in facts { [shed_load(facts.destination_rule, options)] } else { [shed_load(this.subject, options)] }\n\
    }\n\
    fn next(history) { escalate(\"once is enough\") }\n";

/// What istiod's webhook costs while it is down, in the words of the API server.
const DOWN: &str = "Internal error occurred: failed calling webhook \"validation.istio.io\": failed to call webhook: \
    Post \"https://istiod.istio-system.svc:443/validate?timeout=10s\": dial tcp 10.96.0.10:443: connect: connection refused";

const START: &str = "2026-01-01T00:00:00Z";

/// The cluster.
pub(super) struct Ground {
    pub(super) sim: Arc<Sim>,
    pub(super) clock: Clock,
    pub(super) folder: tempfile::TempDir,
    client: kube::Client,
    /// The same without the webhook in its way: somebody with other means.
    direct: kube::Client,
    down: Arc<AtomicBool>,
}

/// An agent on it; gone as by a kill once it is dropped.
pub(super) struct Agent {
    running: Running,
    tasks: Vec<AbortHandle>,
    driver: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Ground {
    pub(super) fn new() -> Self {
        let clock = Clock::starting_at(START.parse().expect("a time"));
        let sim = Sim::new(1, clock);
        let down = Arc::new(AtomicBool::new(false));
        let client = kube::Client::new(guarded(sim.api_router(), Arc::clone(&down)), "default");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { direct: sim.client(), sim, clock, folder, client, down }
    }

    /// The webhook goes, or comes back.
    pub(super) fn webhook(&self, up: bool) {
        self.down.store(!up, Ordering::Relaxed);
    }

    pub(super) async fn wait(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// An agent under this policy on the journal of this name.
    pub(super) async fn agent(&self, policy: &str, cap: Option<Mode>, journal: &str) -> Agent {
        self.agent_on(policy, cap, Box::new(self.journal(journal))).await
    }

    /// The journal of this name, which is also its id.
    pub(super) fn journal(&self, name: &str) -> SqliteJournal {
        let options = OpenOptions { id: Some(name.to_owned()), key_file: None };
        open(&self.folder.path().join(format!("{name}.db")), &options)
    }

    pub(super) async fn agent_on(&self, policy: &str, cap: Option<Mode>, journal: Box<dyn Journal>) -> Agent {
        let mut files = RuleFiles::embedded();
        files.playbooks.retain(|file, _| file == "notify-only.rhai");
        files.playbooks.insert("shed.rhai".to_owned(), SHED.to_owned());
        files.policies.remove("observe.yaml");
        let head = "apiVersion: meshmend.dev/v1alpha1\nkind: Policy\nmetadata: { name: test }\nspec: ";
        files.policies.insert("test.yaml".to_owned(), format!("{head}{policy}\n"));
        let rules = Arc::new(Rules::load(&files, cap).expect("the policy is right").rules);
        let cluster = Arc::new(Cluster::new(self.client.clone(), vec!["*".to_owned()]));
        let reader = Prometheus::over(self.sim.prometheus(), self.clock);
        let history = History { hold_s: 20, min_requests: 100 };
        let boards = Arc::new(Boards::new(
            Arc::clone(&cluster),
            Arc::clone(&rules),
            Some(reader),
            self.clock,
            history,
        ));
        let id = journal.id().to_owned();
        let mut driver = Driver::new(journal, Arc::clone(&rules), self.clock).expect("it can be read");
        let failing = driver.failing();
        let (results, results_in) = mpsc::unbounded_channel();
        let (sources, sources_in) = mpsc::channel(1_024);
        let (launches, launches_in) = mpsc::unbounded_channel();
        feed::first_records(&results, &files, cap, id);
        let outbox = Arc::new(Outbox {
            effectors: Effectors::new(Arc::clone(&cluster), self.clock, Rate::Off),
            boards: Arc::clone(&boards),
            notifier: Notifier::default(),
            results: results.clone(),
            running: tokio_util::task::TaskTracker::new(),
        });
        let queues = Queues { results: results_in, sources: sources_in, launches };
        let driver = tokio::spawn(async move { driver.run(queues).await });
        let mut tasks = vec![tokio::spawn(outbox.run(launches_in)).abort_handle()];
        feed::watch(&cluster, &sources);
        let poll = Arc::clone(&boards).poll(Duration::from_secs(2), sources.clone());
        tasks.push(tokio::spawn(poll).abort_handle());
        cluster.wait_synced().await;
        let running = Running {
            cluster,
            boards,
            rules,
            name: None,
            clock: self.clock,
            failing,
            results,
            sources,
            draining: Arc::new(AtomicBool::new(false)),
        };
        Agent { running, tasks, driver }
    }

    /// The rules that bear a mark, with what it says.
    pub(super) async fn marks(&self) -> Vec<Mark> {
        let rules = self.rules().await;
        let text = |rule: &DestinationRule| rule.metadata.annotations.as_ref()?.get(RESTORE).cloned();
        rules.iter().filter_map(text).map(|text| Mark::read(&text).expect("a mark of ours")).collect()
    }

    pub(super) async fn rules(&self) -> Vec<DestinationRule> {
        let api: Api<DestinationRule> = Api::all(self.direct.clone());
        api.list(&kube::api::ListParams::default()).await.expect("the list is served").items
    }

    /// Specs of all rules, by name.
    pub(super) async fn specs(&self) -> Vec<(String, Value)> {
        let rules = self.rules().await;
        let mut specs: Vec<(String, Value)> =
            rules.into_iter().map(|rule| (rule.metadata.name.unwrap_or_default(), rule.spec)).collect();
        specs.sort_by(|one, other| one.0.cmp(&other.0));
        specs
    }

    /// Somebody patches a rule.
    pub(super) async fn edit(&self, name: &str, patch: &Value) {
        let api: Api<DestinationRule> = Api::namespaced(self.direct.clone(), "shop");
        let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
        api.patch(name, &params, &Patch::Merge(patch)).await.expect("the simulated server takes it");
    }

    /// Somebody makes a rule.
    pub(super) async fn create(&self, rule: &Value) {
        let api: Api<DestinationRule> = Api::namespaced(self.direct.clone(), "shop");
        let params =
            kube::api::PostParams { field_manager: Some("somebody".to_owned()), ..Default::default() };
        let rule: DestinationRule = serde_json::from_value(rule.clone()).expect("a rule");
        api.create(&params, &rule).await.expect("the simulated server takes it");
    }

    /// Waits until the marks are gone; the seconds it took.
    pub(super) async fn until_gone(&self, at_most: u64) -> u64 {
        for second in 0..at_most {
            if self.marks().await.is_empty() {
                return second;
            }
            self.wait(1).await;
        }
        panic!("still there after {at_most} s: {:?}", self.marks().await)
    }

    /// A service is overloaded until load is shed for it; the answer is when that expires.
    pub(super) async fn shed(&self, agent: &Agent) -> Timestamp {
        self.wait(90).await;
        self.sim.inject(Fault::Overload);
        for _ in 0..300 {
            self.wait(1).await;
            if let Some(mark) = self.marks().await.first() {
                return mark.expires;
            }
        }
        panic!("nothing was shed: {:#?}", agent.incidents().await)
    }

    /// Waits until a moment before this time.
    pub(super) async fn before(&self, at: Timestamp, seconds: u64) {
        tokio::time::sleep(self.clock.until(at).saturating_sub(Duration::from_secs(seconds))).await;
    }

    /// Waits until a moment after this time.
    pub(super) async fn after(&self, at: Timestamp, seconds: u64) {
        tokio::time::sleep(self.clock.until(at) + Duration::from_secs(seconds)).await;
    }
}

impl Agent {
    pub(super) async fn incidents(&self) -> Vec<Arc<Incident>> {
        self.running.incidents().await.unwrap_or_default()
    }

    /// Signals as the API takes them.
    pub(super) async fn hears(&self, signal: meshmend::model::signal::Signal) -> Result<Vec<String>, String> {
        self.running.signals(vec![signal], "test".to_owned()).await.map_err(|refusal| refusal.message)
    }

    /// What people read of a case: its reasons, in words.
    pub(super) async fn reasons(&self) -> Vec<String> {
        let incidents = self.incidents().await;
        incidents.iter().flat_map(|case| case.reasons.iter().map(|timed| timed.reason.to_string())).collect()
    }

    /// It is gone from one moment to the other.
    pub(super) async fn killed(self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.driver.abort();
        drop(self.running);
        // The journal is let go once the loop is.
        self.driver.await.ok();
    }
}

fn open(path: &Path, options: &OpenOptions) -> SqliteJournal {
    let mut journal = SqliteJournal::open(path, options).expect("the journal opens");
    assert!(journal.reserve(), "there is room");
    journal
}

/// The API server with a webhook before every write of routing objects: creations and changes, dry or not. It is
/// not called for deletions.
fn guarded(router: axum::Router, down: Arc<AtomicBool>) -> axum::Router {
    let refuse = move |request: Request<Body>| {
        let (router, down) = (router.clone(), Arc::clone(&down));
        async move {
            let guarded = request.uri().path().starts_with("/apis/networking.istio.io/");
            let writes = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
            if guarded && writes && down.load(Ordering::Relaxed) {
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": DOWN,
                    "reason": "InternalError", "details": { "causes": [{ "message": DOWN }] }, "code": 500,
                });
                return (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(status)).into_response();
            }
            router.oneshot(request).await.unwrap_or_else(|never| match never {})
        }
    };
    axum::Router::new().fallback(refuse)
}

/// A journal whose disk can be filled: it takes so many records once it has given up its reserve.
pub(super) struct Cramped {
    pub(super) journal: SqliteJournal,
    pub(super) disk: Arc<Mutex<Disk>>,
}

/// The disk under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    Free,
    Full,
    /// The reserve was given up, and has room for so many records.
    Reserve(usize),
}

/// So many records go into the reserve of these stories: what one act needs, and no flood.
pub(super) const RESERVE: usize = 40;

impl Cramped {
    fn disk(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.disk.lock().expect("nobody panics with it")
    }
}

impl Journal for Cramped {
    fn id(&self) -> &str {
        self.journal.id()
    }
    fn head(&self) -> Head {
        self.journal.head()
    }
    fn append(&mut self, at: &Head, batch: &[Draft], snapshot: Option<&[u8]>) -> Result<Head, AppendError> {
        let full = || AppendError::Full("database or disk is full".to_owned());
        let left = match *self.disk() {
            Disk::Free => None,
            Disk::Full => return Err(full()),
            Disk::Reserve(room) => Some(room.checked_sub(batch.len()).ok_or_else(full)?),
        };
        if let Some(left) = left {
            *self.disk() = Disk::Reserve(left);
        }
        self.journal.append(at, batch, snapshot)
    }
    fn heartbeat(&mut self, at: Timestamp) -> Result<(), AppendError> {
        self.journal.heartbeat(at)
    }
    fn reserve(&mut self) -> bool {
        *self.disk() == Disk::Free
    }
    fn release(&mut self) -> bool {
        let full = *self.disk() == Disk::Full;
        if full {
            *self.disk() = Disk::Reserve(RESERVE);
        }
        full
    }
    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, JournalError> {
        self.journal.blob(digest)
    }
    fn snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        self.journal.snapshot()
    }
    fn read(&self, from: u64, visit: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), JournalError> {
        self.journal.read(from, visit)
    }
    fn close(self: Box<Self>, at: Timestamp) -> Result<(), JournalError> {
        Box::new(self.journal).close(at)
    }
}
