//! The simulated cluster: an API server, its controllers and kubelets, a mesh whose traffic follows its
//! routes, and faults.
//!
//! What the API server answers is held against the real one by `tests/cluster/differential.rs`, request by
//! request; `differential/listed.rs` has the differences in single answers that stay, each with its reason.
//!
//! Everything follows from the seed, the clock and the writes, so that the same run can be had again. Time
//! goes in whole seconds: controllers look once a second, and only when something has changed or is due.
//! The same cluster is there in process ([`Sim::client`], [`Sim::prometheus`], [`Sim::proxy_answer`]) and
//! over loopback ([`serve`]), where kubectl works on it.
//!
//! What differs from a real cluster:
//!
//! - No authentication, authorization, admission, quotas, owner references that block, HTTPS, protobuf,
//!   exec, logs, or port-forward by SPDY (as kubectl's own): only WebSocket `v4.channel.k8s.io`.
//! - Bodies are JSON: what kubectl sends in protobuf (`kubectl create configmap`, `auth can-i`) is refused
//!   with 415; `kubectl create -f` and `apply -f` work.
//! - Objects are not checked against schemas: unknown and wrong fields are kept as they are. Defaults are
//!   those of the fields that the shop and the tests use (`store::defaults`).
//! - The kinds are those of `sim::kinds`; all have one stored version. `/openapi/v3` says only that
//!   `fieldValidation` is known, so `kubectl explain` has nothing to tell.
//! - Lists: a continued list shows the objects as they are then, not as they were at its first page;
//!   `resourceVersion` of a list is not looked at. A watch remembers 1,000 changes.
//! - Who owns a field is kept for whole lists; the real server tells entries of containers, ports and so on
//!   apart. Server-side apply merges on this base, and replaces lists whole. Kubectl's own apply works.
//! - Strategic merge patches know the list keys of pods, conditions, owners and taints, and no others.
//! - A pod is deleted in two steps (marked, then gone two seconds later); everything else at once.
//! - Deployments roll with surge 1 and none unavailable, whatever they say; StatefulSets and DaemonSets one
//!   after the other. There is no autoscaler, Job, quota, or scheduler that looks at resources.
//! - An EndpointSlice that people changed stays so until its pods change.
//! - Traffic goes by the first HTTP rule of the oldest VirtualService for a host in the service's own
//!   namespace, by weights, subsets and `timeout`; matches, faults, mirrors and retries are not followed.
//!   Requests reach only what the seed's services have ([`Fault`] says what can go wrong).

mod api;
mod control;
mod fault;
mod host;
mod kinds;
mod mesh;
mod pace;
mod prometheus;
mod proxy;
mod refused;
mod serve;
mod store;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use tower::ServiceExt as _;

use crate::clock::Clock;
use control::Control;
use mesh::Mesh;
use store::Store;

pub use fault::{Fault, Injected};
pub use host::{Asked, Ground, PodLife, ProxyLife, Supply, World};
pub use pace::{Pace, hurry, run, watch};
pub use serve::{Serving, serve};

/// An HTTP service in process with bodies in memory, as readers of Prometheus want it.
pub type Http =
    tower::util::BoxCloneSyncService<http::Request<Bytes>, http::Response<Bytes>, tower::BoxError>;

/// The simulated cluster.
pub struct Sim {
    clock: Clock,
    state: Mutex<State>,
    changed: tokio::sync::watch::Sender<u64>,
}

struct State {
    store: Store,
    control: Control,
    mesh: Mesh,
    life: Life,
}

/// Whether anything happens by itself.
enum Life {
    /// Controllers, kubelets and traffic.
    Whole,
    /// Controllers and kubelets; the rest comes from outside.
    Hosted(Box<dyn World>),
    /// The API server alone.
    Still,
}

impl State {
    /// Lets every second until now pass: first what controllers do in it, then its traffic.
    fn catch_up(&mut self, now: Timestamp) {
        while self.mesh.counted() < now.as_second() {
            let second = self.mesh.counted() + 1;
            match self.life {
                Life::Whole => {
                    self.control.step(&mut self.store, second);
                    self.mesh.count(&self.store, &self.control, second);
                }
                Life::Hosted(_) => self.host(second),
                Life::Still => return,
            }
        }
    }
}

/// The version at which [`Sim::alone`] begins, so that older ones are forgotten, as on a server that was
/// restarted.
const FIRST: u64 = 1_000;
/// Seconds after which the cluster of the start has settled.
const SETTLED_S: i64 = 60;

