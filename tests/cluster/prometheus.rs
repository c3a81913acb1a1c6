//! A test double of Prometheus's query API: what it says about each host is set by the test, and so is how
//! it misbehaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use meshmend::clock::Clock;
use meshmend::rules::{By, Reader, RuleFiles, Rules};
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

/// What is said about one host: how, and its requests within the window.
#[derive(Clone, Copy)]
struct Host {
    manner: Manner,
    all: u32,
    bad: u32,
    load: Load,
}

/// What is said about the load of a host, beside its requests.
#[derive(Clone, Copy, Default)]
pub(crate) struct Load {
    /// Requests that pools turned away.
    pub(crate) turned_away: u32,
    /// Milliseconds that all requests took together.
    pub(crate) busy_ms: u32,
    /// Clients.
    pub(crate) clients: u32,
}

/// What a query asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Figure {
    All,
    Bad,
    TurnedAway,
    Admitted,
    BusyMs,
    Clients,
    /// A figure that this double has none of.
    Absent,
}

impl Host {
    fn figure(&self, figure: Figure) -> u32 {
        match figure {
            Figure::All => self.all,
            Figure::Bad => self.bad,
            Figure::TurnedAway => self.load.turned_away,
            Figure::Admitted => self.all - self.load.turned_away,
            Figure::BusyMs => self.load.busy_ms,
            Figure::Clients => self.load.clients,
            Figure::Absent => 0,
        }
    }
}

struct Said {
    hosts: BTreeMap<String, Host>,
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
        let said = Arc::new(Mutex::new(Said { hosts: BTreeMap::new(), strange: Vec::new() }));
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
        let mut said = self.lock();
        let known = said.hosts.get(host);
        let manner = known.map_or(Manner::Answers, |host| host.manner);
        let load = known.map_or_else(Load::default, |host| host.load);
        said.hosts.insert(host.to_owned(), Host { manner, all, bad, load });
    }

    /// From now on this is said about the load of a host that has traffic.
    pub(crate) fn load(&self, host: &str, load: Load) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.load = load;
        }
    }

    /// From now on it answers like this when it is asked about the host.
    pub(crate) fn behave(&self, host: &str, manner: Manner) {
        if let Some(host) = self.lock().hosts.get_mut(host) {
            host.manner = manner;
        }
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

/// Whether Prometheus answers at all, asked so that it costs nothing.
const PROBE: &str =
    r#"sum by (destination_service) (increase(istio_requests_total{destination_service="-"}[1m]))"#;

/// Whether it is, letter by letter, what the shipped catalogue asks where no act is measured by it.
fn of_the_catalogue(promql: &str) -> bool {
    static ASKED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let catalogue =
            Rules::load(&RuleFiles::embedded(), None).expect("what is shipped is right").rules.indicators;
        let mut asked = BTreeSet::from([PROBE.to_owned()]);
        for indicator in catalogue.iter() {
            let Reader::Readings(ways) = &indicator.reader else { continue };
            for way in ways {
                if let By::Expression { value, samples, baseline } = &way.by {
                    let current = baseline.as_ref().map(|baseline| &baseline.current);
                    asked.extend([Some(value), samples.as_ref(), current].into_iter().flatten().cloned());
                }
            }
        }
        asked
    });
    ASKED.contains(promql)
}

async fn query(State(said): State<Arc<Mutex<Said>>>, body: String) -> Response {
    let promql = decode(body.strip_prefix("query=").unwrap_or_default());
    let Some((hosts, figure)) = understand(&promql) else {
        if of_the_catalogue(&promql) {
            // Nothing here exports what it asks about.
            let nothing = vector(&BTreeMap::new(), Manner::KnowsNothing, Figure::All);
            return answer(StatusCode::OK, "success", nothing);
        }
        lock(&said).strange.push(promql);
        let error = json!({ "errorType": "bad_data", "error": "strange" });
        return answer(StatusCode::BAD_REQUEST, "error", error);
    };
    let mut asked = lock(&said).hosts.clone();
    asked.retain(|host, _| hosts.contains(host));
    // One host that is not answered properly spoils the answer about all that were asked for.
    let manner = asked.values().map(|host| host.manner).find(|manner| *manner != Manner::Answers);
    let manner = manner.unwrap_or(Manner::Answers);
    let data = vector(&asked, manner, figure);
    match manner {
        Manner::Hangs => std::future::pending().await,
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
        Manner::Answers | Manner::SaysNan | Manner::KnowsNothing | Manner::IsLate => {
            answer(StatusCode::OK, "success", data)
        }
    }
}

