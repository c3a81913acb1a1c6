//! The fact `destination_rule`: the rule that all clients of a host obey, read fresh.

use std::collections::BTreeSet;

use super::Effectors;
use crate::cluster::{Found, fqdn, outlier, rule_for_all, tightest};
use crate::model::effect::Inspect;
use crate::model::facts::{DestinationRuleFacts, Findings};
use crate::model::subject::Subject;

impl Effectors {
    /// Adds the rule that all clients of the subject's host obey. What is no Service and no rule has no one
    /// host.
    pub(super) async fn add_rule(&self, findings: &mut Findings, inspect: &Inspect) {
        let subject = &inspect.subject;
        let host = match subject.kind.as_str() {
            "Service" => Ok(fqdn(&subject.name, &subject.namespace)),
            "DestinationRule" => match self.cluster.read_route(subject).await {
                Ok(None) => {
                    findings.gone = true;
                    return;
                }
                Ok(Some(rule)) => rule.hosts.first().cloned().ok_or_else(|| format!("{subject} has no host")),
                Err(why) => Err(why),
            },
            "VirtualService" | "HTTPRoute" => self.one_host(subject).await,
            _ => Err(format!("{subject} is no Service, no route and no DestinationRule")),
        };
        let found = match host {
            Ok(host) => self.rule_facts(&host, inspect).await,
            Err(why) => {
                // Another look will find the same; what is unreadable for now is told by the fact `route`.
                findings.hopeless.insert("destination_rule".to_owned());
                Err(why)
            }
        };
        match found {
            Ok(rule) => findings.facts.destination_rule = rule,
            Err(why) => {
                findings.missing.insert("destination_rule".to_owned(), why);
            }
        }
    }

    /// The one host that a route leads to: with several, nobody could say whose rule is meant.
    async fn one_host(&self, subject: &Subject) -> Result<String, String> {
        let route = self.cluster.read_route(subject).await?;
        let route = route.ok_or_else(|| format!("{subject} does not exist"))?;
        let hosts: BTreeSet<String> =
            self.cluster.leads_of(&route).into_iter().map(|leads| leads.host).collect();
        let mut hosts = hosts.into_iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => Ok(host),
            (None, _) => Err(format!("{subject} leads nowhere")),
            (Some(one), Some(other)) => Err(format!("{subject} leads to {one}, {other} and maybe more")),
        }
    }

    /// The rule in force for a host; `None` when surely none is.
    ///
    /// # Errors
    /// It cannot be told which rule is in force, or it could not be read.
    pub(super) async fn rule_facts(
        &self,
        host: &str,
        inspect: &Inspect,
    ) -> Result<Option<DestinationRuleFacts>, String> {
        self.cluster.sees_precedence()?;
        let found = match rule_for_all(&self.cluster.routes(), host) {
            Found::Nothing => return Ok(None),
            Found::Unclear(why) => return Err(why),
            Found::One(found) => found,
        };
        let Some(known) = found.policy.as_ref().or(found.merged.first()) else { return Ok(None) };
        let subject = &known.subject;
        let Some(rule) = self.cluster.read_route(subject).await? else {
            return Err(format!("{subject} is gone by now"));
        };
        if rule.uid != known.uid || rule.spec_hash != known.spec_hash {
            return Err(format!("{subject} changed while it was looked at"));
        }
        let others = found.merged.iter().filter(|other| other.subject != *subject);
        // A replacement of the same name is another object: what was good there proves nothing here.
        let known = inspect.rules.iter().find(|known| known.subject == *subject && known.uid == rule.uid);
        let own = inspect.good.iter().filter(|_| inspect.subject == *subject && inspect.uid == rule.uid);
        let good = || own.clone().chain(known.iter().flat_map(|known| &known.good));
        let last_good = match good().find(|good| good.spec_hash != rule.spec_hash) {
            Some(good) => Some(self.last_good(&subject.namespace, good).await?),
            None => None,
        };
        Ok(Some(DestinationRuleFacts {
            namespace: subject.namespace.to_string(),
            name: subject.name.to_string(),
            uid: rule.uid.clone(),
            spec_hash: rule.spec_hash,
            host: host.to_owned(),
            limits: tightest(&rule.spec),
            outlier: outlier(&rule.spec),
            managed_by: rule.managed_by,
            shed: rule.shed,
            others: others
                .map(|other| format!("{}/{}", other.subject.namespace, other.subject.name))
                .collect(),
            changed_s: self.age_s(rule.changed_at()),
            changed_by: rule.manager.clone(),
            current_good: good().any(|good| good.spec_hash == rule.spec_hash),
            last_good,
        }))
    }

    fn age_s(&self, since: jiff::Timestamp) -> u64 {
        u64::try_from(self.clock.now().duration_since(since).as_secs()).unwrap_or(0)
    }
}
