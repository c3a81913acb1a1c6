//! One playbook: pure functions that return data.

use std::collections::BTreeMap;
use std::sync::Arc;

use rhai::serde::to_dynamic;
use rhai::{AST, Array, Dynamic, Engine, Map};
use serde::Deserialize;

use super::constructors::{On, Refusal, Rung, Step};
use super::indicators::{Catalogue, Reader};
use super::note::Note;
use super::script::{Script, ScriptError, call};
use crate::model::action::Action;
use crate::model::duration;
use crate::model::facts::{FACT_NAMES, Facts};
use crate::model::incident::Incident;
use crate::model::plan::Recover;
use crate::model::signal::Signal;

/// A compiled playbook.
#[derive(Debug)]
pub struct Playbook {
    /// File name without its ending.
    pub name: String,
    /// First line of its doc comment.
    pub title: String,
    /// Facts to read before planning.
    pub needs: Vec<Need>,
    /// How to tell whether it helped.
    pub recover: Option<Recover>,
    /// Higher comes first.
    pub priority: i64,
    pub(super) on: Vec<On>,
    pub(super) file: String,
    pub(super) script: Script,
    functions: BTreeMap<String, usize>,
}

/// A fact a playbook asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Name.
    pub fact: String,
    /// Whether the playbook can do without.
    pub optional: bool,
}

/// What `plan` says.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Do this.
    Steps(Vec<Action>),
    /// Better not, for this reason.
    Refuse(String),
    /// The script failed or exceeded a limit; the text carries file, line and column.
    Failed(String),
}

