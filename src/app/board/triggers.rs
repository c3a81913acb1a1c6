//! Triggers at work: the indicators that are read in several ways and are symptoms, polled by the agent and told on
//! their edges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Asking, Boards, Closed, Scope};
use crate::app::queue::Input;
use crate::cluster::Watched;
use crate::health::{Found, Taken};
use crate::model::indicator::Reading;
use crate::model::signal::Signal;
use crate::model::subject::Subject;
use crate::rules::{Indicator, Reader};

/// Never more often: none of them holds for less than a minute.
const LEAST: Duration = Duration::from_secs(15);
/// A query may be long; its begin says what was asked.
const LONGEST: usize = 300;

impl Boards {
    /// Polls until the driver is gone.
    pub async fn poll_triggers(self: Arc<Self>, every: Duration, out: mpsc::Sender<Input>) {
        let mut ticks = tokio::time::interval(every.max(LEAST));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.tell_triggers(&out).await.is_err() {
                return;
            }
        }
    }

    async fn tell_triggers(&self, out: &mpsc::Sender<Input>) -> Result<(), Closed> {
        // Proxies are not asked for it: what the rounds heard counts.
        let scope = Scope { asking: Asking::Rounds, ..Scope::default() };
        let meshes = self.looked_at(&scope);
        let triggered = self.rules.indicators.iter().filter(|indicator| {
            indicator.trigger.is_some() && matches!(indicator.reader, Reader::Readings(_))
        });
        for indicator in triggered.filter(|indicator| self.is_there(indicator, &meshes)) {
            let (taken, _) = self.read_all(indicator, &scope, &meshes).await;
            let signals = self.edges(indicator, &taken);
            self.owners.tell(signals, &self.cluster, out).await?;
        }
        Ok(())
    }

    fn edges(&self, indicator: &Indicator, taken: &[Taken]) -> Vec<Signal> {
        let at = self.clock.now();
        let edge = |taken: &Taken| {
            let figure = match &taken.found {
                Found::Figure(figure) => Ok(*figure),
                Found::Idle(why) | Found::Unread(why) => Err(why.clone()),
            };
            let (id, subject) = (indicator.id.clone(), taken.subject.clone());
            let mut signal = self.take(&Reading { indicator: id, subject, figure, at })?;
            signal.labels.extend(evidence(indicator, taken));
            Some(signal)
        };
        let mut signals: Vec<Signal> = taken.iter().filter_map(edge).collect();
        // What could not be read at all is not gone.
        if !taken.is_empty() {
            let seen: BTreeSet<&Subject> = taken.iter().map(|taken| &taken.subject).collect();
            let firing = self.lock().firing(&indicator.id);
            let keep = |subject: &Subject| {
                seen.contains(subject) || self.is_left(subject).unwrap_or_else(|| firing.contains(subject))
            };
            signals.extend(self.lock().retain(indicator, keep, at));
        }
        signals
    }

    /// Whether an object that no reading is about any more may still be there; nothing for what no watch keeps. A
    /// series is no object: without it nobody knows, so what fires goes on, and what does not is forgotten.
    fn is_left(&self, subject: &Subject) -> Option<bool> {
        let watched = match subject.kind.as_str() {
            "Pod" => Watched::Pods,
            "Service" => Watched::Services,
            "Certificate" => Watched::Certificates,
            "Deployment" => Watched::Deployments,
            "StatefulSet" => Watched::StatefulSets,
            "DaemonSet" => Watched::DaemonSets,
            _ => return None,
        };
        Some(self.may_be_there(subject, watched))
    }
}

