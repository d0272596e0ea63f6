//! `DescribeCustomKeyStores`. Secrets are not described.

use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_keys::custom_store::{Backend, CustomKeyStore, CustomKeyStores, XksProxy};
use kms_model::action;
use kms_model::enums::{CustomKeyStoreType, XksProxyConnectivityType};

use super::not_found;
use crate::api::checks::invalid;
use crate::api::model::describe_custom_key_stores::{Input, Output};
use crate::api::model::outputs::{CustomKeyStoresListEntry, XksProxyConfigurationType};
use crate::api::{Answer, Call};

/// Most stores in an answer if the caller does not say.
const DEFAULT_LIMIT: usize = 100;

pub(in crate::api::operation) async fn describe(
    call: &mut Call<'_>,
    input: Input,
) -> Result<Answer, KmsError> {
    let (id, name) = (input.custom_key_store_id, input.custom_key_store_name);
    call.facts.optional_parameter("customKeyStoreId", id.as_deref());
    call.facts.optional_parameter("customKeyStoreName", name.as_deref());
    let home = call.authorize_account(action::DescribeCustomKeyStores)?;
    if id.is_some() && name.is_some() {
        return Err(invalid("CustomKeyStoreId and CustomKeyStoreName cannot be given together."));
    }
    let stores = call.stores_of(&home).await?;
    let after = call.read_marker("", input.marker.as_deref())?;
    let limit = input.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_LIMIT);
    let mut found: Vec<&CustomKeyStore> = match (&id, &name) {
        (Some(id), _) => vec![stores.by_id(id).ok_or_else(not_found)?],
        (_, Some(name)) => vec![stores.by_name(name).ok_or_else(not_found)?],
        (None, None) => stores.stores.iter().collect(),
    };
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found.retain(|store| after.as_ref().is_none_or(|after| store.id > *after));
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().map(|store| store.id.as_str());
    let now = call.service.now();
    Answer::of(&Output {
        next_marker: call.next_marker("", more, last).map(Into::into),
        custom_key_stores: Some(found.iter().map(|store| entry(&stores, store, now)).collect()),
        truncated: Some(more),
    })
}

fn entry<'s>(
    stores: &'s CustomKeyStores,
    store: &'s CustomKeyStore,
    now: Timestamp,
) -> CustomKeyStoresListEntry<'s> {
    let connection = store.connection_at(now);
    let entry = CustomKeyStoresListEntry {
        custom_key_store_id: Some(store.id.as_str().into()),
        custom_key_store_name: Some(store.name.as_str().into()),
        connection_state: Some(connection.state.name().into()),
        connection_error_code: connection.error.map(|error| error.name().into()),
        creation_date: Some(store.created),
        ..CustomKeyStoresListEntry::default()
    };
    match &store.backend {
        Backend::Xks(proxy) => CustomKeyStoresListEntry {
            custom_key_store_type: Some(CustomKeyStoreType::EXTERNAL_KEY_STORE.name().into()),
            xks_proxy_configuration: Some(configuration(proxy)),
            ..entry
        },
        Backend::CloudHsm(login) => {
            let cluster = stores.cluster(&login.cluster);
            CustomKeyStoresListEntry {
                custom_key_store_type: Some(CustomKeyStoreType::AWS_CLOUDHSM.name().into()),
                cloud_hsm_cluster_id: Some(login.cluster.as_str().into()),
                trust_anchor_certificate: cluster.map(|it| it.trust_anchor.as_str().into()),
                ..entry
            }
        }
    }
}

fn configuration(proxy: &XksProxy) -> XksProxyConfigurationType<'_> {
    let service = proxy.vpc_endpoint_service.as_ref();
    let connectivity = match service {
        Some(_) => XksProxyConnectivityType::VPC_ENDPOINT_SERVICE,
        None => XksProxyConnectivityType::PUBLIC_ENDPOINT,
    };
    let owner = service.and_then(|service| service.owner.as_deref());
    XksProxyConfigurationType {
        access_key_id: Some(proxy.access_key_id.as_str().into()),
        connectivity: Some(connectivity.name().into()),
        uri_endpoint: Some(proxy.endpoint.as_str().into()),
        uri_path: Some(proxy.path.as_str().into()),
        vpc_endpoint_service_name: service.map(|service| service.name.as_str().into()),
        vpc_endpoint_service_owner: owner.map(Into::into),
    }
}
