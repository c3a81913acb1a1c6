//! Pauses: who does not answer is let alone for a while, longer after each failure.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After a failure one is let alone for so long, doubled with each further one up to the most: it restarts, or
/// we have no right, and either takes longer than our next question.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Who failed last time, by name.
pub(super) struct Pauses {
    /// What cannot be read meanwhile, for the log.
    what: &'static str,
    failing: Mutex<BTreeMap<String, Failing>>,
}

struct Failing {
    times: u32,
    until: Instant,
    why: String,
}

impl Pauses {
    /// Of questions of one kind.
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, failing: Mutex::default() }
    }

    /// Asks, unless a pause is on: then the last failure is the answer.
    ///
    /// # Errors
    /// What the question failed with, now or when it was asked last.
    pub(super) async fn ask<T>(
        &self,
        name: &str,
        question: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        if let Some(why) = self.paused(name) {
            return Err(why);
        }
        let answer = question.await;
        self.note(name, answer.as_ref().err());
        answer
    }

    /// Forgets those that are not asked any more.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.lock().retain(|name, _| keep(name));
    }

    fn paused(&self, name: &str) -> Option<String> {
        let failing = self.lock();
        let known = failing.get(name).filter(|known| known.until > Instant::now())?;
        Some(known.why.clone())
    }

    fn note(&self, name: &str, why: Option<&String>) {
        let mut failing = self.lock();
        let Some(why) = why else {
            if failing.remove(name).is_some() {
                tracing::info!(name, what = self.what, "Readable again");
            }
            return;
        };
        let times = failing.get(name).map_or(0, |known| known.times).saturating_add(1);
        if times == 1 {
            tracing::warn!(name, what = self.what, why, "Not readable; what only it knows is unknown");
        }
        let pause = PAUSE.saturating_mul(1 << (times - 1).min(8)).min(LONGEST_PAUSE);
        failing.insert(name.to_owned(), Failing { times, until: Instant::now() + pause, why: why.clone() });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Mutations: a pause that does not grow, that has no end, or that outlives its cure.
    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_minute_and_end_with_an_answer() {
        let pauses = Pauses::new("tests");
        let ask = async |answer: Result<u8, String>| {
            let mut asked = false;
            let told = pauses
                .ask("a", async {
                    asked = true;
                    answer
                })
                .await;
            (asked, told)
        };
        let failure = || Err("403".to_owned());
        let mut asked_at = Vec::new();
        for second in 0..200 {
            let (asked, told) = ask(failure()).await;
            assert_eq!(told, failure());
            if asked {
                asked_at.push(second);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(asked_at, [0, 5, 15, 35, 75, 135, 195]);
        tokio::time::advance(LONGEST_PAUSE).await;
        assert_eq!(ask(Ok(7)).await, (true, Ok(7)));
        assert!(ask(failure()).await.0);
        tokio::time::advance(PAUSE).await;
        assert_eq!(ask(Ok(8)).await, (true, Ok(8)));
        assert!(ask(failure()).await.0);
        pauses.retain(|_| false);
        assert_eq!(ask(Ok(9)).await, (true, Ok(9)), "it is not the same one any more");
    }
}
