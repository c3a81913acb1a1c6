//! The overview of the running agent: made when somebody asks, kept for a while, so that many who ask cost no
//! more than one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Asking, Boards, Scope};
use crate::health::{Looks, Overview};

/// As long as an agent lets a proxy go between two questions.
const FRESH: Duration = Duration::from_secs(10);

/// Made so often also where nobody asks, so that it is known since when something is ill, and where it goes.
const UNASKED: Duration = Duration::from_secs(60);

/// Pages that we scrape ourselves may be so old: each look at all of them costs a tenth of a megabyte a proxy.
const SCRAPED: Duration = Duration::from_secs(60);

/// What is kept of overviews.
pub(super) type Kept = tokio::sync::Mutex<Made>;

/// The last one, and when it was made; and what those before it told.
#[derive(Default)]
pub(super) struct Made {
    last: Option<(Instant, Arc<Overview>)>,
    looks: Looks,
}

impl Boards {
    /// How every part of the mesh is, at most ten seconds old. Proxies are not asked for it: what the agent heard
    /// in its rounds counts.
    pub async fn overview(&self) -> Arc<Overview> {
        let mut made = self.overview.lock().await;
        if let Some((at, kept)) = &made.last
            && at.elapsed() < FRESH
        {
            return Arc::clone(kept);
        }
        let scope = Scope { asking: Asking::Rounds, ..Scope::default() };
        self.scrape_again(SCRAPED).await;
        let surveys = self.survey(&scope).await;
        let found = Arc::new(made.looks.overview(surveys, self.clock.now()));
        made.last = Some((Instant::now(), Arc::clone(&found)));
        found
    }

    /// Looks again and again, also where nobody asks: only to remember.
    pub async fn keep_looking(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(UNASKED);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let scope = Scope { asking: Asking::Unasked, ..Scope::default() };
        loop {
            ticks.tick().await;
            let surveys = self.survey(&scope).await;
            let mut made = self.overview.lock().await;
            drop(made.looks.overview(surveys, self.clock.now()));
        }
    }
}
