//! The survey of istiod's replicas: whether they answer, how the proxies lie on them, and what waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Readings, Scope, count};
use crate::app::board::Boards;
use crate::cluster::{ControlPlane, Mesh, Pod, Watched};
use crate::health::{Found, Sync, Taken};
use crate::model::facts::SyncState;
use crate::model::indicator::Figure;
use crate::model::subject::Subject;

/// Below so many connections a difference of one is a large share.
const FEW: usize = 20;

const NO_ISTIOD: &str = "no source istiod is configured";

impl Boards {
    /// Istio's control planes, with those of their replicas that run.
    fn istiods(&self, scope: &Scope) -> Vec<(ControlPlane, Vec<Arc<Pod>>)> {
        let planes = self.cluster.control_planes().into_iter();
        let istio = planes.filter(|plane| plane.mesh == Mesh::Istio && scope.is_of(Mesh::Istio));
        let with_pods = istio.map(|plane| {
            let pods = self.cluster.replicas_of_control_plane(&plane.subject());
            let running = pods.into_iter().filter(|pod| &*pod.phase == "Running" && !pod.terminating);
            (plane, running.collect())
        });
        with_pods.collect()
    }

    /// Share of each control plane's replicas that say they are ready when they are asked.
    pub(super) async fn read_answering(&self, scope: &Scope) -> Readings {
        let Some(istiod) = &self.istiod else { return (Vec::new(), vec![NO_ISTIOD.to_owned()]) };
        let mut taken = Vec::new();
        for (plane, pods) in self.istiods(scope) {
            let ports: Vec<_> = pods.iter().map(|pod| Self::port(pod)).collect();
            let wanted = usize::try_from(plane.workload.replicas).unwrap_or(usize::MAX);
            let (mut well, mut notes, mut unread) = (0, Vec::new(), None);
            for (name, told) in istiod.ready(&ports).await {
                match told {
                    Ok(Ok(())) => well += 1,
                    Ok(Err(why)) => notes.push(format!("{name}: {why}")),
                    Err(why) => unread = Some(format!("{name}: {why}")),
                }
            }
            let found = match unread {
                _ if wanted == 0 => Found::Idle("it is scaled to zero".to_owned()),
                Some(why) => Found::Unread(why),
                // A surplus replica of a rollout must not make up for one that keeps silent.
                None => {
                    let all = wanted.max(pods.len());
                    Found::Figure(Figure { value: count(well) / count(all), samples: count(all) })
                }
            };
            let way = format!("GET /ready at port 8080 of every replica of {}", plane.subject());
            let note = notes.join("; ");
            taken.push(Taken { note, ..self.taken("istiod", (plane.subject(), found), way) });
        }
        (taken, self.cluster.gaps(Watched::Pods))
    }

    /// How many times the mean the most loaded replica of each control plane has.
    pub(super) async fn read_balance(&self, scope: &Scope) -> Readings {
        let Some(istiod) = &self.istiod else { return (Vec::new(), vec![NO_ISTIOD.to_owned()]) };
        let planes = self.istiods(scope);
        let ports: Vec<_> =
            planes.iter().flat_map(|(_, pods)| pods.iter().map(|pod| Self::port(pod))).collect();
        let asked = async {
            let told = istiod.connected(&ports).await.into_iter();
            told.map(|(name, told)| (name, told.map(|connected| connected.clients))).collect()
        };
        let told = self.connected.get(scope.asking.oldest(), |_| asked).await;
        let read = planes.iter().map(|(plane, pods)| {
            let (found, note) = balance(pods, &told);
            let way = format!("GET /debug/adsz of every replica of {}", plane.subject());
            Taken { note, ..self.taken("istiod", (plane.subject(), found), way) }
        });
        (read.collect(), self.cluster.gaps(Watched::Pods))
    }

    /// How long the oldest push to each proxy waits for its acknowledgement.
    pub(super) async fn read_waits(&self, scope: &Scope) -> Readings {
        let istio = |pod: &Arc<Pod>| pod.is_meshed(Mesh::Istio);
        let pods = self.asked(scope).into_iter().filter(istio);
        let merged = self.picture().await;
        let now = self.clock.elsewhere();
        let read = pods.map(|pod| {
            let sync = merged.as_ref().map_err(Clone::clone).and_then(|merged| merged.sync(&pod.subject()));
            let found = match (self.too_early(&pod), sync) {
                (Some(why), _) => Found::Idle(why),
                (None, Ok(sync)) => waited(&sync, now),
                (None, Err(why)) => Found::Unread(why),
            };
            let way = "sent and sentTime in /debug/syncz of every replica of istiod".to_owned();
            self.taken("istiod", (pod.subject(), found), way)
        });
        (read.collect(), self.cluster.gaps(Watched::Pods))
    }

