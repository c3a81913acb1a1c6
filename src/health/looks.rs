//! One look after another: overviews that know what those before them told.

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
    /// Rolls up what was read at this time: since when what is ill is ill, and where figures go.
    #[must_use]
    pub fn overview(&mut self, mut surveys: Vec<Survey<'_>>, at: Timestamp) -> Overview {
        self.illnesses.remember(&mut surveys, at);
        let mut found = overview(surveys, at);
        self.trends.tell(&mut found);
        found
    }
}
