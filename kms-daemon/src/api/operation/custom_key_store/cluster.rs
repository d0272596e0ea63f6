//! Custom key stores on clusters of PKCS#11 tokens, which the operator of the service has registered.

use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_keys::custom_store::{
    Backend, CloudHsm, Connection, ConnectionState, CustomKeyStore, CustomKeyStores,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::create::{add, check_room, new_id};
use super::proxy::check_name;
use super::{find, replace, wrong_state};
use crate::api::call::contended;
use crate::api::checks::{invalid, required};
use crate::api::model::{create_custom_key_store, update_custom_key_store};
use crate::api::{Answer, Call};
use crate::cluster::Failure;

/// Fewest characters of a password.
const MIN_PASSWORD: usize = 7;
/// Most characters of a password.
const MAX_PASSWORD: usize = 32;

/// Makes a store. Nobody logs in yet: only whether the tokens are there is looked at.
pub(super) async fn create(
    call: &mut Call<'_>,
    home: &Scope,
    input: create_custom_key_store::Input,
) -> Result<Answer, KmsError> {
    if input.xks_proxy_connectivity.is_some()
        || input.xks_proxy_uri_endpoint.is_some()
        || input.xks_proxy_uri_path.is_some()
        || input.xks_proxy_authentication_credential.is_some()
        || input.xks_proxy_vpc_endpoint_service_name.is_some()
        || input.xks_proxy_vpc_endpoint_service_owner.is_some()
    {
        return Err(invalid("Parameters of proxies are not valid for type AWS_CLOUDHSM."));
    }
    let cluster_id = required("cloudHsmClusterId", input.cloud_hsm_cluster_id)?;
    let stores = call.stores_of(home).await?;
    let Some(cluster) = stores.cluster(&cluster_id).cloned() else {
        return Err(not_registered());
    };
    let (clusters, _) = call.clusters()?;
    let password = required("keyStorePassword", input.key_store_password)?;
    let anchor = required("trustAnchorCertificate", input.trust_anchor_certificate)?;
    check_password(&password)?;
    if !is_same_certificate(&anchor, &cluster.trust_anchor) {
        let text = "TrustAnchorCertificate is not that of the cluster. Give the certificate that it was \
                    registered with.";
        return Err(KmsError::new(Exception::IncorrectTrustAnchor, text));
    }
    let name = input.custom_key_store_name;
    let check = |stores: &CustomKeyStores| {
        check_name(stores, None, &name)?;
        if stores.cluster(&cluster_id).is_none() {
            return Err(not_registered());
        }
        if stores.on_cluster(&cluster_id).is_some() {
            let text = "Another custom key store is on this cluster.";
            return Err(KmsError::new(Exception::CloudHsmClusterInUse, text));
        }
        check_room(stores)
    };
    check(&stores.value)?;
    let present = clusters.present(&cluster).await.map_err(|failure| failure.of_store())?;
    let (serving, needed) = (present.len(), cluster.needed());
    if serving < needed {
        return Err(Failure::TooFew { serving, needed }.of_store());
    }
    let id = new_id()?;
    let now = call.service.now();
    let login = CloudHsm {
        cluster: cluster_id.clone(),
        password: call.seal_password(&id, &password).await?,
        password_since: now,
    };
    let connection = Connection::new(ConnectionState::Disconnected, now);
    let (name, backend) = (name.clone(), Backend::CloudHsm(login));
    add(call, home, CustomKeyStore { id, name, created: now, backend, connection }, check).await
}

/// Changes name and password. The password is that of the tokens' user, which its owner has changed there.
pub(super) async fn update(
    call: &mut Call<'_>,
    home: &Scope,
    input: update_custom_key_store::Input,
) -> Result<Answer, KmsError> {
    if input.xks_proxy_connectivity.is_some()
        || input.xks_proxy_uri_endpoint.is_some()
        || input.xks_proxy_uri_path.is_some()
        || input.xks_proxy_authentication_credential.is_some()
        || input.xks_proxy_vpc_endpoint_service_name.is_some()
        || input.xks_proxy_vpc_endpoint_service_owner.is_some()
    {
        return Err(invalid("Parameters of proxies are not valid for a store on a cluster."));
    }
    let id = input.custom_key_store_id.as_str();
    let new_name = input.new_custom_key_store_name.as_deref();
    let (password, cluster) = (input.key_store_password, input.cloud_hsm_cluster_id);
    if new_name.is_none() && password.is_none() && cluster.is_none() {
        return Err(invalid("At least one property of the custom key store must be given."));
    }
    let renames_only = password.is_none() && cluster.is_none();
    let (_, iam) = call.clusters()?;
    if let Some(password) = &password {
        check_password(password)?;
    }
    let mut sealed = None;
    for _ in Call::tries() {
        let (stores, store) = find(call, home, id).await?;
        let Backend::CloudHsm(login) = &store.backend else {
            return Err(KmsError::internal("a custom key store has become one of another kind"));
        };
        match store.connection.state {
            ConnectionState::Disconnected => {}
            ConnectionState::Connected if renames_only => {}
            _ => return Err(wrong_state(id, "must be disconnected for this change")),
        }
        if let Some(other) = cluster.as_deref().filter(|other| *other != login.cluster) {
            return Err(match stores.cluster(other) {
                None => not_registered(),
                Some(_) => {
                    let text = "A custom key store stays on its cluster: another one does not have its keys.";
                    KmsError::new(Exception::CloudHsmClusterNotRelated, text)
                }
            });
        }
        if let Some(name) = new_name {
            check_name(&stores, Some(id), name)?;
        }
        let mut changed = store.clone();
        if let Some(name) = new_name {
            name.clone_into(&mut changed.name);
        }
        if let Some(password) = &password {
            if sealed.is_none() {
                sealed = Some(call.seal_password(id, password).await?);
            }
            if let Some(sealed) = &sealed {
                let (cluster, password) = (login.cluster.clone(), sealed.clone());
                let password_since = call.service.now();
                changed.backend = Backend::CloudHsm(CloudHsm { cluster, password, password_since });
            }
        }
        let changed = stores.with(changed);
        if replace(call, &stores, &changed).await? {
            if password.is_some() {
                iam.forget_password(id, login);
            }
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}

/// Tokens count bytes, and AWS CloudHSM characters: these are the same for what is allowed here.
fn check_password(password: &str) -> Result<(), KmsError> {
    let is_printable = password.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    match (MIN_PASSWORD..=MAX_PASSWORD).contains(&password.len()) && is_printable {
        true => Ok(()),
        false => Err(invalid("KeyStorePassword must have 7 to 32 printable ASCII characters.")),
    }
}

/// Whether two texts have the same certificate first.
fn is_same_certificate(one: &str, other: &str) -> bool {
    let read = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).ok();
    read(one).is_some_and(|one| read(other) == Some(one))
}

fn not_registered() -> KmsError {
    let text = "There is no AWS CloudHSM cluster with this ID.";
    KmsError::new(Exception::CloudHsmClusterNotFound, text)
}