    /// Whether the API server calls itself ready: share of its checks that fail.
    pub(super) async fn read_readyz(&self) -> Result<Readings, String> {
        let told = self.api_server.readiness().await?;
        let all = told.passed.len() + told.failed.len();
        let figure = Figure { value: count(told.failed.len()) / count(all), samples: count(all) };
        let subject = Subject::new("", "APIServer", "", "kubernetes");
        let way = "GET /readyz?verbose of the API server".to_owned();
        let taken = self.taken("kubernetes", (subject, Found::Figure(figure)), way);
        Ok((vec![Taken { note: told.failed.join(", "), ..taken }], Vec::new()))
    }
}

/// What came of asking each replica for its number of connections, by its name.
pub(in crate::app::board) type Loads = BTreeMap<String, Result<usize, String>>;

fn balance(pods: &[Arc<Pod>], told: &Loads) -> (Found, String) {
    let mut loads = Vec::new();
    for pod in pods {
        let name = Boards::port(pod).name();
        match told.get(&name) {
            Some(Ok(clients)) => loads.push((*clients, name)),
            Some(Err(why)) => return (Found::Unread(format!("{name}: {why}")), String::new()),
            None => return (Found::Unread(format!("{name} was not asked yet")), String::new()),
        }
    }
    spread(&loads)
}

/// The most loaded replica over the mean.
fn spread(loads: &[(usize, String)]) -> (Found, String) {
    let all: usize = loads.iter().map(|(clients, _)| clients).sum();
    let Some((most, name)) = loads.iter().max() else {
        return (Found::Idle("no replica runs".to_owned()), String::new());
    };
    if loads.len() < 2 || all < FEW {
        let why = format!("{all} proxies at {} replicas: nothing to balance", loads.len());
        return (Found::Idle(why), String::new());
    }
    let mean = count(all) / count(loads.len());
    let figure = Figure { value: count(*most) / mean, samples: count(all) };
    (Found::Figure(figure), format!("{name} has {most} of {all} proxies"))
}

/// Seconds that the oldest push waits.
fn waited(sync: &Sync, now: Timestamp) -> Found {
    let figure = |value| Found::Figure(Figure { value, samples: 1.0 });
    match (sync.state, sync.waits_since) {
        (SyncState::Synced, _) => figure(0.0),
        // Clocks of one cluster differ a little.
        (SyncState::Stale, Some(since)) => figure(now.duration_since(since).as_secs_f64().max(0.0)),
        (SyncState::Stale, None) => {
            Found::Unread("istiod does not say when it sent what waits (1.23 and later do)".to_owned())
        }
        // It answered, with a no.
        (SyncState::Rejected, _) => Found::Idle("it rejects: see config.rejections".to_owned()),
        (SyncState::Disconnected, _) => Found::Unread("no replica of istiod knows it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(found: &Found) -> Option<f64> {
        match found {
            Found::Figure(figure) => Some(figure.value),
            Found::Idle(_) | Found::Unread(_) => None,
        }
    }

    // Mutations: the least loaded one, the median, or a judgement over a handful.
    #[test]
    fn a_replica_with_twice_the_mean_is_told() {
        let of = |loads: &[usize]| {
            let named: Vec<_> =
                loads.iter().enumerate().map(|(index, load)| (*load, format!("istiod-{index}"))).collect();
            value(&spread(&named).0)
        };
        assert_eq!(of(&[30, 30]), Some(1.0));
        assert_eq!(of(&[60, 0]), Some(2.0));
        assert_eq!(of(&[90, 0, 0]), Some(3.0));
        assert_eq!(of(&[19, 0]), None);
        assert_eq!(of(&[500]), None);
        assert_eq!(of(&[]), None);
    }

    // Mutations: a push whose time nobody knows as one that was just sent; a lost proxy as one that waits for
    // nothing.
    #[test]
    fn only_a_push_that_was_sent_and_not_answered_waits() {
        let now: Timestamp = "2026-11-23T12:10:00Z".parse().unwrap();
        let of = |state, since: Option<&str>| {
            let waits_since = since.map(|at| at.parse().unwrap());
            let (types, error, version) = (Vec::new(), None, String::new());
            value(&waited(&Sync { state, types, error, version, waits_since }, now))
        };
        assert_eq!(of(SyncState::Synced, None), Some(0.0));
        assert_eq!(of(SyncState::Stale, Some("2026-11-23T12:09:00Z")), Some(60.0));
        assert_eq!(of(SyncState::Stale, Some("2026-11-23T12:10:01Z")), Some(0.0));
        assert_eq!(of(SyncState::Stale, None), None);
        assert_eq!(of(SyncState::Rejected, None), None);
        assert_eq!(of(SyncState::Disconnected, None), None);
    }
}
