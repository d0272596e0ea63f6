//! Custom key stores on tokens, outside of requests.

use host_driver::audit::DeviceReceipt;
use uuid::Uuid;

use crate::api::Service;
use crate::cluster::Target;
use crate::iam::Iam;
use kms_base::error::KmsError;
use kms_base::identifier::Scope;
use kms_keys::catalog::Update;
use kms_keys::custom_store::{
    CloudHsm, Connection, ConnectionError, ConnectionState, CustomKeyStore, CustomKeyStores,
};
use kms_keys::{ExternalKey, KeyRecord};

/// Tries of a change that others interfere with.
const TRIES: usize = 16;

/// The cluster of a store, with the password opened; `None` if that cannot be done now, which is logged.
pub(super) async fn target(
    iam: &Iam,
    stores: &CustomKeyStores,
    (id, login): (&str, &CloudHsm),
) -> Option<Target> {
    let Some(cluster) = stores.cluster(&login.cluster).cloned() else {
        tracing::error!(store = id, cluster = login.cluster, "a cluster is not registered");
        return None;
    };
    let mut receipts: Vec<DeviceReceipt> = Vec::new();
    let trace = (Uuid::new_v4().into_bytes(), &mut receipts);
    match iam.open_password(id, login, trace).await {
        Ok(secret) => Some(Target { store: id.to_owned(), cluster, login: login.clone(), secret }),
        Err(error) => {
            tracing::warn!(store = id, %error, "no device opens the password of a key store");
            None
        }
    }
}

/// Stores that a store has failed, if it is still connected with the same password.
pub(super) async fn fail(
    service: &Service,
    scope: &Scope,
    (id, login): (&str, &CloudHsm),
    error: ConnectionError,
) -> Result<(), KmsError> {
    let catalog = service.catalog();
    for _ in 0..TRIES {
        let stores = catalog.custom_key_stores(scope).await?;
        let same = |store: &&CustomKeyStore| {
            store.connection.state == ConnectionState::Connected && store.cloud_hsm() == Some(login)
        };
        let Some(store) = stores.by_id(id).filter(same) else { return Ok(()) };
        let connection = Connection::failed(error, service.now());
        let changed = stores.with(CustomKeyStore { connection, ..store.clone() });
        if catalog.replace_custom_key_stores(&stores, &changed).await? == Update::Applied {
            return Ok(());
        }
    }
    Ok(())
}

/// Destroys the key in the tokens of a KMS key that was destroyed. Tokens that do not answer keep it: it protects
/// nothing any more, and the log says which it is.
pub(crate) async fn destroy(
    (service, iam): (&Service, &Iam),
    key: &KeyRecord,
    external: &ExternalKey,
) {
    let (store, id, label) = (&external.store, &external.id, key.id.to_string());
    let left = match attempt((service, iam), key, external).await {
        Some(left) if left.is_empty() => {
            tracing::info!(store, id, label, "the key is destroyed in all tokens of its cluster");
            return;
        }
        Some(left) => left.join(", "),
        None => "all tokens of the cluster".to_owned(),
    };
    tracing::error!(
        store,
        id,
        label,
        tokens = left,
        "tokens keep the key of a KMS key that is gone; destroy it there by its CKA_ID"
    );
}

async fn attempt(
    (service, iam): (&Service, &Iam),
    key: &KeyRecord,
    external: &ExternalKey,
) -> Option<Vec<String>> {
    let clusters = service.clusters()?;
    let stores = service.catalog().custom_key_stores(&key.scope).await.ok()?;
    let store = stores.by_id(&external.store)?;
    let is_connected = match store.connection.state {
        ConnectionState::Connected => true,
        ConnectionState::Disconnected => false,
        // The password may be a wrong one, and every try counts.
        ConnectionState::Connecting | ConnectionState::Failed => return None,
    };
    let target = target(iam, &stores, (&store.id, store.cloud_hsm()?)).await?;
    let left = clusters.destroy(&target, &external.id).await.ok();
    if !is_connected {
        clusters.forget(&store.id);
    }
    left
}
