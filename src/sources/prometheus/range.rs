//! Range queries: how a figure went, and where it stands at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::{Prometheus, Query, result};

/// From when to when, and how far apart the points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first point.
    pub from: Timestamp,
    /// The last point.
    pub to: Timestamp,
    /// Between two.
    pub step: Duration,
}

/// One series of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeSeries {
    /// Its labels, without the name.
    pub labels: BTreeMap<String, String>,
    /// Those points that are numbers: seconds since 1970, and the value.
    pub points: Vec<(f64, f64)>,
    /// The value at the end of the span. A series that ended before is not as it was: its last value tells of
    /// then, and nothing is known of now.
    pub last: Result<f64, String>,
}

#[derive(Deserialize)]
struct Written {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

impl Prometheus {
    /// All series of a query over a span. No series is no error, and not zero either.
    ///
    /// # Errors
    /// What went wrong with the whole answer; warnings count as errors, as for an instant query.
    pub async fn range(&self, promql: &str, span: Span) -> Result<Vec<RangeSeries>, String> {
        let seconds = |at: Timestamp| at.as_duration().as_secs_f64().to_string();
        let form = vec![
            ("query", promql.into()),
            ("start", seconds(span.from).into()),
            ("end", seconds(span.to).into()),
            ("step", span.step.as_secs_f64().to_string().into()),
        ];
        self.ask(&Query { path: "query_range", form }, |body, _| read(body, span)).await
    }
}

pub(in super::super) fn read(body: &[u8], span: Span) -> Result<Vec<RangeSeries>, String> {
    let series: Vec<Written> = result(body, "matrix")?;
    series.into_iter().map(|written| one(written, span)).collect()
}

fn one(written: Written, span: Span) -> Result<RangeSeries, String> {
    let mut labels = written.metric;
    labels.remove("__name__");
    let (from, to) = (span.from.as_duration().as_secs_f64(), span.to.as_duration().as_secs_f64());
    let mut points = Vec::with_capacity(written.values.len());
    let mut last = Err("the series has no point".to_owned());
    let mut before = f64::NEG_INFINITY;
    for (at, text) in written.values {
        // A whole step of room: servers round the ends.
        let room = span.step.as_secs_f64();
        let in_span = at >= from - room && at <= to + room;
        if !in_span || at <= before {
            return Err(format!("unexpected answer: a point at {at} is out of the span or out of order"));
        }
        before = at;
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
        last = value.ok_or_else(|| format!("the value is {text:?}, which is no number"));
        points.extend(value.map(|value| (at, value)));
    }
    let gap = to - before;
    if gap >= span.step.as_secs_f64() && last.is_ok() {
        last = Err(format!("the series ended {gap:.0} s before: what it measured is not about now"));
    }
    Ok(RangeSeries { labels, points, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! recorded {
        ($name:literal) => {
            include_bytes!(concat!("../../../tests/recorded/prometheus/", $name))
        };
    }

    fn span(from: i64, to: i64) -> Span {
        let at = |second| Timestamp::from_second(second).unwrap();
        Span { from: at(from), to: at(to), step: Duration::from_secs(1) }
    }

    // Mutations: NaN as zero; the last number instead of the last point; a series that ended as one that goes on.
    #[test]
    fn a_recorded_range_is_read_with_its_gaps_and_its_end() {
        let read_to = |to| read(recorded!("query-range.json"), span(1_795_438_688, to)).unwrap().remove(0);
        let whole = read_to(1_795_438_708);
        assert_eq!(whole.labels, BTreeMap::from([("namespace".to_owned(), "shop".to_owned())]));
        assert_eq!((whole.points.len(), whole.points[0]), (18, (1_795_438_691.0, 0.0)));
        assert_eq!(whole.last, Ok(0.474_074_074_074_074_1));
        assert!(read_to(1_795_438_710).last.unwrap_err().contains("ended 2 s before"));
        let ends = br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"3"],[2,"NaN"]]}]}}"#;
        let ended = read(ends, span(1, 2)).unwrap().remove(0);
        assert_eq!((ended.points.len(), ended.last.is_err()), (1, true));
    }

    #[test]
    fn answers_that_are_no_whole_range_are_errors() {
        for (body, why) in [
            (&recorded!("query-bad-parse.json")[..], "parse error"),
            (recorded!("query-bad-exec.json"), "found duplicate series"),
            (recorded!("query-timeout.json"), "timed out"),
            (recorded!("query-missing-param.json"), "invalid parameter"),
            (recorded!("query-vector-5xx.json"), "not a vector"),
            (recorded!("query-scalar.json"), "not a scalar"),
            (recorded!("query-string.json"), "not a string"),
            (recorded!("notfound.txt"), "unexpected answer"),
            (
                br#"{"status":"success","warnings":["partial"],"data":{"resultType":"matrix","result":[]}}"#,
                "partial",
            ),
        ] {
            let error = read(body, span(0, 1)).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        // Points of another time, or out of their order, are not what was asked for.
        assert!(read(recorded!("query-range.json"), span(0, 1)).is_err());
        assert_eq!(
            read(recorded!("query-empty.json").as_slice(), span(0, 1)).unwrap_err(),
            "a matrix is expected, not a vector"
        );
    }
}
