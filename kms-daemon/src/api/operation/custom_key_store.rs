//! The operations of custom key stores: external key stores, and stores on clusters of PKCS#11 tokens. States and
//! their changes are the same for both; what differs is in `proxy` and `cluster`.
//!
//! A store is changed as part of the record of all stores of its account and Region, guarded by the revision
//! that was read: so names, URIs, clusters and the number of stores hold, whoever else makes one at the same time.

use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_keys::Stored;
use kms_keys::catalog::Update;
use kms_keys::custom_store::{Backend, ConnectionState, CustomKeyStore, CustomKeyStores};
use kms_model::action;

use crate::api::call::contended;
use crate::api::model::{delete_custom_key_store, disconnect_custom_key_store};
use crate::api::{Answer, Call};
use kms_keys::custom_store::Connection;

mod cluster;
mod connect;
mod create;
mod describe;
mod proxy;
mod update;

pub(super) use self::connect::connect;
pub(super) use self::create::create;
pub(super) use self::describe::describe;
pub(super) use self::update::update;

pub(super) async fn disconnect(
    call: &mut Call<'_>,
    input: disconnect_custom_key_store::Input,
) -> Result<Answer, KmsError> {
    let id = input.custom_key_store_id;
    call.facts.parameter("customKeyStoreId", id.as_str());
    let home = call.authorize_account(action::DisconnectCustomKeyStore)?;
    for _ in Call::tries() {
        let (stores, store) = find(call, &home, &id).await?;
        if store.connection.state == ConnectionState::Disconnected {
            return Err(wrong_state(&id, "is disconnected already"));
        }
        let connection = Connection::new(ConnectionState::Disconnected, call.service.now());
        let changed = stores.with(CustomKeyStore { connection, ..store.clone() });
        if replace(call, &stores, &changed).await? {
            forget(call, &stores, &store);
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}

pub(super) async fn delete(
    call: &mut Call<'_>,
    input: delete_custom_key_store::Input,
) -> Result<Answer, KmsError> {
    let id = input.custom_key_store_id;
    call.facts.parameter("customKeyStoreId", id.as_str());
    let home = call.authorize_account(action::DeleteCustomKeyStore)?;
    for _ in Call::tries() {
        let (stores, store) = find(call, &home, &id).await?;
        if store.connection.state != ConnectionState::Disconnected {
            return Err(wrong_state(&id, "is not disconnected"));
        }
        if call.service.catalog().has_keys_in(&home, &id).await? {
            let text = format!("The custom key store {id} has KMS keys; delete them first.");
            return Err(KmsError::new(Exception::CustomKeyStoreHasCmks, text));
        }
        let mut changed = stores.value.clone();
        changed.stores.retain(|other| other.id != id);
        if replace(call, &stores, &changed).await? {
            forget(call, &stores, &store);
            return Ok(Answer::empty());
        }
    }
    Err(contended())
}

/// Finds a store of the caller's account, with all of them, and records its name.
async fn find(
    call: &mut Call<'_>,
    home: &Scope,
    id: &str,
) -> Result<(Stored<CustomKeyStores>, CustomKeyStore), KmsError> {
    let stores = call.stores_of(home).await?;
    let store = stores.by_id(id).cloned().ok_or_else(not_found)?;
    call.facts.additional("customKeyStoreName", store.name.as_str());
    Ok((stores, store))
}

/// Replaces the stores; false if somebody else has changed them since they were read.
async fn replace(
    call: &Call<'_>,
    old: &Stored<CustomKeyStores>,
    new: &CustomKeyStores,
) -> Result<bool, KmsError> {
    let catalog = call.service.catalog();
    Ok(catalog.replace_custom_key_stores(old, new).await? == Update::Applied)
}

/// Closes what is open for a store, and erases its secret from memory.
fn forget(call: &Call<'_>, stores: &CustomKeyStores, store: &CustomKeyStore) {
    match &store.backend {
        Backend::Xks(proxy) => {
            if let Ok((proxies, iam)) = call.proxies() {
                proxies.forget(&store.id);
                iam.forget_proxy_secret(&store.id, proxy);
            }
        }
        Backend::CloudHsm(login) => {
            if let Ok((clusters, iam)) = call.clusters() {
                clusters.disconnected(&store.id, stores.cluster(&login.cluster));
                iam.forget_password(&store.id, login);
            }
        }
    }
}

/// The refusal of what a connection state does not allow.
fn wrong_state(id: &str, complaint: &str) -> KmsError {
    let text = format!("The custom key store {id} {complaint}.");
    KmsError::new(Exception::CustomKeyStoreInvalidState, text)
}

/// The answer when no store is named.
pub(super) fn not_found() -> KmsError {
    let text = "There is no custom key store with this ID or name in this account and Region.";
    KmsError::new(Exception::CustomKeyStoreNotFound, text)
}
