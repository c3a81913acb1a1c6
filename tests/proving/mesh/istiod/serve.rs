//! What the stand-in serves: syncz and adsz to its own pod only, metrics and readiness to all.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::ensure;
use axum::body::Body;
use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use super::connection::Connection;
use super::{Plane, numbers};

/// While there is a file of this name in the folder of the proxies, it is not ready. It still tells how its
/// proxies are, as a real one does whose caches wait for the API server.
pub(crate) const NOT_READY: &str = "istiod-not-ready";

/// Serves until the listener fails.
pub(super) async fn serve(listener: TcpListener, plane: Arc<Plane>) -> anyhow::Result<()> {
    let router = router(plane).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, router).await?;
    Ok(())
}

fn router(plane: Arc<Plane>) -> Router {
    let debug = Router::new().route("/debug/syncz", get(syncz)).route("/debug/adsz", get(adsz));
    let debug = debug.layer(middleware::from_fn(loopback_only));
    Router::new().route("/metrics", get(metrics)).route("/ready", get(ready)).merge(debug).with_state(plane)
}

/// istiod asks everybody else who they are, and takes no answer from a plain request.
async fn loopback_only(ConnectInfo(from): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    if from.ip().is_loopback() { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
}

async fn syncz(State(plane): State<Arc<Plane>>) -> Json<serde_json::Value> {
    let state = plane.lock();
    let connected = state.connections.values().filter(|known| known.answers);
    Json(connected.map(|known| known.syncz()).collect())
}

async fn adsz(State(plane): State<Arc<Plane>>) -> Json<serde_json::Value> {
    let state = plane.lock();
    let clients: Vec<_> =
        state.connections.values().filter(|known| known.answers).map(Connection::adsz).collect();
    Json(serde_json::json!({ "totalClients": clients.len(), "clients": clients }))
}

async fn metrics(State(plane): State<Arc<Plane>>) -> String {
    numbers::render(&plane.lock())
}

async fn ready(State(plane): State<Arc<Plane>>) -> StatusCode {
    let ready = plane.lock().objects.whole() && !plane.root.join(NOT_READY).exists();
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The trial of who is answered.
// Mutation: without the layer the first request is answered.
pub(super) async fn check() -> anyhow::Result<()> {
    let plane = Arc::new(Plane::new(std::env::temp_dir()));
    for (from, path, status) in [
        ("10.244.0.1:999", "/debug/syncz", 401),
        ("127.0.0.1:999", "/debug/syncz", 200),
        ("10.244.0.1:999", "/debug/adsz", 401),
        ("10.244.0.1:999", "/metrics", 200),
        ("10.244.0.1:999", "/ready", 503),
    ] {
        let from: SocketAddr = from.parse()?;
        let router = router(Arc::clone(&plane)).layer(MockConnectInfo(from));
        let answer = router.oneshot(Request::get(path).body(Body::empty())?).await?;
        ensure!(answer.status() == status, "{from} {path}: {}", answer.status());
    }
    Ok(())
}
