//! `CreateKey` in an external key store: the proxy has to have the external key, of the right kind.

use crate::api::Call;
use crate::api::call::contended;
use crate::api::checks::invalid;
use crate::api::operation::custom_key_store;
use hsm_protocol::key_spec::KeySpec;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_keys::catalog::Update;
use kms_keys::custom_store::{CustomKeyStore, CustomKeyStores};
use kms_keys::{ExternalKey, KeyRecord};

/// A key that is to be made in a custom key store.
pub(super) struct Wanted<'w> {
    /// The store.
    pub(super) store: &'w str,
    /// The external key; `None` for other kinds of stores.
    pub(super) xks_key_id: Option<&'w str>,
    /// What is to be made.
    pub(super) spec: KeySpec,
    /// Whether for several Regions.
    pub(super) multi_region: bool,
}

/// Finds the external key of a key that is to be made: the store has to be connected, and the proxy has to
/// have an enabled AES key of 256 bits that no other KMS key of the store has.
pub(super) async fn find(
    call: &mut Call<'_>,
    home: &Scope,
    wanted: Wanted<'_>,
) -> Result<ExternalKey, KmsError> {
    let stores = call.stores_of(home).await?;
    let store = stores.by_id(wanted.store).ok_or_else(custom_key_store::not_found)?;
    let Some(id) = wanted.xks_key_id else {
        let text = "Origin AWS_CLOUDHSM is not valid for an external key store.";
        return Err(KmsError::new(Exception::UnsupportedOperation, text));
    };
    if wanted.spec != KeySpec::SYMMETRIC_DEFAULT || wanted.multi_region {
        let text =
            "Only single-Region keys of KeySpec SYMMETRIC_DEFAULT can be in an external key store.";
        return Err(KmsError::new(Exception::UnsupportedOperation, text));
    }
    // These would be other paths of the proxy.
    if matches!(id, "." | "..") {
        return Err(invalid(format!("XksKeyId {id} is not valid.")));
    }
    let store = connected(call, &stores, &store.id)?.clone();
    let external = ExternalKey { store: store.id.clone(), id: id.to_owned() };
    if call.service.catalog().has_external_key(home, &external).await? {
        return Err(in_use());
    }
    let (proxies, _) = call.proxies()?;
    let target = call.target((&store.id, &store.xks_proxy), home).await?;
    let found = proxies.key(&target, id, &call.told(None)).await;
    let found = found.map_err(|failure| failure.of_new_key())?;
    if found.is_aes_256 && found.is_for_both && found.is_enabled {
        return Ok(external);
    }
    let text = "The external key is not an enabled 256-bit AES key for encryption and decryption. Verify \
                its configuration in your external key manager.";
    Err(KmsError::new(Exception::XksKeyInvalidConfiguration, text))
}

/// Adds a new key, if its store is still there and connected, and no other key has its external key.
pub(super) async fn insert(call: &Call<'_>, key: &KeyRecord) -> Result<(), KmsError> {
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
