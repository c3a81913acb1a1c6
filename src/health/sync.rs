//! The configuration of proxies, from the words of all replicas of the control plane together.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::facts::SyncState;
use crate::model::proxy::{Standing, SyncWord, SyncWords};
use crate::model::subject::Subject;

/// One replica, and what it said or why it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Its words.
    pub told: Result<SyncWords, String>,
}

/// What all replicas said at one time. Each knows only the proxies that are connected to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    words: BTreeMap<Subject, Vec<SyncWord>>,
    /// Of each replica that was read: how many of its proxies are stale, and how many it has.
    loads: BTreeMap<String, (usize, usize)>,
    read: usize,
    unread: Vec<String>,
}

/// Where a proxy stands with its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// In one word; stale also while a push is under way.
    pub state: SyncState,
    /// The types it is about.
    pub types: Vec<String>,
    /// Its words about what it rejects.
    pub error: Option<String>,
    /// Its version; empty where nobody says.
    pub version: String,
    /// Where it is stale: when the oldest push that waits was sent, by istiod's clock; nothing where it does not
    /// say.
    pub waits_since: Option<Timestamp>,
}

impl Merged {
    /// Puts the words of all replicas together.
    #[must_use]
    pub fn of(replicas: Vec<Replica>) -> Self {
        let mut merged = Self::default();
        for replica in replicas {
            match replica.told {
                Ok(words) => {
                    merged.read += 1;
                    let stale = words.iter().filter(|(_, word)| word.standing == Standing::Waiting).count();
                    merged.loads.insert(replica.name, (stale, words.len()));
                    for (pod, word) in words {
                        merged.words.entry(pod).or_default().push(word);
                    }
                }
                Err(why) => merged.unread.push(format!("{}: {why}", replica.name)),
            }
        }
        merged
    }

    /// Why not every replica was read; `None` when each was.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if self.read == 0 && self.unread.is_empty() {
            return Some("no replica of the control plane is there to ask".to_owned());
        }
        (!self.unread.is_empty()).then(|| self.unread.join("; "))
    }

    /// Of each replica that was read: how many of its proxies are stale, and how many it has. Most of them, and
    /// more than a few, are a fault of the replica rather than of theirs.
    pub fn stale_replicas(&self) -> impl Iterator<Item = (&str, bool, (usize, usize))> {
        const FEW: usize = 3;
        self.loads
            .iter()
            .map(|(name, (stale, all))| (name.as_str(), *stale >= FEW && stale * 2 > *all, (*stale, *all)))
    }

    /// Where a proxy stands.
    ///
    /// # Errors
    /// Only a replica that was not read could know.
    pub fn sync(&self, pod: &Subject) -> Result<Sync, String> {
        let words = self.words.get(pod).map(Vec::as_slice).unwrap_or_default();
        let version = words.iter().map(|word| word.version.as_str()).find(|v| !v.is_empty());
        let sync = |state, types: &[String], error| Sync {
            state,
            types: types.to_vec(),
            error,
            version: version.unwrap_or_default().to_owned(),
            waits_since: (state == SyncState::Stale)
                .then(|| words.iter().filter_map(|word| word.waits_since).min())
                .flatten(),
        };
        for word in words {
            if let Standing::Rejected(error) = &word.standing {
                return Ok(sync(SyncState::Rejected, &word.types, Some(error.clone())));
            }
        }
        // A connection that is gone is stale for a while where it was: the one that is there counts.
        if words.iter().any(|word| word.standing == Standing::Acknowledged) {
            return Ok(sync(SyncState::Synced, &[], None));
        }
        if let Some(trouble) = self.trouble() {
            return Err(format!("not every replica of the control plane was read: {trouble}"));
        }
        Ok(words.first().map_or_else(
            || sync(SyncState::Disconnected, &[], None),
            |word| sync(SyncState::Stale, &word.types, None),
        ))
    }
}

/// Since when proxies have waited with an acknowledgement, by our own watch.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    since: BTreeMap<Subject, Timestamp>,
}

impl Waits {
    /// Takes where a proxy stands now, and says for how many seconds it has been stale. Unknown keeps the
    /// time as it was.
    pub fn take(&mut self, pod: &Subject, sync: &Result<Sync, String>, at: Timestamp) -> Option<u64> {
        match sync.as_ref().map(|sync| sync.state) {
            Ok(SyncState::Stale) => {
                self.since.entry(pod.clone()).or_insert(at);
            }
            Ok(SyncState::Synced | SyncState::Rejected | SyncState::Disconnected) => {
                self.since.remove(pod);
            }
            Err(_) => {}
        }
        let since = self.since.get(pod)?;
        Some(u64::try_from(at.duration_since(*since).as_secs()).unwrap_or(0))
    }

