//! The sources at work on the simulated cluster in virtual time: each fault becomes the signal it is.

use std::time::Duration;

use super::*;
use crate::app::feed;
use crate::app::in_process::InProcess;
use crate::cluster::ProxyEyes as _;
use crate::health::{BEFORE, Found, Looks, Trend};
use crate::model::event::EventKind;
use crate::model::signal::SignalState;
use crate::rules::{RuleFiles, Rules};
use crate::sim::{Fault, Injected, Sim};

/// The boards of a simulated shop, and what they tell.
struct Stage {
    sim: Arc<Sim>,
    boards: Arc<Boards>,
    told: mpsc::Receiver<Input>,
}

impl Stage {
    async fn new() -> Self {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let rules = Arc::new(Rules::load(&RuleFiles::embedded(), None).unwrap().rules);
        let sim = Sim::new(1, clock);
        let cluster = Arc::new(Cluster::new(sim.client(), vec!["*".to_owned()]));
        let prometheus = Some(Prometheus::over(sim.prometheus(), clock));
        let transport = Arc::new(InProcess(Arc::clone(&sim)));
        let interval = Duration::from_secs(10);
        let check = ProxyCheck::new(Arc::clone(&transport) as _, interval);
        let history = History { hold_s: 20, min_requests: 100 };
        let boards = Boards::new(Arc::clone(&cluster), rules, prometheus, clock, history);
        let boards = Arc::new(boards.with_mesh(Some(check), Some(Istiod::new(transport))));
        let (out, told) = mpsc::channel(10_000);
        feed::watch(&cluster, &out);
        cluster.wait_synced().await;
        tokio::spawn(Arc::clone(&boards).watch_proxies(interval, out.clone()));
        tokio::spawn(Arc::clone(&boards).watch_istiod(interval, out.clone()));
        tokio::spawn(Arc::clone(&boards).watch_objects(out.clone()));
        tokio::spawn(Arc::clone(&boards).poll(Duration::from_secs(2), out));
        Self { sim, boards, told }
    }

    /// The signals of the next seconds.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only signals are looked at")]
    async fn within(&mut self, seconds: u64) -> Vec<Signal> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let mut signals = Vec::new();
        while let Ok(input) = self.told.try_recv() {
            let Input::Events { events, .. } = input else { continue };
            signals.extend(events.into_iter().filter_map(|event| match event {
                EventKind::Signal { signal } => Some(signal),
                _ => None,
            }));
        }
        signals
    }

    /// What a fault is told as: the one signal about its subject with this symptom.
    async fn told_of(&mut self, fault: Fault, symptom: &str) -> (Injected, Signal) {
        assert_eq!(self.within(120).await, [], "a healthy shop says nothing");
        let injected = self.sim.inject(fault);
        let signals = self.within(180).await;
        let found = signals.iter().find(|s| s.symptom.as_str() == symptom && s.state == SignalState::Firing);
        let found = found.unwrap_or_else(|| panic!("{symptom}: {signals:?}")).clone();
        assert_eq!(found.subject, injected.subject);
        (injected, found)
    }
}

// Mutations: the figure of now for that of then; a host without errors as one of which nothing is known; figures of
// before that are dropped because the look took a moment.
#[tokio::test(start_paused = true)]
async fn one_look_has_a_trend_where_prometheus_remembers() {
    let mut stage = Stage::new().await;
    stage.within(12 * 60).await;
    stage.sim.inject(Fault::BadRoute);
    stage.within(120).await;
    let boards = Arc::clone(&stage.boards);
    let surveys = boards.survey(&Scope::default()).await;
    let then = boards.clock.now().saturating_sub(BEFORE).unwrap();
    let earlier = boards.earlier(&surveys, then).await;
    assert!(earlier["traffic.route_error_rate"] < 0.01, "{earlier:?}");
    assert!(earlier["traffic.success_rate"] > 0.99, "{earlier:?}");
    // Nobody had been turned away, so that there was no series of it.
    assert_eq!(earlier.get("traffic.overload_share"), Some(&0.0), "{earlier:?}");
    stage.within(5).await;
    let mut looks = Looks::default();
    looks.recall(earlier, then);
    let found = looks.overview(surveys, boards.clock.now());
    let all = || found.components.iter().flat_map(|part| &part.indicators);
    let trend = |id: &str| all().find(|one| one.indicator == id).and_then(|one| one.trend);
    assert_eq!(trend("traffic.route_error_rate"), Some(Trend::Worse));
    assert_eq!(trend("traffic.success_rate"), Some(Trend::Worse));
    assert_eq!(trend("traffic.no_endpoint"), Some(Trend::Steady));
    assert_eq!(trend("data_plane.proxy_readiness"), None, "Prometheus tells nothing of it");
}

