//! The board: the last reading of every indicator, and the edges that are signals.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::indicator::{Figure, Level, Probe, Reading};
use crate::model::signal::{Severity, Signal, SignalState};
use crate::model::subject::Subject;
use crate::rules::{Catalogue, Indicator, Trigger};

/// Name under which our own measurements speak.
pub const SOURCE: &str = "prometheus";

/// Judges a figure: a value exactly on a bound belongs to the worse band; without enough samples, or
/// without a finite figure, nothing is known.
#[must_use]
pub fn judge(indicator: &Indicator, figure: &Result<Figure, String>) -> (Level, String) {
    let figure = match figure {
        Ok(figure) => figure,
        Err(why) => return (Level::Unknown, why.clone()),
    };
    if !figure.value.is_finite() || !figure.samples.is_finite() {
        return (Level::Unknown, "the figure is not a number".to_owned());
    }
    if figure.samples < indicator.min_samples {
        let why = format!("{:.0} samples, {:.0} are needed", figure.samples, indicator.min_samples);
        return (Level::Unknown, why);
    }
    let level = if figure.value >= indicator.bands.critical {
        Level::Critical
    } else if figure.value >= indicator.bands.warning {
        Level::Warning
    } else {
        Level::Healthy
    };
    (level, String::new())
}

/// A reading judged, as records carry it.
#[must_use]
pub fn probe(indicator: &Indicator, reading: &Reading) -> Probe {
    let (level, why) = judge(indicator, &reading.figure);
    let figure =
        reading.figure.as_ref().ok().copied().filter(|f| f.value.is_finite() && f.samples.is_finite());
    Probe { indicator: indicator.id.clone(), figure, level, why, at: reading.at }
}

/// One indicator of one subject over time.
#[derive(Clone, Debug)]
struct Track {
    last: Probe,
    /// Since when the trigger has been met, or not met, without a break.
    since: Timestamp,
    met: bool,
    firing: bool,
}

/// The last readings. Not journaled: after a restart it fills again within one interval.
#[derive(Clone, Debug, Default)]
pub struct Board {
    tracks: BTreeMap<(String, Subject), Track>,
}

impl Board {
    /// Takes a reading; on an edge it is a signal. Unknown readings keep everything as it is: they
    /// neither start nor end an illness.
    pub fn take(&mut self, catalogue: &Catalogue, reading: &Reading) -> Option<Signal> {
        let indicator = catalogue.get(&reading.indicator)?;
        let now = probe(indicator, reading);
        let key = (reading.indicator.clone(), reading.subject.clone());
        let figure = match (now.level, now.figure) {
            (Level::Unknown, _) | (_, None) => {
                if let Some(track) = self.tracks.get_mut(&key) {
                    track.last = now;
                } else {
                    let track = Track { last: now, since: reading.at, met: false, firing: false };
                    self.tracks.insert(key, track);
                }
                return None;
            }
            (_, Some(figure)) => figure,
        };
        let trigger = indicator.trigger.as_ref()?;
        let enough = figure.samples >= trigger.min_samples;
        let fresh = || Track { last: now.clone(), since: reading.at, met: false, firing: false };
        let track = self.tracks.entry(key).or_insert_with(fresh);
        // Many samples are asked for to begin with; it is over only when the value says so. Clients that
        // gave up send fewer requests, and their silence is no recovery.
        let met = figure.value >= trigger.above && (enough || track.firing);
        if track.met != met {
            track.met = met;
            track.since = reading.at;
        }
        track.last = now;
        let hold = SignedDuration::from_secs(i64::try_from(trigger.hold_s).unwrap_or(i64::MAX));
        if met == track.firing || reading.at.duration_since(track.since) < hold {
            return None;
        }
        track.firing = met;
        Some(signal(trigger, track, reading, figure))
    }

    /// After a restart: what was heard of before, and not to be over, still fires as far as anybody knows.
    pub fn resume(&mut self, catalogue: &Catalogue, family: &str, subject: &Subject, at: Timestamp) {
        let measured =
            catalogue.iter().filter(|i| i.trigger.as_ref().is_some_and(|t| t.symptom.family() == family));
        for indicator in measured {
            let why = "not measured since the restart".to_owned();
            let (indicator, level) = (indicator.id.clone(), Level::Unknown);
            let last = Probe { indicator: indicator.clone(), figure: None, level, why, at };
            let track = Track { last, since: at, met: true, firing: true };
            self.tracks.insert((indicator, subject.clone()), track);
        }
    }

