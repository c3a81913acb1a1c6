//! A way between the agent and the API server that the test can close, lead elsewhere, and stop a write on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

/// No request of the agent is longer.
const MAX_BODY: usize = 4 << 20;

/// The running proxy.
pub(crate) struct Proxy {
    /// Its address: plain HTTP, a bearer token goes through as it is.
    pub(crate) url: String,
    shared: Arc<Shared>,
    held: mpsc::UnboundedReceiver<Held>,
}

struct Shared {
    http: reqwest::Client,
    upstream: Mutex<String>,
    way: watch::Sender<Way>,
    /// Where writes are stopped, while they are.
    stop: Mutex<Option<mpsc::UnboundedSender<Held>>>,
    writes: Mutex<Vec<Option<u16>>>,
    expired: AtomicUsize,
}

/// What becomes of requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// They go through.
    Open,
    /// Running watches break, and everything is answered 503, as by a balancer without a server.
    Refuses,
    /// Running watches end as an API server ends them at its own time limit; new requests wait.
    Pauses,
    /// Running watches go on, and everything else is answered with this status.
    Storms(StatusCode),
}

/// A write on its way, stopped.
pub(crate) struct Held {
    /// Its path, without the query.
    pub(crate) path: String,
    fate: oneshot::Sender<Fate>,
}

#[derive(Clone, Copy)]
enum Fate {
    Arrives,
    IsLost,
    /// It arrives, and its sender is told this all the same.
    Denied(StatusCode),
}

impl Held {
    /// Lets it go on, whether or not its sender still lives.
    pub(crate) fn release(self) {
        self.fate.send(Fate::Arrives).ok();
    }

    /// Lets it go on, and answers its sender with this status whatever the API server says.
    pub(crate) fn deny(self, status: StatusCode) {
        self.fate.send(Fate::Denied(status)).ok();
    }

    /// Loses it: the API server never hears of it.
    pub(crate) fn lose(self) {
        self.fate.send(Fate::IsLost).ok();
    }
}

