//! Reading a journal that another process may be writing: never locks, never writes.

use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::rows;
use super::{Head, JournalError};
use crate::model::digest::Digest;
use crate::model::record::Record;

/// A journal opened for reading.
pub struct Reader {
    pub(super) db: Connection,
}

impl Reader {
    /// Opens the journal.
    ///
    /// # Errors
    /// The file does not exist or is no journal.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |error: &dyn std::fmt::Display| JournalError(format!("{}: {error}", path.display()));
        if !path.is_file() {
            return Err(failed(&"there is no journal here"));
        }
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let live = std::fs::metadata(&wal).is_ok_and(|meta| meta.len() > 0);
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // A closed journal may lie on a read-only disk, where SQLite could not make its index of the log.
        let mode = if live { "mode=ro" } else { "mode=ro&immutable=1" };
        let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let db = Connection::open_with_flags(format!("file:{name}?{mode}"), flags).map_err(|e| failed(&e))?;
        let reader = Self { db };
        match reader.id() {
            Ok(_) => Ok(reader),
            Err(error) => Err(failed(&format!("this is no journal of meshmend ({error})"))),
        }
    }

    /// Id of the journal.
    ///
    /// # Errors
    /// It has none.
    pub fn id(&self) -> Result<String, JournalError> {
        rows::meta(&self.db, "id")?.ok_or_else(|| JournalError("it has no id".to_owned()))
    }

    /// Where the chain ends.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn head(&self) -> Result<Head, JournalError> {
        rows::head(&self.db)
    }

    /// A document by its hash.
    ///
    /// # Errors
    /// The store could not be read, or the document is damaged.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, JournalError> {
        rows::blob(&self.db, digest)
    }

    /// Records from a number on with the hash of their bytes, in order, until the visitor breaks.
    ///
    /// # Errors
    /// The store could not be read.
    pub fn read(
        &self,
        from: u64,
        visit: &mut dyn FnMut(Record, Digest) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        rows::read(&self.db, from, visit)
    }
}
