//! A live look at where a route leads: are host and subset there, and how many endpoints are ready.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::Value;

use super::client::{limited, told};
use super::host::service;
use super::object::{DestinationRuleKind, HttpRouteKind, Kind, Object, VirtualServiceKind};
use super::precedence::{Client, Found};
use super::route::{Leads, Route};
use super::rule::rule_for;
use super::store::Cluster;
use crate::model::facts::Destination;
use crate::model::subject::Subject;

impl Cluster {
    /// Reads a route from the API server; `None` when it does not exist.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn read_route(&self, subject: &Subject) -> Result<Option<Route>, String> {
        self.get_route(subject).await.map_err(|error| told(&error))
    }

    /// Reads a route from the API server; `None` when it does not exist.
    ///
    /// # Errors
    /// The error as kube has it, for those who must tell refusals from hiccups.
    pub async fn get_route(&self, subject: &Subject) -> Result<Option<Route>, kube::Error> {
        match subject.kind.as_str() {
            DestinationRuleKind::KIND => self.get(subject, Route::of_rule).await,
            HttpRouteKind::KIND => self.get(subject, Route::of_http).await,
            _ => self.get(subject, Route::of).await,
        }
    }

    async fn get<K: Kind>(
        &self,
        subject: &Subject,
        read: fn(Object<K>) -> Route,
    ) -> Result<Option<Route>, kube::Error> {
        let api: Api<Object<K>> = Api::namespaced(self.client.clone(), &subject.namespace);
        Ok(limited(api.get_opt(&subject.name)).await?.map(read))
    }

    /// Sends a merge patch of a routing object, and reads the answer.
    ///
    /// # Errors
    /// The error as kube has it.
    pub async fn patch_route(
        &self,
        subject: &Subject,
        params: &PatchParams,
        body: &Value,
    ) -> Result<Route, kube::Error> {
        match subject.kind.as_str() {
            DestinationRuleKind::KIND => self.merge(subject, params, body).await.map(Route::of_rule),
            HttpRouteKind::KIND => self.merge(subject, params, body).await.map(Route::of_http),
            _ => self.merge(subject, params, body).await.map(Route::of),
        }
    }

    async fn merge<K: Kind>(
        &self,
        subject: &Subject,
        params: &PatchParams,
        body: &Value,
    ) -> Result<Object<K>, kube::Error> {
        let api: Api<Object<K>> = Api::namespaced(self.client.clone(), &subject.namespace);
        limited(api.patch(&subject.name, params, &Patch::Merge(body))).await
    }

    /// Looks at where a route of `client` (a namespace) leads.
    ///
    /// # Errors
    /// Endpoints or pods could not be read: nothing is known then, not even "none".
    pub async fn look(&self, client: &str, leads: &[Leads]) -> Result<Vec<Destination>, String> {
        self.look_by(&self.routes(), client, leads).await
    }

    /// Looks at where the traffic of a rule's host would go if its spec were another.
    ///
    /// # Errors
    /// As for [`Self::look`].
    pub async fn look_if(&self, rule: &Route, spec: &Value) -> Result<Vec<Destination>, String> {
        let mut rules = self.routes();
        for known in rules.iter_mut().filter(|known| known.subject == rule.subject) {
            let spec = Arc::new(spec.clone());
            *known = Arc::new(Route { spec, ..Route::clone(known) });
        }
        self.look_by(&rules, &rule.subject.namespace, &self.leads_of(rule)).await
    }

    async fn look_by(
        &self,
        rules: &[Arc<Route>],
        client: &str,
        leads: &[Leads],
    ) -> Result<Vec<Destination>, String> {
        let mut found = Vec::with_capacity(leads.len());
        for lead in leads {
            let (defined, ready_endpoints) = self.behind(rules, client, lead).await?;
            found.push(Destination {
                host: lead.host.clone(),
                subset: lead.subset.clone(),
                weight: lead.weight,
                defined,
                ready_endpoints,
            });
        }
        Ok(found)
    }

    async fn behind(&self, rules: &[Arc<Route>], client: &str, lead: &Leads) -> Result<(bool, u32), String> {
        let Some((name, namespace)) = service(&lead.host) else {
            // A host outside of the cluster: we cannot look behind it, so we do not vouch for it.
            return Ok((false, 0));
        };
        let labels = match &lead.subset {
            None => None,
            Some(subset) => {
                let rule = match rule_for(rules, &Client::of(client), &lead.host) {
                    Found::One(rule) => rule,
                    Found::Nothing => return Ok((false, 0)),
                    Found::Unclear(why) => return Err(format!("the rule for {}: {why}", lead.host)),
                };
                match rule.subsets.get(subset) {
                    Some(subset) => Some(subset.labels.clone()),
                    None => return Ok((false, 0)),
                }
            }
        };
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let slices = limited(slices.list(&params))
            .await
            .map_err(|error| format!("endpoints of {name}: {}", told(&error)))?;
        if slices.items.is_empty() {
            return Ok((false, 0));
        }
        let ready = ready_pods(&slices.items);
        let chosen = match labels {
            None => ready.len(),
            Some(labels) => {
                let pods = self.pods(namespace, &labels).await?;
                ready.iter().filter(|pod| pods.contains(*pod)).count()
            }
        };
        Ok((true, u32::try_from(chosen).unwrap_or(u32::MAX)))
    }

    async fn pods(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<BTreeSet<String>, String> {
        let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().labels(&selector.join(","));
        let pods =
            limited(api.list_metadata(&params)).await.map_err(|error| format!("pods: {}", told(&error)))?;
        Ok(pods.items.into_iter().filter_map(|pod| pod.metadata.name).collect())
    }
}

/// Names of the pods behind ready endpoints. A condition that is absent counts as ready, as the API says.
fn ready_pods(slices: &[EndpointSlice]) -> BTreeSet<String> {
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    endpoints
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true))
        .filter_map(|endpoint| {
            let named = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
            named.or_else(|| endpoint.addresses.first().cloned())
        })
        .collect()
}

/// The resource of a routing object, as rights name it.
#[must_use]
pub fn resource(subject: &Subject) -> String {
    fn of<K: Kind>() -> String {
        format!("{}.{}", K::PLURAL, K::GROUP)
    }
    match subject.kind.as_str() {
        DestinationRuleKind::KIND => of::<DestinationRuleKind>(),
        HttpRouteKind::KIND => of::<HttpRouteKind>(),
        _ => of::<VirtualServiceKind>(),
    }
}
