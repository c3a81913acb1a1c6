//! Pages of metrics as they were scraped, kept for a while, for expressions to be evaluated over.
//!
//! Sized for 200 proxies with 300 series each over an hour: 60,000 series of 80 points, a number each, are
//! 37 MiB, because the points of a page share their times; labels are numbers of words that a page holds once, and
//! with what maps and lists take themselves it is 54 MiB. The points that came last stay as they came, so that a
//! rate over a minute is there; of those before, the one goes that leaves the smallest gap, so that the past thins
//! out evenly.

use std::collections::{BTreeMap, BTreeSet};

use super::{ENDED, Point, Points, Query, Selection};
use crate::model::series::{Labels, Sample};

/// Of the points of a series this part is never thinned out: the newest quarter.
const NEWEST: usize = 4;
/// Fewer points could not hold a rate beside the past.
const FEWEST: usize = 8;
/// Series that one page may have: ten times what a proxy exports unless somebody asks it for more.
const MOST_SERIES: usize = 5_000;

/// The pages of many targets, by name of the target.
#[derive(Debug)]
pub struct Pages {
    wanted: BTreeSet<String>,
    counters: BTreeSet<String>,
    keep_s: f64,
    most: usize,
    targets: BTreeMap<String, Page>,
}

/// What one target said: a column of times, and for each series a column of values beside it.
#[derive(Debug, Default)]
struct Page {
    times: Vec<f64>,
    words: Words,
    series: BTreeMap<u32, BTreeMap<Box<[u32]>, Vec<f64>>>,
    /// Whether the newest page could be had.
    whole: bool,
}

/// Words by number, and their numbers.
#[derive(Debug, Default)]
struct Words {
    texts: Vec<String>,
    numbers: BTreeMap<String, u32>,
}

impl Words {
    fn number(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// The number of a word, which is new if it has none.
    fn keep(&mut self, text: &str) -> u32 {
        if let Some(number) = self.number(text) {
            return number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn text(&self, number: u32) -> &str {
        usize::try_from(number).ok().and_then(|at| self.texts.get(at)).map_or("", String::as_str)
    }

    /// The value of a label of a series.
    fn value<'w>(&'w self, labels: &[u32], name: &str) -> Option<&'w str> {
        let wanted = self.number(name)?;
        let (pairs, _) = labels.as_chunks::<2>();
        pairs.iter().find(|[name, _]| *name == wanted).map(|[_, value]| self.text(*value))
    }

    fn labels(&self, labels: &[u32]) -> Labels {
        let (pairs, _) = labels.as_chunks::<2>();
        pairs
            .iter()
            .map(|[name, value]| (self.text(*name).to_owned(), self.text(*value).to_owned()))
            .collect()
    }
}

impl Pages {
    /// Keeps what these expressions read for so many seconds, with at most so many points a series (no fewer
    /// than 8).
    #[must_use]
    pub fn new(queries: &[Query], keep_s: f64, most: usize) -> Self {
        let wanted = queries.iter().flat_map(Query::metrics).collect();
        let counters = queries.iter().flat_map(Query::counters).collect();
        Self { wanted, counters, keep_s, most: most.max(FEWEST), targets: BTreeMap::new() }
    }

    /// The metrics that are kept.
    #[must_use]
    pub fn wanted(&self) -> &BTreeSet<String> {
        &self.wanted
    }

    /// Takes what a target said at a time, in seconds since 1970. A series that was there before and is not now
    /// has ended. A counter that is new on a page that was had the last time too began there, at zero: the first
    /// errors of a service are its first series of errors.
    ///
    /// # Errors
    /// The page is not newer than the last one of this target, or has too many series that are wanted. Then
    /// nothing of it is kept.
    pub fn take(&mut self, target: &str, at_s: f64, samples: &[Sample]) -> Result<(), String> {
        let wanted = || samples.iter().filter(|sample| self.wanted.contains(&sample.name));
        let count = wanted().count();
        if count > MOST_SERIES {
            return Err(format!("the page of {target} has {count} series, at most {MOST_SERIES} are kept"));
        }
        let found: Vec<&Sample> = wanted().collect();
        let began = |metric: &str| if self.counters.contains(metric) { 0.0 } else { ENDED };
        let page = Self::room(&mut self.targets, (self.keep_s, self.most), (target, at_s))?;
        page.add(at_s, &found, began);
        page.whole = true;
        Ok(())
    }

    /// Takes that the page of a target could not be had: its series end, and where it begins to count again is
    /// not known.
    ///
    /// # Errors
    /// The time is not after that of the last page.
    pub fn miss(&mut self, target: &str, at_s: f64) -> Result<(), String> {
        let page = Self::room(&mut self.targets, (self.keep_s, self.most), (target, at_s))?;
        page.add(at_s, &[], |_| ENDED);
        page.whole = false;
        Ok(())
    }

