//! Proxy check: asks every proxy at its readiness port, paced over the interval.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;

use crate::cluster::{Answer, Call, PodPort, ProxyTransport, Unanswered};
use crate::model::proxy::Echo;

/// A proxy answers this within a millisecond; what takes longer than three seconds hangs for its users too.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// Connections under way at once: a thousand proxies that hang take a minute then, and neither we nor the
/// API server feel it.
const AT_ONCE: usize = 64;
/// As long as nobody can be asked at all, the pause between two rounds grows up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where a proxy tells whether it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Istio's: Envoy listens, and asks the agent beside it.
    Istio,
    /// Linkerd's admin port.
    Linkerd,
}

impl Door {
    /// Its port.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Istio => 15021,
            Self::Linkerd => 4191,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Istio => "/healthz/ready",
            Self::Linkerd => "/ready",
        }
    }
}

/// A proxy to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Uid of its pod: where in the interval its turn is.
    pub uid: String,
    /// Where it is.
    pub at: PodPort,
    /// Its door; the port of `at` is that of the door.
    pub door: Door,
}

impl Target {
    /// What is asked, and where.
    #[must_use]
    pub fn way(&self) -> String {
        let (at, path) = (&self.at, self.door.path());
        format!("GET {path} at port {} of Pod {}/{}", at.port, at.namespace, at.pod)
    }
}

/// Asks proxies.
#[derive(Clone)]
pub struct ProxyCheck {
    transport: Arc<dyn ProxyTransport>,
    interval: Duration,
}

impl ProxyCheck {
    /// Over this transport, each proxy once an interval.
    #[must_use]
    pub fn new(transport: Arc<dyn ProxyTransport>, interval: Duration) -> Self {
        Self { transport, interval }
    }

    /// Asks one proxy now.
    pub async fn ask(&self, target: &Target) -> Echo {
        let call = Call::get(target.door.path(), TIME_LIMIT);
        echo(self.transport.ask(&target.at, &call).await)
    }

    /// Asks all of them now, as fast as they answer.
    pub async fn all(&self, targets: Vec<Target>) -> Vec<(Target, Echo)> {
        let asked = targets.into_iter().map(|target| async move {
            let echo = self.ask(&target).await;
            (target, echo)
        });
        futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
    }

    /// Asks all of them, each at its own time of the interval, and hands on what came of each.
    pub async fn round<F>(&self, mut targets: Vec<Target>, take: impl Fn(Target, Echo) -> F)
    where
        F: Future<Output = ()>,
    {
        let start = Instant::now();
        // The last one's time limit ends with the interval, so that rounds do not drift.
        let spread = self.interval.saturating_sub(TIME_LIMIT);
        targets.sort_by_cached_key(|target| turn(&target.uid, spread));
        let asked = targets.into_iter().map(|target| async move {
            tokio::time::sleep_until(start + turn(&target.uid, spread)).await;
            let echo = self.ask(&target).await;
            (target, echo)
        });
        let mut asked = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
        while let Some((target, echo)) = asked.next().await {
            take(target, echo).await;
        }
    }

    /// How long a round takes, from its start to the start of the next, after so many rounds in a row in
    /// which nobody could be asked.
    #[must_use]
    pub fn period(&self, fruitless: u32) -> Duration {
        let longest = LONGEST_PAUSE.max(self.interval);
        self.interval.saturating_mul(1 << fruitless.min(8)).min(longest)
    }
}

