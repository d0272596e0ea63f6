//! `CreateKey` in a custom key store: a proxy has to have the external key, of the right kind; tokens make it.

use crate::api::Call;
use crate::api::call::contended;
use crate::api::checks::invalid;
use crate::api::operation::custom_key_store;
use crate::cluster::{Clusters, Target};
use hsm_protocol::key_spec::KeySpec;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::{KeyId, Scope};
use kms_keys::catalog::Update;
use kms_keys::custom_store::{Backend, CustomKeyStore, CustomKeyStores, XksProxy};
use kms_keys::{ExternalKey, KeyRecord};

/// A key that is to be made in a custom key store.
pub(super) struct Wanted<'w> {
    /// The store.
    pub(super) store: &'w str,
    /// The external key of a proxy; `None` for keys that tokens make.
    pub(super) xks_key_id: Option<&'w str>,
    /// What is to be made.
    pub(super) spec: KeySpec,
    /// Whether for several Regions.
    pub(super) multi_region: bool,
}

/// Where the other key of a key is, or will be.
pub(super) enum Found<'c> {
    /// At a proxy, which has it.
    Proxy(ExternalKey),
    /// In tokens, which are yet to make it.
    Cluster(&'c Clusters, Box<Target>),
}

impl Found<'_> {
    /// The other key of the key `id`. Tokens make it here, as the last thing that may fail before the key is stored.
    pub(super) async fn key(self, id: KeyId) -> Result<ExternalKey, KmsError> {
        match self {
            Self::Proxy(external) => Ok(external),
            Self::Cluster(clusters, target) => {
                let made = clusters.make(&target, &id.to_string()).await;
                let id = made.map_err(|failure| failure.of_new_key())?;
                let cluster = Some(target.cluster.id.clone());
                Ok(ExternalKey { store: target.store.clone(), id, cluster })
            }
        }
    }
}

/// Finds the other key of a key that is to be made: the store has to be connected. A proxy has to have an enabled
/// AES key of 256 bits that no other KMS key of the store has.
pub(super) async fn find<'c>(
    call: &mut Call<'c>,
    home: &Scope,
    wanted: Wanted<'_>,
) -> Result<Found<'c>, KmsError> {
    let stores = call.stores_of(home).await?;
    let store = stores.by_id(wanted.store).ok_or_else(custom_key_store::not_found)?;
    let (of_proxy, kind) = match store.backend {
        Backend::Xks(_) => (true, "an external key store"),
        Backend::CloudHsm(_) => (false, "a custom key store on a cluster"),
    };
    if of_proxy != wanted.xks_key_id.is_some() {
        let origin = if of_proxy { "AWS_CLOUDHSM" } else { "EXTERNAL_KEY_STORE" };
        let text = format!("Origin {origin} is not valid for {kind}.");
        return Err(KmsError::new(Exception::UnsupportedOperation, text));
    }
    if wanted.spec != KeySpec::SYMMETRIC_DEFAULT || wanted.multi_region {
        let text =
            format!("Only single-Region keys of KeySpec SYMMETRIC_DEFAULT can be in {kind}.");
        return Err(KmsError::new(Exception::UnsupportedOperation, text));
    }
    let store = connected(call, &stores, &store.id)?;
    match &store.backend {
        Backend::Xks(proxy) => {
            let id = wanted.xks_key_id.unwrap_or_default();
            at_proxy(call, home, (&store.id, proxy), id).await.map(Found::Proxy)
        }
        Backend::CloudHsm(login) => {
            let (clusters, _) = call.clusters()?;
            let target = call.cluster_target(&stores, (&store.id, login)).await?;
            Ok(Found::Cluster(clusters, Box::new(target)))
        }
    }
}

async fn at_proxy(
    call: &mut Call<'_>,
    home: &Scope,
    (store, proxy): (&str, &XksProxy),
    id: &str,
) -> Result<ExternalKey, KmsError> {
    // These would be other paths of the proxy.
    if matches!(id, "." | "..") {
        return Err(invalid(format!("XksKeyId {id} is not valid.")));
    }
    let external = ExternalKey { store: store.to_owned(), id: id.to_owned(), cluster: None };
    if call.service.catalog().has_external_key(home, &external).await? {
        return Err(in_use());
    }
    let (proxies, _) = call.proxies()?;
    let target = call.target((store, proxy), home).await?;
    let found = proxies.key(&target, id, &call.told(None)).await;
    let found = found.map_err(|failure| failure.of_new_key())?;
    if found.is_aes_256 && found.is_for_both && found.is_enabled {
        return Ok(external);
    }
    let text = "The external key is not an enabled 256-bit AES key for encryption and decryption. Verify \
                its configuration in your external key manager.";
    Err(KmsError::new(Exception::XksKeyInvalidConfiguration, text))
}

/// Adds a new key as [`add`] does. A key that tokens have made for it in vain is destroyed again.
pub(super) async fn insert(call: &mut Call<'_>, key: &KeyRecord) -> Result<(), KmsError> {
    let added = add(call, key).await;
    if let (Err(_), Some(external)) = (&added, &key.external)
        && external.cluster.is_some()
    {
        let left = discard(call, key, external).await;
        if !matches!(&left, Ok(left) if left.is_empty()) {
            let (store, id) = (&external.store, &external.id);
            tracing::warn!(store, id, "tokens keep a key that no KMS key has");
        }
    }
    added
}

async fn discard(
    call: &mut Call<'_>,
    key: &KeyRecord,
    external: &ExternalKey,
) -> Result<Vec<String>, KmsError> {
    let stores = call.stores_of(&key.scope).await?;
    let store = stores.by_id(&external.store).ok_or_else(custom_key_store::not_found)?;
    let login = store.cloud_hsm().ok_or_else(custom_key_store::not_found)?;
    let (clusters, _) = call.clusters()?;
    let target = call.cluster_target(&stores, (&store.id, login)).await?;
    Ok(clusters.destroy(&target, &external.id).await?)
}

/// Adds a new key, if its store is still there and connected, and no other key has its external key.
async fn add(call: &Call<'_>, key: &KeyRecord) -> Result<(), KmsError> {
    let Some(external) = &key.external else {
        return Err(KmsError::internal("not a key of an external key store"));
    };
    let catalog = call.service.catalog();
    for _ in Call::tries() {
        let stores = call.stores_of(&key.scope).await?;
        connected(call, &stores, &external.store)?;
        if catalog.has_external_key(&key.scope, external).await? {
            return Err(in_use());
        }
        if catalog.insert_external_key(&stores, key, external).await? == Update::Applied {
            return Ok(());
        }
    }
    Err(contended())
}

fn connected<'s>(
    call: &Call<'_>,
    stores: &'s CustomKeyStores,
    id: &str,
) -> Result<&'s CustomKeyStore, KmsError> {
    let store = stores.by_id(id).ok_or_else(custom_key_store::not_found)?;
    if call.is_connected(store) {
        return Ok(store);
    }
    let text = format!("The custom key store {id} is not connected.");
    Err(KmsError::new(Exception::CustomKeyStoreInvalidState, text))
}

fn in_use() -> KmsError {
    let text = "The external key is in use by another KMS key of this custom key store.";
    KmsError::new(Exception::XksKeyAlreadyInUse, text)
}
