//! Tests of kept pages.

use super::Pages;
use crate::model::series::{Labels, Sample};
use crate::promql::Query;

fn sample(name: &str, pod: &str, value: f64) -> Sample {
    Sample { name: name.to_owned(), labels: Labels::from([("pod".to_owned(), pod.to_owned())]), value }
}

fn pages(keep_s: f64, most: usize) -> Pages {
    let queries = ["x", "rate(counted[1m])"].map(|text| Query::parse(text).unwrap());
    Pages::new(&queries, keep_s, most)
}

fn asked(pages: &Pages, text: &str, now_s: f64) -> Vec<f64> {
    let found = Query::parse(text).unwrap().at(pages, now_s).unwrap();
    found.into_iter().map(|(_, value)| value).collect()
}

// Mutations: a series that is not on the newest page and still tells its last value; a page that failed taken for
// one that was never asked for; metrics that nobody asks for kept.
#[test]
fn what_is_no_longer_on_the_page_has_ended() {
    let mut pages = pages(600.0, 80);
    pages.take("a", 100.0, &[sample("x", "p", 1.0), sample("x", "q", 2.0), sample("y", "p", 3.0)]).unwrap();
    pages.take("a", 110.0, &[sample("x", "p", 5.0)]).unwrap();
    pages.take("b", 110.0, &[sample("x", "r", 7.0)]).unwrap();
    assert_eq!(asked(&pages, "x", 110.0), [5.0, 7.0]);
    assert_eq!(asked(&pages, "count_over_time(x[1m])", 110.0), [2.0, 1.0, 1.0]);
    assert_eq!(asked(&pages, "y", 110.0), Vec::<f64>::new());
    assert_eq!(asked(&pages, r#"x{pod=~"r|s"}"#, 110.0), [7.0]);
    pages.miss("a", 120.0).unwrap();
    assert_eq!(asked(&pages, "x", 120.0), [7.0]);
    pages.take("a", 130.0, &[sample("x", "q", 4.0)]).unwrap();
    assert_eq!(asked(&pages, r#"x{pod="q"}"#, 130.0), [4.0]);
    pages.forget("b");
    assert_eq!(asked(&pages, "x", 130.0), [4.0]);
    // Mutation: a page of the same second overwrites the one before, or is put behind it.
    assert!(pages.take("a", 130.0, &[sample("x", "q", 9.0)]).is_err());
    assert_eq!(asked(&pages, r#"x{pod="q"}"#, 130.0), [4.0]);
}

// Mutations: the first errors of a service as none, because growth takes two points; a page that failed as one that
// had no errors, so that all errors since the start of a proxy are those of now; a gauge that began at zero.
#[test]
fn a_counter_that_is_new_on_a_page_began_at_zero() {
    let mut pages = pages(600.0, 80);
    let grown = |pages: &Pages, now_s| asked(pages, "increase(counted[30s])", now_s);
    pages.take("a", 100.0, &[]).unwrap();
    pages.take("a", 130.0, &[sample("counted", "p", 12.0), sample("x", "p", 7.0)]).unwrap();
    assert_eq!(grown(&pages, 130.0), Vec::<f64>::new(), "a window is open on its left");
    assert_eq!(asked(&pages, "increase(counted[31s])", 130.0), [12.0]);
    assert_eq!(asked(&pages, "min_over_time(x[1m])", 130.0), [7.0]);
    pages.miss("a", 160.0).unwrap();
    pages.take("a", 190.0, &[sample("counted", "p", 13.0), sample("counted", "q", 500.0)]).unwrap();
    assert_eq!(asked(&pages, "increase(counted[31s])", 190.0), Vec::<f64>::new());
    // The first page of a target tells nothing of before it.
    pages.take("b", 190.0, &[sample("counted", "r", 500.0)]).unwrap();
    pages.take("b", 220.0, &[sample("counted", "r", 500.0)]).unwrap();
    assert_eq!(grown(&pages, 221.0).len(), 0);
    assert_eq!(asked(&pages, r#"increase(counted{pod="r"}[31s])"#, 220.0), [0.0]);
}

// Mutations: thinning out the newest points; dropping the oldest ones instead, which forgets the hour; a series
// that began late or ended early read beside the times of others.
#[test]
fn the_past_thins_out_evenly_and_the_newest_stays() {
    let mut pages = pages(3_600.0, 16);
    for number in 0..400_u32 {
        let at_s = f64::from(number) * 15.0;
        let mut page = vec![sample("x", "p", at_s)];
        page.extend((number > 395).then(|| sample("x", "new", 1.0)));
        pages.take("a", at_s, &page).unwrap();
    }
    let now_s = 399.0 * 15.0;
    // The newest four came every 15 seconds.
    assert_eq!(asked(&pages, r#"count_over_time(x{pod="p"}[59s])"#, now_s), [4.0]);
    assert_eq!(asked(&pages, r#"count_over_time(x{pod="new"}[1h])"#, now_s), [4.0]);
    assert_eq!(asked(&pages, r#"count_over_time(x{pod="p"}[2h])"#, now_s), [16.0]);
    // The counter is its own time: each point still lies at its own, and the hour is covered.
    let oldest = asked(&pages, r#"min_over_time(x{pod="p"}[2h])"#, now_s)[0];
    assert!(oldest >= now_s - 3_615.0 && oldest < now_s - 3_000.0, "{oldest}");
    let quarter = |offset: &str| {
        asked(&pages, &format!(r#"count_over_time(x{{pod="p"}}[15m] offset {offset})"#), now_s)[0]
    };
    let spread = [quarter("5m"), quarter("20m"), quarter("35m")];
    assert!(spread.iter().all(|count| *count >= 2.0), "{spread:?}");
    for before_s in [600.0, 1_200.0, 2_400.0] {
        let value =
            asked(&pages, &format!(r#"last_over_time(x{{pod="p"}}[10m] offset {before_s}s)"#), now_s)[0];
        assert!(value <= now_s - before_s && value > now_s - before_s - 600.0, "{value} {before_s} s before");
    }
}

// Mutation: a target with ever new labels that grows without an end.
#[test]
fn a_page_too_large_is_refused_and_words_of_ended_series_go() {
    let mut pages = pages(100.0, 8);
    let many: Vec<Sample> = (0..5_001).map(|number| sample("x", &number.to_string(), 1.0)).collect();
    assert!(pages.take("a", 1.0, &many).unwrap_err().contains("5001 series"));
    assert_eq!(asked(&pages, "x", 1.0), Vec::<f64>::new());
    for number in 0..500_u32 {
        let page = [sample("x", &format!("pod-{number}"), 1.0)];
        pages.take("a", f64::from(number) * 15.0, &page).unwrap();
    }
    let words = pages.targets["a"].words.texts.len();
    assert!(words < 30, "{words} words");
}
