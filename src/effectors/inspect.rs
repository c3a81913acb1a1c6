//! Inspect: facts, read fresh.

use super::Effectors;
use crate::cluster::{Leads, Route};
use crate::model::effect::Inspect;
use crate::model::facts::{Findings, LastGoodDestination, LastGoodFacts, Population, RouteFacts};
use crate::model::history::LastGood;

impl Effectors {
    /// Reads the facts about the cluster that were asked for. Traffic and indicators are the board's.
    pub async fn inspect(&self, inspect: &Inspect) -> Findings {
        let mut findings = Findings::default();
        let (namespace, mesh) = self.cluster.population(&inspect.subject);
        findings.population = Population { workload: 1, namespace, mesh };
        if inspect.needs.iter().any(|need| need == "destination_rule") {
            self.add_rule(&mut findings, inspect).await;
        }
        if !matches!(inspect.subject.kind.as_str(), "VirtualService" | "HTTPRoute") {
            if inspect.needs.iter().any(|need| need == "route") {
                let why = format!("{} is no routing object we can read", inspect.subject);
                findings.missing.insert("route".to_owned(), why);
            }
            return findings;
        }
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
        findings
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
            group: subject.group.clone(),
            kind: subject.kind.clone(),
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
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
