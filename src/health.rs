//! Health, purely: readings to levels, on edges to signals, and over time to proof of revisions.

mod baseline;
mod board;
mod certificates;
mod conditions;
mod crashes;
mod edge;
mod illness;
mod looks;
mod misses;
mod overview;
mod prover;
mod series;
mod sync;
mod trend;

pub use baseline::{no_baseline, without_baseline};
pub use board::{Board, Fired, judge, probe};
pub use certificates::Life;
pub use conditions::{
    CRASHING, Condition, Conditions, EXPIRING, JOB_HELD, MISSING, REJECTED, REPLICA_STALE, STALE, STUCK,
    Seen, UNWIRED, WITHOUT_EFFECT, sources, symptoms,
};
pub use crashes::{Container, Crashes};
pub use edge::{Edge, Hold};
pub use looks::Looks;
pub use misses::{Asked, Misses};
pub use overview::{
    ComponentHealth, Counts, Found, IndicatorHealth, NO_PAGE, NO_PROMETHEUS, ONE_LOOK, Overview,
    ReadingHealth, Survey, Taken, overview, shown,
};
pub use prover::{InForce, Proven, Prover};
pub use series::subject_of;
pub use sync::{Merged, Replica, Sync, Waits};
pub use trend::{BEFORE, Trend};