/// What `next` says after an act that did not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Plan again.
    Retry,
    /// Give up, with these words.
    Escalate(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecoverWritten {
    indicator: String,
    within: String,
    hold: String,
    #[serde(default)]
    soak: Option<String>,
}

/// Functions a playbook may have, with the number of their parameters, and whether it must.
const FUNCTIONS: [(&str, usize, &str); 5] = [
    ("about", 0, "must"),
    ("plan", 1, "must"),
    ("applies", 0, "may"),
    ("next", 1, "may"),
    ("tests", 0, "may"),
];

impl Playbook {
    /// Compiles and checks a playbook; its mistakes become notes.
    pub(super) fn compile(
        file: &str,
        text: &str,
        engine: &Arc<Engine>,
        indicators: &Catalogue,
        notes: &mut Vec<Note>,
    ) -> Option<Self> {
        let (script, ast) = match Script::check(engine, text) {
            Ok(checked) => checked,
            Err(error) => {
                notes.push(Note::error(file, error.line, error.column, error.text));
                return None;
            }
        };
        let before = notes.len();
        let functions: BTreeMap<String, usize> =
            ast.iter_functions().map(|f| (f.name.to_owned(), f.params.len())).collect();
        check_functions(file, text, &functions, &ast, notes);
        if notes.len() > before {
            return None;
        }
        let title = ast.doc().lines().next().unwrap_or_default().trim_start_matches("//!").trim().to_owned();
        let mut playbook = Self {
            name: file.strip_suffix(".rhai").unwrap_or(file).to_owned(),
            title,
            needs: Vec::new(),
            recover: None,
            priority: 0,
            on: Vec::new(),
            file: file.to_owned(),
            script,
            functions,
        };
        if playbook.title.is_empty() {
            notes.push(Note::error(file, 1, 1, "the first line must say what the playbook does: //! ..."));
        }
        playbook.about(&ast, indicators, notes);
        (notes.len() == before).then_some(playbook)
    }

    fn about(&mut self, ast: &AST, indicators: &Catalogue, notes: &mut Vec<Note>) {
        let about = match call(self.script.engine(), ast, "about", None, ()) {
            Ok(about) => about,
            Err(error) => return notes.push(Note::error(&self.file, error.line, error.column, error.text)),
        };
        let line = line_of(self.script.text(), "about");
        let mut wrong =
            |text: String| notes.push(Note::error(&self.file, line, 1, format!("about(): {text}")));
        let Some(mut about) = about.try_cast::<Map>() else {
            return wrong("must return a map #{ on: [...], needs: [...], ... }".to_owned());
        };
        match about.remove("on").and_then(Dynamic::try_cast::<Array>).filter(|on| !on.is_empty()) {
            Some(on) => {
                for entry in on {
                    match entry.try_cast::<On>() {
                        Some(entry) => self.on.push(entry),
                        None => wrong("each entry of on must be symptom(...) or alert(...)".to_owned()),
                    }
                }
            }
            None => wrong("on must be a list of symptom(...) and alert(...), not empty".to_owned()),
        }
        for need in about.remove("needs").and_then(Dynamic::try_cast::<Array>).unwrap_or_default() {
            match read_need(need) {
                Ok(need) => self.needs.push(need),
                Err(why) => wrong(why),
            }
        }
        if let Some(recover) = about.remove("recover") {
            match read_recover(&recover, indicators) {
                Ok(recover) => self.recover = Some(recover),
                Err(why) => wrong(format!("recover: {why}")),
            }
        }
        if let Some(priority) = about.remove("priority") {
            match priority.as_int() {
                Ok(priority) => self.priority = priority,
                Err(kind) => wrong(format!("priority must be a whole number, not {kind}")),
            }
        }
        for key in about.keys() {
            wrong(format!("unknown key {key:?}; known: on, needs, recover, priority"));
        }
    }

    /// The finer match: whether the playbook wants this signal.
    ///
    /// # Errors
    /// The script failed; the text carries file, line and column.
    pub fn applies(&self, signal: &Signal) -> Result<bool, String> {
        if !self.functions.contains_key("applies") {
            return Ok(true);
        }
        let this = to_dynamic(signal).map_err(|error| error.to_string())?;
        let answer = self.script.call("applies", Some(this), ()).map_err(|e| self.place(&e))?;
        answer
            .as_bool()
            .map_err(|kind| format!("{}: applies() must return true or false, not {kind}", self.file))
    }

    /// What it proposes for the incident on these facts.
    #[must_use]
    pub fn plan(&self, incident: &Incident, facts: &Facts) -> Answer {
        let facts = match to_dynamic(facts) {
            Ok(facts) => facts,
            Err(error) => return Answer::Failed(error.to_string()),
        };
        self.answer(this(incident), facts)
    }

    pub(super) fn answer(&self, this: Map, facts: Dynamic) -> Answer {
        match self.script.call("plan", Some(this.into()), (facts,)) {
            Ok(answer) => read_answer(&self.file, answer),
            Err(error) => Answer::Failed(self.place(&error)),
        }
    }

    /// What to do after an act that did not help. Without `next` in the script, people are asked.
    #[must_use]
    pub fn next(&self, incident: &Incident) -> Next {
        if !self.functions.contains_key("next") {
            return Next::Escalate("the act did not help".to_owned());
        }
        let mut history = Map::new();
        history.insert("attempts".into(), Dynamic::from(i64::from(incident.rung())));
        let answer = self.script.call("next", Some(this(incident).into()), (history,));
        match answer.map(Dynamic::try_cast::<Rung>) {
            Ok(Some(Rung(next))) => next,
            Ok(None) => Next::Escalate(format!("{}: next() must return retry() or escalate(...)", self.file)),
            Err(error) => Next::Escalate(self.place(&error)),
        }
    }

    /// The first fact it cannot do without that was not found: then `plan` is not asked at all.
    #[must_use]
    pub fn unknown<'a>(&'a self, facts: &Facts) -> Option<&'a Need> {
        self.needs.iter().find(|need| !need.optional && !facts.has(&need.fact))
    }

    pub(super) fn has(&self, function: &str) -> bool {
        self.functions.contains_key(function)
    }

    pub(super) fn place(&self, error: &ScriptError) -> String {
        format!("{}:{}:{}: {}", self.file, error.line, error.column, error.text)
    }
}

/// Line of a function in the text of a script; the script engine does not tell it.
fn line_of(text: &str, function: &str) -> u64 {
    let begins = |line: &str| {
        let rest = line.trim_start().strip_prefix("fn ").map(str::trim_start);
        rest.and_then(|rest| rest.strip_prefix(function))
            .is_some_and(|rest| rest.trim_start().starts_with('('))
    };
    let index = text.lines().position(begins).unwrap_or(0);
    u64::try_from(index).unwrap_or(0) + 1
}

