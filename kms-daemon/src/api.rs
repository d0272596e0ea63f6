//! The API: one row per operation in [`Operation`]'s table, one file per operation.
//!
//! Every operation works in the same order: shape of the parameters, naming of the key,
//! authorization (policy, usage, state), dry run, quotas, cryptography.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::audit::AuditFacts;
use crate::clock::{Clock, Timestamp};
use crate::context::RequestContext;
use crate::error::{Exception, KmsError};
use crate::iam::Iam;
use crate::key::last_usage::UsageTracker;
use crate::key::{Catalog, CatalogError};
use crate::link::Errands;
use crate::quota::{Pool, Quotas};
use crate::regions::Regions;
use crate::store::Store;

mod answer;
mod call;
mod callers;
mod checks;
mod development;
mod explanation;
mod grant_listing;
mod grant_token;
mod input;
mod managed_key;
mod marker;
mod metadata;
mod model;
mod recipient;
mod replicate_key;
pub(crate) mod seal;
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
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use self::tests::testing;

pub use self::answer::Answer;
pub use self::development::{CUSTOM_ID, CUSTOM_MATERIAL};
pub(crate) use self::put_key_policy::accept as accept_policy;

#[cfg(test)]
pub(crate) use self::model::values;

use self::call::Call;
use self::checks::Checks;
use self::model::Request;
use self::seal::Seal;

macro_rules! operations {
    ($($name:ident, $effect:ident => $run:path;)+) => {
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
        }

        async fn dispatch(
            operation: Operation,
            call: &mut Call<'_>,
            body: &[u8],
        ) -> Result<Answer, KmsError> {
            match operation {
                $(Operation::$name => {
                    let input = read(body)?;
                    Box::pin($run(call, input)).await
                })+
            }
        }
    };
}

enum Effect {
    Reads,
    Writes,
}

// operation, CloudTrail's readOnly => handler
operations! {
    CancelKeyDeletion, Writes => cancel_key_deletion::run;
    ConnectCustomKeyStore, Writes => custom_key_store::connect;
    CreateAlias, Writes => create_alias::run;
    CreateCustomKeyStore, Writes => custom_key_store::create;
    CreateGrant, Writes => create_grant::run;
    CreateKey, Writes => create_key::run;
    Decapsulate, Reads => decapsulate::run;
    Decrypt, Reads => decrypt::run;
    DeleteAlias, Writes => delete_alias::run;
    DeleteCustomKeyStore, Writes => custom_key_store::delete;
    DeleteImportedKeyMaterial, Writes => delete_imported_key_material::run;
    DeriveSharedSecret, Reads => derive_shared_secret::run;
    DescribeCustomKeyStores, Reads => custom_key_store::describe;
    DescribeKey, Reads => describe_key::run;
    DisableKey, Writes => disable_key::run;
    DisableKeyRotation, Writes => disable_key_rotation::run;
    DisconnectCustomKeyStore, Writes => custom_key_store::disconnect;
    EnableKey, Writes => enable_key::run;
    EnableKeyRotation, Writes => enable_key_rotation::run;
    Encapsulate, Reads => encapsulate::run;
    Encrypt, Reads => encrypt::run;
    GenerateDataKey, Reads => generate_data_key::run;
    GenerateDataKeyPair, Reads => generate_data_key_pair::run;
    GenerateDataKeyPairWithoutPlaintext, Reads => generate_data_key_pair_without_plaintext::run;
    GenerateDataKeyWithoutPlaintext, Reads => generate_data_key_without_plaintext::run;
    GenerateMac, Reads => generate_mac::run;
    GenerateRandom, Reads => generate_random::run;
    GetKeyLastUsage, Reads => get_key_last_usage::run;
    GetKeyPolicy, Reads => get_key_policy::run;
    GetKeyRotationStatus, Reads => get_key_rotation_status::run;
    GetParametersForImport, Reads => get_parameters_for_import::run;
    GetPublicKey, Reads => get_public_key::run;
    ImportKeyMaterial, Writes => import_key_material::run;
    ListAliases, Reads => list_aliases::run;
    ListGrants, Reads => list_grants::run;
    ListKeyPolicies, Reads => list_key_policies::run;
    ListKeyRotations, Reads => list_key_rotations::run;
    ListKeys, Reads => list_keys::run;
    ListResourceTags, Reads => list_resource_tags::run;
    ListRetirableGrants, Reads => list_retirable_grants::run;
    PutKeyPolicy, Writes => put_key_policy::run;
    ReEncrypt, Reads => re_encrypt::run;
    ReplicateKey, Writes => replicate_key::run;
    RetireGrant, Writes => retire_grant::run;
    RevokeGrant, Writes => revoke_grant::run;
    RotateKeyOnDemand, Writes => rotate_key_on_demand::run;
    ScheduleKeyDeletion, Writes => schedule_key_deletion::run;
    Sign, Reads => sign::run;
    TagResource, Writes => tag_resource::run;
    UntagResource, Writes => untag_resource::run;
    UpdateAlias, Writes => update_alias::run;
    UpdateCustomKeyStore, Writes => custom_key_store::update;
    UpdateKeyDescription, Writes => update_key_description::run;
    UpdatePrimaryRegion, Writes => update_primary_region::run;
    Verify, Reads => verify::run;
    VerifyMac, Reads => verify_mac::run;
}

impl Operation {
    /// Whether the service model lists an exception for it.
    pub(crate) fn models(self, exception: Exception) -> bool {
        model::errors::modelled(self).contains(&exception.code())
    }

    /// What it answers to a malformed ARN: not every one models `InvalidArnException`.
    fn malformed_arn(self) -> Exception {
        match self.models(Exception::InvalidArn) {
            true => Exception::InvalidArn,
            false => Exception::NotFound,
        }
    }

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
    errands: Errands,
    identities: Option<Arc<Iam>>,
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
            errands: Errands::default(),
            identities: None,
        })
    }

    /// The same service with what only developers want: chosen ids and material of keys.
    #[must_use]
    pub fn in_development(mut self) -> Self {
        self.development = true;
        self
    }

    /// The same service for users and roles as well. Without it there is the account root only.
    #[must_use]
    pub fn with_identities(mut self, identities: Arc<Iam>) -> Self {
        self.identities = Some(identities);
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

    /// What Regions of other daemons are to be told.
    #[must_use]
    pub fn errands(&self) -> &Errands {
        &self.errands
    }

    /// The quotas.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
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
        let policies = self.policies(&request.principal).await?;
        let mut call = Call::new(self, operation, (request, &policies), facts)?;
        if let Some(pool) = Pool::of_operation(operation) {
            call.count(pool)?;
        }
        let answer = dispatch(operation, &mut call, body).await?;
        call.note_usage();
        Ok(answer)
    }
}

/// Reads a request and checks it against the service model.
fn read<T: Request>(body: &[u8]) -> Result<T, KmsError> {
    let wire = parse(body)?;
    let mut checks = Checks::new();
    let input = T::check(wire, &mut checks);
    checks.finish(input)
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
