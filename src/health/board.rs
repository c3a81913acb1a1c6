//! The board: the last reading of every indicator, and the edges that are signals.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::edge::{Edge, FLAPPING, Hold};
use crate::model::indicator::{Figure, Level, Probe, Reading};
use crate::model::signal::{Severity, Signal, SignalState};
use crate::model::subject::Subject;
use crate::rules::{Catalogue, Indicator, Trigger};

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
    (indicator.bands.level(figure.value), String::new())
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
    edge: Edge,
    /// Until then readings still look back at an illness that was measured to be over.
    past: Timestamp,
}

impl Track {
    fn new(last: Probe, edge: Edge) -> Self {
        Self { last, edge, past: Timestamp::MIN }
    }
}

/// The last readings. Not journaled: after a restart it fills again within one interval.
#[derive(Clone, Debug, Default)]
pub struct Board {
    tracks: BTreeMap<(String, Subject), Track>,
}

impl Board {
    /// What was read last of an indicator for a subject.
    #[must_use]
    pub fn last(&self, indicator: &str, subject: &Subject) -> Option<&Probe> {
        self.tracks.get(&(indicator.to_owned(), subject.clone())).map(|track| &track.last)
    }

    /// Takes a reading; on an edge it is a signal. Unknown readings keep everything as it is: they
    /// neither start nor end an illness.
    pub fn take(&mut self, catalogue: &Catalogue, reading: &Reading) -> Option<Signal> {
        let indicator = catalogue.get(&reading.indicator)?;
        let now = probe(indicator, reading);
        let key = (reading.indicator.clone(), reading.subject.clone());
        let fresh = || Track::new(now.clone(), Edge::new(reading.at));
        let track = self.tracks.entry(key).or_insert_with(fresh);
        track.last = now;
        let figure = track.last.figure.filter(|_| track.last.level != Level::Unknown)?;
        let trigger = indicator.trigger.as_ref().filter(|trigger| trigger.is_of(&reading.subject.kind))?;
        if reading.at < track.past {
            return None;
        }
        // Many samples are asked for to begin with; it is over only when the value says so. Clients that
        // gave up send fewer requests, and their silence is no recovery.
        let enough = figure.samples >= trigger.min_samples || track.edge.is_firing();
        let met = trigger.bound.is_met(figure.value) && enough;
        let (state, since) = track.edge.take(met, Hold::both(trigger.hold_s), reading.at)?;
        Some(signal(indicator, trigger, track, (state, since, &reading.subject)))
    }

    /// After a restart: what this source said to be ill, and not to be over, still fires as far as anybody
    /// knows.
    pub fn resume(&mut self, catalogue: &Catalogue, fired: Fired<'_>, at: Timestamp) {
        let Fired { source, family, subject } = fired;
        let speaks = |indicator: &&Indicator| {
            let trigger = indicator.trigger.as_ref();
            let fits = trigger.is_some_and(|t| t.symptom.family() == family && t.is_of(&subject.kind));
            fits && indicator.source() == source
        };
        for indicator in catalogue.iter().filter(speaks) {
            let why = "not measured since the restart".to_owned();
            let (indicator, level) = (indicator.id.clone(), Level::Unknown);
            let last = Probe { indicator: indicator.clone(), figure: None, level, why, at };
            self.tracks.insert((indicator, subject.clone()), Track::new(last, Edge::resumed(at)));
        }
    }

    /// An illness of this family was measured to be over, by figures since the act. What still fired for it fires
    /// no more, or a relapse before the end of its hold time would be no edge, and nobody would be told. As long
    /// as readings look back at what is over (`looks_back` tells for how long each does), they begin nothing.
    pub fn recovered(
        &mut self,
        catalogue: &Catalogue,
        (family, subject): (&str, &Subject),
        at: Timestamp,
        looks_back: impl Fn(&Indicator) -> SignedDuration,
    ) {
        let of_family = |indicator: &&Indicator| {
            indicator.trigger.as_ref().is_some_and(|trigger| trigger.symptom.family() == family)
        };
        for indicator in catalogue.iter().filter(of_family) {
            let Some(track) = self.tracks.get_mut(&(indicator.id.clone(), subject.clone())) else { continue };
            if track.edge.is_firing() {
                track.edge.is_over(at);
                track.past = at.saturating_add(looks_back(indicator)).unwrap_or(at);
            }
        }
    }

    /// The subjects of an indicator that fire.
    #[must_use]
    pub fn firing(&self, indicator: &str) -> BTreeSet<Subject> {
        let fires = self.tracks.iter().filter(|((id, _), track)| id == indicator && track.edge.is_firing());
        fires.map(|((_, subject), _)| subject.clone()).collect()
    }