/// What a signal carries along for those who read it: the band, and how it was read.
fn evidence(indicator: &Indicator, taken: &Taken) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("read_from".to_owned(), taken.source.clone()),
        ("reading".to_owned(), taken.way.chars().take(LONGEST).collect()),
        ("unit".to_owned(), indicator.unit.clone()),
    ]);
    if let Found::Figure(figure) = &taken.found {
        labels.insert("band".to_owned(), indicator.bands.level(figure.value).to_string());
    }
    labels
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use http::{Request, Response};
    use serde_json::{Value, json};

    use super::*;
    use crate::app::feed;
    use crate::clock::Clock;
    use crate::cluster::Cluster;
    use crate::config::History;
    use crate::model::event::EventKind;
    use crate::model::signal::SignalState;
    use crate::rules::{RuleFiles, Rules};
    use crate::sim::Sim;
    use crate::sources::prometheus::{Http, Prometheus};

    /// What Prometheus answers about the load of istiod: the busiest replica against the mean, and how many proxies
    /// there are; `None`: it cannot be asked at all. To anything else it has no series.
    type Answer = Arc<Mutex<Option<(f64, f64)>>>;

    fn prometheus(answer: &Answer, clock: Clock) -> Prometheus {
        let answer = Arc::clone(answer);
        let service = move |request: Request<Bytes>| {
            let asked = String::from_utf8_lossy(request.body()).into_owned();
            let told = *answer.lock().unwrap();
            async move {
                let Some((load, proxies)) = told else {
                    return Ok::<_, tower::BoxError>(Response::builder().status(503).body(Bytes::new())?);
                };
                let series = |value: f64| json!([{ "metric": {}, "value": [clock.now().as_second(), value.to_string()] }]);
                let result: Value = match (asked.contains("pilot%5Fxds"), asked.contains("avg")) {
                    (true, true) => series(load),
                    (true, false) => series(proxies),
                    (false, _) => json!([]),
                };
                let body =
                    json!({ "status": "success", "data": { "resultType": "vector", "result": result } });
                Ok(Response::new(Bytes::from(body.to_string())))
            }
        };
        Prometheus::over(Http::new(tower::service_fn(service)), clock)
    }

    /// The signals of the next minutes.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only signals are looked at")]
    async fn within(minutes: u64, told: &mut mpsc::Receiver<Input>) -> Vec<Signal> {
        tokio::time::sleep(Duration::from_secs(minutes * 60)).await;
        let mut signals = Vec::new();
        while let Ok(input) = told.try_recv() {
            let Input::Events { events, .. } = input else { continue };
            signals.extend(events.into_iter().filter_map(|event| match event {
                EventKind::Signal { signal } => Some(signal),
                _ => None,
            }));
        }
        signals
    }

    // Mutations: a level that is taken for a trigger; an answer that failed, or too few proxies, as an end; an edge at
    // each poll; a signal without what was asked; one that hangs on nothing although there is one control plane.
    #[tokio::test(start_paused = true)]
    async fn a_trigger_beside_readings_is_told_on_its_edges_with_what_was_asked() {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let rules = Arc::new(Rules::load(&RuleFiles::embedded(), None).unwrap().rules);
        let sim = Sim::new(1, clock);
        let cluster = Arc::new(Cluster::new(sim.client(), vec!["*".to_owned()]));
        let answer: Answer = Arc::new(Mutex::new(Some((1.2, 400.0))));
        let history = History { hold_s: 20, min_requests: 100 };
        let from = Some(prometheus(&answer, clock));
        let boards = Arc::new(Boards::new(Arc::clone(&cluster), rules, from, clock, history));
        let (out, mut told) = mpsc::channel(100_000);
        let (sources, _unused) = mpsc::channel(100_000);
        feed::watch(&cluster, &sources);
        cluster.wait_synced().await;
        tokio::spawn(Arc::clone(&boards).poll_triggers(Duration::from_secs(1), out));

        assert_eq!(within(5, &mut told).await, [], "it is even");
        *answer.lock().unwrap() = Some((3.0, 400.0));
        assert_eq!(within(34, &mut told).await, [], "it has to hold");
        let signals = within(10, &mut told).await;
        let [signal] = signals.as_slice() else { panic!("one edge: {signals:?}") };
        assert_eq!(
            (signal.symptom.as_str(), signal.state),
            ("control_plane.uneven_load", SignalState::Firing)
        );
        assert_eq!(
            (signal.source.as_str(), signal.value),
            ("indicators/control_plane.load_balance", Some(3.0))
        );
        assert_eq!(signal.subject.to_string(), "Mesh all");
        assert_eq!(signal.depends_on.as_ref().map(|on| on.name.as_str()), Some("istiod"));
        let label = |key: &str| signal.labels.get(key).map(String::as_str);
        assert_eq!((label("band"), label("read_from")), (Some("critical"), Some("prometheus")));
        assert!(label("reading").is_some_and(|query| query.contains("pilot_xds")), "{:?}", signal.labels);

        *answer.lock().unwrap() = None;
        let gone = within(10, &mut told).await;
        let gone: Vec<_> = gone.iter().map(|signal| (signal.symptom.as_str(), signal.state)).collect();
        assert_eq!(
            gone,
            [("dependencies.metrics_gone", SignalState::Firing)],
            "that it is not seen is no end"
        );
        *answer.lock().unwrap() = Some((1.0, 5.0));
        let back = within(10, &mut told).await;
        let back: Vec<_> = back.iter().map(|signal| (signal.symptom.as_str(), signal.state)).collect();
        assert_eq!(back, [("dependencies.metrics_gone", SignalState::Resolved)], "five proxies say nothing");
        *answer.lock().unwrap() = Some((1.0, 400.0));
        let over = within(40, &mut told).await;
        let [signal] = over.as_slice() else { panic!("one end: {over:?}") };
        assert_eq!(
            (signal.symptom.as_str(), signal.state),
            ("control_plane.uneven_load", SignalState::Resolved)
        );
    }
}
