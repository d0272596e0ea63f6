//! `CreateCustomKeyStore`: an external key store, or one on a cluster. The other side is asked before the store is
//! there, except for a proxy behind a VPC endpoint service.

use kms_base::error::{Exception, KmsError};
use kms_base::hex;
use kms_base::identifier::Scope;
use kms_keys::custom_store::{
    Backend, Connection, ConnectionState, CustomKeyStore, CustomKeyStores, MAX_STORES, XksProxy,
};
use kms_model::action;
use kms_model::enums::CustomKeyStoreType;

use super::proxy::{Place, check_name, check_place, service};
use super::{cluster, replace};
use crate::api::call::contended;
use crate::api::checks::{invalid, required};
use crate::api::model::create_custom_key_store::{Input, Output};
use crate::api::{Answer, Call};

/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 17;

pub(in crate::api::operation) async fn create(
    call: &mut Call<'_>,
    input: Input,
) -> Result<Answer, KmsError> {
    let kind = input.custom_key_store_type.unwrap_or(CustomKeyStoreType::AWS_CLOUDHSM);
    call.facts.parameter("customKeyStoreName", input.custom_key_store_name.as_str());
    call.facts.parameter("customKeyStoreType", kind.name());
    let connectivity = input.xks_proxy_connectivity;
    call.facts.optional_parameter("xksProxyConnectivity", connectivity.map(|it| it.name()));
    let (endpoint, path) = (&input.xks_proxy_uri_endpoint, &input.xks_proxy_uri_path);
    call.facts.optional_parameter("xksProxyUriEndpoint", endpoint.as_deref());
    call.facts.optional_parameter("xksProxyUriPath", path.as_deref());
    let service = input.xks_proxy_vpc_endpoint_service_name.as_deref();
    call.facts.optional_parameter("xksProxyVpcEndpointServiceName", service);
    let owner = input.xks_proxy_vpc_endpoint_service_owner.as_deref();
    call.facts.optional_parameter("xksProxyVpcEndpointServiceOwner", owner);
    call.facts.optional_parameter("cloudHsmClusterId", input.cloud_hsm_cluster_id.as_deref());
    let home = call.authorize_account(action::CreateCustomKeyStore)?;
    match kind {
        CustomKeyStoreType::EXTERNAL_KEY_STORE => external(call, &home, input).await,
        CustomKeyStoreType::AWS_CLOUDHSM => cluster::create(call, &home, input).await,
    }
}

async fn external(call: &mut Call<'_>, home: &Scope, input: Input) -> Result<Answer, KmsError> {
    let connectivity = input.xks_proxy_connectivity;
    let (proxies, iam) = call.proxies()?;
    if input.cloud_hsm_cluster_id.is_some()
        || input.key_store_password.is_some()
        || input.trust_anchor_certificate.is_some()
    {
        return Err(invalid(
            "CloudHsmClusterId, KeyStorePassword and TrustAnchorCertificate are not valid for type \
             EXTERNAL_KEY_STORE.",
        ));
    }
    let connectivity = required("xksProxyConnectivity", connectivity)?;
    let (service_name, owner) =
        (input.xks_proxy_vpc_endpoint_service_name, input.xks_proxy_vpc_endpoint_service_owner);
    let service = service(connectivity, service_name, owner)?;
    let endpoint = required("xksProxyUriEndpoint", input.xks_proxy_uri_endpoint)?;
    let endpoint = endpoint.to_ascii_lowercase();
    let path = required("xksProxyUriPath", input.xks_proxy_uri_path)?;
    let credential = input.xks_proxy_authentication_credential;
    let credential = required("xksProxyAuthenticationCredential", credential)?;
    let name = input.custom_key_store_name;

    let check = |stores: &CustomKeyStores| {
        check_name(stores, None, &name)?;
        let place = Place { endpoint: &endpoint, path: &path, service: service.as_ref() };
        check_place(proxies, stores, None, place)?;
        check_room(stores)
    };
    check(&call.stores_of(home).await?.value)?;
    let id = new_id()?;
    let access_key_id = (*credential.access_key_id).to_owned();
    let secret = &credential.raw_secret_access_key;
    let secret = call.seal_secret((&id, &access_key_id), secret).await?;
    let now = call.service.now();
    let proxy = XksProxy {
        endpoint: endpoint.clone(),
        path: path.clone(),
        vpc_endpoint_service: service.clone(),
        access_key_id,
        secret,
        credential_since: now,
    };
    // As AWS KMS, which calls a proxy behind a VPC endpoint service only when the store is connected.
    if service.is_none() {
        let target = call.target((&id, &proxy), home).await?;
        let health = proxies.health(&target, &call.told(None)).await;
        // The store is disconnected.
        proxies.forget(&id);
        iam.forget_proxy_secret(&id, &proxy);
        health.map_err(|failure| failure.of_store())?;
    }
    let connection = Connection::new(ConnectionState::Disconnected, now);
    let (name, backend) = (name.clone(), Backend::Xks(proxy));
    add(call, home, CustomKeyStore { id, name, created: now, backend, connection }, check).await
}

/// Adds a store, if `check` lets it be among those that there are.
pub(super) async fn add(
    call: &mut Call<'_>,
    home: &Scope,
    store: CustomKeyStore,
    check: impl Fn(&CustomKeyStores) -> Result<(), KmsError>,
) -> Result<Answer, KmsError> {
    for _ in Call::tries() {
        let stores = call.stores_of(home).await?;
        check(&stores.value)?;
        let mut changed = stores.value.clone();
        changed.stores.push(store.clone());
        if replace(call, &stores, &changed).await? {
            call.facts.element("customKeyStoreId", store.id.as_str());
            return Answer::of(&Output { custom_key_store_id: Some(store.id.into()) });
        }
    }
    Err(contended())
}

/// Checks that there may be another store.
pub(super) fn check_room(stores: &CustomKeyStores) -> Result<(), KmsError> {
    if stores.stores.len() < MAX_STORES {
        return Ok(());
    }
    let text =
        format!("There are {MAX_STORES} custom key stores in this account and Region already.");
    Err(KmsError::new(Exception::LimitExceeded, text))
}

/// The id of a new store.
pub(super) fn new_id() -> Result<String, KmsError> {
    let mut random = [0; ID_DIGITS.div_ceil(2)];
    getrandom::fill(&mut random).map_err(KmsError::internal)?;
    let mut digits = hex::encode(&random);
    digits.truncate(ID_DIGITS);
    Ok(format!("cks-{digits}"))
}