    /// Forgets the subjects of an indicator that are not there any more, and says of each that fired that it
    /// is over.
    pub fn retain(
        &mut self,
        indicator: &Indicator,
        keep: impl Fn(&Subject) -> bool,
        at: Timestamp,
    ) -> Vec<Signal> {
        let gone = |(id, subject): &(String, Subject)| *id == indicator.id && !keep(subject);
        let keys: Vec<_> = self.tracks.keys().filter(|key| gone(key)).cloned().collect();
        let dropped = keys.into_iter().filter_map(|key| Some((self.tracks.remove(&key)?, key.1)));
        let fired = dropped.filter(|(track, _)| track.edge.is_firing());
        let Some(trigger) = &indicator.trigger else { return Vec::new() };
        fired
            .map(|(track, subject)| signal(indicator, trigger, &track, (SignalState::Resolved, at, &subject)))
            .collect()
    }
}

/// What a source said to be ill before a restart, as the engine remembers it.
#[derive(Clone, Copy, Debug)]
pub struct Fired<'a> {
    /// The source.
    pub source: &'a str,
    /// Family of the symptom.
    pub family: &'a str,
    /// The subject.
    pub subject: &'a Subject,
}

fn signal(
    indicator: &Indicator,
    trigger: &Trigger,
    track: &Track,
    (state, at, subject): (SignalState, Timestamp, &Subject),
) -> Signal {
    let severity = if track.last.level == Level::Critical { Severity::Critical } else { Severity::Warning };
    let mut labels = BTreeMap::from([("indicator".to_owned(), indicator.id.clone())]);
    if let Some(figure) = track.last.figure {
        labels.insert("samples".to_owned(), format!("{:.0}", figure.samples));
    }
    if let (SignalState::Firing, Some(flaps)) = (state, track.edge.flaps()) {
        labels.insert(FLAPPING.to_owned(), flaps);
    }
    Signal {
        symptom: trigger.symptom.clone(),
        subject: subject.clone(),
        state,
        severity,
        value: track.last.figure.map(|figure| figure.value),
        labels: labels.into(),
        at,
        source: indicator.source().into(),
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
        let fired = Fired { source: "prometheus", family: "traffic", subject: &subject };
        board.resume(&rules.indicators, fired, reading(0, Err("")).at);
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
    fn a_relapse_right_after_a_measured_recovery_is_told_and_what_is_over_is_not() {
        let rules = Rules::load(&RuleFiles::embedded(), None).unwrap().rules;
        let ill = |second: i64| reading(second, Ok((0.30, 500.0)));
        let well = |second: i64| reading(second, Ok((0.001, 500.0)));
        // It looks back for a minute and has to hold for ten seconds.
        for (end, told) in [(90, vec![85]), (70, vec![])] {
            let mut board = Board::default();
            let mut states: Vec<(i64, SignalState)> = Vec::new();
            for second in (0..=end).step_by(5) {
                if second == 15 {
                    let (subject, at) = (ill(0).subject, ill(second).at);
                    let minute = |_: &Indicator| SignedDuration::from_mins(1);
                    board.recovered(&rules.indicators, ("security", &subject), at, minute);
                    board.recovered(&rules.indicators, ("traffic", &subject), at, minute);
                }
                // Mutation: without `recovered` the relapse at 40 s is no edge; without `past` what is over is
                // told once more at 25 s.
                let now = if (30..40).contains(&second) { well(second) } else { ill(second) };
                states.extend(board.take(&rules.indicators, &now).map(|s| (second, s.state)));
            }
            let told = told.into_iter().map(|second| (second, SignalState::Firing));
            let expected: Vec<_> = std::iter::once((10, SignalState::Firing)).chain(told).collect();
            assert_eq!(states, expected);
        }
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

    #[test]
    fn a_subject_that_vanished_while_it_fired_is_told_of_once() {
        let rules = Rules::load(&RuleFiles::embedded(), None).unwrap().rules;
        let indicator = rules.indicators.get("data_plane.proxy_liveness").unwrap();
        let mut board = Board::default();
        let (ill, well) = (Subject::pod("shop", "ill"), Subject::pod("shop", "well"));
        let at = Timestamp::from_second(1_000_000).unwrap();
        let fired = Fired { source: "proxy_check", family: "data_plane", subject: &ill };
        board.resume(&rules.indicators, fired, at);
        let figure = Ok(Figure { value: 1.0, samples: 1.0 });
        let reading = Reading { indicator: indicator.id.clone(), subject: well.clone(), figure, at };
        assert_eq!(board.take(&rules.indicators, &reading), None);
        assert!(board.retain(indicator, |_| true, at).is_empty());
        // Mutation: dropping it silently leaves a source that fires for ever.
        let over = board.retain(indicator, |_| false, at);
        let told: Vec<_> = over.iter().map(|s| (&s.subject, s.state, s.source.as_str())).collect();
        assert_eq!(told, [(&ill, SignalState::Resolved, "proxy_check")]);
        assert!(board.retain(indicator, |_| false, at).is_empty());
        // Another source, family or kind resumes nothing here.
        let other = Fired { source: "kubernetes", family: "data_plane", subject: &ill };
        board.resume(&rules.indicators, other, at);
        assert!(board.retain(indicator, |_| false, at).is_empty());
    }
}