impl Sim {
    /// A healthy cluster, an hour old.
    #[must_use]
    pub fn new(seed: u64, clock: Clock) -> Arc<Self> {
        let now = clock.now();
        let born = now.checked_sub(world::AGE).unwrap_or(now);
        let mut store = Store::default();
        world::fill(&mut store, born);
        let mut control = Control::new(seed, born);
        for second in 1..=SETTLED_S {
            control.step(&mut store, born.as_second() + second);
        }
        let mesh = Mesh::quiet(seed, now, &control);
        let state = State { store, control, mesh, life: Life::Whole };
        Self::of(clock, state)
    }

    /// The API server alone: an empty cluster in which no controller and no kubelet looks at what is written,
    /// as where nothing but etcd and kube-apiserver runs. The tests hold it against the real server.
    #[must_use]
    pub fn alone(clock: Clock) -> Arc<Self> {
        let now = clock.now();
        let (control, mesh) = (Control::new(0, now), Mesh::new(0, now));
        Self::of(clock, State { store: Store::since_version(FIRST), control, mesh, life: Life::Still })
    }

    fn of(clock: Clock, state: State) -> Arc<Self> {
        let (changed, _) = tokio::sync::watch::channel(state.store.version());
        Arc::new(Self { clock, state: Mutex::new(state), changed })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at or changes the cluster; what happened until now happens first.
    fn look<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.lock();
        state.catch_up(now);
        let out = act(&mut state);
        let version = state.store.version();
        drop(state);
        self.changed.send_if_modified(|known| std::mem::replace(known, version) != version);
        out
    }

    /// Looks at or changes the objects.
    fn with<T>(&self, act: impl FnOnce(&mut Store, Timestamp) -> T) -> T {
        let now = self.clock.now();
        self.look(|state| act(&mut state.store, now))
    }

    /// How long until the controllers want to look again; `None` when nothing is due.
    fn next_look(&self) -> Option<std::time::Duration> {
        let state = self.lock();
        // A hosted cluster passes only where it is driven, and tells of what changed.
        if !matches!(state.life, Life::Whole) {
            return None;
        }
        let next = state.control.next(&state.store)?;
        Some(self.clock.until(Timestamp::from_second(next).unwrap_or(Timestamp::MAX)))
    }

    /// A client of the API server, in process.
    #[must_use]
    pub fn client(self: &Arc<Self>) -> kube::Client {
        kube::Client::new(self.api_router(), "default")
    }

    /// The API server.
    pub fn api_router(self: &Arc<Self>) -> axum::Router {
        api::router(Arc::clone(self))
    }

    /// Prometheus' query API.
    pub fn prometheus_router(self: &Arc<Self>) -> axum::Router {
        prometheus::router(Arc::clone(self))
    }

    /// Prometheus as a service in process.
    #[must_use]
    pub fn prometheus(self: &Arc<Self>) -> Http {
        let router = self.prometheus_router();
        Http::new(tower::service_fn(move |request: http::Request<Bytes>| {
            let router = router.clone();
            async move {
                let answer = router.oneshot(request.map(axum::body::Body::from)).await?;
                let (parts, body) = answer.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok::<_, tower::BoxError>(http::Response::from_parts(parts, body))
            }
        }))
    }

    /// What listens in a pod answers a request from the pod's own loopback, as a port-forward makes it:
    /// status and body. `None` means that it accepts and never answers; status 0 means that nothing
    /// listens there (connection refused, no such pod).
    ///
    /// - a proxy: 15020 (`/healthz/ready`, `POST /drain`, `POST /quitquitquit`), 15021 (`/healthz/ready`)
    ///   and 15000 (`/server_info`, `/ready`);
    /// - istiod: 15014 and 8080 (`/debug/syncz` of this replica, `/ready`, `/version`).
    #[must_use]
    pub fn proxy_answer(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        method: &str,
        path: &str,
    ) -> Option<(u16, String)> {
        let now = self.clock.now();
        let whole = Asked { namespace, pod, port, method, path };
        let asked = proxy::Asked { port, method, path: path.split('?').next().unwrap_or(path) };
        self.look(|state| match state.hosted_answer(&whole, now) {
            Some(answer) => answer,
            None => proxy::answer(state, (namespace, pod), asked, now.as_second()),
        })
    }

    /// Share of failing requests of a host over the last seconds, for display.
    #[must_use]
    pub fn error_rate(&self, host: &str, seconds: i64) -> f64 {
        let found = self.look(|state| state.mesh.increase(host, seconds, |code, _| code >= 500));
        match found {
            Some((all, bad)) if all > 0.0 => bad / all,
            _ => 0.0,
        }
    }
}
