//! The simulated cluster: an API server in process, a mesh whose traffic follows its routes, and faults.
//!
//! Everything follows from the seed and the clock, so that the same run can be had again.

mod api;
mod mesh;
mod pace;
mod prometheus;
mod store;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::json;
use tower::ServiceExt as _;

use crate::clock::Clock;
use crate::model::subject::Subject;
use mesh::Mesh;
use store::Store;

pub use pace::{Pace, run};

/// An HTTP service in process with bodies in memory, as readers of Prometheus want it.
pub type Http =
    tower::util::BoxCloneSyncService<http::Request<Bytes>, http::Response<Bytes>, tower::BoxError>;

/// Something that goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A VirtualService sends most requests to a build that answers 5xx.
    BadRoute,
}

impl Fault {
    /// The name as the demo reports it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRoute => "bad_route",
        }
    }
}

/// A fault that was injected.
#[derive(Clone, Debug)]
pub struct Injected {
    /// What it made ill.
    pub subject: Subject,
    /// When.
    pub at: Timestamp,
}

/// The simulated cluster.
pub struct Sim {
    clock: Clock,
    state: Mutex<State>,
    changed: tokio::sync::watch::Sender<u64>,
}

struct State {
    store: Store,
    mesh: Mesh,
}

impl Sim {
    /// A healthy cluster.
    #[must_use]
    pub fn new(seed: u64, clock: Clock) -> Arc<Self> {
        let now = clock.now();
        let mut store = Store::default();
        world::fill(&mut store, now);
        let mesh = Mesh::new(seed, now);
        let (changed, _) = tokio::sync::watch::channel(store.version());
        Arc::new(Self { clock, state: Mutex::new(State { store, mesh }), changed })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at or changes the objects; traffic until now is counted first, under the old routes.
    fn with<T>(&self, act: impl FnOnce(&mut Store, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.lock();
        let State { store, mesh } = &mut *state;
        mesh.catch_up(store, now);
        let out = act(store, now);
        let version = store.version();
        drop(state);
        self.changed.send_if_modified(|known| std::mem::replace(known, version) != version);
        out
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

    /// Lets something go wrong.
    pub fn inject(&self, fault: Fault) -> Injected {
        let Fault::BadRoute = fault;
        let subject = Subject::virtual_service("shop", "cart");
        let at = self.with(|store, now| {
            let patch = json!({ "spec": { "http": [ world::split("cart", &[("v1", 40), ("v3", 60)]) ] } });
            store.edit(&world::key("virtualservices", "shop", "cart"), &patch, "kubectl-edit", now);
            now
        });
        Injected { subject, at }
    }

    /// Share of failing requests of a host over the last seconds, for display.
    #[must_use]
    pub fn error_rate(&self, host: &str, seconds: i64) -> f64 {
        let now = self.clock.now();
        let mut state = self.lock();
        let State { store, mesh } = &mut *state;
        mesh.catch_up(store, now);
        match mesh.increase(host, seconds) {
            Some((all, bad)) if all > 0.0 => bad / all,
            _ => 0.0,
        }
    }
}
