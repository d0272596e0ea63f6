//! The API: one row per operation in [`Operation`]'s table, one file per operation.
//!
//! Every operation works in the same order: shape of the parameters, naming of the key,
//! authorization (policy, usage, state), dry run, quotas, cryptography.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::audit::AuditFacts;
use crate::clock::Clock;
use crate::context::RequestContext;
use crate::error::{Exception, KmsError};
use crate::key::last_usage::UsageTracker;
use crate::key::{Catalog, CatalogError};
use crate::quota::{Pool, Quotas};
use crate::regions::Regions;
use crate::store::Store;

mod answer;
mod call;
mod checks;
mod development;
mod grant_listing;
mod grant_token;
mod input;
mod marker;
mod metadata;
mod recipient;
mod replicate_key;
mod seal;
mod tagging;

mod cancel_key_deletion;
mod create_alias;
mod create_grant;
mod create_key;
mod custom_key_store;
mod decapsulate;
mod decrypt;
mod delete_alias;
mod delete_imported_key_material;
mod derive_shared_secret;
mod describe_key;
mod disable_key;
mod disable_key_rotation;
mod enable_key;
mod enable_key_rotation;
mod encapsulate;
mod encrypt;
mod generate_data_key;
mod generate_data_key_pair;
mod generate_data_key_pair_without_plaintext;
mod generate_data_key_without_plaintext;
mod generate_mac;
mod generate_random;
mod get_key_last_usage;
mod get_key_policy;
mod get_key_rotation_status;
mod get_parameters_for_import;
mod get_public_key;
mod import_key_material;
mod list_aliases;
mod list_grants;
mod list_key_policies;
mod list_key_rotations;
mod list_keys;
mod list_resource_tags;
mod list_retirable_grants;
mod put_key_policy;
mod re_encrypt;
mod retire_grant;
mod revoke_grant;
mod rotate_key_on_demand;
mod schedule_key_deletion;
mod sign;
mod tag_resource;
mod untag_resource;
mod update_alias;
mod update_key_description;
mod update_primary_region;
mod verify;
mod verify_mac;

#[cfg(test)]
mod tests;

pub use self::answer::Answer;
pub use self::development::{CUSTOM_ID, CUSTOM_MATERIAL};

use self::call::Call;
use self::seal::Seal;

macro_rules! operations {
    ($($name:ident, $effect:ident, $arn:ident => $module:ident;)+) => {
        /// An operation of the API. The variants are the rows of the operation table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are those of the API")]
        pub enum Operation {
            $($name,)+
        }

        impl Operation {
            /// Every operation, in alphabetical order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in `X-Amz-Target` and in audit records.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The operation of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// CloudTrail's `readOnly`.
            #[must_use]
            pub const fn is_read_only(self) -> bool {
                match self { $(Self::$name => matches!(Effect::$effect, Effect::Reads),)+ }
            }

            /// What the operation answers to a malformed ARN: not every one models
            /// `InvalidArnException`.
            const fn malformed_arn(self) -> Exception {
                match self { $(Self::$name => MalformedArn::$arn.exception(),)+ }
            }
        }

        async fn dispatch(
            operation: Operation,
            call: &mut Call<'_>,
            body: &[u8],
        ) -> Result<Answer, KmsError> {
            match operation {
                $(Operation::$name => {
                    let input = parse::<$module::Input>(body)?;
                    Box::pin($module::run(call, input)).await
                })+
            }
        }
    };
}

enum Effect {
    Reads,
    Writes,
}

enum MalformedArn {
    InvalidArn,
    NotFound,
}

impl MalformedArn {
    const fn exception(self) -> Exception {
        match self {
            Self::InvalidArn => Exception::InvalidArn,
            Self::NotFound => Exception::NotFound,
        }
    }
}

