//! Inspect: facts, read fresh.

use super::Effectors;
use crate::cluster::{Leads, Route};
use crate::model::effect::Inspect;
use crate::model::facts::{Findings, LastGoodDestination, LastGoodFacts, RouteFacts};
use crate::model::history::LastGood;
use crate::model::subject::CERT_MANAGER;

mod certificate;
mod pod;

/// A fact that was read; one that was not is noted as missing, if it was asked for.
fn miss<T>(findings: &mut Findings, inspect: &Inspect, need: &str, read: Result<T, String>) -> Option<T> {
    match read {
        Ok(fact) => Some(fact),
        Err(why) => {
            if inspect.needs.iter().any(|known| known == need) {
                findings.missing.insert(need.to_owned(), why);
            }
            None
        }
    }
}

/// Facts that a subject of this kind does not have are missing for good. `traffic` is the board's; that a pod
/// has no budget, or no workload, is an answer.
fn name_the_rest(inspect: &Inspect, findings: &mut Findings) {
    let answered = |need: &str| match need {
        "traffic" => true,
        "budget" | "workload" if findings.facts.pod.is_some() => true,
        _ => findings.facts.has(need),
    };
    let rest: Vec<String> = inspect.needs.iter().filter(|need| !answered(need)).cloned().collect();
    for need in rest {
        if !findings.missing.contains_key(&need) {
            let what = match need.as_str() {
                "route" => "is no routing object we can read".to_owned(),
                _ => format!("has no {need} that we can read"),
            };
            findings.missing.insert(need.clone(), format!("{} {what}", inspect.subject));
            findings.hopeless.insert(need);
        }
    }
}

impl Effectors {
    /// Reads the facts about the cluster that were asked for. Traffic and indicators are the board's.
    pub async fn inspect(&self, inspect: &Inspect) -> Findings {
        let population = self.cluster.population(&inspect.subject);
        let mut findings = Findings { population, ..Findings::default() };
        let subject = &inspect.subject;
        if inspect.needs.iter().any(|need| need == "destination_rule") {
            self.add_rule(&mut findings, inspect).await;
        }
        match (subject.group.as_str(), subject.kind.as_str()) {
            (_, "VirtualService" | "HTTPRoute") => self.inspect_route(inspect, &mut findings).await,
            ("", "Pod") => self.inspect_pod(inspect, &mut findings).await,
            ("apps", _) => self.inspect_workload(inspect, &mut findings).await,
            (CERT_MANAGER, "Certificate") => self.inspect_certificate(inspect, &mut findings).await,
            _ => {}
        }
        if !findings.gone {
            name_the_rest(inspect, &mut findings);
        }
        findings
    }

    async fn inspect_route(&self, inspect: &Inspect, findings: &mut Findings) {
        match self.cluster.read_route(&inspect.subject).await {
            Ok(None) => findings.gone = true,
            Ok(Some(route)) => {
                let seen = self.cluster.sees_precedence();
                if seen.is_err() {
                    findings.hopeless.insert("route".to_owned());
                }
                let facts = match seen {
                    Ok(()) => self.facts(&route, inspect).await,
                    Err(why) => Err(why),
                };
                match facts {
                    Ok(facts) => findings.facts.route = Some(facts),
                    Err(why) => {
                        findings.missing.insert("route".to_owned(), why);
                    }
                }
                findings.labels = route.labels;
            }
            Err(why) => {
                findings.missing.insert("route".to_owned(), why);
            }
        }
    }

    /// Reads what was asked about a workload, which may be a control plane.
    async fn inspect_workload(&self, inspect: &Inspect, findings: &mut Findings) {
        let subject = &inspect.subject;
        match self.cluster.read_workload(subject).await {
            Ok(None) => findings.gone = true,
            Ok(Some(found)) => {
                let labels = found.workload.labels.iter();
                findings.labels = labels.map(|(key, value)| (key.to_string(), value.to_string())).collect();
                findings.facts.workload =
                    miss(findings, inspect, "workload", self.workload_facts(subject).await);
                let plane = self.control_plane_facts(subject).await;
                findings.facts.control_plane = miss(findings, inspect, "control_plane", plane);
            }
            Err(why) => {
                for need in ["workload", "control_plane"] {
                    miss(findings, inspect, need, Err::<(), _>(why.clone()));
                }
            }
        }
    }

    async fn facts(&self, route: &Route, inspect: &Inspect) -> Result<RouteFacts, String> {
        let subject = &route.subject;
        let now = self.clock.now();
        let destinations = self.cluster.look(&subject.namespace, &route.leads()).await?;
        // A replacement of the same name is another object: what was good there proves nothing here.
        let good = || inspect.good.iter().filter(|_| inspect.uid == route.uid);
        let last_good = match good().find(|good| good.spec_hash != route.spec_hash) {
            Some(good) => Some(self.last_good(&subject.namespace, good).await?),
            None => None,
        };
        Ok(RouteFacts {
            group: subject.group.to_string(),
            kind: subject.kind.to_string(),
            namespace: subject.namespace.to_string(),
            name: subject.name.to_string(),
            uid: route.uid.clone(),
            spec_hash: route.spec_hash,
            hosts: route.hosts.clone(),
            changed_s: u64::try_from(now.duration_since(route.changed_at()).as_secs()).unwrap_or(0),
            changed_by: route.manager.clone(),
            managed_by: route.managed_by,
            destinations,
            delegate: route.delegates(),
            wildcard: route.has_wildcard(),
            shadowed_by: self.cluster.shadowing(route),
            last_good,
            current_good: good().any(|good| good.spec_hash == route.spec_hash),
        })
    }

    pub(super) async fn last_good(&self, namespace: &str, good: &LastGood) -> Result<LastGoodFacts, String> {
        let leads: Vec<Leads> = good
            .destinations
            .iter()
            .map(|d| Leads { host: d.host.clone(), subset: d.subset.clone(), weight: d.weight })
            .collect();
        let found = self.cluster.look(namespace, &leads).await?;
        let destinations = good.destinations.iter().zip(found).map(|(proven, now)| LastGoodDestination {
            host: now.host,
            subset: now.subset,
            weight: now.weight,
            defined: now.defined,
            ready: now.ready_endpoints,
            ready_when_proven: proven.ready,
        });
        Ok(LastGoodFacts {
            spec_hash: good.spec_hash,
            age_s: u64::try_from(self.clock.now().duration_since(good.at).as_secs()).unwrap_or(0),
            manager: good.manager.clone(),
            destinations: destinations.collect(),
        })
    }
}
