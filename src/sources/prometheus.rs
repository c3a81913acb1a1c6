//! Prometheus: queries over any HTTP service, a socket or the simulated cluster in process.

pub(super) mod range;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use serde::Deserialize;
use tower::{BoxError, ServiceExt};

use crate::clock::Clock;
use crate::model::indicator::Overflow;

pub use range::{RangeSeries, Span};

/// An HTTP client as a service: that of a socket, or a router in process.
pub type Http = tower::util::BoxCloneSyncService<Request<Bytes>, Response<Bytes>, BoxError>;

/// Prometheus answers instant queries of ours in milliseconds; what takes longer is as good as away.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// An answer holds one line per host; this is a hundred thousand of them.
const MAX_BODY: usize = 16 << 20;

/// An instant query is answered for the server's own now. Clocks of one cluster differ by less than a
/// second; a server that is further off than this measures another time than the one we act in.
const MAX_OFF_S: f64 = 60.0;

/// How to reach Prometheus.
#[derive(Clone, Debug, Default)]
pub struct Address {
    /// Base URL.
    pub url: String,
    /// File with a bearer token.
    pub token_file: Option<PathBuf>,
    /// File with the CA certificate.
    pub ca_file: Option<PathBuf>,
}

/// A reader of instant queries.
#[derive(Clone, Debug)]
pub struct Prometheus {
    http: Http,
    clock: Clock,
    base: String,
    token_file: Option<PathBuf>,
}

/// Requests to one host within the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// All of them.
    pub samples: f64,
    /// The bad ones among them.
    pub bad: f64,
    /// What Envoy's own counters say of it; of one that no proxy exports nothing is known, which is not zero.
    pub overflow: Overflow<Option<f64>>,
}

/// Labels of a series with its value, or why that is no number.
pub type OneSeries = (BTreeMap<String, String>, Result<f64, String>);

/// A value for each host, or why there is none for it.
pub type ByHost<T> = BTreeMap<String, Result<T, String>>;

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Box<serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Prometheus {
    /// A reader over a socket.
    ///
    /// # Errors
    /// The address or the CA file is wrong.
    pub fn connect(address: &Address, clock: Clock) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .timeout(TIME_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(path) = &address.ca_file {
            let pem =
                std::fs::read(path).with_context(|| format!("cannot read caFile {}", path.display()))?;
            let ca = reqwest::Certificate::from_pem(&pem)
                .with_context(|| format!("caFile {} is not a PEM certificate", path.display()))?;
            builder = builder.tls_certs_only([ca]);
        }
        let client = builder.build().context("the client for Prometheus could not be made")?;
        let http = tower::service_fn(move |request: Request<Bytes>| {
            let client = client.clone();
            async move {
                let request = reqwest::Request::try_from(request)?;
                let mut answer = client.execute(request).await?;
                let status = answer.status();
                let mut body = Vec::new();
                while let Some(chunk) = answer.chunk().await? {
                    if body.len() + chunk.len() > MAX_BODY {
                        return Err::<_, BoxError>(
                            format!("the answer is longer than {MAX_BODY} bytes").into(),
                        );
                    }
                    body.extend_from_slice(&chunk);
                }
                Ok(Response::builder().status(status).body(Bytes::from(body))?)
            }
        });
        let base = address.url.trim_end_matches('/').to_owned();
        Ok(Self { http: Http::new(http), clock, base, token_file: address.token_file.clone() })
    }

    /// A reader over a service in process.
    #[must_use]
    pub fn over(http: Http, clock: Clock) -> Self {
        Self { http, clock, base: "http://prometheus".to_owned(), token_file: None }
    }

    /// Counts by `destination_service`, from the two queries of an indicator. A host that is absent had no
    /// samples: nothing is known about it. A host with samples and no bad ones had zero bad ones.
    ///
    /// # Errors
    /// What went wrong with the whole answer; warnings count as errors, because half an answer could heal the
    /// wrong thing. A value that is no count makes only its own host unknown.
    pub async fn counts(&self, samples: &str, bad: &str) -> Result<ByHost<Counts>, String> {
        let (samples, bad) = futures::join!(self.values(samples), self.values(bad));
        let (samples, bad) = (samples?, bad?);
        let both = |host: &String, samples: Result<f64, String>| {
            let bad = bad.get(host).cloned().unwrap_or(Ok(0.0))?;
            Ok(Counts { samples: samples?, bad, overflow: Overflow::default() })
        };
        Ok(samples.into_iter().map(|(host, samples)| (host.clone(), both(&host, samples))).collect())
    }

    /// Values by `destination_service`.
    ///
    /// # Errors
    /// What went wrong with the whole answer.
    pub async fn values(&self, promql: &str) -> Result<ByHost<f64>, String> {
        self.ask(&Query::now(promql), read).await
    }

    /// All series of a query by their labels. No series is no error, and not zero either.
    ///
    /// # Errors
    /// What went wrong with the whole answer.
    pub async fn series(&self, promql: &str) -> Result<Vec<OneSeries>, String> {
        self.ask(&Query::now(promql), read_series).await
    }

    async fn ask<T>(
        &self,
        query: &Query<'_>,
        read: impl Fn(&[u8], Timestamp) -> Result<T, String>,
    ) -> Result<T, String> {
        let call = async {
            let request = self.request(query)?;
            self.http.clone().oneshot(request).await.map_err(|error| chain(error.as_ref()))
        };
        let answer = tokio::time::timeout(TIME_LIMIT, call).await;
        let answer =
            answer.map_err(|_| format!("Prometheus did not answer within {} s", TIME_LIMIT.as_secs()))??;
        let status = answer.status();
        read(answer.body(), self.clock.elsewhere()).map_err(|why| {
            if status.is_success() {
                format!("Prometheus: {why}")
            } else {
                format!("Prometheus answered {status}: {why}")
            }
        })
    }

    fn request(&self, query: &Query<'_>) -> Result<Request<Bytes>, String> {
        let form: Vec<String> =
            query.form.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
        let form = form.join("&");
        let mut request = Request::post(format!("{}/api/v1/{}", self.base, query.path))
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(path) = &self.token_file {
            let token = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read tokenFile {}: {error}", path.display()))?;
            request = request.header("authorization", format!("Bearer {}", token.trim()));
        }
        request.body(Bytes::from(form)).map_err(|error| format!("the URL of Prometheus is wrong: {error}"))
    }
}

