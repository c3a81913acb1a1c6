//! Notify: tell people, in the log and by a generic webhook.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;

use super::Brake;
use crate::model::incident::Incident;
use crate::model::plan::Outcome;
use crate::model::rate::Rate;

/// Tells people.
#[derive(Debug)]
pub struct Notifier {
    webhook: Option<(reqwest::Client, reqwest::Url)>,
    /// A storm of news must not become one at their door; all of it arrives, in order.
    brake: Brake,
    /// Set while the webhook takes nothing: then one try each is enough, or news would queue for hours.
    down: AtomicBool,
}

impl Default for Notifier {
    /// One that writes to the log.
    fn default() -> Self {
        Self { webhook: None, brake: Brake::new(Rate::Off), down: AtomicBool::new(false) }
    }
}

impl Notifier {
    /// A notifier that writes to the log, and posts to the URL where one is given, no faster than this.
    ///
    /// # Errors
    /// The client could not be made.
    pub fn new(url: Option<String>, rate: Rate) -> anyhow::Result<Self> {
        let Some(url) = url else { return Ok(Self::default()) };
        // The URL may hold a secret and is left out of every message.
        let url = reqwest::Url::parse(&url).context("the file of the notification webhook holds no URL")?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .context("the client for the notification webhook could not be made")?;
        Ok(Self { webhook: Some((client, url)), brake: Brake::new(rate), down: AtomicBool::new(false) })
    }

    /// Tells people about an incident. The payload is the incident with a `sentence`.
    pub async fn notify(&self, sentence: &str, incident: &Incident) -> Outcome {
        let Some((client, url)) = &self.webhook else {
            tracing::info!(incident = %incident.id, phase = %incident.phase, sentence, "people notified");
            return Outcome::Done { detail: "written to the log".to_owned() };
        };
        let payload = payload(sentence, incident);
        self.brake.pass().await;
        let post = || async {
            let request = client.post(url.clone()).header(CONTENT_TYPE, "application/json");
            let answer = request.body(payload.clone()).send().await.map_err(reqwest::Error::without_url)?;
            answer.error_for_status().map(|_| ()).map_err(reqwest::Error::without_url)
        };
        // Nine tries over three minutes, as long as a receiver needs to be restarted; the incident keeps
        // what came of it, and a restart of ours tells again what was never delivered.
        let times = if self.down.load(Ordering::Relaxed) { 0 } else { 8 };
        let (min, max) = (Duration::from_millis(500), Duration::from_secs(60));
        let policy =
            ExponentialBuilder::default().with_min_delay(min).with_max_delay(max).with_max_times(times);
        let delivered = post.retry(policy).await;
        self.down.store(delivered.is_err(), Ordering::Relaxed);
        match delivered {
            Ok(()) => Outcome::Done { detail: "delivered to the webhook".to_owned() },
            // The URL may hold a secret and is left out of every message.
            Err(error) => Outcome::Failed { why: format!("the webhook did not take it: {error}") },
        }
    }
}

/// The incident, with a sentence beside what it holds.
fn payload(sentence: &str, incident: &Incident) -> Bytes {
    #[derive(Serialize)]
    struct News<'a> {
        sentence: &'a str,
        #[serde(flatten)]
        incident: &'a Incident,
    }
    let news = News { sentence, incident };
    serde_json::to_vec(&news).map_or_else(|_| Bytes::from_static(b"{}"), Bytes::from)
}
