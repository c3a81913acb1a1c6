//! One look after another: overviews that know what those before them told.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::illness::Illnesses;
use super::overview::{Overview, Survey, overview};
use super::trend::Trends;

/// What the looks before told.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    illnesses: Illnesses,
    trends: Trends,
}

impl Looks {
    /// Whether nobody has looked before.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.trends.is_new()
    }

    /// Takes up what figures were before the first look, by indicator, as somebody else remembers them.
    pub fn recall(&mut self, figures: BTreeMap<String, f64>, then: Timestamp) {
        self.trends.recall(figures, then);
    }

    /// Rolls up what was read at this time: since when what is ill is ill, and where figures go.
    #[must_use]
    pub fn overview(&mut self, mut surveys: Vec<Survey<'_>>, at: Timestamp) -> Overview {
        self.illnesses.remember(&mut surveys, at);
        let mut found = overview(surveys, at);
        self.trends.tell(&mut found);
        found
    }
}