// Mutation: taking the pod for its own owner loses the budget of the one it replaces.
#[tokio::test(start_paused = true)]
async fn a_hung_proxy_is_told_after_three_misses_with_whose_it_is() {
    let mut stage = Stage::new().await;
    let (injected, signal) = stage.told_of(Fault::HungProxy, "data_plane.proxy_hung").await;
    let after = signal.at.duration_since(injected.at).as_secs();
    // Three checks ten seconds apart, the first at most ten seconds away, each with its three seconds.
    assert!((20..=37).contains(&after), "{after} s");
    assert_eq!(signal.source, "proxy_check");
    let owner = signal.owner.clone().expect("it belongs to a Deployment");
    assert_eq!(owner.kind, "Deployment");
    assert_eq!(signal.depends_on.as_ref().map(|on| on.name.as_str()), Some("istiod"));
    let boards = &stage.boards;
    assert_eq!(boards.answering(&signal.subject).await, Ok(false));
    let whom = Whom { subject: &signal.subject, owner: &owner };
    let probe = boards.measure("data_plane.proxy_liveness", whom, None).await;
    assert_eq!((probe.level, probe.figure.map(|f| f.value)), (Level::Critical, Some(0.0)));
    // The pod is gone: its owner stands for it. Mutation: asking for the pod alone is unknown for ever.
    let gone = Subject::pod(&owner.namespace, "replaced");
    let probe = boards.measure("data_plane.proxy_liveness", Whom { subject: &gone, owner: &owner }, None);
    assert!(probe.await.figure.is_some_and(|figure| figure.samples >= 1.0));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_configuration_is_told_by_istiod() {
    let mut stage = Stage::new().await;
    let (_, signal) = stage.told_of(Fault::RejectedConfiguration, "config.rejected").await;
    assert_eq!(signal.source, "istiod");
    assert!(signal.labels.contains_key("error"), "{:?}", signal.labels);
    let (state, error, _) = stage.boards.sync(&signal.subject).await.unwrap();
    assert_eq!(state, crate::model::facts::SyncState::Rejected);
    assert!(error.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_overload_is_told_of_the_service() {
    let mut stage = Stage::new().await;
    let (_, signal) = stage.told_of(Fault::Overload, "traffic.overload").await;
    assert_eq!((signal.subject.kind.as_str(), signal.source.as_str()), ("Service", "prometheus"));
    // The simulated sidecars export the counters, and no pool has a limit yet.
    let told = |counter: &str| signal.labels.get(counter).map(String::as_str);
    assert_eq!((told("pending_overflow"), told("active_overflow")), (Some("0"), Some("0")));
    let traffic = stage.boards.traffic(&signal.subject).await.unwrap();
    let known = (traffic.p99_ms, traffic.concurrency, traffic.clients, traffic.ready_endpoints);
    assert!(matches!(known, (Some(_), Some(_), Some(1..), Some(1..))), "{traffic:?}");
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_without_replicas_and_an_old_certificate_are_told_by_the_watches() {
    let mut stage = Stage::new().await;
    let (_, signal) = stage.told_of(Fault::ControlPlaneDown, "control_plane.down").await;
    assert_eq!((signal.subject.kind.as_str(), signal.source.as_str()), ("Deployment", "kubernetes"));
    let mut stage = Stage::new().await;
    let (_, signal) = stage.told_of(Fault::ExpiringCertificate, "security.certificate_expiring").await;
    assert_eq!((signal.subject.kind.as_str(), signal.source.as_str()), ("Certificate", "kubernetes"));
}

/// Boards over the same cluster with a way to admin ports, and none to istiod.
fn without_istiod(stage: &Stage) -> Boards {
    let of = &stage.boards;
    let boards = Boards::new(Arc::clone(&of.cluster), Arc::clone(&of.rules), None, of.clock, of.history);
    let admin = EnvoyAdmin::new(Arc::new(InProcess(Arc::clone(&stage.sim))));
    boards.with_proxies(Some(admin), None)
}

async fn surveyed(boards: &Boards, id: &str) -> Vec<crate::health::Taken> {
    let surveys = boards.survey(&Scope::default()).await;
    surveys.into_iter().find(|survey| survey.indicator.id == id).expect("it is in the catalogue").taken
}

// Mutations: a way that could not read anybody taken for one that told something; the proxy that rejects as one
// whose push waits; plain text as a certificate without life.
#[tokio::test(start_paused = true)]
async fn where_istiod_cannot_be_asked_the_proxies_tell_what_they_reject() {
    let mut stage = Stage::new().await;
    let (injected, _) = stage.told_of(Fault::RejectedConfiguration, "config.rejected").await;
    let value = |taken: &crate::health::Taken| match &taken.found {
        Found::Figure(figure) => Some(figure.value),
        Found::Idle(_) => None,
        Found::Unread(why) => panic!("{}: {why}", taken.subject),
    };
    let boards = without_istiod(&stage);
    let rejections = surveyed(&boards, "config.rejections").await;
    assert!(rejections.len() > 10 && rejections.iter().all(|taken| taken.source == "envoy"));
    for taken in &rejections {
        let expected = if taken.subject == injected.subject { 0.0 } else { 1.0 };
        assert_eq!(value(taken), Some(expected), "{}", taken.subject);
    }
    let live = surveyed(&boards, "data_plane.proxy_state").await;
    assert!(live.len() > 10 && live.iter().all(|taken| value(taken) == Some(1.0)));
    let leaves = surveyed(&boards, "security.workload_certificates").await;
    assert!(leaves.len() > 10 && leaves.iter().all(|taken| value(taken).is_none()));

    let waits = surveyed(&stage.boards, "config.last_applied").await;
    for taken in &waits {
        let expected = (taken.subject != injected.subject).then_some(0.0);
        assert_eq!(value(taken), expected, "{}", taken.subject);
    }
    let answering = surveyed(&stage.boards, "control_plane.replicas_answering").await;
    assert_eq!(answering.iter().map(value).collect::<Vec<_>>(), [Some(1.0)]);
}

// Mutations: labels of the page instead of those of its target; a page that could not be had left out.
#[tokio::test(start_paused = true)]
async fn pages_are_fetched_with_the_labels_that_a_prometheus_would_add() {
    let mut stage = Stage::new().await;
    stage.within(120).await;
    let pages = stage.boards.pages(&["pilot_xds".to_owned()].into(), 200).await;
    let istiods: Vec<_> = pages.iter().filter(|(of, _)| of.job == "istiod").collect();
    let mut proxies = 0.0;
    for (of, page) in &istiods {
        let page = page.as_ref().unwrap();
        let labels: Vec<&str> = page.iter().flat_map(|one| one.labels.values()).map(String::as_str).collect();
        assert_eq!(labels, ["istiod", "istio-system", &of.pod, "1.31.0"]);
        proxies += page[0].value;
    }
    assert!(!istiods.is_empty() && proxies > 10.0, "{proxies}");
    let api: Vec<_> = pages.iter().filter(|(of, _)| of.job == "apiserver").collect();
    // The simulated API server has none, and says so.
    assert!(matches!(api.as_slice(), [(_, Err(why))] if why.contains("404")), "{api:?}");
}
