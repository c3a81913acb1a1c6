//! API server: its own readiness, check by check, and its metrics, of which only those that are wanted are kept
//! while the page arrives: whole pages are megabytes.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;

use super::exposition::Page;
use super::pauses::Pauses;
use crate::cluster::told;
use crate::model::series::Sample;

/// It answers in milliseconds; its metrics in some hundred.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Names of checks with their words.
const MAX_CHECKS: usize = 256 << 10;
/// The page of a large cluster has some ten megabytes.
const MAX_PAGE: usize = 128 << 20;

/// A reader of the API server.
pub struct ApiServer {
    client: Client,
    readiness: Pauses,
    metrics: Pauses,
}

/// What `/readyz` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Checks that pass, by name.
    pub passed: Vec<String>,
    /// Checks that fail.
    pub failed: Vec<String>,
}

impl ApiServer {
    /// Over this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let (readiness, metrics) =
            (Pauses::new("/readyz of the API server"), Pauses::new("/metrics of the API server"));
        Self { client, readiness, metrics }
    }

    /// Its checks, one by one. A failing one is an answer, not an error.
    ///
    /// # Errors
    /// It cannot be asked, forbids it, or answers something else.
    pub async fn readiness(&self) -> Result<Readiness, String> {
        let asked = within("/readyz", async {
            let (status, body) = self.get("/readyz?verbose").await?;
            let body = Limited::new(body, MAX_CHECKS).collect().await;
            let body = body.map_err(|error| broken(error.as_ref()))?.to_bytes();
            refused(status, "/readyz")?;
            readiness(status, &body)
        });
        self.readiness.ask("", asked).await
    }

    /// Those metrics whose names are wanted.
    ///
    /// # Errors
    /// It cannot be asked, forbids it, or its page is not whole.
    pub async fn metrics(&self, keep: &(dyn Fn(&str) -> bool + Send + Sync)) -> Result<Vec<Sample>, String> {
        let asked = within("/metrics", async {
            let (status, body) = self.get("/metrics").await?;
            refused(status, "/metrics")?;
            if status != 200 {
                return Err(format!("it answered {status}"));
            }
            let mut body = Limited::new(body, MAX_PAGE);
            let mut page = Page::new(keep);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| broken(error.as_ref()))?;
                page.push(frame.data_ref().map(Bytes::as_ref).unwrap_or_default())?;
            }
            page.finish()
        });
        self.metrics.ask("", asked).await
    }

    async fn get(&self, path: &str) -> Result<(u16, Body), String> {
        let request = Request::get(path).body(Body::empty());
        let request = request.map_err(|error| format!("the path cannot be asked for: {error}"))?;
        let answer: Response<Body> = self.client.send(request).await.map_err(|error| told(&error))?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }
}

async fn within<T>(path: &str, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let answer = tokio::time::timeout(TIME_LIMIT, asked).await;
    let late = || Err(format!("no answer within {} s", TIME_LIMIT.as_secs()));
    answer.unwrap_or_else(|_| late()).map_err(|why| format!("{path} of the API server: {why}"))
}

fn broken(error: &(dyn std::error::Error + 'static)) -> String {
    format!("the answer broke off: {}", told(error))
}

fn refused(status: u16, path: &str) -> Result<(), String> {
    match status {
        401 => Err("it does not know us (401): the token is wrong or has expired".to_owned()),
        403 => Err(format!("forbidden: allow get on the nonResourceURL {path} (meshmend rbac)")),
        _ => Ok(()),
    }
}

pub(super) fn readiness(status: u16, body: &[u8]) -> Result<Readiness, String> {
    let text = std::str::from_utf8(body).map_err(|_| "unexpected answer: it is not UTF-8")?;
    let mut found = Readiness::default();
    let mut end = None;
    for line in text.lines() {
        if end.is_some() {
            return Err("unexpected answer: there is more behind its last line".to_owned());
        }
        let name = |rest: &str| rest.split_ascii_whitespace().next().map(str::to_owned);
        if let Some(rest) = line.strip_prefix("[+]") {
            let passed = name(rest).filter(|_| rest.ends_with(" ok"));
            found.passed.push(passed.ok_or_else(|| format!("unexpected answer: {line:?}"))?);
        } else if let Some(rest) = line.strip_prefix("[-]") {
            found.failed.push(name(rest).ok_or_else(|| format!("unexpected answer: {line:?}"))?);
        } else if line == "readyz check passed" {
            end = Some(true);
        } else if line == "readyz check failed" {
            end = Some(false);
        } else {
            return Err(format!("it answered {status} and no list of checks"));
        }
    }
    // The last line says what the list says; with a list that was cut off it would not be there.
    match (end, status) {
        (Some(true), 200) if found.failed.is_empty() && !found.passed.is_empty() => Ok(found),
        (Some(false), 500) if !found.failed.is_empty() => Ok(found),
        _ => Err(format!("it answered {status}, and its list of checks is not whole")),
    }
}

#[cfg(test)]
mod tests;
