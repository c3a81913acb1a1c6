//! How fast time passes for a simulated run.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The pace of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As outside.
    Real,
    /// A few times faster, for eyes.
    Accelerated,
    /// As fast as the work allows: nobody waits for anything but the work itself.
    Virtual,
}

/// Virtual time between two real pauses, and how long such a pause is: about twenty times real time, so
/// that ten minutes of faults and cures are half a minute for who watches.
const STEP: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(5);

/// Set while nobody would want to watch: then an accelerated run waits for nothing.
static HURRY: AtomicBool = AtomicBool::new(false);

/// Skips over times in which nothing happens, until told otherwise.
pub fn hurry() {
    HURRY.store(true, Ordering::Relaxed);
}

/// Ends [`hurry`].
pub fn watch() {
    HURRY.store(false, Ordering::Relaxed);
}
/// Rhai and the depth of nested decisions want more stack than a test thread has.
const STACK: usize = 16 << 20;

/// Runs a future to its end at this pace, on one thread of its own.
///
/// # Errors
/// The thread or the runtime could not be made, or the future panicked.
pub fn run<T, F>(pace: Pace, make: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<T>
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    let thread = std::thread::Builder::new().name("simulation".to_owned()).stack_size(STACK);
    let thread = thread.spawn(move || -> anyhow::Result<T> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all();
        if pace != Pace::Real {
            builder.start_paused(true);
        }
        let runtime = builder.build()?;
        Ok(runtime.block_on(async {
            if pace == Pace::Accelerated {
                tokio::spawn(slow_down());
            }
            make().await
        }))
    })?;
    thread.join().map_err(|_| anyhow::anyhow!("the simulation panicked"))?
}

/// Holds the one thread for a moment after each bit of virtual time, so that people can follow.
async fn slow_down() {
    loop {
        tokio::time::sleep(STEP).await;
        if !HURRY.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSE);
        }
    }
}