/// A question to the API.
struct Query<'q> {
    path: &'static str,
    form: Vec<(&'static str, std::borrow::Cow<'q, str>)>,
}

impl<'q> Query<'q> {
    fn now(promql: &'q str) -> Self {
        Self { path: "query", form: vec![("query", promql.into())] }
    }
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut form, byte| {
        if byte.is_ascii_alphanumeric() {
            form.push(char::from(byte));
        } else {
            form.push_str(&format!("%{byte:02X}"));
        }
        form
    })
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

/// The result of a whole answer.
fn result<S: serde::de::DeserializeOwned>(body: &[u8], wanted: &str) -> Result<Vec<S>, String> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| format!("unexpected answer: {error}"))?;
    if answer.status != "success" {
        return Err(answer.error);
    }
    if let Some(warning) = answer.warnings.first() {
        return Err(format!("the answer may be partial: {warning}"));
    }
    let data = answer.data.ok_or("the answer holds no data")?;
    if data.result_type != wanted {
        return Err(format!("a {wanted} is expected, not a {}", data.result_type));
    }
    serde_json::from_str(data.result.get()).map_err(|error| format!("unexpected answer: {error}"))
}

/// The series of a whole answer that is about now.
fn whole(body: &[u8], now: Timestamp) -> Result<Vec<Series>, String> {
    let found: Vec<Series> = result(body, "vector")?;
    for series in &found {
        let off = (series.value.0 - now.as_duration().as_secs_f64()).abs();
        if off > MAX_OFF_S {
            return Err(format!("its clock is {off:.0} s off ours: what it measured is not about now"));
        }
    }
    Ok(found)
}

pub(super) fn read_series(body: &[u8], now: Timestamp) -> Result<Vec<OneSeries>, String> {
    let one = |series: Series| {
        let value = match series.value.1.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(format!("the value is {:?}, which is no number", series.value.1)),
        };
        let mut labels = series.metric;
        labels.remove("__name__");
        (labels, value)
    };
    Ok(whole(body, now)?.into_iter().map(one).collect())
}

