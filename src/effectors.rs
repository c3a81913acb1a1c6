//! Effectors: the engine's wishes to the world, and back as events.
//!
//! Every act has a file of its own and one shape (`act`): it reads its object fresh and answers with the
//! write as it would be sent, or with why there is none. `rehearse` sends that write as a dry run for people
//! to see; `execute` sends it as a dry run, passes the brake, asks the permit, and sends it for real.

mod act;
mod brake;
mod certificate;
mod evict;
mod execute;
mod inspect;
mod notify;
mod rehearse;
mod restart;
mod restore;
mod rollback;
mod rollout;
mod rule;
mod shed;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Clock;
use crate::cluster::{ByPortForward, Cluster, ProxyEyes, ProxyTransport};
use crate::model::digest::Digest;
use crate::model::rate::Rate;

pub use brake::Brake;
pub use notify::Notifier;
pub use restore::{Restored, Try, by_hand, marked};

/// Specs by hash, read from the journal by the driver.
pub type Specs = BTreeMap<Digest, Value>;

/// Hands and eyes in the cluster.
pub struct Effectors {
    cluster: Arc<Cluster>,
    clock: Clock,
    wire: wire::Wire,
    /// The way to the agents of proxies.
    transport: Arc<dyn ProxyTransport>,
    /// How fast writes may leave.
    writes: Brake,
    /// Eyes on proxies; without them the fact `proxy` cannot be read.
    eyes: Option<Arc<dyn ProxyEyes>>,
}

impl Effectors {
    /// Effectors for this cluster, whose writes leave no faster than this.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>, clock: Clock, writes: Rate) -> Self {
        let wire = wire::Wire { client: cluster.client.clone() };
        let transport = Arc::new(ByPortForward::new(cluster.client.clone()));
        Self { cluster, clock, wire, transport, writes: Brake::new(writes), eyes: None }
    }

    /// The same, with another way to the agents of proxies.
    #[must_use]
    pub fn reaching(self, transport: Arc<dyn ProxyTransport>) -> Self {
        Self { transport, ..self }
    }

    /// With eyes on proxies; without them the fact `proxy` cannot be read.
    #[must_use]
    pub fn with_eyes(self, eyes: Arc<dyn ProxyEyes>) -> Self {
        Self { eyes: Some(eyes), ..self }
    }

    /// Waits until the watched stores can be believed.
    ///
    /// # Errors
    /// They could not within the limit, and why.
    pub async fn fresh(&self, limit: Duration) -> Result<(), String> {
        self.cluster.wait_fresh(limit).await
    }
}
