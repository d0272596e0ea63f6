//! What `kmsd --dev` adds: keys from a seed file, and a call that starts over.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::{CUSTOM_ID, CUSTOM_MATERIAL};
use crate::app::App;
use kms_base::error::{Exception, KmsError};
use kms_model::Operation;

/// Why keys of the seed are not there.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The file cannot be read.
    #[error("cannot read the seed file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The file does not parse. The text quotes nothing of it: it has key material.
    #[error("{path}, line {line}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1; 0 if that is not known.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A key is refused.
    #[error("the seed's key {id}: {operation}: {error}")]
    Refused {
        /// The key.
        id: String,
        /// The call that was refused.
        operation: &'static str,
        /// The refusal.
        error: KmsError,
    },
}

/// What a daemon for development has.
#[derive(Debug, Default)]
pub struct Development {
    /// The keys it starts with.
    pub seed: Seed,
    /// Held while the daemon is reset.
    pub resetting: tokio::sync::Mutex<()>,
}

/// The keys that a development daemon starts with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    #[serde(default)]
    key: Vec<SeedKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedKey {
    /// A lower-case UUID, or `mrk-` and 32 hexadecimal digits for a multi-Region key.
    id: String,
    /// `alias/…`.
    #[serde(default)]
    aliases: Vec<String>,
    spec: Option<String>,
    usage: Option<String>,
    description: Option<String>,
    policy: Option<String>,
    /// Base64. It lies in a file in the clear: no key that matters.
    material: Option<String>,
    #[serde(default)]
    tags: Map<String, Value>,
}

impl std::fmt::Debug for SeedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Seed {
    /// Reads a seed file in TOML.
    ///
    /// # Errors
    /// [`SeedError`], whose text says what to change.
    pub fn load(path: &Path) -> Result<Self, SeedError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SeedError::File { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(0, |before| before.matches('\n').count() + 1);
            SeedError::Syntax { path: path.to_owned(), line, reason: error.message().to_owned() }
        })
    }

    /// Makes the keys and aliases that are not there yet, and returns how many keys it made.
    ///
    /// # Errors
    /// [`SeedError::Refused`]; what was made before it stays.
    pub async fn apply(&self, app: &App) -> Result<usize, SeedError> {
        let mut made = 0;
        for key in &self.key {
            let call = async |operation: Operation, input: Value| {
                let refused = |error| SeedError::Refused {
                    id: key.id.clone(),
                    operation: operation.name(),
                    error,
                };
                app.call(operation, &input).await.map_err(refused)
            };
            match call(Operation::CreateKey, key.creation()).await {
                Ok(_) => made += 1,
                Err(SeedError::Refused { error, .. })
                    if error.exception() == Exception::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            for alias in &key.aliases {
                let input = json!({ "AliasName": alias, "TargetKeyId": key.id });
                match call(Operation::CreateAlias, input).await {
                    Err(SeedError::Refused { error, .. })
                        if error.exception() == Exception::AlreadyExists => {}
                    other => other.map(drop)?,
                }
            }
        }
        Ok(made)
    }
}

impl SeedKey {
    /// The parameters of `CreateKey`.
    fn creation(&self) -> Value {
        let tag = |key: &str, value: &Value| json!({ "TagKey": key, "TagValue": value });
        let mut tags: Vec<Value> = self.tags.iter().map(|(key, value)| tag(key, value)).collect();
        tags.push(tag(CUSTOM_ID, &json!(self.id)));
        if let Some(material) = &self.material {
            tags.push(tag(CUSTOM_MATERIAL, &json!(material)));
        }
        json!({
            "KeySpec": self.spec,
            "KeyUsage": self.usage,
            "Description": self.description,
            "Policy": self.policy,
            "MultiRegion": self.id.starts_with("mrk-"),
            "Tags": tags,
        })
    }
}
