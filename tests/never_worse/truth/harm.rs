//! What users of the mesh feel, second by second, and why: for judges only. Nothing of it is observed.

use super::shape::EntryId;

/// What can make a request fail that would have been answered otherwise. Whose doing that was, the truth does
/// not know: a judge looks at when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Through {
    /// A proxy or pod that was leaving.
    Drain,
    /// A proxy or container that was away.
    Gap,
    /// Configuration that was not yet everywhere.
    Push,
    /// Connections that were made anew because a cluster was.
    Pools,
    /// A pod that was cold.
    Cold,
    /// A limit of a DestinationRule.
    Limit,
}

impl Through {
    pub(crate) const ALL: [Self; 6] =
        [Self::Drain, Self::Gap, Self::Push, Self::Pools, Self::Cold, Self::Limit];
}

/// What became of what one entry was asked in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Second {
    pub(crate) asked: f64,
    /// Of these: errors, rejections, timeouts, and those that gave up.
    pub(crate) failed: f64,
    /// Of the failed ones, by what they failed through, in the order of [`Through::ALL`].
    pub(crate) through: [f64; Through::ALL.len()],
    /// Open streams that were cut.
    pub(crate) cut: f64,
}

/// The seconds of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Harm {
    pub(crate) first: i64,
    entries: usize,
    seconds: Vec<Second>,
}

impl Harm {
    pub(crate) fn new(entries: usize) -> Self {
        Self { first: 0, entries, seconds: Vec::new() }
    }

    pub(crate) fn push(&mut self, second: i64, of: &[Second]) {
        if self.seconds.is_empty() {
            self.first = second;
        }
        self.seconds.extend_from_slice(of);
    }

    /// The seconds of an entry, from the first on.
    pub(crate) fn of(&self, entry: EntryId) -> impl Iterator<Item = &Second> {
        self.seconds.iter().skip(entry.0 as usize).step_by(self.entries.max(1))
    }

    /// Everything of the seconds from one to before another.
    pub(crate) fn between(&self, from: i64, to: i64) -> Second {
        let mut sum = Second::default();
        let at = |second: i64| usize::try_from(second - self.first).unwrap_or(0) * self.entries;
        let seconds = self.seconds.get(at(from)..at(to).min(self.seconds.len())).unwrap_or_default();
        seconds.iter().for_each(|second| sum.add(second));
        sum
    }
}

impl Second {
    pub(crate) fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.failed += other.failed;
        self.cut += other.cut;
        for (mine, theirs) in self.through.iter_mut().zip(&other.through) {
            *mine += theirs;
        }
    }
}
