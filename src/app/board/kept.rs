//! The overview of the running agent: made when somebody asks, kept for a while, so that many who ask cost no
//! more than one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::aged::Aged;
use super::{Asking, Boards, Scope};
use crate::health::{Looks, Overview};

/// As long as an agent lets a proxy go between two questions.
const FRESH: Duration = Duration::from_secs(10);

/// Made so often also where nobody asks, so that it is known since when something is ill, and where it goes.
const UNASKED: Duration = Duration::from_secs(60);

/// Pages that we scrape ourselves may be so old: each look at all of them costs a tenth of a megabyte a proxy.
const SCRAPED: Duration = Duration::from_secs(60);

/// What is kept: the last one, what those before it told, and when pages were scraped.
#[derive(Default)]
pub(super) struct Kept {
    last: Aged<Overview>,
    looks: Mutex<Looks>,
    scraped: Aged<()>,
}

impl Boards {
    /// How every part of the mesh is, at most ten seconds old. Proxies are not asked for it: what the agent heard
    /// in its rounds counts.
    pub async fn overview(&self) -> Arc<Overview> {
        let make = |_| async {
            self.overview.scraped.get(SCRAPED, |_| self.scrape()).await;
            self.remembered(Asking::Rounds).await
        };
        self.overview.last.get(FRESH, make).await
    }

    /// An overview that knows what those before it told, and is known to those after it.
    async fn remembered(&self, asking: Asking) -> Overview {
        let surveys = self.survey(&Scope { asking, ..Scope::default() }).await;
        let mut looks = self.overview.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.overview(surveys, self.clock.now())
    }

    /// Looks again and again, also where nobody asks: only to remember.
    pub async fn keep_looking(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(UNASKED);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            drop(self.remembered(Asking::Unasked).await);
        }
    }
}
