//! The survey in the ways of the catalogue: for each mesh the first that tells something.

use std::collections::{BTreeMap, BTreeSet};

use super::{Readings, Scope, found};
use crate::app::board::Boards;
use crate::app::board::scraped::Answered;
use crate::cluster::Mesh;
use crate::health::{Found, Taken, no_baseline, subject_of, without_baseline};
use crate::model::indicator::Figure;
use crate::model::series::Labels;
use crate::model::subject::Subject;
use crate::rules::{Baseline, By, Indicator, MeshName, State, Way};

/// Why an expression tells nothing: absent is not zero.
const NO_SERIES: &str = "Prometheus has no series for it";
/// The same of our own pages: what they count did not move.
const NOTHING_COUNTED: &str =
    "no Prometheus is configured, and our own pages counted nothing of it meanwhile";

/// The mesh of that name.
fn mesh(name: MeshName) -> Mesh {
    match name {
        MeshName::Istio => Mesh::Istio,
        MeshName::Linkerd => Mesh::Linkerd,
    }
}

/// Whether an indicator is one of a mesh that is looked at.
pub(super) fn is_of(ways: &[Way], meshes: &BTreeSet<MeshName>) -> bool {
    meshes.iter().any(|mesh| ways.iter().any(|way| way.is_for(*mesh)))
}

/// Why a way told nothing, so that the next one is tried: nobody could be read. Where there is nobody, or all are
/// idle, that is told.
fn why_untold((taken, gaps): &Readings) -> Option<String> {
    let unread = |taken: &Taken| match &taken.found {
        Found::Unread(why) => Some(why.clone()),
        Found::Figure(_) | Found::Idle(_) => None,
    };
    if taken.is_empty() {
        return gaps.first().cloned();
    }
    let reasons: Option<Vec<String>> = taken.iter().map(unread).collect();
    reasons?.into_iter().next()
}

impl Boards {
    /// The meshes that are looked at: those seen, or all where none is seen.
    pub(in crate::app::board) fn looked_at(&self, scope: &Scope) -> BTreeSet<MeshName> {
        let seen = self.meshes();
        let looked =
            |name: &MeshName| scope.is_of(mesh(*name)) && (seen.is_empty() || seen.contains(&mesh(*name)));
        [MeshName::Istio, MeshName::Linkerd].into_iter().filter(looked).collect()
    }

    pub(super) async fn read_ways(
        &self,
        (indicator, ways): (&Indicator, &[Way]),
        scope: &Scope,
        meshes: &BTreeSet<MeshName>,
    ) -> Readings {
        let (mut taken, mut gaps) = (Vec::new(), Vec::new());
        // A way that is for several meshes is gone once: whether it told something, or why not.
        let mut gone: Vec<Option<Result<(), String>>> = vec![None; ways.len()];
        for mesh in meshes {
            let mut reasons = Vec::new();
            let mut unread = None;
            let mut told = false;
            for (way, gone) in ways.iter().zip(&mut gone).filter(|(way, _)| way.is_for(*mesh)) {
                if gone.is_none() {
                    *gone = Some(match self.read_way(indicator, way, scope).await {
                        Ok(read) => match why_untold(&read) {
                            None => {
                                taken.extend(read.0);
                                gaps.extend(read.1);
                                Ok(())
                            }
                            Some(why) => {
                                unread.get_or_insert(read);
                                Err(why)
                            }
                        },
                        Err(why) => Err(why),
                    });
                }
                match gone {
                    Some(Err(why)) => reasons.push(why.clone()),
                    Some(Ok(())) | None => told = true,
                }
                if told {
                    break;
                }
            }
            if told {
                continue;
            }
            // What would have been best is what people can do something about; and whom it is about is told
            // also where nothing is known of anybody.
            let unread: Readings = unread.unwrap_or_default();
            if unread.0.is_empty() {
                gaps.extend(reasons.into_iter().next());
            } else {
                taken.extend(unread.0);
                gaps.extend(unread.1);
            }
        }
        (taken, gaps)
    }

    async fn read_way(&self, indicator: &Indicator, way: &Way, scope: &Scope) -> Result<Readings, String> {
        match &way.by {
            By::Expression { value, samples, baseline } => {
                let enough = indicator.min_samples;
                let (mut series, gaps) = self.read_expression((value, samples.as_deref()), enough).await?;
                if let Some(baseline) = baseline {
                    let lacking = self.read_lacking(&series, baseline).await?;
                    series.extend(lacking);
                }
                if series.is_empty() {
                    return Err(gaps.into_iter().next().unwrap_or_else(|| {
                        if self.prometheus.is_some() { NO_SERIES } else { NOTHING_COUNTED }.to_owned()
                    }));
                }
                Ok((series.into_iter().map(|(_, taken)| taken).collect(), gaps))
            }
            By::State(state) => self.read_state(*state, way, scope).await,
            By::Later(text) => Err(format!("source not yet built: {text}")),
        }
    }

