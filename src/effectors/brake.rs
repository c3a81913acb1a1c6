//! The brake: how fast writes and notifications may leave, whatever was decided. It is the second brake: the
//! limits of the policies are counted from the journal and survive a restart, this one does not.

use std::ops::Add;
use std::time::Duration;

use governor::clock::{Clock as LimiterClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::model::rate::Rate;

/// Lets one after the other through, in the order in which they came, and loses none.
#[derive(Debug)]
pub struct Brake {
    limiter: Option<Limiter>,
    /// Held by the first in the queue; tokio hands it on in order.
    turn: Mutex<()>,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Monotonic, NoOpMiddleware<Moment>>;

impl Brake {
    /// A brake of this rate.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let quota = rate.every().and_then(Quota::with_period).map(|quota| quota.allow_burst(rate.burst()));
        let limiter = quota.map(|quota| RateLimiter::direct_with_clock(quota, Monotonic(Instant::now())));
        Self { limiter, turn: Mutex::const_new(()) }
    }

    /// Waits for its turn, however long that takes.
    pub async fn pass(&self) {
        let Some(limiter) = &self.limiter else { return };
        let _turn = self.turn.lock().await;
        while let Err(early) = limiter.check() {
            tokio::time::sleep(early.wait_time_from(limiter.clock().now())).await;
        }
    }

    /// Waits for its turn, but no longer than this.
    ///
    /// # Errors
    /// It did not come in time; nothing was used up.
    pub async fn pass_within(&self, limit: Duration) -> Result<(), String> {
        let late = |_| format!("the brake on writes would not let it through within {} s", limit.as_secs());
        tokio::time::timeout(limit, self.pass()).await.map_err(late)
    }
}

/// Tokio's clock, so that paused time holds here too.
#[derive(Clone, Copy, Debug)]
struct Monotonic(Instant);

/// Time since the brake was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(Nanos);

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, other: Nanos) -> Self {
        Self(self.0 + other)
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0)
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

impl LimiterClock for Monotonic {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment(Nanos::from(self.0.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    // Mutations: no queue (a later one takes the token of an earlier one); dropping those who come early.
    #[tokio::test(start_paused = true)]
    async fn all_pass_in_order_and_no_faster_than_the_rate() {
        let brake = Arc::new(Brake::new("5/s".parse().unwrap()));
        let start = Instant::now();
        let passed = Arc::new(std::sync::Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..30_u32)
            .map(|number| {
                let (brake, passed) = (Arc::clone(&brake), Arc::clone(&passed));
                tokio::spawn(async move {
                    brake.pass().await;
                    passed.lock().unwrap().push((number, start.elapsed()));
                })
            })
            .collect();
        futures::future::join_all(tasks).await;
        let passed = passed.lock().unwrap().clone();
        assert!(passed.iter().map(|(number, _)| *number).eq(0..30), "{passed:?}");
        assert!(passed[9].1 < Duration::from_millis(50), "ten at once: {passed:?}");
        // Twenty more at five a second.
        let last = passed[29].1;
        assert!((Duration::from_millis(3_900)..Duration::from_millis(4_200)).contains(&last), "{last:?}");
    }

    // Mutation: using the token up although nobody waited for it any more.
    #[tokio::test(start_paused = true)]
    async fn who_cannot_wait_goes_without() {
        let brake = Brake::new("2/m".parse().unwrap());
        brake.pass().await;
        brake.pass().await;
        let late = brake.pass_within(Duration::from_secs(15)).await;
        assert_eq!(late, Err("the brake on writes would not let it through within 15 s".to_owned()));
        assert_eq!(brake.pass_within(Duration::from_secs(16)).await, Ok(()));
        let free = Brake::new(Rate::Off);
        for _ in 0..1_000 {
            free.pass_within(Duration::ZERO).await.unwrap();
        }
    }
}
