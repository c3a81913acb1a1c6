//! Tests of what our own pages tell.

use super::*;
use crate::model::series::Sample;
use crate::rules::{RuleFiles, Rules};

fn scraped() -> Scraped {
    Scraped::of(Some(&Rules::load(&RuleFiles::embedded(), None).unwrap().rules.indicators))
}

fn of(job: &'static str, pod: &str) -> PageOf {
    PageOf { job, namespace: "istio-system".to_owned(), pod: pod.to_owned() }
}

fn page(metric: &str, kind: &str, value: f64) -> Result<Vec<Sample>, String> {
    let labels = [("type".to_owned(), kind.to_owned())].into();
    Ok(vec![Sample { name: metric.to_owned(), labels, value }])
}

fn round(scraped: &Scraped, at_s: f64, round: Vec<Page>) {
    scraped.with(|scrapes| scrapes.take(at_s, round));
}

/// What an expression gives right after the last round.
fn told(scraped: &Scraped, text: &str) -> Result<Answered, String> {
    let now_s = scraped.with(|scrapes| scrapes.at_s).unwrap_or_default();
    scraped.series(text, now_s)
}

const GROWTH: &str = "sum(rate(pilot_xds_pushes[10m]))";

// Mutations: growth that is shared out over the whole window, of which only half a minute was seen; growth from
// one look, which is that since the start of the process; a series that is absent as zero.
#[test]
fn a_counter_tells_from_the_second_look_on_and_a_gauge_from_the_first() {
    let scraped = scraped();
    let why = told(&scraped, GROWTH).unwrap_err();
    assert_eq!(why, "no Prometheus is configured");
    round(&scraped, 1_000.0, vec![(of("istiod", "a"), page("pilot_xds_pushes", "cds", 500.0))]);
    assert!(told(&scraped, GROWTH).unwrap_err().ends_with(ONE_LOOK));
    assert_eq!(told(&scraped, "sum(pilot_xds_pushes)").unwrap().0, [(BTreeMap::new(), Ok(500.0))]);
    assert!(
        told(&scraped, "sum(pilot_xds)").unwrap_err().ends_with("no page that we scrape ourselves has it")
    );
    round(&scraped, 1_030.0, vec![(of("istiod", "a"), page("pilot_xds_pushes", "cds", 800.0))]);
    let rate = *told(&scraped, GROWTH).unwrap().0[0].1.as_ref().unwrap();
    assert!((rate - 10.0).abs() < 0.4, "300 in half a minute are {rate} a second");
    let compared = told(&scraped, "rate(pilot_xds_pushes[5m]) / rate(pilot_xds_pushes[1h])").unwrap_err();
    assert_eq!(compared, "it looks 1h back, and no Prometheus is configured");
}

// Mutations: a replica whose page is missing as one that counts nothing; what it said before as what it says; the
// gap of another job.
#[test]
fn a_page_that_is_missing_is_a_gap_of_its_own_job_only() {
    let scraped = scraped();
    let both = |value| {
        vec![
            (of("istiod", "a"), page("pilot_xds_pushes", "cds", value)),
            (of("istiod", "b"), page("pilot_xds_pushes", "cds", value)),
            (of("apiserver", ""), page("apiserver_request_total", "x", value)),
        ]
    };
    round(&scraped, 1_000.0, both(100.0));
    let mut second = both(400.0);
    second[1].1 = Err("it kept silent".to_owned());
    round(&scraped, 1_030.0, second);
    let (series, gaps) = told(&scraped, "sum(pilot_xds_pushes)").unwrap();
    assert_eq!((series[0].1.clone(), gaps), (Ok(400.0), vec!["it kept silent".to_owned()]));
    assert_eq!(told(&scraped, "sum(apiserver_request_total)").unwrap().1, Vec::<String>::new());
    // Mutation: a page that is missing as one that has no such metric.
    let why = |metric: &str| told(&scraped, metric).unwrap_err();
    assert_eq!(why("sum(pilot_xds)"), "no Prometheus is configured, and a page is missing: it kept silent");
    assert_eq!(why("sum(istio_requests_total)"), NO_PAGE);
    // One that is gone leaves nothing behind.
    round(&scraped, 1_060.0, vec![(of("istiod", "b"), page("pilot_xds_pushes", "cds", 7.0))]);
    assert_eq!(
        told(&scraped, "sum(pilot_xds_pushes)").unwrap(),
        (vec![(BTreeMap::new(), Ok(7.0))], Vec::new())
    );
}

// Mutation: what was true when somebody looked last as what is true now.
#[test]
fn old_pages_tell_nothing() {
    let scraped = scraped();
    round(&scraped, 1_000.0, vec![(of("istiod", "a"), page("pilot_xds", "cds", 5.0))]);
    assert_eq!(scraped.series("sum(pilot_xds)", 1_120.0).unwrap().0, [(BTreeMap::new(), Ok(5.0))]);
    assert_eq!(scraped.series("sum(pilot_xds)", 1_120.1).unwrap_err(), LONG_AGO);
}