// operation, CloudTrail's readOnly, answer to a malformed ARN => file
operations! {
    CancelKeyDeletion, Writes, InvalidArn => cancel_key_deletion;
    ConnectCustomKeyStore, Writes, NotFound => custom_key_store;
    CreateAlias, Writes, NotFound => create_alias;
    CreateCustomKeyStore, Writes, NotFound => custom_key_store;
    CreateGrant, Writes, InvalidArn => create_grant;
    CreateKey, Writes, InvalidArn => create_key;
    Decapsulate, Reads, NotFound => decapsulate;
    Decrypt, Reads, NotFound => decrypt;
    DeleteAlias, Writes, NotFound => delete_alias;
    DeleteCustomKeyStore, Writes, NotFound => custom_key_store;
    DeleteImportedKeyMaterial, Writes, InvalidArn => delete_imported_key_material;
    DeriveSharedSecret, Reads, NotFound => derive_shared_secret;
    DescribeCustomKeyStores, Reads, NotFound => custom_key_store;
    DescribeKey, Reads, InvalidArn => describe_key;
    DisableKey, Writes, InvalidArn => disable_key;
    DisableKeyRotation, Writes, InvalidArn => disable_key_rotation;
    DisconnectCustomKeyStore, Writes, NotFound => custom_key_store;
    EnableKey, Writes, InvalidArn => enable_key;
    EnableKeyRotation, Writes, InvalidArn => enable_key_rotation;
    Encapsulate, Reads, NotFound => encapsulate;
    Encrypt, Reads, NotFound => encrypt;
    GenerateDataKey, Reads, NotFound => generate_data_key;
    GenerateDataKeyPair, Reads, NotFound => generate_data_key_pair;
    GenerateDataKeyPairWithoutPlaintext, Reads, NotFound => generate_data_key_pair_without_plaintext;
    GenerateDataKeyWithoutPlaintext, Reads, NotFound => generate_data_key_without_plaintext;
    GenerateMac, Reads, NotFound => generate_mac;
    GenerateRandom, Reads, NotFound => generate_random;
    GetKeyLastUsage, Reads, InvalidArn => get_key_last_usage;
    GetKeyPolicy, Reads, InvalidArn => get_key_policy;
    GetKeyRotationStatus, Reads, InvalidArn => get_key_rotation_status;
    GetParametersForImport, Reads, InvalidArn => get_parameters_for_import;
    GetPublicKey, Reads, InvalidArn => get_public_key;
    ImportKeyMaterial, Writes, InvalidArn => import_key_material;
    ListAliases, Reads, InvalidArn => list_aliases;
    ListGrants, Reads, InvalidArn => list_grants;
    ListKeyPolicies, Reads, InvalidArn => list_key_policies;
    ListKeyRotations, Reads, InvalidArn => list_key_rotations;
    ListKeys, Reads, NotFound => list_keys;
    ListResourceTags, Reads, InvalidArn => list_resource_tags;
    ListRetirableGrants, Reads, InvalidArn => list_retirable_grants;
    PutKeyPolicy, Writes, InvalidArn => put_key_policy;
    ReEncrypt, Reads, NotFound => re_encrypt;
    ReplicateKey, Writes, InvalidArn => replicate_key;
    RetireGrant, Writes, InvalidArn => retire_grant;
    RevokeGrant, Writes, InvalidArn => revoke_grant;
    RotateKeyOnDemand, Writes, InvalidArn => rotate_key_on_demand;
    ScheduleKeyDeletion, Writes, InvalidArn => schedule_key_deletion;
    Sign, Reads, NotFound => sign;
    TagResource, Writes, InvalidArn => tag_resource;
    UntagResource, Writes, InvalidArn => untag_resource;
    UpdateAlias, Writes, NotFound => update_alias;
    UpdateCustomKeyStore, Writes, NotFound => custom_key_store;
    UpdateKeyDescription, Writes, InvalidArn => update_key_description;
    UpdatePrimaryRegion, Writes, InvalidArn => update_primary_region;
    Verify, Reads, NotFound => verify;
    VerifyMac, Reads, NotFound => verify_mac;
}

impl Operation {
    /// Whether `GetKeyLastUsage` is about it.
    pub(crate) const fn is_tracked(self) -> bool {
        matches!(
            self,
            Self::Decapsulate
                | Self::Decrypt
                | Self::DeriveSharedSecret
                | Self::Encapsulate
                | Self::Encrypt
                | Self::GenerateDataKey
                | Self::GenerateDataKeyPair
                | Self::GenerateDataKeyPairWithoutPlaintext
                | Self::GenerateDataKeyWithoutPlaintext
                | Self::GenerateMac
                | Self::ReEncrypt
                | Self::Sign
                | Self::Verify
                | Self::VerifyMac
        )
    }
}

/// The key management service: what is behind the HTTP front end.
pub struct Service {
    catalog: Arc<Catalog>,
    regions: Arc<Regions>,
    clock: Arc<dyn Clock>,
    seal: Seal,
    usage: Arc<UsageTracker>,
    development: bool,
    quotas: Quotas,
}

impl Service {
    /// A service over a store and the devices of `regions`. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`CatalogError`] if the store does not answer.
    pub async fn open(
        store: Arc<dyn Store>,
        regions: Arc<Regions>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CatalogError> {
        let seal = Seal::open(&*store).await?;
        let catalog = Catalog::open(store).await?;
        let usage = UsageTracker::open(Arc::clone(&catalog), clock.now()).await?;
        Ok(Self {
            catalog,
            regions,
            clock,
            seal,
            usage: Arc::new(usage),
            development: false,
            quotas: Quotas::default(),
        })
    }

    /// The same service with what only developers want: chosen ids and material of keys.
    #[must_use]
    pub fn in_development(mut self) -> Self {
        self.development = true;
        self
    }

    /// The same service with request quotas.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// The last uses of keys, to be written from time to time.
    #[must_use]
    pub fn usage(&self) -> &Arc<UsageTracker> {
        &self.usage
    }

    /// The Regions.
    #[must_use]
    pub fn regions(&self) -> &Arc<Regions> {
        &self.regions
    }

    /// The keys and aliases, for the deletion job.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Runs one operation of an authenticated caller on the JSON `body`.
    ///
    /// `facts` receives what the audit record needs, also when the operation is refused.
    ///
    /// # Errors
    /// The exception the client is to see.
    pub async fn call(
        &self,
        operation: Operation,
        request: &RequestContext,
        body: &[u8],
        facts: &mut AuditFacts,
    ) -> Result<Answer, KmsError> {
        let mut call = Call::new(self, operation, request, facts)?;
        if let Some(pool) = Pool::of_operation(operation) {
            call.count(pool)?;
        }
        let answer = dispatch(operation, &mut call, body).await?;
        call.note_usage();
        Ok(answer)
    }
}

/// Reads the body of a request. Unknown members are ignored, as new clients send them.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, KmsError> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(KmsError::new(Exception::Serialization, "The request is not a JSON object."));
    }
    // The parser's own text may quote a value, which may be a secret.
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = format!("The request cannot be read at line {line}, column {column}.");
        KmsError::new(Exception::Serialization, text)
    })
}
