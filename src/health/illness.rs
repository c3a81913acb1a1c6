//! Since when each subject has been ill, by what was seen before: for those whose source does not tell.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::board::judge;
use super::overview::{Found, Survey, Taken};
use crate::model::indicator::Level;
use crate::model::subject::Subject;
use crate::rules::Indicator;

/// Who was not looked at for longer than this may have been well in between.
const APART: SignedDuration = SignedDuration::from_mins(3);

/// The subjects that were ill when they were seen last, by indicator.
#[derive(Clone, Debug, Default)]
pub(super) struct Illnesses {
    known: BTreeMap<String, Last>,
}

/// What the last look at an indicator found.
#[derive(Clone, Debug)]
struct Last {
    at: Timestamp,
    /// Since when each was ill; `None`: it already was when we began to look.
    ill: BTreeMap<Subject, Option<Timestamp>>,
    /// Those that could not be read.
    unread: BTreeSet<Subject>,
}

impl Illnesses {
    /// Takes what was read now, and tells of each that is ill since when, if it was seen to begin. What cannot be
    /// read keeps what was known.
    pub(super) fn remember(&mut self, surveys: &mut [Survey<'_>], at: Timestamp) {
        for Survey { indicator, taken, .. } in surveys {
            // What could not be read at all is not gone.
            if taken.is_empty() {
                continue;
            }
            let last = self.known.remove(&indicator.id);
            let last = last.filter(|last| at.duration_since(last.at) <= APART);
            let mut now = Last { at, ill: BTreeMap::new(), unread: BTreeSet::new() };
            for taken in taken.iter_mut() {
                now.take(last.as_ref(), indicator, taken);
            }
            self.known.insert(indicator.id.clone(), now);
        }
    }
}

impl Last {
    fn take(&mut self, before: Option<&Self>, indicator: &Indicator, taken: &mut Taken) {
        let subject = &taken.subject;
        let known = before.and_then(|before| before.ill.get(subject).copied());
        let level = match &taken.found {
            Found::Figure(figure) => judge(indicator, &Ok(*figure)).0,
            Found::Unread(_) => Level::Unknown,
            Found::Idle(_) => Level::Healthy,
        };
        match level {
            Level::Healthy => {}
            Level::Unknown => {
                if let Some(since) = known {
                    self.ill.insert(subject.clone(), since);
                } else {
                    self.unread.insert(subject.clone());
                }
            }
            Level::Critical | Level::Warning => {
                // Who was seen well, or was not there, has begun to be ill since.
                let begun = before.filter(|before| !before.unread.contains(subject)).map(|_| self.at);
                let seen = known.unwrap_or(begun);
                taken.since = match (seen, taken.since) {
                    (Some(seen), Some(told)) => Some(seen.min(told)),
                    (seen, told) => seen.or(told),
                };
                self.ill.insert(subject.clone(), taken.since);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Overview, overview};
    use crate::model::indicator::Figure;
    use crate::rules::{Catalogue, RuleFiles, Rules};

    const READY: &str = "data_plane.proxy_readiness";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn well(yes: bool) -> Found {
        Found::Figure(Figure { value: if yes { 1.0 } else { 0.0 }, samples: 1.0 })
    }

    fn unread() -> Found {
        Found::Unread("nobody answers".to_owned())
    }

    /// Ten proxies of five workloads, of which the first ones are as given.
    fn look(
        catalogue: &Catalogue,
        memory: &mut Illnesses,
        first: &[(Found, Option<Timestamp>)],
        now: i64,
    ) -> Overview {
        let taken = (0..10_u8).map(|n| {
            let (found, since) = first.get(usize::from(n)).cloned().unwrap_or((well(true), None));
            let (note, source, way) = (String::new(), "kubernetes".to_owned(), "watch".to_owned());
            let owner = Some(Subject::new("apps", "Deployment", "shop", &format!("w{}", n % 5)));
            let subject = Subject::pod("shop", &format!("p{n}"));
            Taken { subject, found, note, source, way, at: at(now), since, owner }
        });
        let indicator = catalogue.get(READY).unwrap();
        let mut surveys = [Survey { indicator, taken: taken.collect(), gaps: Vec::new() }];
        memory.remember(&mut surveys, at(now));
        overview(surveys.into(), at(now))
    }

    fn catalogue() -> Catalogue {
        Rules::load(&RuleFiles::embedded(), None).unwrap().rules.indicators
    }

    // Mutations: counting at once; a gap that begins the time anew; never counting; a pod that was well in
    // between with the time from before.
    #[test]
    fn one_of_few_counts_once_it_has_been_ill_for_the_hold() {
        let (catalogue, mut memory) = (catalogue(), Illnesses::default());
        let mut levels = |steps: &[(i64, Found)]| -> Vec<(i64, Level)> {
            let look = |(now, found): &(i64, Found)| {
                (*now, look(&catalogue, &mut memory, &[(found.clone(), None)], *now).level)
            };
            steps.iter().map(look).collect()
        };
        assert_eq!(
            levels(&[
                (-5, well(true)),
                (0, well(false)),
                (60, well(false)),
                (90, unread()),
                (119, well(false)),
                (120, well(false)),
                (130, well(true)),
                (140, well(false)),
                (259, well(false)),
                (260, well(false)),
            ]),
            [
                (-5, Level::Healthy),
                (0, Level::Healthy),
                (60, Level::Healthy),
                (90, Level::Unknown),
                (119, Level::Healthy),
                (120, Level::Warning),
                (130, Level::Healthy),
                (140, Level::Healthy),
                (259, Level::Healthy),
                (260, Level::Warning),
            ]
        );
        // Nobody looked for an hour: since when it is ill now is not known, and it counts. Mutation: the time
        // from before, or of this look, for one that is not known.
        assert_eq!(levels(&[(4_000, well(false))]), [(4_000, Level::Warning)]);
        assert_eq!(
            levels(&[(4_010, well(true)), (4_020, unread()), (4_030, well(false))])[2].1,
            Level::Warning
        );
    }

    // Mutations: our memory before the word of the cluster; one of two for the whole of a workload; one that
    // could not be read for one that is ill; a workload that is lost as a warning.
    #[test]
    fn the_cluster_tells_since_when_and_a_workload_without_one_that_is_well_is_critical() {
        let catalogue = catalogue();
        let ill = |since: i64| (well(false), Some(at(since)));
        let of =
            |first: &[(Found, Option<Timestamp>)]| look(&catalogue, &mut Illnesses::default(), first, 1_000);
        assert_eq!(of(&[ill(881)]).level, Level::Healthy);
        assert_eq!(of(&[ill(880)]).level, Level::Warning);
        assert_eq!(of(&[ill(0), ill(0)]).level, Level::Critical, "two of ten");
        assert_eq!(of(&[ill(0), ill(900)]).level, Level::Warning, "one of them not for long");
        let fine = || (well(true), None);
        // The first and the sixth are of one workload.
        let few = |sixth: (Found, Option<Timestamp>)| {
            let mut catalogue = self::catalogue();
            let mut indicator = catalogue.get(READY).unwrap().clone();
            indicator.few = indicator.few.map(|few| crate::rules::Few { critical: 9, ..few });
            catalogue = Catalogue::of(vec![indicator]);
            let first = [ill(0), fine(), fine(), fine(), fine(), sixth];
            look(&catalogue, &mut Illnesses::default(), &first, 1_000)
        };
        let lost = few(ill(0));
        assert_eq!(lost.level, Level::Critical);
        assert!(lost.why.ends_with("; none of Deployment shop/w0 is well"), "{}", lost.why);
        assert_eq!(few(ill(900)).level, Level::Warning);
        assert_eq!(few((unread(), None)).level, Level::Warning);
        assert_eq!(few(fine()).level, Level::Warning);
    }

    // Mutation: what nobody knows the time of is left out, or told as if its time were known.
    #[test]
    fn a_single_look_counts_what_it_cannot_date_and_says_so() {
        let catalogue = catalogue();
        let indicator = catalogue.get(READY).unwrap();
        let (note, source, way) = ("not ready".to_owned(), "kubernetes".to_owned(), "watch".to_owned());
        let taken = Taken {
            subject: Subject::pod("shop", "p"),
            found: well(false),
            note,
            source,
            way,
            at: at(0),
            since: None,
            owner: None,
        };
        let found = overview(vec![Survey { indicator, taken: vec![taken], gaps: Vec::new() }], at(0));
        assert_eq!(found.level, Level::Warning);
        assert!(found.why.ends_with("Pod shop/p (not ready; since when is not known)"), "{}", found.why);
    }
}
