//! Misses: when the silence of a proxy means that it hangs, and when it only means that we cannot ask.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::indicator::Figure;
use crate::model::proxy::Echo;

/// One lost packet is nothing and a second one happens; at ten seconds between checks, three in a row are
/// half a minute of silence, longer than a stalled node's hiccup.
const HUNG_AFTER: u32 = 3;
/// Fewer than this that fall silent together may well be one bad rollout.
const MANY: usize = 5;
/// A node with fewer proxies than this says nothing about itself by their silence.
const NODEFUL: usize = 3;

/// One proxy that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Uid of its pod.
    pub uid: &'a str,
    /// Its node.
    pub node: &'a str,
}

#[derive(Clone, Debug)]
struct Track {
    node: String,
    /// Misses in a row, and when the first of them was.
    misses: u32,
    since: Timestamp,
}

/// The misses of all proxies.
#[derive(Clone, Debug)]
pub struct Misses {
    interval: SignedDuration,
    tracks: BTreeMap<String, Track>,
}

impl Misses {
    /// For checks at this interval.
    #[must_use]
    pub fn new(interval_s: u64) -> Self {
        let interval = SignedDuration::from_secs(i64::try_from(interval_s).unwrap_or(i64::MAX));
        Self { interval, tracks: BTreeMap::new() }
    }

    /// Takes one check, and says what is known of the proxy now: 1 when it answers, 0 when it hangs.
    ///
    /// # Errors
    /// Why nothing is known.
    pub fn take(&mut self, asked: &Asked<'_>, echo: Echo, at: Timestamp) -> Result<Figure, String> {
        let fresh = || Track { node: asked.node.to_owned(), misses: 0, since: at };
        let track = self.tracks.entry(asked.uid.to_owned()).or_insert_with(fresh);
        let figure = |value| Ok(Figure { value, samples: 1.0 });
        match echo {
            Echo::Ready => {
                track.misses = 0;
                figure(1.0)
            }
            Echo::NotReady(why) => {
                track.misses = 0;
                Err(why)
            }
            Echo::NotAsked(why) => Err(why),
            Echo::Missed(why) => {
                if track.misses == 0 {
                    track.since = at;
                }
                track.misses = track.misses.saturating_add(1);
                let (misses, since) = (track.misses, track.since);
                if misses < HUNG_AFTER {
                    return Err(format!("{misses} of {HUNG_AFTER} misses in a row: {why}"));
                }
                match self.not_ours(asked.node, since) {
                    Some(doubt) => Err(format!("{doubt}: {why}")),
                    None => figure(0.0),
                }
            }
        }
    }

    /// Many that fall silent together are not many that hang: we cannot reach them, or their node is gone.
    fn not_ours(&self, node: &str, since: Timestamp) -> Option<String> {
        let together =
            |track: &&Track| track.misses > 0 && track.since.duration_since(since).abs() <= self.interval;
        let silent = self.tracks.values().filter(together).count();
        let all = self.tracks.len();
        if silent >= MANY && silent * 2 > all {
            return Some(format!(
                "{silent} of {all} proxies fell silent together: it is rather us who cannot ask"
            ));
        }
        let here = || self.tracks.values().filter(|track| track.node == node);
        let all = here().count();
        let whole = !node.is_empty() && all >= NODEFUL && here().filter(together).count() == all;
        whole.then(|| format!("all {all} proxies of node {node} fell silent together: it is rather the node"))
    }

    /// Forgets the pods that are not there any more.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.tracks.retain(|uid, _| keep(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn miss() -> Echo {
        Echo::Missed("no answer within 3 s".to_owned())
    }

    fn value(known: &Result<Figure, String>) -> Option<f64> {
        known.as_ref().ok().map(|figure| figure.value)
    }

    #[test]
    fn three_misses_in_a_row_hang_and_what_is_unknown_counts_for_nothing() {
        let mut misses = Misses::new(10);
        let asked = Asked { uid: "a", node: "n" };
        let unknown = || Echo::NotAsked("the other containers are not ready".to_owned());
        let starting = || Echo::NotReady("answered 503".to_owned());
        let told: Vec<Option<f64>> = [
            Echo::Ready,
            miss(),
            miss(),
            Echo::Ready, // Mutation: not starting over here makes a flapping proxy hang
            miss(),
            unknown(), // Mutation: taking it for a miss, or for an answer
            miss(),
            miss(),
            unknown(),
            miss(),
            starting(), // it lives: silent no more, and not well yet
            miss(),
            Echo::Ready,
        ]
        .into_iter()
        .zip(0..)
        .map(|(echo, round)| value(&misses.take(&asked, echo, at(round * 10))))
        .collect();
        let (well, hung) = (Some(1.0), Some(0.0));
        let none = None;
        assert_eq!(told, [well, none, none, well, none, none, none, hung, none, hung, none, none, well]);
    }

    /// So many proxies on so many nodes; the first `silent` of them fall silent, spread over one interval.
    fn rounds(proxies: usize, nodes: usize, silent: usize) -> Vec<Option<f64>> {
        let mut misses = Misses::new(10);
        let mut last = Vec::new();
        for round in 0..4 {
            last.clear();
            for index in 0..proxies {
                let (uid, node) = (format!("p{index}"), format!("n{}", index % nodes));
                let echo = if round > 0 && index < silent { miss() } else { Echo::Ready };
                let spread = i64::try_from(index * 9 / proxies).unwrap();
                let asked = Asked { uid: &uid, node: &node };
                last.push(value(&misses.take(&asked, echo, at(round * 10 + spread))));
            }
        }
        last.truncate(silent);
        last
    }

    // Mutation: without the look at the others, a broken network policy is a thousand hung proxies.
    #[test]
    fn proxies_that_fall_silent_together_are_a_matter_of_the_way_there() {
        assert_eq!(rounds(1000, 100, 1000), vec![None; 1000]);
        assert_eq!(rounds(9, 9, 5), vec![None; 5]);
        assert_eq!(rounds(10, 10, 5), vec![Some(0.0); 5], "half of them is not more than half");
        assert_eq!(rounds(4, 4, 4), vec![Some(0.0); 4], "four of four may be one bad rollout");
        // All three of node 0, out of thirty.
        let mut misses = Misses::new(10);
        let mut told = Vec::new();
        for round in 0..3 {
            for index in 0..30 {
                let (uid, node) = (format!("p{index}"), format!("n{}", index % 10));
                let echo = if index % 10 == 0 { miss() } else { Echo::Ready };
                told.push(misses.take(&Asked { uid: &uid, node: &node }, echo, at(round * 10)));
            }
        }
        assert!(told.iter().all(|known| value(known) != Some(0.0)));
        assert!(told.iter().any(|known| known.as_ref().is_err_and(|why| why.contains("node n0"))));
    }

    #[test]
    fn one_that_hangs_keeps_hanging_when_the_others_fall_silent_later() {
        let mut misses = Misses::new(10);
        let mut ill = None;
        for round in 0..12 {
            for index in 0..10 {
                let echo = if index == 0 || round > 6 { miss() } else { Echo::Ready };
                let known = misses.take(&Asked { uid: &format!("p{index}"), node: "" }, echo, at(round * 10));
                if index == 0 {
                    ill = value(&known);
                }
                // Mutation: counting all silent ones, whenever they fell silent.
                assert!(index == 0 || value(&known) != Some(0.0));
            }
        }
        assert_eq!(ill, Some(0.0));
    }
}
