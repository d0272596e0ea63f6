//! How far it is, for people and programs.

use std::collections::BTreeMap;

use hsm_protocol::domain::DomainState;
use serde::{Deserialize, Serialize};

use kms_keys::tokens::Tally;

/// How far the key tokens of a Region are under the newest key of its domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RewrapReport {
    /// The Region.
    pub region: String,
    /// Its domain.
    pub domain: String,
    /// The newest key of the domain.
    pub active_key: u32,
    /// Tokens under each key of the domain, as last counted; keys without any are left out.
    pub tokens: BTreeMap<u32, u64>,
    /// Tokens that are under former keys of the domain.
    pub remaining: u64,
    /// Tokens that were rewrapped since the daemon was started.
    pub rewrapped: u64,
    /// Tokens under keys that the domain does not have any more: their keys open nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Most tokens that are rewrapped in a second.
    pub rate: u32,
    /// Why it does not go on, if it does not; it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes it so
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl RewrapReport {
    /// What a count of a Region's tokens says.
    #[must_use]
    pub fn counted(region: &str, state: &DomainState, tally: &Tally) -> Self {
        let (domain, active_key) = (state.domain, state.active_key());
        let tokens = tally.of(domain);
        let is_of_domain = |id: &u32| state.keys.iter().any(|key| key.id == *id);
        let remaining = tokens.iter().filter(|(id, _)| **id != active_key && is_of_domain(id));
        let lost = tokens.iter().filter(|(id, _)| !is_of_domain(id));
        Self {
            region: region.to_owned(),
            domain: domain.to_string(),
            active_key,
            remaining: remaining.map(|(_, count)| count).sum(),
            lost: lost.map(|(_, count)| count).sum(),
            tokens,
            rewrapped: 0,
            rate: 0,
            last_error: None,
        }
    }

    /// In words, a line for each thing.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let Self { active_key, remaining, rewrapped, rate, .. } = self;
        let of_key = |(key, count): (&u32, &u64)| format!("{count} under domain key {key}");
        let counts: Vec<String> = self.tokens.iter().map(of_key).collect();
        let mut lines = Vec::new();
        if !counts.is_empty() {
            lines.push(format!("Key tokens in this store: {}.", counts.join(", ")));
        }
        if *remaining > 0 {
            let pace = match rate {
                0 => "kmsd rewraps them while it runs".to_owned(),
                rate => format!(
                    "they are rewrapped, at most {rate} a second, {rewrapped} since the daemon was \
                     started"
                ),
            };
            lines.push(format!(
                "{remaining} of them are to be under domain key {active_key}: {pace}. Former domain keys can be \
                 removed after that."
            ));
        } else if *active_key > 1 && self.lost == 0 {
            lines.push(format!(
                "No token in this store is under another domain key than {active_key}."
            ));
        }
        lines.extend(self.problem());
        lines
    }

    /// What is wrong and what to do, if something is.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let Self { region, domain, remaining, lost, last_error, .. } = self;
        if *lost > 0 {
            return Some(format!(
                "{lost} key tokens of {region} are under domain keys that the domain {domain} does not have any \
                 more: their keys open nothing. The store is older than the removal of these domain keys; \
                 restore a later backup of it, or the domain from recovery shares that were made before \
                 (kmsctl domain restore)"
            ));
        }
        let error = last_error.as_ref().filter(|_| *remaining > 0)?;
        Some(format!(
            "{remaining} key tokens of {region} are still under former domain keys, and wrapping them anew does \
             not go on: {error}"
        ))
    }
}