    /// Forgets the pods that are not there any more.
    pub fn retain(&mut self, keep: impl Fn(&Subject) -> bool) {
        self.since.retain(|pod, _| keep(pod));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Subject {
        Subject::pod("shop", "cart")
    }

    fn word(standing: Standing) -> SyncWords {
        BTreeMap::from([(
            pod(),
            SyncWord {
                standing,
                types: vec!["Listener".to_owned()],
                version: String::new(),
                waits_since: None,
            },
        )])
    }

    fn state(replicas: Vec<Result<SyncWords, String>>) -> Result<SyncState, String> {
        let replicas = replicas.into_iter().map(|told| Replica { name: "istiod-1".to_owned(), told });
        Merged::of(replicas.collect()).sync(&pod()).map(|sync| sync.state)
    }

    #[test]
    fn what_only_an_unread_replica_could_know_is_unknown() {
        let waiting = || Ok(word(Standing::Waiting));
        let done = || Ok(word(Standing::Acknowledged));
        let rejected = || Ok(word(Standing::Rejected("no".to_owned())));
        let other = || Ok(SyncWords::new());
        let unread = || Err("timed out".to_owned());
        // Mutation: leaving unread replicas out makes disconnected proxies of all that they serve.
        assert!(state(vec![other(), unread()]).is_err());
        assert!(state(vec![waiting(), unread()]).is_err());
        assert!(state(vec![unread()]).is_err());
        // Mutation: nobody asked is not "unknown to all".
        assert!(state(Vec::new()).is_err());
        assert_eq!(state(vec![other(), other()]), Ok(SyncState::Disconnected));
        assert_eq!(state(vec![done(), unread()]), Ok(SyncState::Synced));
        assert_eq!(state(vec![rejected(), unread()]), Ok(SyncState::Rejected));
        // Mutation: any instead of every.
        assert_eq!(state(vec![waiting(), done()]), Ok(SyncState::Synced));
        assert_eq!(state(vec![waiting(), waiting()]), Ok(SyncState::Stale));
        assert_eq!(state(vec![done(), rejected()]), Ok(SyncState::Rejected));
    }

    // Mutations: one stale proxy of one that makes a stale replica; half for most; a replica that was not read as
    // one without proxies.
    #[test]
    fn a_replica_is_stale_when_most_of_its_proxies_are() {
        let of = |stale: usize, well: usize| {
            let words = (0..stale + well).map(|n| {
                let standing = if n < stale { Standing::Waiting } else { Standing::Acknowledged };
                let word =
                    SyncWord { standing, types: Vec::new(), version: String::new(), waits_since: None };
                (Subject::pod("shop", &format!("p{n}")), word)
            });
            let told = Ok(words.collect());
            let merged = Merged::of(vec![
                Replica { name: "istio-system/istiod-1".to_owned(), told },
                Replica { name: "istio-system/istiod-2".to_owned(), told: Err("timed out".to_owned()) },
            ]);
            merged.stale_replicas().map(|(name, stale, _)| (name.to_owned(), stale)).collect::<Vec<_>>()
        };
        let one = |stale| vec![("istio-system/istiod-1".to_owned(), stale)];
        assert_eq!(of(2, 0), one(false));
        assert_eq!(of(3, 3), one(false));
        assert_eq!(of(4, 3), one(true));
    }

    #[test]
    fn the_wait_is_ours_to_measure_and_unknown_does_not_end_it() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let sync = |state| {
            Ok(Sync { state, types: Vec::new(), error: None, version: String::new(), waits_since: None })
        };
        let mut waits = Waits::default();
        assert_eq!(waits.take(&pod(), &sync(SyncState::Stale), at(0)), Some(0));
        assert_eq!(waits.take(&pod(), &Err("unread".to_owned()), at(10)), Some(10));
        assert_eq!(waits.take(&pod(), &sync(SyncState::Stale), at(31)), Some(31));
        assert_eq!(waits.take(&pod(), &sync(SyncState::Synced), at(40)), None);
        assert_eq!(waits.take(&pod(), &sync(SyncState::Stale), at(50)), Some(0));
    }
}
