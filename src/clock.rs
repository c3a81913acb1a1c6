//! The only reader of time. Wall time is anchored once and then follows tokio's monotonic clock, so that
//! engine time never goes back, and so that tests and the simulated cluster can pause it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Engine time: an anchor on the wall clock plus monotonic time since.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Timestamp,
    start: Instant,
    /// Whether the wall clock is this one: then there is no other to ask.
    simulated: bool,
}

impl Clock {
    /// A clock anchored at the system's wall clock, but not before `floor`: after a restart the engine's
    /// time continues behind the last record even if the wall clock was set back.
    #[must_use]
    pub fn system(floor: Option<Timestamp>) -> Self {
        let wall = Self::wall();
        let anchor = floor.map_or(wall, |floor| wall.max(floor));
        Self { simulated: false, ..Self::starting_at(anchor) }
    }

    /// A clock that reads `anchor` now; for virtual time.
    #[must_use]
    pub fn starting_at(anchor: Timestamp) -> Self {
        Self { anchor, start: Instant::now(), simulated: true }
    }

    /// Engine time, to the microsecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
        let now = self.anchor.checked_add(elapsed).unwrap_or(Timestamp::MAX);
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// How long until `at`; zero when it is past.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.now())).unwrap_or_default()
    }

    /// What clocks elsewhere read now: the wall clock's time, which may have been set since the start.
    #[must_use]
    pub fn elsewhere(&self) -> Timestamp {
        if self.simulated { self.now() } else { Self::wall() }
    }

    /// The system's wall clock, for noticing jumps and for windows; never for deadlines.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn wall() -> Timestamp {
        Timestamp::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn engine_time_follows_the_paused_clock_and_never_starts_before_the_floor() {
        let floor = "2100-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        let clock = Clock::system(Some(floor));
        assert_eq!(clock.now(), floor);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), floor + SignedDuration::from_secs(90));
        assert_eq!(clock.until(floor), Duration::ZERO);
    }
}
