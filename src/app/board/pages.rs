//! Pages of metrics, as a Prometheus in the cluster would scrape them: istiod, the proxies of Istio, and the API
//! server, with the labels that it would add.

use std::collections::BTreeSet;

use futures::{FutureExt as _, StreamExt as _};

use super::Boards;
use crate::cluster::{Mesh, Pod, PodPort};
use crate::model::series::Sample;

/// Pages under way at once. They are larger than answers of health: a tenth of a megabyte and more.
const AT_ONCE: usize = 16;

/// Something that has a page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageOf {
    /// The job it would be scraped by: `istiod`, `envoy-stats` or `apiserver`.
    pub job: &'static str,
    /// Namespace of its pod; empty for the API server.
    pub namespace: String,
    /// Its pod; empty for the API server.
    pub pod: String,
}

impl PageOf {
    /// Adds its labels. What a page says of itself gives way, as in Prometheus: it is kept as `exported_...`.
    fn label(&self, mut samples: Vec<Sample>) -> Vec<Sample> {
        let own = [("job", self.job), ("namespace", &self.namespace), ("pod", &self.pod)];
        for sample in &mut samples {
            for (key, value) in own.iter().filter(|(_, value)| !value.is_empty()) {
                if let Some(said) = sample.labels.insert((*key).to_owned(), (*value).to_owned()) {
                    sample.labels.insert(format!("exported_{key}"), said);
                }
            }
        }
        samples
    }
}

/// A page, or why there is none.
pub type Page = (PageOf, Result<Vec<Sample>, String>);

impl Boards {
    /// Fetches the page of everything that has one and that there is a way to, and keeps the metrics with these
    /// names. A page that is not whole is none. Proxies and istiod are asked only where their sources are
    /// configured; who cannot be asked is in the list with the reason.
    /// Of more proxies than `most` none is asked.
    pub async fn pages(&self, names: &BTreeSet<String>, most: usize) -> Vec<Page> {
        let keep = |name: &str| names.contains(name);
        let (istiods, proxies, api) = futures::join!(
            self.istiod_pages(&keep),
            self.proxy_pages(&keep, most),
            self.api_server.metrics(&keep).map(|page| {
                let of = PageOf { job: "apiserver", namespace: String::new(), pod: String::new() };
                (of, page)
            }),
        );
        let all = istiods.into_iter().chain(proxies).chain([api]);
        let labelled = all.map(|(of, page)| {
            let page = page.map(|samples| of.label(samples));
            (of, page)
        });
        labelled.collect()
    }

    async fn istiod_pages(&self, keep: &(dyn Fn(&str) -> bool + Send + Sync)) -> Vec<Page> {
        let Some(istiod) = &self.istiod else { return Vec::new() };
        let told = istiod.metrics(&self.replicas(), keep).await.into_iter();
        let page = |(name, page): (String, Result<Vec<Sample>, String>)| {
            let (namespace, pod) = name.split_once('/').unwrap_or_default();
            let page = page.map_err(|why| format!("/metrics of {name}: {why}"));
            (PageOf { job: "istiod", namespace: namespace.to_owned(), pod: pod.to_owned() }, page)
        };
        told.map(page).collect()
    }

    async fn proxy_pages(&self, keep: &(dyn Fn(&str) -> bool + Send + Sync), most: usize) -> Vec<Page> {
        let Some(agent) = &self.agent else { return Vec::new() };
        let pods = self.cluster.proxies();
        let asks = |pod: &&std::sync::Arc<Pod>| {
            pod.is_meshed(Mesh::Istio) && &*pod.phase == "Running" && !pod.terminating
        };
        let ports: Vec<PodPort> = pods.iter().filter(asks).map(|pod| Self::port(pod)).collect();
        if ports.len() > most {
            let why = format!("{} proxies are more than we scrape ourselves ({most})", ports.len());
            let of = PageOf { job: "envoy-stats", namespace: String::new(), pod: String::new() };
            return vec![(of, Err(why))];
        }
        let page = |port: PodPort| async move {
            let page = agent.metrics(&port, keep).await;
            (PageOf { job: "envoy-stats", namespace: port.namespace, pod: port.pod }, page)
        };
        let names: BTreeSet<String> = ports.iter().map(PodPort::name).collect();
        let mut pages: Vec<Page> =
            futures::stream::iter(ports.into_iter().map(page)).buffer_unordered(AT_ONCE).collect().await;
        agent.retain(|name| names.contains(name));
        pages.sort_by(|one, other| one.0.cmp(&other.0));
        pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutation: letting a page speak for another pod.
    #[test]
    fn the_labels_of_the_target_win_over_those_of_its_page() {
        let labels = [("pod", "liar"), ("x", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let sample = Sample { name: "a".to_owned(), labels: labels.into(), value: 1.0 };
        let of = PageOf { job: "envoy-stats", namespace: "shop".to_owned(), pod: "cart-1".to_owned() };
        let labelled = of.label(vec![sample]);
        let text: Vec<String> =
            labelled[0].labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(text, ["exported_pod=liar", "job=envoy-stats", "namespace=shop", "pod=cart-1", "x=1"]);
    }
}