fn read(body: &[u8], now: Timestamp) -> Result<ByHost<f64>, String> {
    let mut values = BTreeMap::new();
    for series in whole(body, now)? {
        let Some(host) = series.metric.get("destination_service") else {
            return Err("a series has no label destination_service".to_owned());
        };
        let value = match series.value.1.parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
            _ => Err(format!("the value for {host} is {:?}, which is no count", series.value.1)),
        };
        if let Some(known) = values.get_mut(host) {
            *known = Err(format!("there are two series for {host}"));
        } else {
            values.insert(host.clone(), value);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::{read, read_series};
    use jiff::Timestamp;

    macro_rules! recorded {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/recorded/prometheus/", $name))
        };
    }

    // Mutations: no look at the clock of the answer; a scalar as one series; NaN or infinity as a figure.
    #[test]
    fn recorded_answers_are_read_or_refused() {
        let at = |body: &[u8]| {
            let text = String::from_utf8_lossy(body).into_owned();
            let time = text
                .split_once("\"value\":[")
                .map_or("0", |(_, rest)| rest.split([',', '.']).next().unwrap());
            Timestamp::from_second(time.parse().unwrap()).unwrap()
        };
        let series = |body: &[u8]| read_series(body, at(body));
        assert_eq!(series(recorded!("query-empty.json")), Ok(Vec::new()));
        let up = series(recorded!("query-up.json")).unwrap();
        assert_eq!(up.iter().filter(|(_, value)| *value == Ok(0.0)).count(), 1);
        for body in [&recorded!("query-nan.json")[..], recorded!("query-inf.json")] {
            assert!(series(body).map_or(true, |found| found[0].1.is_err()));
        }
        for body in [&recorded!("query-vector-5xx.json")[..], recorded!("query-vector-healthy.json")] {
            assert!(series(body).unwrap().iter().all(|(_, value)| value.is_ok()));
            assert!(read_series(body, at(body) + jiff::SignedDuration::from_mins(2)).is_err());
        }
        for body in [
            &recorded!("query-scalar.json")[..],
            recorded!("query-string.json"),
            recorded!("query-matrix.json"),
            recorded!("query-bad-parse.json"),
            recorded!("query-bad-exec.json"),
            recorded!("query-timeout.json"),
            recorded!("query-missing-param.json"),
            recorded!("notfound.txt"),
        ] {
            assert!(series(body).is_err());
        }
    }

    #[test]
    fn only_whole_answers_with_finite_values_count() {
        let vector = |value: &str| {
            format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"destination_service":"a"}},"value":[1000.5,"{value}"]}}]}}}}"#
            )
        };
        let read = |text: &str| read(text.as_bytes(), Timestamp::from_second(1_000).unwrap());
        assert_eq!(read(&vector("3")).unwrap().get("a"), Some(&Ok(3.0)));
        for bad in ["NaN", "+Inf", "-1", "x"] {
            // Mutation: reading NaN as 0 would make an ill route look healthy.
            assert!(read(&vector(bad)).unwrap()["a"].is_err(), "{bad}");
        }
        let series = |text: &str| read_series(text.as_bytes(), Timestamp::from_second(1_000).unwrap());
        let found = series(&vector("-3.5")).unwrap();
        assert_eq!((found[0].0["destination_service"].as_str(), &found[0].1), ("a", &Ok(-3.5)));
        // Mutation: leaving out what is no number makes a mesh of which nothing is known a healthy one.
        assert!(series(&vector("NaN")).unwrap()[0].1.is_err());
        let twice = vector("3")
            .replace("}]}}", "},{\"metric\":{\"destination_service\":\"a\"},\"value\":[1000.5,\"4\"]}]}}");
        assert!(read(&twice).unwrap()["a"].is_err(), "which of the two is meant?");
        for bad in [
            r#"{"status":"error","error":"timed out"}"#.to_owned(),
            r#"{"status":"success","warnings":["partial"],"data":{"resultType":"vector","result":[]}}"#
                .to_owned(),
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned(),
            "<html>".to_owned(),
            vector("3").replace("1000.5", "900"),
        ] {
            assert!(read(&bad).is_err() && series(&bad).is_err(), "{bad}");
        }
    }
}
