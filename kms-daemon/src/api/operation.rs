//! The operations of the API: the one table of them, and what each is like.

use super::call::Call;
use super::{Answer, model, read};
use crate::error::{Exception, KmsError};
use crate::principal::Principal;

macro_rules! operations {
    ($($name:ident, $effect:ident => $module:ident::$run:ident;)+) => {
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

        /// Reads the request for an operation and runs it.
        ///
        /// # Errors
        /// The exception the client is to see.
        pub(super) async fn dispatch(
            operation: Operation,
            call: &mut Call<'_>,
            body: &[u8],
        ) -> Result<Answer, KmsError> {
            match operation {
                $(Operation::$name => {
                    let input = read(body)?;
                    Box::pin(super::$module::$run(call, input)).await
                })+
            }
        }
    };
}

impl Operation {
    /// Whether its record names the key that it changed in `responseElements.keyId`, also where the
    /// API does not answer it. AWS records so since December 2022.
    #[must_use]
    pub const fn changes_a_key(self) -> bool {
        matches!(
            self,
            Self::CancelKeyDeletion
                | Self::CreateAlias
                | Self::CreateGrant
                | Self::DeleteAlias
                | Self::DeleteImportedKeyMaterial
                | Self::DisableKey
                | Self::DisableKeyRotation
                | Self::EnableKey
                | Self::EnableKeyRotation
                | Self::ImportKeyMaterial
                | Self::PutKeyPolicy
                | Self::RetireGrant
                | Self::RevokeGrant
                | Self::RotateKeyOnDemand
                | Self::ScheduleKeyDeletion
                | Self::TagResource
                | Self::UntagResource
                | Self::UpdateAlias
                | Self::UpdateKeyDescription
                | Self::UpdatePrimaryRegion
        )
    }
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
    pub(super) fn malformed_arn(self) -> Exception {
        match self.models(Exception::InvalidArn) {
            true => Exception::InvalidArn,
            false => Exception::NotFound,
        }
    }

    /// Whether it is served when only administration is: what takes keys and permissions away, and
    /// what the account root does without making or using keys.
    pub(crate) const fn is_administration(self, principal: &Principal) -> bool {
        match self {
            Self::DeleteImportedKeyMaterial
            | Self::DisableKey
            | Self::RetireGrant
            | Self::RevokeGrant
            | Self::ScheduleKeyDeletion => true,
            Self::CreateAlias
            | Self::CreateGrant
            | Self::CreateKey
            | Self::GenerateRandom
            | Self::GetParametersForImport
            | Self::ImportKeyMaterial
            | Self::ReplicateKey
            | Self::RotateKeyOnDemand => false,
            _ => principal.is_root() && !self.is_tracked(),
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
