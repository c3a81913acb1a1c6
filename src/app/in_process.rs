//! The way to the pods of the simulated cluster, in process and in its time.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};

use crate::cluster::{Answer, Call, PodPort, ProxyTransport, Unanswered};
use crate::sim::Sim;

/// Asks the pods of a simulated cluster.
pub struct InProcess(pub Arc<Sim>);

impl ProxyTransport for InProcess {
    fn ask<'a>(&'a self, to: &'a PodPort, call: &'a Call) -> BoxFuture<'a, Result<Answer, Unanswered>> {
        async move {
            match self.0.proxy_answer(&to.namespace, &to.pod, to.port, call.method.as_str(), &call.path) {
                Some((0, _)) => Err(Unanswered::Silent("connection refused".to_owned())),
                Some((status, body)) => Ok((status, body.into_bytes())),
                None => {
                    tokio::time::sleep(call.limit).await;
                    Err(Unanswered::Silent(format!("no answer within {} s", call.limit.as_secs())))
                }
            }
        }
        .boxed()
    }
}
