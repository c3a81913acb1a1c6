//! `meshmend playbook test`: the tests that playbooks carry, and one that each of them gets for free.

use rhai::serde::from_dynamic;
use rhai::{Array, Dynamic, Map};
use serde_json::Value;
use smol_str::SmolStr;

use super::constructors::On;
use super::playbook::{Answer, Need, Playbook};
use crate::model::facts::Facts;
use crate::model::signal::{Labels, Signal};

/// What came of one test.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was found instead, with its place; empty when it passed.
    pub detail: String,
}

impl Playbook {
    /// Runs `tests()`. A playbook without tests has one failed test: that it has none.
    #[must_use]
    pub fn test(&self) -> Vec<TestResult> {
        let failed = |detail: String| vec![TestResult { name: "tests()".to_owned(), passed: false, detail }];
        if !self.has("tests") {
            return failed("the playbook has no tests".to_owned());
        }
        let tests = match self.script.call("tests", None, ()) {
            Ok(tests) => tests,
            Err(error) => return failed(self.place(&error)),
        };
        match tests.try_cast::<Array>().filter(|tests| !tests.is_empty()) {
            Some(tests) => {
                let own = tests.iter().cloned().map(|test| self.run(test));
                own.chain(self.without_facts(&tests)).collect()
            }
            None => failed("tests() must return a list of maps, not empty".to_owned()),
        }
    }

    /// The tests each playbook gets for free: with a fact missing that it needs, it is refused before the
    /// script is asked; with one missing that it marked as optional, the script still finds an answer.
    fn without_facts(&self, tests: &Array) -> Vec<TestResult> {
        let whole = tests.iter().find_map(|test| {
            let test = test.read_lock::<Map>()?;
            let facts = from_dynamic::<Facts>(test.get("facts")?).ok()?;
            let signal = test.get("signal").and_then(|signal| signal.clone().try_cast::<Map>());
            let signal = signal.and_then(|signal| read_signal(signal).ok());
            self.unknown(&facts).is_none().then(|| (signal.unwrap_or_else(Self::any_signal), facts))
        });
        let Some((signal, whole)) = whole.filter(|_| !self.needs.is_empty()) else { return Vec::new() };
        let without = |need: &Need| {
            let mut facts = whole.clone();
            facts.forget(&need.fact);
            let (name, passed) = if need.optional {
                let facts = rhai::serde::to_dynamic(&facts).unwrap_or(Dynamic::UNIT);
                let this = this(&signal, Map::new());
                let answer = self.answer(this, facts);
                (format!("does without {}", need.fact), !matches!(answer, Answer::Failed(_)))
            } else {
                let refused = self.unknown(&facts).is_some_and(|unknown| unknown.fact == need.fact);
                (format!("refused without {}", need.fact), refused)
            };
            let detail = if passed { String::new() } else { format!("{} was not missed", need.fact) };
            TestResult { name, passed, detail }
        };
        self.needs.iter().map(without).collect()
    }

    fn any_signal() -> Signal {
        Signal {
            symptom: "custom.alert".parse().unwrap_or_else(|_| unreachable!("it is a symptom")),
            subject: crate::model::subject::Subject::of_namespace("shop"),
            state: crate::model::signal::SignalState::Firing,
            severity: crate::model::signal::Severity::Warning,
            value: None,
            labels: Labels::default(),
            at: jiff::Timestamp::UNIX_EPOCH,
            source: SmolStr::default(),
            alert: None,
            owner: None,
            depends_on: None,
        }
    }

    fn run(&self, test: Dynamic) -> TestResult {
        let Some(mut test) = test.try_cast::<Map>() else {
            let detail = "each test must be a map".to_owned();
            return TestResult { name: "?".to_owned(), passed: false, detail };
        };
        let name =
            test.remove("name").and_then(|name| name.into_string().ok()).unwrap_or_else(|| "?".to_owned());
        match self.check(test) {
            Ok(()) => TestResult { name, passed: true, detail: String::new() },
            Err(detail) => TestResult { name, passed: false, detail },
        }
    }