    /// Forgets the subjects that are not there any more.
    pub fn retain(&mut self, keep: impl Fn(&Subject) -> bool) {
        self.tracks.retain(|(_, subject), _| keep(subject));
    }
}

fn signal(trigger: &Trigger, track: &Track, reading: &Reading, figure: Figure) -> Signal {
    let severity = if track.last.level == Level::Critical { Severity::Critical } else { Severity::Warning };
    Signal {
        symptom: trigger.symptom.clone(),
        subject: reading.subject.clone(),
        state: if track.firing { SignalState::Firing } else { SignalState::Resolved },
        severity,
        value: Some(figure.value),
        labels: BTreeMap::new(),
        at: track.since,
        source: SOURCE.to_owned(),
        alert: None,
        owner: None,
        depends_on: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{RuleFiles, Rules};

    fn reading(second: i64, figure: Result<(f64, f64), &str>) -> Reading {
        Reading {
            indicator: "traffic.route_error_rate".to_owned(),
            subject: Subject::virtual_service("shop", "cart"),
            figure: figure.map(|(value, samples)| Figure { value, samples }).map_err(str::to_owned),
            at: Timestamp::from_second(1_000_000 + second).unwrap(),
        }
    }

    #[test]
    fn only_edges_are_signals_and_missing_data_is_none() {
        let rules = Rules::load(&RuleFiles::embedded(), None).unwrap().rules;
        let mut board = Board::default();
        let mut states = Vec::new();
        for (second, figure) in [
            (0, Ok((0.30, 500.0))),
            (5, Ok((0.30, 500.0))),
            (10, Ok((0.30, 500.0))), // held for 10 s: fires
            (15, Ok((0.30, 500.0))),
            (20, Err("no data")), // Mutation: treating unknown as healthy resolves here
            (40, Err("no data")),
            (45, Ok((0.001, 500.0))),
            (50, Ok((0.001, 5.0))),   // too few samples: unknown
            (55, Ok((0.001, 500.0))), // below for 10 s: resolves
            (60, Ok((f64::NAN, 500.0))),
        ] {
            states.extend(board.take(&rules.indicators, &reading(second, figure)).map(|s| (second, s.state)));
        }
        assert_eq!(states, [(10, SignalState::Firing), (55, SignalState::Resolved)]);
    }

    #[test]
    fn clients_that_gave_up_are_no_recovery_and_a_restart_forgets_no_illness() {
        let rules = Rules::load(&RuleFiles::embedded(), None).unwrap().rules;
        let mut board = Board::default();
        let subject = Subject::virtual_service("shop", "cart");
        board.resume(&rules.indicators, "traffic", &subject, reading(0, Err("")).at);
        let mut states = Vec::new();
        for (second, figure) in [
            (5, Ok((0.9, 30.0))),  // too few to begin with
            (30, Ok((0.9, 30.0))), // Mutation: asking for many samples to go on resolves here
            (35, Ok((0.0, 30.0))),
            (45, Ok((0.0, 30.0))),
        ] {
            states.extend(board.take(&rules.indicators, &reading(second, figure)).map(|s| (second, s.state)));
        }
        assert_eq!(states, [(45, SignalState::Resolved)]);
    }

    #[test]
    fn a_value_on_a_bound_belongs_to_the_worse_band() {
        let rules = Rules::load(&RuleFiles::embedded(), None).unwrap().rules;
        let indicator = rules.indicators.get("traffic.route_error_rate").unwrap();
        let level = |value, samples| judge(indicator, &Ok(Figure { value, samples })).0;
        assert_eq!(level(0.05, 100.0), Level::Critical);
        assert_eq!(level(0.049_999, 100.0), Level::Warning);
        assert_eq!(level(0.01, 100.0), Level::Warning);
        assert_eq!(level(0.009, 20.0), Level::Healthy);
        assert_eq!(level(0.009, 19.9), Level::Unknown);
        assert_eq!(level(f64::INFINITY, 100.0), Level::Unknown);
    }
}
