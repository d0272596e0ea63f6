//! What daemons ask of one another.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsm_protocol::MaterialId;
use hsm_protocol::command::replica::DomainKeyInfo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_base::identifier::{KeyId, Scope, Tags};
use kms_keys::multi_region::SharedState;
use kms_model::state::KeyState;

/// A question with its answer.
pub(crate) trait Message: Serialize + DeserializeOwned {
    /// Its path.
    const PATH: &'static str;
    /// The answer.
    type Answer: Serialize + DeserializeOwned;
}

macro_rules! messages {
    ($($path:literal $message:ident => $answer:ty;)+) => {
        $(impl Message for $message {
            const PATH: &'static str = $path;
            type Answer = $answer;
        })+
    };
}

messages! {
    "/link/1/hello" Hello => DomainKeyInfo;
    "/link/1/describe" Describe => Described;
    "/link/1/replicate" Replicate => Described;
    "/link/1/synchronise" Synchronise => Described;
    "/link/1/promote" Promote => SharedState;
    "/link/1/gone" Gone => ();
}

/// A key in an account and a Region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// Account and Region.
    pub(crate) scope: Scope,
    /// The key.
    pub(crate) key: KeyId,
}

/// Asks what other domains know a Region's domain by.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hello {
    pub(crate) region: String,
}

/// Asks what a Region has of a key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Describe {
    pub(crate) place: Place,
}

/// What a Region has of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Described {
    /// Its state.
    pub(crate) state: KeyState,
    /// Version of what is shared.
    pub(crate) version: u64,
    /// The Region of its primary.
    pub(crate) primary: Option<String>,
    /// Ids of the material that is there, the one that waits for its rotation among them.
    pub(crate) present: Vec<String>,
}

/// Key material on its way, by id: replica tokens in Base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Wrapped(BTreeMap<String, String>);

impl Wrapped {
    /// Adds a token.
    pub(crate) fn insert(&mut self, id: &MaterialId, token: &[u8]) {
        self.0.insert(id.to_string(), STANDARD.encode(token));
    }

    /// The token of some material.
    pub(crate) fn find(&self, id: &MaterialId) -> Option<Result<Vec<u8>, KmsError>> {
        let token = self.0.get(&id.to_string())?;
        Some(STANDARD.decode(token).map_err(KmsError::internal))
    }
}

/// Makes a replica.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Replicate {
    /// What the replica is to be.
    pub(crate) place: Place,
    /// The Region it comes from, whose domain has wrapped the material.
    pub(crate) from: String,
    pub(crate) domain: DomainKeyInfo,
    pub(crate) spec: String,
    pub(crate) usage: String,
    pub(crate) origin: String,
    pub(crate) description: String,
    pub(crate) created: Timestamp,
    pub(crate) policy: String,
    pub(crate) bypass: bool,
    pub(crate) tags: Tags,
    pub(crate) shared: SharedState,
    pub(crate) material: Wrapped,
}

/// Tells a replica what its primary shares with it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Synchronise {
    pub(crate) place: Place,
    pub(crate) from: String,
    pub(crate) domain: DomainKeyInfo,
    pub(crate) shared: SharedState,
    pub(crate) material: Wrapped,
    /// Whether new material is only to be kept ready: the primary does not use it yet.
    pub(crate) ahead: bool,
}

/// Makes a replica the primary.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Promote {
    pub(crate) place: Place,
    pub(crate) from: String,
    pub(crate) shared: SharedState,
}

/// Tells a primary that a replica is destroyed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gone {
    /// The primary.
    pub(crate) place: Place,
    /// The Region of the replica.
    pub(crate) from: String,
}

/// A refusal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: Option<String>,
}