    fn check(&self, mut test: Map) -> Result<(), String> {
        let expect = test.remove("expect").ok_or("the test expects nothing: add expect")?;
        let signal =
            test.remove("signal").and_then(Dynamic::try_cast::<Map>).ok_or("the test has no signal")?;
        let facts = test.remove("facts");
        let incident = test.remove("incident").and_then(Dynamic::try_cast::<Map>).unwrap_or_default();
        if let Some(key) = test.keys().next() {
            return Err(format!("unknown key {key:?}; known: name, signal, facts, incident, expect"));
        }
        let signal = read_signal(signal)?;
        let matched = self.on.iter().any(|on| hears(on, &signal)) && self.applies(&signal)?;
        let wants_match = !expect.clone().into_string().is_ok_and(|text| text == "no_match");
        if matched != wants_match {
            return Err(if matched { "it matched" } else { "the signal did not match" }.to_owned());
        }
        if !matched {
            return Ok(());
        }
        let facts = facts.ok_or("the test has no facts")?;
        // Through the typed form and back, so that a test cannot use a fact the inspector never finds.
        let typed: Facts = from_dynamic(&facts).map_err(|error| format!("facts: {error}"))?;
        let facts = rhai::serde::to_dynamic(&typed).map_err(|error| error.to_string())?;
        compare(&self.answer(this(&signal, incident), facts), expect)
    }
}

fn hears(on: &On, signal: &Signal) -> bool {
    match on {
        On::Symptom(symptom) => *symptom == signal.symptom,
        On::Alert { name, labels } => {
            signal.alert.as_deref() == Some(name)
                && labels.iter().all(|(key, value)| signal.labels.get(key) == Some(value))
        }
    }
}

fn read_signal(mut signal: Map) -> Result<Signal, String> {
    signal.entry("state".into()).or_insert_with(|| "firing".into());
    signal.entry("at".into()).or_insert_with(|| "2026-01-01T00:00:00Z".into());
    from_dynamic(&signal.into()).map_err(|error| format!("signal: {error}"))
}

/// The incident a test plans for: that of its signal, with what the test says otherwise.
fn this(signal: &Signal, given: Map) -> Map {
    let mut this = Map::new();
    this.insert("id".into(), "test-00001".into());
    this.insert("symptom".into(), signal.symptom.to_string().into());
    this.insert("subject".into(), rhai::serde::to_dynamic(&signal.subject).unwrap_or(Dynamic::UNIT));
    this.insert("severity".into(), signal.severity.to_string().into());
    this.insert("since_s".into(), 0_i64.into());
    this.insert("signals".into(), 1_i64.into());
    this.insert("attempts".into(), 0_i64.into());
    if let Some(value) = signal.value {
        this.insert("value".into(), value.into());
    }
    this.extend(given);
    this
}

fn compare(answer: &Answer, expect: Dynamic) -> Result<(), String> {
    if let Some(refusal) = expect.clone().try_cast::<Map>() {
        let wanted = refusal.get("refuse").and_then(|text| text.clone().into_string().ok());
        let wanted = wanted.ok_or("expect must be [..], #{ refuse: \"...\" } or \"no_match\"")?;
        let refused = matches!(answer, Answer::Refuse(text) if text.contains(&wanted));
        let otherwise = || format!("expected a refusal with {wanted:?}, found {answer:?}");
        return if refused { Ok(()) } else { Err(otherwise()) };
    }
    let wanted =
        expect.try_cast::<Array>().ok_or("expect must be [..], #{ refuse: \"...\" } or \"no_match\"")?;
    let Answer::Steps(steps) = answer else { return Err(format!("expected acts, found {answer:?}")) };
    let found: Vec<Value> = steps.iter().map(|step| serde_json::json!(step)).collect();
    let wanted: Vec<Value> = wanted.into_iter().map(act).collect::<Result<_, String>>()?;
    let same =
        found.len() == wanted.len() && found.iter().zip(&wanted).all(|(found, wanted)| holds(found, wanted));
    if same { Ok(()) } else { Err(format!("expected {wanted:?}, found {found:?}")) }
}

fn act(entry: Dynamic) -> Result<Value, String> {
    let wanted: Value = from_dynamic(&entry).map_err(|error| error.to_string())?;
    match wanted.get("action") {
        Some(Value::String(_)) => Ok(wanted),
        _ => Err("each expected act is a map #{ action: \"...\" } with the fields that matter".to_owned()),
    }
}

/// Whether everything that is wanted is there, whatever else is.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| found.get(key).is_some_and(|found| holds(found, value)))
        }
        _ => found == wanted,
    }
}
