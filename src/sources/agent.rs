//! Proxy agent: what Istio's agent beside each Envoy says at port 15020: its own readiness, and one page with
//! the metrics of agent, Envoy and application. The readiness port that Envoy serves is asked elsewhere.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::exposition;
use super::pauses::Pauses;
use crate::cluster::{Call, PodPort, ProxyTransport, Unanswered};
use crate::model::proxy::Echo;
use crate::model::series::Sample;

/// The port.
pub const AGENT: u16 = 15020;
/// The agent asks Envoy and the application for their pages before it answers.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// An Envoy that makes all its stats writes three hundred kilobytes for four clusters; applications add theirs.
const MAX_BODY: usize = 16 << 20;

/// A reader of proxy agents.
pub struct Agent {
    transport: Arc<dyn ProxyTransport>,
    pauses: Pauses,
}

impl Agent {
    /// Over this transport.
    #[must_use]
    pub fn new(transport: Arc<dyn ProxyTransport>) -> Self {
        Self { transport, pauses: Pauses::new("the metrics of a proxy") }
    }

    /// Those metrics whose names are wanted.
    ///
    /// # Errors
    /// The agent cannot be asked, or its page is not whole.
    pub async fn metrics(
        &self,
        pod: &PodPort,
        keep: &(dyn Fn(&str) -> bool + Send + Sync),
    ) -> Result<Vec<Sample>, String> {
        let path = "/stats/prometheus";
        let call = Call { method: Method::GET, path: path.to_owned(), limit: TIME_LIMIT, max_body: MAX_BODY };
        let asked = async {
            let answer = self.transport.ask(&at(pod), &call).await.map_err(|why| why.to_string());
            let page = answer.and_then(|(status, body)| match status {
                200 => exposition::read(&body, keep),
                status => Err(format!("it answered {status}")),
            });
            page.map_err(|why| format!("{path} at port {AGENT} of {}/{}: {why}", pod.namespace, pod.pod))
        };
        self.pauses.ask(&pod.name(), asked).await
    }

    /// Whether the agent says that its proxy is ready.
    pub async fn ready(&self, pod: &PodPort) -> Echo {
        let call = Call::get("/healthz/ready", TIME_LIMIT);
        match self.transport.ask(&at(pod), &call).await {
            Ok((200, _)) => Echo::Ready,
            Ok((status, _)) => Echo::NotReady(format!("its agent answered {status}")),
            Err(Unanswered::Silent(why)) => Echo::Missed(why),
            Err(Unanswered::NotAsked(why)) => Echo::NotAsked(format!("it could not be asked: {why}")),
        }
    }

    /// Forgets pauses of pods that are gone: keyed by namespace and name, parted by a slash.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.pauses.retain(keep);
    }
}

fn at(pod: &PodPort) -> PodPort {
    PodPort { port: AGENT, ..pod.clone() }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::*;
    use crate::cluster::Answer;

    const PAGE: &[u8] = include_bytes!("../../tests/recorded/agent/stats-mtls.prom");

    struct Fixed(fn(&str) -> Result<Answer, Unanswered>);

    impl ProxyTransport for Fixed {
        fn ask<'a>(&'a self, to: &'a PodPort, call: &'a Call) -> BoxFuture<'a, Result<Answer, Unanswered>> {
            assert_eq!(to.port, AGENT);
            async { (self.0)(&call.path) }.boxed()
        }
    }

    fn pod() -> PodPort {
        PodPort { namespace: "shop".to_owned(), pod: "cart-1".to_owned(), ip: None, port: 0 }
    }

    #[tokio::test]
    async fn agent_and_envoy_are_on_one_page() {
        let agent = Agent::new(Arc::new(Fixed(|path| match path {
            "/stats/prometheus" => Ok((200, PAGE.to_vec())),
            _ => Ok((503, Vec::new())),
        })));
        let wanted = |name: &str| name == "istio_agent_cert_expiry_seconds" || name == "envoy_server_live";
        let found = agent.metrics(&pod(), &wanted).await.unwrap();
        let names: std::collections::BTreeSet<&str> = found.iter().map(|sample| &*sample.name).collect();
        assert_eq!(Vec::from_iter(names), ["envoy_server_live", "istio_agent_cert_expiry_seconds"]);
        assert_eq!(agent.ready(&pod()).await, Echo::NotReady("its agent answered 503".to_owned()));
    }

    #[tokio::test]
    async fn a_page_that_breaks_off_is_told_with_its_place() {
        let agent = Agent::new(Arc::new(Fixed(|_| Ok((200, PAGE[..PAGE.len() - 3].to_vec())))));
        let error = agent.metrics(&pod(), &|_| false).await.unwrap_err();
        assert!(error.starts_with("/stats/prometheus at port 15020 of shop/cart-1: line "), "{error}");
        let agent = Agent::new(Arc::new(Fixed(|_| Err(Unanswered::Silent("no answer".to_owned())))));
        // Mutation: silence as an answer.
        assert_eq!(agent.ready(&pod()).await, Echo::Missed("no answer".to_owned()));
    }
}