    /// One reading a series. Without a query for samples there are always enough.
    async fn read_expression(
        &self,
        (query, samples): (&str, Option<&str>),
        enough: f64,
    ) -> Result<(Vec<(Labels, Taken)>, Vec<String>), String> {
        let (series, gaps) = self.series(query).await?;
        let mut weights = BTreeMap::new();
        if let Some(samples) = samples.filter(|_| !series.is_empty()) {
            weights.extend(self.series(samples).await?.0);
        }
        let source = self.metrics_source();
        let weight = |labels: &Labels| match samples {
            None => Ok(enough),
            Some(_) => {
                weights.get(labels).cloned().unwrap_or_else(|| Err("no samples stand behind it".to_owned()))
            }
        };
        let taken = series.into_iter().map(|(labels, value)| {
            let figure = value.and_then(|value| Ok(Figure { value, samples: weight(&labels)? }));
            let subject = subject_of(&labels);
            (labels, self.taken(source, (subject, found(figure)), query.to_owned()))
        });
        Ok((taken.collect(), gaps))
    }

    /// What an expression gives: asked of Prometheus, or over the pages that we scraped ourselves.
    async fn series(&self, query: &str) -> Result<Answered, String> {
        match &self.prometheus {
            Some(prometheus) => Ok((prometheus.series(query).await?, Vec::new())),
            None => self.scraped_series(query),
        }
    }

    /// Who answers expressions.
    pub(super) fn metrics_source(&self) -> &'static str {
        if self.prometheus.is_some() { "prometheus" } else { "scrape" }
    }

    /// Those that are there today and have nothing to be compared with. That is nothing to measure, not something
    /// that could not be read: a new service must not hide how the others are.
    async fn read_lacking(
        &self,
        series: &[(Labels, Taken)],
        baseline: &Baseline,
    ) -> Result<Vec<(Labels, Taken)>, String> {
        let (today, _) = self.series(&baseline.current).await?;
        let known: BTreeSet<&Labels> = series.iter().map(|(labels, _)| labels).collect();
        let lacking = without_baseline(today.iter().map(|(labels, value)| (labels, value)), &known);
        let taken = lacking.into_iter().map(|labels| {
            let idle = Found::Idle(no_baseline(&baseline.of));
            let taken =
                self.taken(self.metrics_source(), (subject_of(&labels), idle), baseline.current.clone());
            (labels, taken)
        });
        Ok(taken.collect())
    }

    async fn read_state(&self, state: State, way: &Way, scope: &Scope) -> Result<Readings, String> {
        let (taken, gaps) = match state {
            State::ProxiesReady => self.read_ready(scope),
            State::ProxiesAccepting => self.read_accepting(scope).await,
            State::ProxyVersions => self.read_versions(scope),
            State::GatewaysAvailable => self.read_gateways(scope),
            State::Watches => (vec![self.read_watches()], Vec::new()),
            State::PrometheusAnswers => self.read_prometheus().await,
            State::ProxiesUnrejecting => self.read_rejections(scope).await,
            State::PushWaits => self.read_waits(scope).await,
            State::ReplicasAnswering => self.read_answering(scope).await,
            State::LoadBalance => self.read_balance(scope).await,
            State::ApiServerReady => self.read_readyz().await?,
            State::PlaneMemory => self.read_memory(scope).await?,
            State::ProxyCpu => self.read_cpu(scope).await?,
            State::HostsEjected => self.read_ejected(scope).await,
            State::UpstreamErrors => self.read_upstream(scope).await,
            State::ProxiesLive => self.read_states(scope).await,
            State::LeavesLeft => self.read_leaves(scope).await,
        };
        let fits = |taken: &Taken| self.mesh_of(&taken.subject).is_none_or(|mesh| way.is_for(mesh));
        Ok((taken.into_iter().filter(fits).collect(), gaps))
    }

    /// The mesh of a pod's proxy; nothing for other objects.
    fn mesh_of(&self, pod: &Subject) -> Option<MeshName> {
        Some(match self.cluster.pod(pod)?.proxy.as_ref()?.mesh {
            Mesh::Istio => MeshName::Istio,
            Mesh::Linkerd => MeshName::Linkerd,
        })
    }
}