fn check_functions(
    file: &str,
    text: &str,
    functions: &BTreeMap<String, usize>,
    ast: &AST,
    notes: &mut Vec<Note>,
) {
    for (name, arity, need) in FUNCTIONS {
        match functions.get(name) {
            None if need == "must" => {
                notes.push(Note::error(file, 1, 1, format!("the function {name} is missing")));
            }
            Some(params) if *params != arity => {
                let why = format!("the function {name} takes {arity} parameter(s), here it has {params}");
                notes.push(Note::error(file, line_of(text, name), 1, why));
            }
            _ => {}
        }
    }
    if let Some(statement) = ast.statements().iter().next() {
        let line = statement.position().line().and_then(|n| u64::try_from(n).ok()).unwrap_or(1);
        let text = "statements outside of functions never run: put this into a function";
        notes.push(Note::error(file, line, 1, text));
    }
}

fn read_need(need: Dynamic) -> Result<Need, String> {
    let text = need.into_string().map_err(|kind| format!("needs must hold texts, not {kind}"))?;
    let (fact, optional) = match text.strip_suffix('?') {
        Some(fact) => (fact.to_owned(), true),
        None => (text, false),
    };
    if !FACT_NAMES.contains(&fact.as_str()) {
        return Err(format!("needs: no fact is called {fact:?}; known: {}", FACT_NAMES.join(", ")));
    }
    Ok(Need { fact, optional })
}

fn read_recover(value: &Dynamic, indicators: &Catalogue) -> Result<Recover, String> {
    let written: RecoverWritten = rhai::serde::from_dynamic(value).map_err(|error| error.to_string())?;
    let indicator = indicators.get(&written.indicator);
    if indicator.is_some_and(|indicator| matches!(indicator.reader, Reader::Readings(_))) {
        return Err(format!("{} is read in several ways: no act can be measured by it", written.indicator));
    }
    if indicator.is_none() {
        return Err(format!("no indicator is called {:?}", written.indicator));
    }
    let seconds = |text: &str| duration::parse(text).map(|span| span.as_secs());
    let recover = Recover {
        within_s: seconds(&written.within)?,
        hold_s: seconds(&written.hold)?,
        soak_s: written.soak.as_deref().map_or(Ok(0), seconds)?,
        indicator: written.indicator,
    };
    if recover.hold_s == 0 || recover.within_s < recover.hold_s {
        return Err("hold must be above zero and not above within".to_owned());
    }
    Ok(recover)
}

fn read_answer(file: &str, answer: Dynamic) -> Answer {
    if answer.is::<Refusal>() {
        return answer.try_cast::<Refusal>().map_or(Answer::Refuse(String::new()), |r| Answer::Refuse(r.0));
    }
    let wrong = || Answer::Failed(format!("{file}: plan() must return a list of actions or refuse(...)"));
    let Some(steps) = answer.try_cast::<Array>() else { return wrong() };
    let steps: Option<Vec<Action>> =
        steps.into_iter().map(|step| step.try_cast::<Step>().map(|step| step.0)).collect();
    steps.map_or_else(wrong, Answer::Steps)
}

/// The incident as scripts see it: `id symptom subject severity value? since_s signals attempts`.
fn this(incident: &Incident) -> Map {
    let looked = incident.found_at.unwrap_or(incident.opened_at);
    let since = looked.duration_since(incident.opened_at).as_secs();
    let mut this = Map::new();
    this.insert("id".into(), incident.id.to_string().into());
    this.insert("symptom".into(), incident.symptom.to_string().into());
    this.insert("subject".into(), to_dynamic(&incident.subject).unwrap_or(Dynamic::UNIT));
    this.insert("severity".into(), incident.severity.to_string().into());
    if let Some(value) = incident.value {
        this.insert("value".into(), value.into());
    }
    this.insert("since_s".into(), since.into());
    this.insert("signals".into(), i64::try_from(incident.signals).unwrap_or(i64::MAX).into());
    this.insert("attempts".into(), i64::from(incident.rung()).into());
    this
}
