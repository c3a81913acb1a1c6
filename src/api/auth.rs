//! Tokens: who calls, and what they may do. Loopback is no authentication.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context as _;
use axum::http::{HeaderMap, header};

use super::Refusal;
use crate::config::{Role, Token, Unusable};
use crate::model::digest::Digest;

/// A caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Name of the token.
    pub name: String,
    roles: BTreeSet<Role>,
}

/// Known tokens, by hash: the tokens themselves are not kept.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<(Digest, Grant)>);

impl Tokens {
    /// Reads the token files.
    ///
    /// # Errors
    /// A file is missing or empty.
    pub fn load(tokens: &[Token]) -> anyhow::Result<Self> {
        let read = |token: &Token| {
            let named = format!("token {} ({})", token.name, token.file.display());
            let text = fs::read_to_string(&token.file);
            let text = text.with_context(|| Unusable(format!("the file of {named} cannot be read")))?;
            let text = text.trim();
            if text.len() < 16 {
                return Err(
                    Unusable(format!("{named} is shorter than 16 characters: write a longer one")).into()
                );
            }
            let grant = Grant { name: token.name.clone(), roles: token.roles.clone() };
            Ok((Digest::of_bytes(text.as_bytes()), grant))
        };
        Ok(Self(tokens.iter().map(read).collect::<anyhow::Result<_>>()?))
    }

    /// Who calls, if they may do this.
    ///
    /// # Errors
    /// 401 without a known token, 403 without the role.
    pub fn check(&self, headers: &HeaderMap, role: Role) -> Result<&Grant, Refusal> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let unknown = || Refusal::new(401, "unauthorized", "send a known token: Authorization: Bearer TOKEN");
        let digest = Digest::of_bytes(token.ok_or_else(unknown)?.as_bytes());
        // Comparing hashes tells nothing about the token by the time it takes.
        let (_, grant) = self.0.iter().find(|(known, _)| *known == digest).ok_or_else(unknown)?;
        if grant.roles.contains(&role) {
            return Ok(grant);
        }
        let role = format!("{role:?}").to_lowercase();
        Err(Refusal::new(403, "forbidden", format!("token {} lacks the role {role}", grant.name)))
    }
}