    /// The pages of a target, with room for one more.
    fn room<'p>(
        targets: &'p mut BTreeMap<String, Page>,
        (keep_s, most): (f64, usize),
        (target, at_s): (&str, f64),
    ) -> Result<&'p mut Page, String> {
        let known = targets.get(target).and_then(|page| page.times.last());
        if known.is_some_and(|last| at_s.is_nan() || *last >= at_s) {
            return Err(format!("the page of {target} is not newer than the one before"));
        }
        let page = targets.entry(target.to_owned()).or_default();
        page.make_room(at_s - keep_s, most);
        Ok(page)
    }

    /// Forgets a target that is gone.
    pub fn forget(&mut self, target: &str) {
        self.targets.remove(target);
    }

    /// For how many seconds those that have one of these metrics were looked at, at most; nothing where none has
    /// one. From one look it is zero.
    #[must_use]
    pub fn held_s(&self, metrics: &BTreeSet<String>) -> Option<f64> {
        let has = |page: &&Page| metrics.iter().any(|metric| page.has(metric));
        let span = |page: &Page| Some(page.times.last()? - page.times.first()?);
        self.targets.values().filter(has).filter_map(span).max_by(f64::total_cmp)
    }

    /// The targets that have one of these metrics.
    pub fn with<'p>(&'p self, metrics: &'p BTreeSet<String>) -> impl Iterator<Item = &'p str> {
        let has = |(_, page): &(&String, &Page)| metrics.iter().any(|metric| page.has(metric));
        self.targets.iter().filter(has).map(|(name, _)| name.as_str())
    }

    /// The targets of which something is kept.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }
}

impl Page {
    fn has(&self, metric: &str) -> bool {
        self.words.number(metric).is_some_and(|metric| self.series.contains_key(&metric))
    }

    /// Forgets what is too old, and one point more where there are too many.
    fn make_room(&mut self, oldest_s: f64, most: usize) {
        let old = self.times.iter().take_while(|at_s| **at_s < oldest_s).count();
        self.times.drain(..old);
        let thin = (self.times.len() >= most).then(|| crowded(&self.times));
        if let Some(index) = thin {
            self.times.remove(index);
        }
        let mut gone = false;
        for of_metric in self.series.values_mut() {
            of_metric.retain(|_, values| {
                values.drain(..old);
                if let Some(index) = thin {
                    values.remove(index);
                }
                let alive = values.iter().any(|value| value.to_bits() != ENDED.to_bits());
                gone |= !alive;
                alive
            });
        }
        if gone {
            self.forget_words();
        }
    }

    fn add(&mut self, at_s: f64, samples: &[&Sample], began: impl Fn(&str) -> f64) {
        let before = self.times.len();
        self.times.push(at_s);
        for sample in samples {
            let labels = sample.labels.iter().filter(|(_, value)| !value.is_empty());
            let labels: Box<[u32]> =
                labels.flat_map(|(name, value)| [self.words.keep(name), self.words.keep(value)]).collect();
            let of_metric = self.series.entry(self.words.keep(&sample.name)).or_default();
            let values = of_metric.entry(labels).or_default();
            if values.is_empty() && before > 0 && self.whole {
                values.resize(before - 1, ENDED);
                values.push(began(&sample.name));
            }
            values.resize(before, ENDED);
            grow(values);
            values.push(sample.value);
        }
        for values in self.series.values_mut().flat_map(BTreeMap::values_mut) {
            grow(values);
            values.resize(before + 1, ENDED);
        }
    }

    /// Keeps only words of series that are there.
    fn forget_words(&mut self) {
        let (old, series) = (std::mem::take(&mut self.words), std::mem::take(&mut self.series));
        for (metric, of_metric) in series {
            for (labels, values) in of_metric {
                let labels = labels.iter().map(|word| self.words.keep(old.text(*word))).collect();
                self.series.entry(self.words.keep(old.text(metric))).or_default().insert(labels, values);
            }
        }
    }

    fn show(&self, of: &Selection<'_>, see: &mut dyn FnMut(&Labels, &[Point])) {
        let from = self.times.partition_point(|at_s| *at_s <= of.after_s);
        let to = self.times.partition_point(|at_s| *at_s <= of.to_s);
        let Some(series) = self.words.number(of.metric).and_then(|metric| self.series.get(&metric)) else {
            return;
        };
        let times = self.times.get(from..to).unwrap_or_default();
        for (labels, values) in series.iter().filter(|_| !times.is_empty()) {
            if of.takes(|name| self.words.value(labels, name)) {
                let pairs = times.iter().zip(values.get(from..to).unwrap_or_default());
                let points: Vec<Point> =
                    pairs.map(|(at_s, value)| Point { at_s: *at_s, value: *value }).collect();
                see(&self.words.labels(labels), &points);
            }
        }
    }
}

/// Columns grow in small steps: doubling would cost as much again as what they hold.
fn grow(values: &mut Vec<f64>) {
    if values.len() == values.capacity() {
        values.reserve_exact(16);
    }
}

/// The point before the newest part that leaves the smallest gap.
fn crowded(times: &[f64]) -> usize {
    let last = times.len() - times.len() / NEWEST;
    let gap = |index: &usize| times[index + 1] - times[index - 1];
    (1..last - 1).min_by(|a, b| gap(a).total_cmp(&gap(b))).unwrap_or(0)
}

impl Points for Pages {
    fn select(&self, of: &Selection<'_>, see: &mut dyn FnMut(&Labels, &[Point])) {
        self.targets.values().for_each(|page| page.show(of, see));
    }
}

#[cfg(test)]
mod tests;