/// Its time within the interval, from its uid: even, and the same in every round.
fn turn(uid: &str, spread: Duration) -> Duration {
    // FNV-1a with a last stir: uids differ in few bits where one controller makes many pods.
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let share = (hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    let milliseconds = u64::try_from(spread.as_millis()).unwrap_or(0);
    Duration::from_millis(milliseconds.saturating_mul(share) >> 16)
}

/// What an answer tells. Only a plain 200 is health; whatever else it says, it says something.
fn echo(answer: Result<Answer, Unanswered>) -> Echo {
    match answer {
        Ok((200, _)) => Echo::Ready,
        Ok((status, _)) => Echo::NotReady(format!("it answered {status}")),
        Err(Unanswered::Silent(why)) => Echo::Missed(why),
        Err(Unanswered::NotAsked(why)) => Echo::NotAsked(format!("it could not be asked: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::*;

    /// Proxies of which some keep silent, and what was asked when.
    #[derive(Default)]
    struct Proxies {
        asked: Mutex<Vec<(Duration, String, u16)>>,
        under_way: Mutex<(usize, usize)>,
        silent: bool,
        start: Option<Instant>,
    }

    impl ProxyTransport for Proxies {
        fn ask<'a>(&'a self, to: &'a PodPort, call: &'a Call) -> BoxFuture<'a, Result<Answer, Unanswered>> {
            async move {
                let after = self.start.map_or(Duration::ZERO, |start| start.elapsed());
                self.asked.lock().unwrap().push((after, call.path.clone(), to.port));
                {
                    let mut under_way = self.under_way.lock().unwrap();
                    under_way.0 += 1;
                    under_way.1 = under_way.1.max(under_way.0);
                }
                if self.silent {
                    tokio::time::sleep(call.limit).await;
                }
                self.under_way.lock().unwrap().0 -= 1;
                if self.silent {
                    Err(Unanswered::Silent("no answer within 3 s".to_owned()))
                } else {
                    Ok((200, Vec::new()))
                }
            }
            .boxed()
        }
    }

    fn targets(count: usize, door: Door) -> Vec<Target> {
        let target = |index: usize| Target {
            uid: format!("5d1f-{index}"),
            at: PodPort {
                namespace: "shop".to_owned(),
                pod: format!("p{index}"),
                ip: None,
                port: door.port(),
            },
            door,
        };
        (0..count).map(target).collect()
    }

    async fn run(proxies: Arc<Proxies>, count: usize, door: Door) -> (Duration, BTreeMap<String, usize>) {
        let check = ProxyCheck::new(proxies, Duration::from_secs(10));
        let start = Instant::now();
        let heard = Mutex::new(BTreeMap::new());
        let take = |_, echo: Echo| {
            *heard.lock().unwrap().entry(format!("{echo:?}")).or_default() += 1;
            std::future::ready(())
        };
        check.round(targets(count, door), take).await;
        (start.elapsed(), heard.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_is_spread_over_the_interval_and_the_same_every_time() {
        let run = async || {
            let proxies = Arc::new(Proxies { start: Some(Instant::now()), ..Proxies::default() });
            run(Arc::clone(&proxies), 1000, Door::Istio).await;
            let asked = proxies.asked.lock().unwrap();
            assert!(asked.iter().all(|(_, path, port)| path == "/healthz/ready" && *port == 15021));
            asked.iter().map(|(after, ..)| after.as_millis()).collect::<Vec<_>>()
        };
        let first = run().await;
        let seconds: Vec<usize> =
            (0..7).map(|s| first.iter().filter(|ms| **ms / 1000 == s).count()).collect();
        // Mutation: asking all of them at once, a thousand connections in one millisecond.
        assert_eq!(seconds.iter().sum::<usize>(), 1000);
        assert!(seconds.iter().all(|count| (100..190).contains(count)), "{seconds:?}");
        assert_eq!(first, run().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mesh_that_hangs_is_asked_by_few_at_once_and_told_as_silence() {
        let proxies = Arc::new(Proxies { silent: true, ..Proxies::default() });
        let (took, heard) = run(Arc::clone(&proxies), 640, Door::Linkerd).await;
        let silent = format!("{:?}", Echo::Missed("no answer within 3 s".to_owned()));
        assert_eq!(heard, BTreeMap::from([(silent, 640)]));
        // Mutation: without the bound, 640 connections at once.
        assert_eq!(proxies.under_way.lock().unwrap().1, 64);
        assert!(took < Duration::from_secs(40), "{took:?}");
        assert!(
            proxies.asked.lock().unwrap().iter().all(|(_, path, port)| path == "/ready" && *port == 4191)
        );
    }

    #[test]
    fn only_a_plain_200_is_health() {
        assert_eq!(echo(Ok((200, Vec::new()))), Echo::Ready);
        for status in [0, 199, 201, 204, 301, 404, 500, 503, 999] {
            // Mutation: `200..=299`; a captive portal between us and the proxy answers 204.
            assert!(matches!(echo(Ok((status, Vec::new()))), Echo::NotReady(_)), "{status}");
        }
        assert!(matches!(echo(Err(Unanswered::Silent(String::new()))), Echo::Missed(_)));
        // Mutation: taking it for a miss.
        assert!(matches!(echo(Err(Unanswered::NotAsked(String::new()))), Echo::NotAsked(_)));
    }

    #[test]
    fn rounds_in_vain_grow_rarer_and_no_rarer_than_a_minute() {
        let check = ProxyCheck::new(Arc::new(Proxies::default()), Duration::from_secs(10));
        let periods: Vec<u64> = (0..5).map(|vain| check.period(vain).as_secs()).collect();
        assert_eq!(periods, [10, 20, 40, 60, 60]);
        assert_eq!(check.period(u32::MAX).as_secs(), 60);
    }
}
