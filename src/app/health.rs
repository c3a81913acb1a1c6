//! `meshmend health`: how every part of the mesh is, read by ourselves, without an agent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::board::{Boards, Scope};
use super::{mesh, view};
use crate::clock::Clock;
use crate::cluster::Access;
use crate::config::{Config, IstiodSource, ProxySource, Via};
use crate::health::{BEFORE, Looks, Overview};
use crate::rules::Rules;

/// Whoever looks once may ask so many proxies through the API server without having said so: at 64 at once
/// that takes a second. More are asked only where the configuration names the way.
const UNASKED: usize = 200;
/// Only an agent looks again by itself; whoever asks here says when.
const INTERVAL_S: u64 = 10;

/// Eyes on a cluster.
pub struct Eyes {
    boards: Arc<Boards>,
    clock: Clock,
    /// What they saw before.
    looks: Mutex<Looks>,
}

impl Eyes {
    /// Opens them: once every watch has delivered its first list. Where the configuration names no way to
    /// proxies and istiod, they are asked as kubectl would, by port-forward.
    ///
    /// # Errors
    /// The cluster cannot be read, or a file that the configuration names is wrong.
    pub async fn open(config: &Config, access: &Access, rules: Arc<Rules>) -> anyhow::Result<Self> {
        let clock = Clock::system(None);
        let cluster = view::open(config, access).await?;
        let mut config = config.clone();
        if config.proxies.is_none() && cluster.proxies().len() <= UNASKED {
            config.proxies = Some(ProxySource { interval_s: INTERVAL_S, via: Via::PortForward });
        }
        config.istiod.get_or_insert(IstiodSource { interval_s: INTERVAL_S });
        Ok(Self::over(mesh::boards(&config, &cluster, &rules, clock)?, clock))
    }

    /// Over boards that are there already, by their clock.
    pub(crate) fn over(boards: Arc<Boards>, clock: Clock) -> Self {
        Self { boards, clock, looks: Mutex::default() }
    }

    /// Reads everything once.
    pub async fn look(&self, scope: &Scope) -> Overview {
        self.boards.scrape().await;
        let surveys = self.boards.survey(scope).await;
        let is_new = self.looks().is_new();
        if is_new {
            let then = self.clock.now().saturating_sub(BEFORE).unwrap_or_default();
            let earlier = self.boards.earlier(&surveys, then).await;
            self.looks().recall(earlier, then);
        }
        self.looks().overview(surveys, self.clock.now())
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