impl Proxy {
    /// Listens on this port (0: any) and leads to `upstream`.
    pub(crate) async fn start(port: u16, upstream: &str, http: reqwest::Client) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            http,
            upstream: Mutex::new(upstream.to_owned()),
            way: watch::Sender::new(Way::Open),
            stop: Mutex::default(),
            writes: Mutex::default(),
            expired: AtomicUsize::new(0),
        });
        let router = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (_, held) = mpsc::unbounded_channel();
        Ok(Self { url, shared, held })
    }

    /// Breaks what runs and answers 503 from now on.
    pub(crate) fn refuse(&self) {
        self.shared.way.send_replace(Way::Refuses);
    }

    /// Answers everything with this status from now on; running watches go on.
    pub(crate) fn storm(&self, status: StatusCode) {
        self.shared.way.send_replace(Way::Storms(status));
    }

    /// Ends what runs in good order, and lets new requests wait from now on.
    pub(crate) fn pause(&self) {
        self.shared.way.send_replace(Way::Pauses);
    }

    /// Leads to this API server from now on.
    pub(crate) fn open_to(&self, upstream: &str) {
        *lock(&self.shared.upstream) = upstream.to_owned();
        self.shared.way.send_replace(Way::Open);
    }

    /// From now on real writes (not dry runs) are stopped on their way.
    pub(crate) fn stop_writes(&mut self) {
        let (stop, held) = mpsc::unbounded_channel();
        *lock(&self.shared.stop) = Some(stop);
        self.held = held;
    }

    /// From now on writes are let through again.
    pub(crate) fn let_writes_pass(&self) {
        *lock(&self.shared.stop) = None;
    }

    /// The next write that was stopped.
    pub(crate) async fn next_held(&mut self) -> anyhow::Result<Held> {
        const LIMIT: Duration = Duration::from_secs(60);
        let held = tokio::time::timeout(LIMIT, self.held.recv()).await;
        held.context("no write came along")?.context("writes are not stopped")
    }

    /// Answers to all real writes so far; `None` for one that was lost or is on its way.
    pub(crate) fn writes(&self) -> Vec<Option<u16>> {
        lock(&self.shared.writes).clone()
    }

    /// How many watches were told that their version is too old (410).
    pub(crate) fn expired(&self) -> usize {
        self.shared.expired.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // A sender that dies takes the future of its request with it; what was sent goes on all the same.
    let carried = tokio::spawn(async move { shared.carry(request).await });
    match carried.await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Shared {
    async fn carry(self: Arc<Self>, request: Request) -> anyhow::Result<Response> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, MAX_BODY).await?;
        let real = parts.method != Method::GET && !parts.uri.query().unwrap_or_default().contains("dryRun");
        let number = if real { Some(self.note_write()) } else { None };
        let stop = lock(&self.stop).clone().filter(|_| real);
        let mut denied = None;
        if let Some(stop) = stop {
            let (fate, decided) = oneshot::channel();
            stop.send(Held { path: parts.uri.path().to_owned(), fate }).ok();
            match decided.await {
                Ok(Fate::Arrives) => {}
                Ok(Fate::Denied(status)) => denied = Some(status),
                Ok(Fate::IsLost) | Err(_) => anyhow::bail!("lost on the way"),
            }
        }
        let mut way = self.way.subscribe();
        let now = *way.wait_for(|way| *way != Way::Pauses).await?;
        match now {
            Way::Refuses => return Ok(refused(StatusCode::SERVICE_UNAVAILABLE)),
            Way::Storms(status) if denied.is_none() => return Ok(refused(status)),
            Way::Storms(_) | Way::Open | Way::Pauses => {}
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let url = format!("{}{path}", lock(&self.upstream));
        let sent = self.http.request(parts.method, url).headers(end_to_end(&parts.headers)).body(body);
        let answer = sent.send().await?;
        let status = answer.status();
        if let Some(number) = number {
            lock(&self.writes)[number] = Some(status.as_u16());
        }
        if let Some(status) = denied {
            return Ok(refused(status));
        }
        if status == StatusCode::GONE {
            self.expired.fetch_add(1, Ordering::Relaxed);
        }
        let mut response = Response::new(self.body(answer, way));
        *response.status_mut() = status;
        Ok(response)
    }

    fn note_write(&self) -> usize {
        let mut writes = lock(&self.writes);
        writes.push(None);
        writes.len() - 1
    }

    /// The answer's body, piece by piece, until it ends or the way is not open any more.
    fn body(self: Arc<Self>, answer: reqwest::Response, way: watch::Receiver<Way>) -> Body {
        let pieces = futures::stream::unfold((self, answer, way), |(shared, mut answer, mut way)| async {
            let piece: std::io::Result<Bytes> = tokio::select! {
                closed = way.wait_for(|way| matches!(way, Way::Refuses | Way::Pauses)) => match closed.as_deref() {
                    Ok(Way::Refuses) => Err(std::io::Error::other("broken by the test")),
                    _ => return None,
                },
                piece = answer.chunk() => match piece {
                    Ok(Some(piece)) => Ok(piece),
                    Ok(None) => return None,
                    Err(error) => Err(std::io::Error::other(error)),
                },
            };
            if piece.as_ref().is_ok_and(|piece| String::from_utf8_lossy(piece).contains("\"code\":410")) {
                shared.expired.fetch_add(1, Ordering::Relaxed);
            }
            Some((piece, (shared, answer, way)))
        });
        Body::from_stream(pieces)
    }
}

/// An answer as the API server gives it when it has too much to do, or is ill.
fn refused(status: StatusCode) -> Response {
    let mut answer = (status, "refused by the test").into_response();
    if status == StatusCode::TOO_MANY_REQUESTS {
        answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    answer
}

/// Headers without those that are about one connection only.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        kept.remove(name);
    }
    kept
}
