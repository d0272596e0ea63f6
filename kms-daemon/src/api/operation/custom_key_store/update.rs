//! `UpdateCustomKeyStore`: another name, another proxy, or another credential or password for the other side.

use kms_base::error::KmsError;
use kms_keys::custom_store::{
    Backend, ConnectionState, CustomKeyStore, VpcEndpointService, XksProxy,
};
use kms_model::action;
use kms_model::enums::XksProxyConnectivityType;

use super::proxy::{Place, check_name, check_place, not_public};
use super::{cluster, find, replace, wrong_state};
use crate::api::call::contended;
use crate::api::checks::{invalid, required};
use crate::api::model::update_custom_key_store::Input;
use crate::api::{Answer, Call};
use kms_base::identifier::Scope;

pub(in crate::api::operation) async fn update(
    call: &mut Call<'_>,
    input: Input,
) -> Result<Answer, KmsError> {
    let id = input.custom_key_store_id.as_str();
    call.facts.parameter("customKeyStoreId", id);
    let new_name = input.new_custom_key_store_name.as_deref();
    call.facts.optional_parameter("newCustomKeyStoreName", new_name);
    let (endpoint, path) = (&input.xks_proxy_uri_endpoint, &input.xks_proxy_uri_path);
    call.facts.optional_parameter("xksProxyUriEndpoint", endpoint.as_deref());
    call.facts.optional_parameter("xksProxyUriPath", path.as_deref());
    let connectivity = input.xks_proxy_connectivity.map(|it| it.name());
    call.facts.optional_parameter("xksProxyConnectivity", connectivity);
    let service = input.xks_proxy_vpc_endpoint_service_name.as_deref();
    call.facts.optional_parameter("xksProxyVpcEndpointServiceName", service);
    let owner = input.xks_proxy_vpc_endpoint_service_owner.as_deref();
    call.facts.optional_parameter("xksProxyVpcEndpointServiceOwner", owner);
    let home = call.authorize_account(action::UpdateCustomKeyStore)?;
    let (stores, first) = find(call, &home, id).await?;
    let Backend::Xks(former) = &first.backend else {
        return cluster::update(call, &home, input).await;
    };
    check(&input)?;
    let service = service_of(&input, former)?;
    check_state(&input, &first)?;
    if let Some(name) = new_name {
        check_name(&stores, Some(id), name)?;
    }
    let proxied = changes_proxy(&input);
    let name = new_name.unwrap_or(&first.name);
    let proxy = proposed(call, &input, former, service).await?;
    if proxied {
        let (proxies, iam) = call.proxies()?;
        check_place(proxies, &stores, Some(id), Place::of(&proxy))?;
        // A proxy behind a VPC endpoint service is called when the store is connected, or if it is.
        let is_connected = first.connection.state == ConnectionState::Connected;
        if proxy.vpc_endpoint_service.is_none() || is_connected {
            let asked = ask(call, &home, (id, &proxy)).await;
            if asked.is_err() && proxy.secret != former.secret {
                iam.forget_proxy_secret(id, &proxy);
            }
            asked?;
        }
    }
    for _ in Call::tries() {
        let (stores, store) = find(call, &home, id).await?;
        check_state(&input, &store)?;
        check_name(&stores, Some(id), name)?;
        // What was proposed is of the store as it was: if somebody else has changed its proxy meanwhile, that
        // is not undone unseen.
        if store.backend != first.backend {
            return Err(wrong_state(id, "has been changed meanwhile; try again"));
        }
        let name = new_name.map_or_else(|| store.name.clone(), str::to_owned);
        let changed =
            CustomKeyStore { name, backend: Backend::Xks(proxy.clone()), ..store.clone() };
        if proxied {
            let (proxies, _) = call.proxies()?;
            check_place(proxies, &stores, Some(id), Place::of(&proxy))?;
        }
        if replace(call, &stores, &stores.with(changed)).await? {
            if let Ok((proxies, iam)) = call.proxies()
                && proxied
            {
                proxies.forget(id);
                if former.secret != proxy.secret {
                    iam.forget_proxy_secret(id, former);
                }
            }
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}

/// Checks how the parameters go together.
fn check(input: &Input) -> Result<(), KmsError> {
    if input.cloud_hsm_cluster_id.is_some() || input.key_store_password.is_some() {
        return Err(invalid(
            "CloudHsmClusterId and KeyStorePassword are not valid for an external key store.",
        ));
    }
    let changes = input.new_custom_key_store_name.is_some()
        || input.xks_proxy_connectivity.is_some()
        || changes_proxy(input);
    match changes {
        true => Ok(()),
        false => Err(invalid("At least one property of the custom key store must be given.")),
    }
}

/// The VPC endpoint service that the proxy is to be reached by, if any.
fn service_of(input: &Input, former: &XksProxy) -> Result<Option<VpcEndpointService>, KmsError> {
    let former = former.vpc_endpoint_service.as_ref();
    let (was, connectivity) = (former.is_some(), input.xks_proxy_connectivity);
    let is = connectivity.map_or(was, |it| it == XksProxyConnectivityType::VPC_ENDPOINT_SERVICE);
    if was != is {
        required("xksProxyUriEndpoint", input.xks_proxy_uri_endpoint.as_ref())?;
    }
    let name = input.xks_proxy_vpc_endpoint_service_name.clone();
    let owner = input.xks_proxy_vpc_endpoint_service_owner.clone();
    if !is {
        return match name.is_some() || owner.is_some() {
            true => Err(not_public()),
            false => Ok(None),
        };
    }
    let name = name.or_else(|| former.map(|former| former.name.clone()));
    let owner = owner.or_else(|| former.and_then(|former| former.owner.clone()));
    let name = required("xksProxyVpcEndpointServiceName", name)?;
    Ok(Some(VpcEndpointService { name, owner }))
}

/// Whether a VPC endpoint service is given.
const fn names_service(input: &Input) -> bool {
    input.xks_proxy_vpc_endpoint_service_name.is_some()
        || input.xks_proxy_vpc_endpoint_service_owner.is_some()
}

fn changes_proxy(input: &Input) -> bool {
    names_service(input)
        || input.xks_proxy_uri_endpoint.is_some()
        || input.xks_proxy_uri_path.is_some()
        || input.xks_proxy_authentication_credential.is_some()
}

/// Checks that the state of the store allows the change: a connected store stays where its proxy is, and its
/// credential, path and name may be others.
fn check_state(input: &Input, store: &CustomKeyStore) -> Result<(), KmsError> {
    let stays = input.xks_proxy_uri_endpoint.is_none()
        && input.xks_proxy_connectivity.is_none()
        && !names_service(input);
    match store.connection.state {
        ConnectionState::Disconnected => Ok(()),
        ConnectionState::Connected if stays => Ok(()),
        _ => Err(wrong_state(&store.id, "must be disconnected for this change")),
    }
}

/// The proxy as it is to be, with a new credential sealed.
async fn proposed(
    call: &mut Call<'_>,
    input: &Input,
    former: &XksProxy,
    service: Option<VpcEndpointService>,
) -> Result<XksProxy, KmsError> {
    let mut proxy = XksProxy { vpc_endpoint_service: service, ..former.clone() };
    if let Some(endpoint) = &input.xks_proxy_uri_endpoint {
        proxy.endpoint = endpoint.to_ascii_lowercase();
    }
    if let Some(path) = &input.xks_proxy_uri_path {
        proxy.path.clone_from(path);
    }
    if let Some(credential) = &input.xks_proxy_authentication_credential {
        proxy.access_key_id = (*credential.access_key_id).to_owned();
        let (store, secret) = (&input.custom_key_store_id, &credential.raw_secret_access_key);
        proxy.secret = call.seal_secret((store, &proxy.access_key_id), secret).await?;
        proxy.credential_since = call.service.now();
    }
    Ok(proxy)
}

/// Asks the proxy as it is to be how it is.
async fn ask(call: &mut Call<'_>, home: &Scope, store: (&str, &XksProxy)) -> Result<(), KmsError> {
    let (proxies, _) = call.proxies()?;
    let target = call.target(store, home).await?;
    let health = proxies.health(&target, &call.told(None)).await;
    health.map(drop).map_err(|failure| failure.of_store())
}
