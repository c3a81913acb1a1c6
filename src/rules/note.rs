//! What is to say about a rule file: errors and warnings with their place.

use std::fmt;

use crate::yaml::{Fault, marked, source_line};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteSeverity {
    /// The file cannot be used.
    Error,
    /// The file can be used; somebody should look.
    Warning,
}

/// One finding about a rule file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Note {
    /// File name, as it was given.
    pub file: String,
    /// Line, from 1; 0 where the whole file is meant.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// How bad it is.
    pub severity: NoteSeverity,
    /// What is wrong and what to do.
    pub text: String,
    /// The line it is about, as it stands in the file; empty where there is none.
    pub source: String,
}

impl Note {
    /// An error at a place.
    #[must_use]
    pub fn error(file: &str, line: u64, column: u64, text: impl Into<String>) -> Self {
        let (severity, text, source) = (NoteSeverity::Error, text.into(), String::new());
        Self { file: file.to_owned(), line, column, severity, text, source }
    }

    /// The same with its line out of the file's text.
    pub(super) fn quote(&mut self, text: &str) {
        self.source = source_line(text, self.line).to_owned();
    }

    /// The faults of a YAML file as errors.
    #[must_use]
    pub fn faults(file: &str, faults: Vec<Fault>) -> Vec<Self> {
        faults.into_iter().map(|fault| Self::error(file, fault.line, fault.column, fault.text)).collect()
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            NoteSeverity::Error => "error",
            NoteSeverity::Warning => "warning",
        };
        write!(f, "{}:{}:{}: {severity}: {}", self.file, self.line, self.column, self.text)?;
        f.write_str(&marked(&self.source, self.line, self.column))
    }
}
