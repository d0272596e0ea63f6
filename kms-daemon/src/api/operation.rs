//! What runs each operation, and what the service model says of its exceptions.

use super::call::Call;
use super::{Answer, model, read};
use kms_base::error::{Exception, KmsError};
use kms_model::Operation;

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
mod replicate_key;
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

pub(in crate::api) use self::decrypt::incorrect_key;
pub(crate) use self::put_key_policy::accept as accept_policy;

macro_rules! handlers {
    ($($name:ident => $module:ident::$run:ident;)+) => {
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
                    Box::pin(self::$module::$run(call, input)).await
                })+
            }
        }
    };
}

handlers! {
    CancelKeyDeletion => cancel_key_deletion::run;
    ConnectCustomKeyStore => custom_key_store::connect;
    CreateAlias => create_alias::run;
    CreateCustomKeyStore => custom_key_store::create;
    CreateGrant => create_grant::run;
    CreateKey => create_key::run;
    Decapsulate => decapsulate::run;
    Decrypt => decrypt::run;
    DeleteAlias => delete_alias::run;
    DeleteCustomKeyStore => custom_key_store::delete;
    DeleteImportedKeyMaterial => delete_imported_key_material::run;
    DeriveSharedSecret => derive_shared_secret::run;
    DescribeCustomKeyStores => custom_key_store::describe;
    DescribeKey => describe_key::run;
    DisableKey => disable_key::run;
    DisableKeyRotation => disable_key_rotation::run;
    DisconnectCustomKeyStore => custom_key_store::disconnect;
    EnableKey => enable_key::run;
    EnableKeyRotation => enable_key_rotation::run;
    Encapsulate => encapsulate::run;
    Encrypt => encrypt::run;
    GenerateDataKey => generate_data_key::run;
    GenerateDataKeyPair => generate_data_key_pair::run;
    GenerateDataKeyPairWithoutPlaintext => generate_data_key_pair_without_plaintext::run;
    GenerateDataKeyWithoutPlaintext => generate_data_key_without_plaintext::run;
    GenerateMac => generate_mac::run;
    GenerateRandom => generate_random::run;
    GetKeyLastUsage => get_key_last_usage::run;
    GetKeyPolicy => get_key_policy::run;
    GetKeyRotationStatus => get_key_rotation_status::run;
    GetParametersForImport => get_parameters_for_import::run;
    GetPublicKey => get_public_key::run;
    ImportKeyMaterial => import_key_material::run;
    ListAliases => list_aliases::run;
    ListGrants => list_grants::run;
    ListKeyPolicies => list_key_policies::run;
    ListKeyRotations => list_key_rotations::run;
    ListKeys => list_keys::run;
    ListResourceTags => list_resource_tags::run;
    ListRetirableGrants => list_retirable_grants::run;
    PutKeyPolicy => put_key_policy::run;
    ReEncrypt => re_encrypt::run;
    ReplicateKey => replicate_key::run;
    RetireGrant => retire_grant::run;
    RevokeGrant => revoke_grant::run;
    RotateKeyOnDemand => rotate_key_on_demand::run;
    ScheduleKeyDeletion => schedule_key_deletion::run;
    Sign => sign::run;
    TagResource => tag_resource::run;
    UntagResource => untag_resource::run;
    UpdateAlias => update_alias::run;
    UpdateCustomKeyStore => custom_key_store::update;
    UpdateKeyDescription => update_key_description::run;
    UpdatePrimaryRegion => update_primary_region::run;
    Verify => verify::run;
    VerifyMac => verify_mac::run;
}

/// Whether the service model lists an exception for an operation.
pub(crate) fn models(operation: Operation, exception: Exception) -> bool {
    model::errors::modelled(operation).contains(&exception.code())
}

/// What an operation answers to a malformed ARN: not every one models `InvalidArnException`.
pub(super) fn malformed_arn(operation: Operation) -> Exception {
    match models(operation, Exception::InvalidArn) {
        true => Exception::InvalidArn,
        false => Exception::NotFound,
    }
}
