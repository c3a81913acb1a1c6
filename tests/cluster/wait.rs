//! Waiting for something to become true, with a limit.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Looks until there is something to see.
///
/// # Errors
/// The look itself failed, or the limit passed.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < end, "not within {limit:?}: {what}");
        sleep(LOOK_AGAIN).await;
    }
}

/// Fails, with both values, unless they are equal.
///
/// # Errors
/// They differ.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> anyhow::Result<()> {
    anyhow::ensure!(found == expected, "{what}\n  found:    {found:?}\n  expected: {expected:?}");
    Ok(())
}
