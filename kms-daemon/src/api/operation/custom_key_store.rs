//! The operations of custom key stores. There are none, so none is found.

use crate::api::checks::invalid;
use crate::api::model::{
    connect_custom_key_store, create_custom_key_store, delete_custom_key_store,
    describe_custom_key_stores, disconnect_custom_key_store, update_custom_key_store,
};
use crate::api::{Answer, Call};
use kms_base::error::{Exception, KmsError};
use kms_model::action::{self, AccountAction};
use kms_model::enums::CustomKeyStoreType;

pub(super) async fn connect(
    call: &mut Call<'_>,
    input: connect_custom_key_store::Input,
) -> Result<Answer, KmsError> {
    refuse(call, action::ConnectCustomKeyStore, input.custom_key_store_id)
}

pub(super) async fn delete(
    call: &mut Call<'_>,
    input: delete_custom_key_store::Input,
) -> Result<Answer, KmsError> {
    refuse(call, action::DeleteCustomKeyStore, input.custom_key_store_id)
}

pub(super) async fn disconnect(
    call: &mut Call<'_>,
    input: disconnect_custom_key_store::Input,
) -> Result<Answer, KmsError> {
    refuse(call, action::DisconnectCustomKeyStore, input.custom_key_store_id)
}

pub(super) async fn update(
    call: &mut Call<'_>,
    input: update_custom_key_store::Input,
) -> Result<Answer, KmsError> {
    refuse(call, action::UpdateCustomKeyStore, input.custom_key_store_id)
}

fn refuse(call: &mut Call<'_>, action: impl AccountAction, id: String) -> Result<Answer, KmsError> {
    call.facts.parameter("customKeyStoreId", id);
    call.authorize_account(action)?;
    Err(not_found())
}

pub(super) async fn create(
    call: &mut Call<'_>,
    input: create_custom_key_store::Input,
) -> Result<Answer, KmsError> {
    let kind = input.custom_key_store_type.unwrap_or(CustomKeyStoreType::AWS_CLOUDHSM);
    call.facts.parameter("customKeyStoreName", input.custom_key_store_name);
    call.facts.parameter("customKeyStoreType", kind.name());
    call.authorize_account(action::CreateCustomKeyStore)?;
    if kind == CustomKeyStoreType::EXTERNAL_KEY_STORE {
        let text = "External key stores are not supported by this service.";
        return Err(KmsError::new(Exception::UnsupportedOperation, text));
    }
    if input.cloud_hsm_cluster_id.is_none() {
        let kind = kind.name();
        return Err(invalid(format!("CloudHsmClusterId is required for type {kind}.")));
    }
    let text = "There is no AWS CloudHSM cluster with this ID.";
    Err(KmsError::new(Exception::CloudHsmClusterNotFound, text))
}

pub(super) async fn describe(
    call: &mut Call<'_>,
    input: describe_custom_key_stores::Input,
) -> Result<Answer, KmsError> {
    let (id, name) = (input.custom_key_store_id, input.custom_key_store_name);
    let named = id.is_some() || name.is_some();
    let both = id.is_some() && name.is_some();
    call.facts.optional_parameter("customKeyStoreId", id);
    call.facts.optional_parameter("customKeyStoreName", name);
    call.authorize_account(action::DescribeCustomKeyStores)?;
    if both {
        return Err(invalid("CustomKeyStoreId and CustomKeyStoreName cannot be given together."));
    }
    if named {
        return Err(not_found());
    }
    call.read_marker("", input.marker.as_deref())?;
    Answer::of(&describe_custom_key_stores::Output {
        custom_key_stores: Some(Vec::new()),
        truncated: Some(false),
        ..describe_custom_key_stores::Output::default()
    })
}

/// The answer when a store is named.
pub(super) fn not_found() -> KmsError {
    let text = "There is no custom key store with this ID or name in this account and Region.";
    KmsError::new(Exception::CustomKeyStoreNotFound, text)
}
