//! Pages as they were recorded, and pages as they must not be.

use super::*;

const ISTIOD: &str = include_str!("../../../tests/recorded/istiod/metrics-healthy.prom");
const AGENT: &str = include_str!("../../../tests/recorded/agent/stats-mtls.prom");
const API_SERVER: &str = include_str!("../../../tests/recorded/apiserver/metrics.prom");

fn all(text: &str) -> Result<Vec<Sample>, String> {
    read(text.as_bytes(), &|_| true)
}

fn one(line: &str) -> Result<Sample, String> {
    let mut found = all(&format!("{line}\n"))?;
    assert_eq!(found.len(), 1, "{line}");
    Ok(found.remove(0))
}

/// Lines that are no comments.
fn lines(text: &str) -> usize {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}

#[test]
fn recorded_pages_are_read_to_the_last_line() {
    for (page, name, labels, value) in [
        (ISTIOD, "pilot_xds", vec![("version", "1.31.0")], 3.0),
        (AGENT, "istio_agent_num_outgoing_requests", vec![("request_type", "csr")], 1.0),
        (AGENT, "envoy_server_live", vec![], 1.0),
    ] {
        let found = all(page).unwrap();
        // Mutation: leaving out a line that is not understood, as a page half read is a page half told.
        assert_eq!(found.len(), lines(page));
        let has = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).map(String::as_str) == Some(value))
        };
        assert_eq!(found.iter().find(has).map(|sample| sample.value), Some(value), "{name}");
    }
    let wanted = read(API_SERVER.as_bytes(), &|name| name == "apiserver_request_total").unwrap();
    assert_eq!(
        wanted.len(),
        API_SERVER.lines().filter(|l| l.starts_with("apiserver_request_total{")).count()
    );
}

#[test]
fn a_page_in_pieces_is_the_same_page() {
    let whole = all(ISTIOD).unwrap();
    for size in [1, 7, 4096] {
        let mut page = Page::new(&|_| true);
        ISTIOD.as_bytes().chunks(size).for_each(|piece| page.push(piece).unwrap());
        // Mutation: forgetting what was left of a piece before.
        assert_eq!(page.finish().unwrap(), whole, "{size}");
    }
}

#[test]
fn labels_values_times_and_exemplars() {
    let sample = one(r#"a:b_c { x = "1" , y="a\"b\\c\nd\e}#", } -1.5e3 1700000000000"#).unwrap();
    assert_eq!((sample.name.as_str(), sample.value), ("a:b_c", -1500.0));
    // Mutation: splitting labels at the first brace or comma, which their values may hold.
    assert_eq!(sample.labels["y"], "a\"b\\c\nd\\e}#");
    let bucket = one(r#"h_bucket{le="+Inf"} 17 1.5 # {trace_id="a # b"} 0.67 1700000000.5"#).unwrap();
    assert_eq!((bucket.value, bucket.labels.len()), (17.0, 1));
    assert!(one("a NaN").unwrap().value.is_nan());
    assert_eq!(one("a +Inf").unwrap().value, f64::INFINITY);
    assert_eq!(one("a{} -Inf\r").unwrap().value, f64::NEG_INFINITY);
    assert_eq!(all("# TYPE a nonsense\n\n# EOF\n").unwrap(), []);
}

#[test]
fn a_bad_line_is_told_by_its_number() {
    for bad in [
        "a",
        "a ",
        "a{",
        "a{x",
        "a{x=1} 1",
        "a{x=\"1} 1",
        "a{x=\"1\"",
        "a{x=\"1\"} ",
        "a{x=\"1\"y=\"2\"} 1",
        "a{x=\"1\",x=\"2\"} 1",
        "a 1 2 3",
        "a one",
        "a 1 now",
        "1a 1",
        "a{1=\"x\"} 1",
        "a.b 1",
        "a+1",
        "{} 1",
        "a{,} 1",
        "a{x=\"1\"} 1 # 5",
        "a{x=\"1\"} 1 # {y=\"1\"}",
        "<html>",
        "a{x=\"\\",
        "\u{e9} 1",
    ] {
        let error = all(&format!("ok 1\n{bad}\nalso_ok 1\n")).unwrap_err();
        assert!(error.starts_with("line 2 "), "{bad}: {error}");
    }
    assert!(read(b"a{x=\"\xff\"} 1\n", &|_| true).unwrap_err().starts_with("line 1 "));
    // Also where nobody asked for it: what follows a line that is none cannot be trusted.
    assert!(read(b"<html>\nok 1\n", &|name| name == "ok").is_err());
}

#[test]
fn a_page_that_is_not_whole_tells_nothing() {
    // Mutation: taking the last line as it stands; 12 may have been 123.
    assert_eq!(all("a 1\nb 12").unwrap_err(), "line 2 breaks off: the page is not whole");
    assert_eq!(all("").unwrap_err(), "the page is empty");
    let long = format!("a{{x=\"{}\"}} 1\n", "y".repeat(MAX_LINE));
    assert!(all(&long).is_err());
    let mut page = Page::new(&|_| true);
    let endless = vec![b'x'; MAX_LINE / 2 + 1];
    page.push(&endless).unwrap();
    // Mutation: no bound on what is left over, and a page without an end of line fills the memory.
    assert!(page.push(&endless).is_err());
}

#[test]
fn a_series_told_twice_is_one_or_none() {
    assert_eq!(all("a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 1\na NaN\na NaN\n").unwrap().len(), 2);
    let error = all("a{x=\"1\"} 1\na{x=\"1\"} 2\n").unwrap_err();
    assert!(error.contains("line 2") && error.contains("twice"), "{error}");
    // What nobody asked for may be there twice: applications behind an agent are not ours to judge.
    assert!(read(b"a 1\na 2\nb 3\n", &|name| name == "b").is_ok());
}
