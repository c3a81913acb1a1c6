//! The overview of the running agent: made when somebody asks, kept for a while, so that many who ask cost no
//! more than one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Asking, Boards, Scope};
use crate::health::{Overview, overview};

/// As long as an agent lets a proxy go between two questions.
const FRESH: Duration = Duration::from_secs(10);

/// The last one, and when it was made.
pub(super) type Kept = tokio::sync::Mutex<Option<(Instant, Arc<Overview>)>>;

impl Boards {
    /// How every part of the mesh is, at most ten seconds old. Proxies are not asked for it: what the agent heard
    /// in its rounds counts.
    pub async fn overview(&self) -> Arc<Overview> {
        let mut last = self.overview.lock().await;
        if let Some((at, kept)) = &*last
            && at.elapsed() < FRESH
        {
            return Arc::clone(kept);
        }
        let scope = Scope { asking: Asking::Rounds, ..Scope::default() };
        let surveys = self.survey(&scope).await;
        let made = Arc::new(overview(surveys, self.clock.now()));
        *last = Some((Instant::now(), Arc::clone(&made)));
        made
    }
}
