//! One HTTP request to a port of a pod: by port-forward, which ends on the pod's own loopback, or by its
//! address. Proxies are asked and told this way, and so are the replicas of the control plane.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::told;

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPort {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub pod: String,
    /// Its address, where the watch knows one.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl PodPort {
    /// Namespace and name of the pod, parted by a slash.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.pod)
    }
}

/// What to ask, and how long and how much to take for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Verb.
    pub method: Method,
    /// Path with its query.
    pub path: String,
    /// Time limit, from the first step to the last byte.
    pub limit: Duration,
    /// An answer with a longer body is none.
    pub max_body: usize,
}

impl Call {
    /// A GET with a short answer.
    #[must_use]
    pub fn get(path: &str, limit: Duration) -> Self {
        // Health answers are some words; nobody's proxy may fill our memory.
        Self { method: Method::GET, path: path.to_owned(), limit, max_body: 64 << 10 }
    }

    /// A POST without a body, with a short answer.
    #[must_use]
    pub fn post(path: &str, limit: Duration) -> Self {
        Self { method: Method::POST, ..Self::get(path, limit) }
    }
}

/// Status and body of an answer.
pub type Answer = (u16, Vec<u8>);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The pod was reached, and nothing whole came back. What was asked for may have happened.
    Silent(String),
    /// We could not ask. Nothing happened, and nothing is known about the one we meant to ask.
    NotAsked(String),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(why) => f.write_str(why),
            Self::NotAsked(why) => write!(f, "it could not be asked: {why}"),
        }
    }
}

/// A way to a port of a pod. One call is one connection: a pooled one would tell of the past.
pub trait ProxyTransport: Send + Sync {
    /// Asks once.
    fn ask<'a>(&'a self, to: &'a PodPort, call: &'a Call) -> BoxFuture<'a, Result<Answer, Unanswered>>;
}

/// Over the API server. The request comes from the pod's own loopback there, with all that this opens.
#[derive(Clone)]
pub struct ByPortForward {
    client: Client,
}

impl ByPortForward {
    /// Over this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn exchange(&self, to: &PodPort, call: &Call) -> Result<Answer, Unanswered> {
        let started = tokio::time::Instant::now();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &to.namespace);
        // kube sets no time limit here, and a frozen kubelet would keep us for ever.
        let opened = timeout(call.limit, pods.portforward(&to.pod, &[to.port])).await;
        let late = || Unanswered::NotAsked(format!("no port-forward within {} s", call.limit.as_secs()));
        let opened = opened.map_err(|_| late())?;
        let opened = opened.map_err(|error| Unanswered::NotAsked(told(&error)))?;
        let mut forward = Forward(opened);
        let stream = forward.0.take_stream(to.port);
        let trouble = forward.0.take_error(to.port);
        let (Some(stream), Some(trouble)) = (stream, trouble) else {
            return Err(Unanswered::NotAsked("the port-forward has no stream".to_owned()));
        };
        // It resolves without a text when the other end closes, which is no trouble.
        let trouble = async {
            match trouble.await {
                Some(text) => text,
                None => std::future::pending().await,
            }
        };
        let left = call.limit.saturating_sub(started.elapsed());
        tokio::select! {
            biased;
            text = trouble => Err(Unanswered::Silent(text)),
            answer = within(left, call.limit, talk(stream, to, call)) => answer,
        }
    }
}

impl ProxyTransport for ByPortForward {
    fn ask<'a>(&'a self, to: &'a PodPort, call: &'a Call) -> BoxFuture<'a, Result<Answer, Unanswered>> {
        self.exchange(to, call).boxed()
    }
}

/// Ends its task when it goes: with a pod that hangs, the task would wait as long as the pod does.
struct Forward(Portforwarder);

impl Drop for Forward {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Over the network of the pods.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByPodIp;

impl ByPodIp {
    async fn exchange(to: &PodPort, call: &Call) -> Result<Answer, Unanswered> {
        let started = tokio::time::Instant::now();
        let ip = to.ip.ok_or_else(|| Unanswered::NotAsked("the pod has no address yet".to_owned()))?;
        let address = SocketAddr::new(ip, to.port);
        let stream = match timeout(call.limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            // The pod's own kernel says that nobody listens.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Err(Unanswered::Silent(format!("{address} refused the connection")));
            }
            Ok(Err(error)) => return Err(Unanswered::NotAsked(format!("{address}: {error}"))),
            // A proxy that hangs still gets its connections taken by the kernel; this is the way there.
            Err(_) => {
                let text = format!("no connection to {address} within {} s", call.limit.as_secs());
                return Err(Unanswered::NotAsked(text));
            }
        };
        let left = call.limit.saturating_sub(started.elapsed());
        within(left, call.limit, talk(stream, to, call)).await
    }
}

impl ProxyTransport for ByPodIp {
    fn ask<'a>(&'a self, to: &'a PodPort, call: &'a Call) -> BoxFuture<'a, Result<Answer, Unanswered>> {
        Self::exchange(to, call).boxed()
    }
}

async fn within(
    left: Duration,
    limit: Duration,
    talk: impl Future<Output = Result<Answer, String>>,
) -> Result<Answer, Unanswered> {
    match timeout(left, talk).await {
        Ok(answer) => answer.map_err(Unanswered::Silent),
        Err(_) => Err(Unanswered::Silent(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// One request over an open stream.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    to: &PodPort,
    call: &Call,
) -> Result<Answer, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| told(&error))?;
    let request = Request::builder()
        .method(call.method.clone())
        .uri(&call.path)
        // pilot-agent and istiod look at where a request comes from, not at whom it names.
        .header("host", format!("localhost:{}", to.port))
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("the path {:?} cannot be asked for: {error}", call.path))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), call.max_body).collect().await;
        let body = body.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                format!("the answer is longer than {} bytes", call.max_body)
            } else {
                format!("the answer broke off: {}", told(error.as_ref()))
            }
        })?;
        Ok((status, body.to_bytes().to_vec()))
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        // The connection ends first when the server closes; what it sent is still to be read.
        _ = connection => exchange.await,
    }
}

#[cfg(test)]
mod tests;