/// The series of an answer. `increase` makes none of nothing: a host without a bad request is absent from
/// the bad ones.
fn vector(asked: &BTreeMap<String, Host>, manner: Manner, figure: Figure) -> Value {
    let now = Clock::wall().as_duration().as_secs_f64();
    let at = if manner == Manner::IsLate { now - 3_600.0 } else { now };
    let series = asked.iter().filter_map(|(name, host)| {
        let count = host.figure(figure);
        let value = if manner == Manner::SaysNan { "NaN".to_owned() } else { count.to_string() };
        let labels = json!({ "destination_service": name });
        let there = (figure == Figure::All || count > 0) && manner != Manner::KnowsNothing;
        there.then(|| json!({ "metric": labels, "value": [at, value] }))
    });
    json!({ "data": { "resultType": "vector", "result": series.collect::<Vec<Value>>() } })
}

fn answer(status: StatusCode, word: &str, mut body: Value) -> Response {
    body["status"] = json!(word);
    (status, Json(body)).into_response()
}

/// The hosts a query of the catalogue asks for, and the figure.
fn understand(promql: &str) -> Option<(Vec<String>, Figure)> {
    const WAYS: [(&str, &str, Figure); 8] = [
        (TOTAL, "", Figure::All),
        (TOTAL, ",response_code=~\"5..\"", Figure::Bad),
        (TOTAL, ",response_flags=~\"(.*,)?(UO|UT|UF|URX)(,.*)?\"", Figure::TurnedAway),
        (TOTAL, ",response_flags!~\"(.*,)?UO(,.*)?\"", Figure::Admitted),
        (TOTAL, ",response_flags!~\"(.*,)?UO(,.*)?\",response_code=~\"5..\"", Figure::Bad),
        (BUSY, "", Figure::BusyMs),
        (CLIENTS, "", Figure::Clients),
        (SLOWEST, "", Figure::Absent),
    ];
    if let Some((_, rest)) = promql.strip_prefix(OVERFLOW).and_then(|rest| rest.split_once("[^|]*\\\\|(")) {
        let (hosts, _) = rest.split_once(")\"}[")?;
        return Some((hosts.split('|').map(|host| host.replace("\\\\.", ".")).collect(), Figure::Absent));
    }
    WAYS.iter().find_map(|(begin, more, figure)| {
        let rest = promql.strip_prefix(begin)?.strip_prefix("reporter=\"source\",destination_service=~\"")?;
        let (hosts, rest) = rest.split_once('"')?;
        let (with, _) = rest.split_once("}[")?;
        let hosts = hosts.split('|').map(|host| host.replace("\\\\.", ".")).collect();
        (with == *more).then_some((hosts, *figure))
    })
}

const TOTAL: &str = "sum by (destination_service) (increase(istio_requests_total{";
/// Counters that sidecars do not export unless asked to; these do not.
const OVERFLOW: &str = "sum by (destination_service) (label_replace(increase(envoy_cluster_upstream_rq_";
const BUSY: &str = "sum by (destination_service) (increase(istio_request_duration_milliseconds_sum{";
const CLIENTS: &str =
    "count by (destination_service) (sum by (destination_service, pod) (increase(istio_requests_total{";
const SLOWEST: &str = "histogram_quantile(0.99, sum by (destination_service, le) (increase(istio_request_duration_milliseconds_bucket{";

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
