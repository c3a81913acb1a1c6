//! What was heard last, kept for a while: many who ask cost no more than one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// The last answer, and when it was had.
pub(super) struct Aged<T>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Default for Aged<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Aged<T> {
    /// The last answer, or a new one where it is older than this; it is made knowing the last.
    pub(super) async fn get<F: Future<Output = T>>(
        &self,
        most: Duration,
        make: impl FnOnce(Option<Arc<T>>) -> F,
    ) -> Arc<T> {
        let mut last = self.0.lock().await;
        if let Some((at, kept)) = &*last
            && at.elapsed() < most
        {
            return Arc::clone(kept);
        }
        let before = last.as_ref().map(|(_, kept)| Arc::clone(kept));
        let made = Arc::new(make(before).await);
        *last = Some((Instant::now(), Arc::clone(&made)));
        made
    }
}
