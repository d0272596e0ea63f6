//! What is checked of a proxy before it is called.

use kms_base::error::{Exception, KmsError};
use kms_keys::custom_store::{CustomKeyStore, CustomKeyStores, VpcEndpointService, XksProxy};
use kms_model::enums::XksProxyConnectivityType;

use crate::api::checks::{invalid, required};
use crate::proxy::Proxies;

/// The end of the paths of the only version of the API that is spoken here.
const VERSION: &str = "/kms/xks/v1";

/// Where a proxy is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// `XksProxyUriEndpoint`, in lower case.
    pub(super) endpoint: &'a str,
    /// `XksProxyUriPath`.
    pub(super) path: &'a str,
    /// The VPC endpoint service, if it is reached by one.
    pub(super) service: Option<&'a VpcEndpointService>,
}

impl<'a> Place<'a> {
    pub(super) fn of(proxy: &'a XksProxy) -> Self {
        let XksProxy { endpoint, path, vpc_endpoint_service, .. } = proxy;
        Self { endpoint, path, service: vpc_endpoint_service.as_ref() }
    }
}

/// The VPC endpoint service of a new store, if it is to be reached by one.
pub(super) fn service(
    connectivity: XksProxyConnectivityType,
    name: Option<String>,
    owner: Option<String>,
) -> Result<Option<VpcEndpointService>, KmsError> {
    match connectivity {
        XksProxyConnectivityType::VPC_ENDPOINT_SERVICE => {
            let name = required("xksProxyVpcEndpointServiceName", name)?;
            Ok(Some(VpcEndpointService { name, owner }))
        }
        XksProxyConnectivityType::PUBLIC_ENDPOINT if name.is_some() || owner.is_some() => {
            Err(not_public())
        }
        XksProxyConnectivityType::PUBLIC_ENDPOINT => Ok(None),
    }
}

/// The refusal of a VPC endpoint service for a public endpoint.
pub(super) fn not_public() -> KmsError {
    invalid(
        "XksProxyVpcEndpointServiceName and XksProxyVpcEndpointServiceOwner are not valid with \
         XksProxyConnectivity PUBLIC_ENDPOINT.",
    )
}

/// Checks that the daemon may call a proxy for a store of a scope, and that its place is not that of another store
/// than `id`: a URI is of one store, and so are a VPC endpoint service and its private DNS name.
pub(super) fn check_place(
    proxies: &Proxies,
    stores: &CustomKeyStores,
    id: Option<&str>,
    place: Place<'_>,
) -> Result<(), KmsError> {
    let others = stores.stores.iter().filter(|store| id != Some(store.id.as_str()));
    let others = || others.clone().filter_map(CustomKeyStore::xks_proxy).map(Place::of);
    let in_use = |exception, what: &str| {
        let text = format!("Another custom key store of this account and Region has this {what}.");
        Err(KmsError::new(exception, text))
    };
    if others().any(|it| (it.endpoint, it.path) == (place.endpoint, place.path)) {
        return in_use(Exception::XksProxyUriInUse, "proxy URI endpoint and path");
    }
    let name = |place: Place<'_>| place.service.map(|service| service.name.clone());
    if place.service.is_some() && others().any(|it| name(it) == name(place)) {
        let what = "VPC endpoint service";
        return in_use(Exception::XksProxyVpcEndpointServiceInUse, what);
    }
    let is_private = |it: Place<'_>| place.service.is_some() || it.service.is_some();
    if others().any(|it| it.endpoint == place.endpoint && is_private(it)) {
        let what = "proxy URI endpoint, by another way than a public endpoint that both share";
        return in_use(Exception::XksProxyUriEndpointInUse, what);
    }
    let allowed = proxies.check(place.endpoint, place.service, &stores.scope);
    allowed.map_err(|failure| failure.of_store())?;
    if !place.path.ends_with(VERSION) {
        let text = "XksProxyUriPath must end with /kms/xks/v1, the version of the proxy API that this \
                    service uses.";
        return Err(KmsError::new(Exception::XksProxyInvalidConfiguration, text));
    }
    Ok(())
}

/// Checks that no other store than `id` has a name.
pub(super) fn check_name(
    stores: &CustomKeyStores,
    id: Option<&str>,
    name: &str,
) -> Result<(), KmsError> {
    match stores.by_name(name) {
        Some(other) if id != Some(other.id.as_str()) => {
            let text = "Another custom key store of this account and Region has this name.";
            Err(KmsError::new(Exception::CustomKeyStoreNameInUse, text))
        }
        _ => Ok(()),
    }
}
