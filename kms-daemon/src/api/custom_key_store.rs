//! The operations of custom key stores. There are none, so none is found.

use serde::Deserialize;
use serde_json::json;

use super::checks::{Checks, invalid};
use super::{Answer, Call, Operation};
use crate::error::{Exception, KmsError};
use crate::policy::AccountAction;

/// Lengths of the name of a store, in characters.
const STORE_NAME: std::ops::RangeInclusive<usize> = 1..=256;
/// Values of `CustomKeyStoreType`; the first is the default.
const STORE_TYPES: [&str; 2] = ["AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    custom_key_store_id: Option<String>,
    custom_key_store_name: Option<String>,
    new_custom_key_store_name: Option<String>,
    custom_key_store_type: Option<String>,
    cloud_hsm_cluster_id: Option<String>,
    limit: Option<i64>,
    marker: Option<String>,
}

pub(super) async fn run(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let action = match call.operation() {
        Operation::ConnectCustomKeyStore => AccountAction::ConnectCustomKeyStore,
        Operation::CreateCustomKeyStore => return create(call, input),
        Operation::DeleteCustomKeyStore => AccountAction::DeleteCustomKeyStore,
        Operation::DescribeCustomKeyStores => return describe(call, input),
        Operation::DisconnectCustomKeyStore => AccountAction::DisconnectCustomKeyStore,
        _ => AccountAction::UpdateCustomKeyStore,
    };
    let mut checks = Checks::new();
    let id = checks.store_id(input.custom_key_store_id.as_deref());
    checks.required("customKeyStoreId", id);
    if let Some(name) = &input.new_custom_key_store_name {
        checks.length("newCustomKeyStoreName", name, STORE_NAME);
    }
    checks.finish()?;
    call.optional_parameter("customKeyStoreId", input.custom_key_store_id);
    call.authorize_account(action)?;
    Err(not_found())
}

fn create(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    if let Some(name) = &input.custom_key_store_name {
        checks.length("customKeyStoreName", name, STORE_NAME);
    }
    let name = checks.required("customKeyStoreName", input.custom_key_store_name);
    let kind = input.custom_key_store_type.as_deref().unwrap_or(STORE_TYPES[0]);
    checks.one_of("customKeyStoreType", kind, &STORE_TYPES);
    checks.finish()?;
    call.parameter("customKeyStoreName", name);
    call.parameter("customKeyStoreType", kind);
    call.authorize_account(AccountAction::CreateCustomKeyStore)?;
    if kind != STORE_TYPES[0] {
        let text = "External key stores are not supported by this service.";
        return Err(KmsError::new(Exception::UnsupportedOperation, text));
    }
    if input.cloud_hsm_cluster_id.is_none() {
        return Err(invalid(format!("CloudHsmClusterId is required for type {kind}.")));
    }
    let text = "There is no AWS CloudHSM cluster with this ID.";
    Err(KmsError::new(Exception::CloudHsmClusterNotFound, text))
}

fn describe(call: &mut Call<'_>, input: Input) -> Result<Answer, KmsError> {
    let mut checks = Checks::new();
    checks.store_id(input.custom_key_store_id.as_deref());
    if let Some(name) = &input.custom_key_store_name {
        checks.length("customKeyStoreName", name, STORE_NAME);
    }
    checks.limit(input.limit, 1000, 1000);
    checks.marker(input.marker.as_deref());
    checks.finish()?;
    let (id, name) = (input.custom_key_store_id, input.custom_key_store_name);
    let named = id.is_some() || name.is_some();
    let both = id.is_some() && name.is_some();
    call.optional_parameter("customKeyStoreId", id);
    call.optional_parameter("customKeyStoreName", name);
    call.authorize_account(AccountAction::DescribeCustomKeyStores)?;
    if both {
        return Err(invalid("CustomKeyStoreId and CustomKeyStoreName cannot be given together."));
    }
    if named {
        return Err(not_found());
    }
    call.read_marker("", input.marker.as_deref())?;
    Answer::json(&json!({ "CustomKeyStores": [], "Truncated": false }))
}

/// The answer when a store is named.
pub(super) fn not_found() -> KmsError {
    let text = "There is no custom key store with this ID or name in this account and Region.";
    KmsError::new(Exception::CustomKeyStoreNotFound, text)
}
