//! An object as it is kept.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use serde_json::value::RawValue;

/// An object, with its text once a list has shown it: an API server keeps that as well.
pub(in crate::sim) struct Kept {
    object: Value,
    text: OnceLock<Box<RawValue>>,
}

impl Kept {
    pub(super) fn new(object: Value) -> Arc<Self> {
        Arc::new(Self { object, text: OnceLock::new() })
    }

    /// Its text in lists, which is the same for everybody.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub(in crate::sim) fn text(
        &self,
        write: impl FnOnce() -> serde_json::Result<Box<RawValue>>,
    ) -> serde_json::Result<&RawValue> {
        if let Some(text) = self.text.get() {
            return Ok(text);
        }
        let written = write()?;
        Ok(self.text.get_or_init(|| written))
    }
}

impl Deref for Kept {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.object
    }
}
