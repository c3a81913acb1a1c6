//! A test double of Prometheus's query API: what it says about each host is set by the test, and so is how
//! it misbehaves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use meshmend::clock::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As Prometheus does.
    Answers,
    /// It takes the request and never answers.
    Hangs,
    /// 500 without a body that makes sense.
    Fails,
    /// 503 with an error as Prometheus writes it.
    TimesOut,
    /// The value of every series is NaN.
    SaysNan,
    /// No series at all.
    KnowsNothing,
    /// Half of the store did not answer.
    Warns,
    /// Every answer is about an hour ago.
    IsLate,
}

/// Requests to one host within the window: all, and the bad ones.
type Traffic = BTreeMap<String, (u32, u32)>;

struct Said {
    manner: Manner,
    traffic: Traffic,
    /// Queries that are not those of the catalogue.
    strange: Vec<String>,
}

/// The running double.
#[derive(Clone)]
pub(crate) struct Prometheus {
    /// Its base URL.
    pub(crate) url: String,
    said: Arc<Mutex<Said>>,
}

impl Prometheus {
    /// Listens on loopback, for as long as the test's runtime lives.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let said = Said { manner: Manner::Answers, traffic: Traffic::new(), strange: Vec::new() };
        let said = Arc::new(Mutex::new(said));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route("/api/v1/query", post(query)).with_state(Arc::clone(&said));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, said })
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        lock(&self.said)
    }

    /// From now on so many requests reach the host within any window, and so many of them are bad.
    pub(crate) fn traffic(&self, host: &str, all: u32, bad: u32) {
        self.lock().traffic.insert(host.to_owned(), (all, bad));
    }

    /// From now on it answers like this.
    pub(crate) fn behave(&self, manner: Manner) {
        self.lock().manner = manner;
    }

    /// Fails when it was asked something that the catalogue does not ask.
    pub(crate) fn nothing_strange(&self) -> anyhow::Result<()> {
        let strange = self.lock().strange.clone();
        anyhow::ensure!(strange.is_empty(), "queries that are not understood: {strange:?}");
        Ok(())
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn query(State(said): State<Arc<Mutex<Said>>>, body: String) -> Response {
    let manner = lock(&said).manner;
    if manner == Manner::Hangs {
        return std::future::pending().await;
    }
    let promql = decode(body.strip_prefix("query=").unwrap_or_default());
    let Some((hosts, bad)) = understand(&promql) else {
        lock(&said).strange.push(promql);
        return answer(
            StatusCode::BAD_REQUEST,
            "error",
            json!({ "errorType": "bad_data", "error": "strange" }),
        );
    };
    let now = Clock::wall().as_duration().as_secs_f64();
    let at = if manner == Manner::IsLate { now - 3_600.0 } else { now };
    let series = |host: &String, all: u32, bad_ones: u32| {
        let count = if bad { bad_ones } else { all };
        let value = if manner == Manner::SaysNan { "NaN".to_owned() } else { count.to_string() };
        json!({ "metric": { "destination_service": host }, "value": [at, value] })
    };
    // `increase` makes no series of none: a host without a bad request is absent from the bad ones.
    let traffic = lock(&said).traffic.clone();
    let known =
        traffic.iter().filter(|(host, (_, bad_ones))| hosts.contains(host) && !(bad && *bad_ones == 0));
    let known: Vec<Value> = known.map(|(host, (all, bad_ones))| series(host, *all, *bad_ones)).collect();
    let result = if manner == Manner::KnowsNothing { Vec::new() } else { known };
    let data = json!({ "data": { "resultType": "vector", "result": result } });
    match manner {
        Manner::Fails => (StatusCode::INTERNAL_SERVER_ERROR, "<html>no</html>").into_response(),
        Manner::TimesOut => {
            let error =
                json!({ "errorType": "timeout", "error": "query timed out in expression evaluation" });
            answer(StatusCode::SERVICE_UNAVAILABLE, "error", error)
        }
        Manner::Warns => {
            let mut warned = data;
            warned["warnings"] = json!(["a store could not be asked"]);
            answer(StatusCode::OK, "success", warned)
        }
        Manner::Answers | Manner::Hangs | Manner::SaysNan | Manner::KnowsNothing | Manner::IsLate => {
            answer(StatusCode::OK, "success", data)
        }
    }
}

fn answer(status: StatusCode, word: &str, mut body: Value) -> Response {
    body["status"] = json!(word);
    (status, Json(body)).into_response()
}

/// The hosts a query of the catalogue asks for, and whether it asks for their bad requests.
fn understand(promql: &str) -> Option<(Vec<String>, bool)> {
    let rest = promql.strip_prefix("sum by (destination_service) (increase(istio_requests_total{")?;
    let rest = rest.strip_prefix("reporter=\"source\",destination_service=~\"")?;
    let (hosts, rest) = rest.split_once('"')?;
    let bad = match rest.split_once("}[")? {
        ("", _) => false,
        (",response_code=~\"5..\"", _) => true,
        _ => return None,
    };
    Some((hosts.split('|').map(|host| host.replace("\\\\.", ".")).collect(), bad))
}

/// Undoes the percent coding of a form field.
fn decode(field: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = field.bytes();
    while let Some(byte) = rest.next() {
        let code = if byte == b'%' { [rest.next(), rest.next()] } else { [None, None] };
        let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
        match (hex(code[0]), hex(code[1])) {
            (Some(high), Some(low)) => bytes.extend(u8::try_from(high * 16 + low)),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
