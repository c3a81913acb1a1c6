//! The proofs: name and what is done.

mod ground;

use futures::future::LocalBoxFuture;

use crate::ground::Ground;

/// A proof.
pub(crate) type Proof = for<'g> fn(&'g Ground) -> LocalBoxFuture<'g, anyhow::Result<()>>;

/// All of them.
pub(crate) const PROOFS: &[(&str, Proof)] =
    &[("the_ground_carries_traffic_and_its_pods_live", |g| Box::pin(ground::carries(g)))];
