//! The key that signs checkpoints. Without one of your own, one is made beside the journal; such a
//! signature proves nothing against whoever can write to the journal's own disk.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::JournalError;

fn failed(what: &str, path: &Path, error: impl std::fmt::Display) -> JournalError {
    JournalError(format!("{what} {}: {error}", path.display()))
}

/// Where the public key lies.
pub(super) fn public_path(journal: &Path) -> PathBuf {
    journal.with_extension("pub")
}

/// Reads the signing key, or makes it, and writes the public key beside the journal.
pub(super) fn open(journal: &Path, given: Option<&Path>) -> Result<Ed25519KeyPair, JournalError> {
    let path = given.map_or_else(|| journal.with_extension("key"), Path::to_path_buf);
    if given.is_none() && !path.exists() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|error| failed("could not make the signing key", &path, error))?;
        write_private(&path, pkcs8.as_ref())?;
    }
    let bytes = fs::read(&path).map_err(|error| failed("could not read the signing key", &path, error))?;
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&bytes)
        .map_err(|error| failed("this is not an Ed25519 key in PKCS#8 form:", &path, error))?;
    let hex: String = pair.public_key().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let public = public_path(journal);
    let current = fs::read_to_string(&public).unwrap_or_default();
    if current.trim() != hex {
        if !current.is_empty() {
            let why = "it holds another key than the one that signs; put the old key back, or begin a new journal with the new one";
            return Err(failed("will not overwrite", &public, why));
        }
        write_private(&public, format!("{hex}\n").as_bytes())?;
    }
    Ok(pair)
}

/// Writes a file that only its owner may read, whole or not at all: it gets its name once it is on disk.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    let part = path.with_extension("part");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(|error| failed("could not create", &part, error))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&part, path))
        .map_err(|error| failed("could not write", path, error))
}

/// Reads a public key: 64 hex digits.
pub(super) fn public(path: &Path) -> Result<Vec<u8>, JournalError> {
    let text = fs::read_to_string(path).map_err(|error| failed("could not read the key", path, error))?;
    let text = text.trim();
    let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits {
        return Err(failed("this is not a public key:", path, "64 hex digits are expected"));
    }
    Ok((0..32).filter_map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect())
}
