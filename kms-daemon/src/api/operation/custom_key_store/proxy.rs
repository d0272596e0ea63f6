//! What is checked of a proxy before it is called.

use kms_base::error::{Exception, KmsError};
use kms_keys::custom_store::CustomKeyStores;
use kms_model::enums::XksProxyConnectivityType;

use crate::api::checks::invalid;
use crate::proxy::{Failure, Proxies};

/// The end of the paths of the only version of the API that is spoken here.
const VERSION: &str = "/kms/xks/v1";

/// Checks that proxies are reached over a public endpoint.
pub(super) fn check_connectivity(
    connectivity: Option<XksProxyConnectivityType>,
    has_service: bool,
) -> Result<(), KmsError> {
    if connectivity == Some(XksProxyConnectivityType::VPC_ENDPOINT_SERVICE) {
        let text = "XksProxyConnectivity VPC_ENDPOINT_SERVICE is not supported by this service.";
        return Err(KmsError::new(Exception::UnsupportedOperation, text));
    }
    match has_service {
        true => Err(invalid(
            "XksProxyVpcEndpointServiceName and XksProxyVpcEndpointServiceOwner are not valid with \
             XksProxyConnectivity PUBLIC_ENDPOINT.",
        )),
        false => Ok(()),
    }
}

/// Checks that the daemon may call a proxy, and that no other store than `id` has its URI.
pub(super) fn check_uri(
    proxies: &Proxies,
    stores: &CustomKeyStores,
    id: Option<&str>,
    (endpoint, path): (&str, &str),
) -> Result<(), KmsError> {
    let same = stores.stores.iter().find(|store| {
        store.xks_proxy().is_some_and(|proxy| proxy.endpoint == endpoint && proxy.path == path)
    });
    if same.is_some_and(|store| id != Some(store.id.as_str())) {
        let text = "Another custom key store of this account and Region has this proxy URI endpoint \
                    and path.";
        return Err(KmsError::new(Exception::XksProxyUriInUse, text));
    }
    if !proxies.allows(endpoint) {
        return Err(Failure::NotAllowed.of_store());
    }
    if !path.ends_with(VERSION) {
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
