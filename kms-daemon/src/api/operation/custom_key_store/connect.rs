//! `ConnectCustomKeyStore`: answers at once. What comes of it is in the state of the store.

use std::sync::Arc;

use kms_base::error::KmsError;
use kms_keys::Catalog;
use kms_keys::catalog::{CatalogError, Update};
use kms_keys::custom_store::{
    Backend, Connection, ConnectionError, ConnectionState, CustomKeyStore,
};
use kms_model::action;

use super::{find, replace, wrong_state};
use crate::api::call::contended;
use crate::api::model::connect_custom_key_store::Input;
use crate::api::{Answer, Call};
use crate::cluster::{self, Clusters};
use crate::proxy::{Proxies, Target};
use kms_base::clock::Timestamp;
use kms_base::identifier::Scope;
use kms_xks::RequestMetadata;

pub(in crate::api::operation) async fn connect(
    call: &mut Call<'_>,
    input: Input,
) -> Result<Answer, KmsError> {
    let id = input.custom_key_store_id;
    call.facts.parameter("customKeyStoreId", id.as_str());
    let home = call.authorize_account(action::ConnectCustomKeyStore)?;
    for _ in Call::tries() {
        let (stores, store) = find(call, &home, &id).await?;
        let now = call.service.now();
        match store.connection_at(now).state {
            ConnectionState::Connected | ConnectionState::Connecting => return Ok(Answer::empty()),
            ConnectionState::Failed => {
                return Err(wrong_state(&id, "has failed to connect; disconnect it first"));
            }
            ConnectionState::Disconnected => {}
        }
        let other = match &store.backend {
            Backend::Xks(proxy) => {
                let (proxies, _) = call.proxies()?;
                let target = call.target((&store.id, proxy), &home).await?;
                Other::Proxy(Arc::clone(proxies), Box::new(target), Box::new(call.told(None)))
            }
            Backend::CloudHsm(login) => {
                let (clusters, _) = call.clusters()?;
                let target = call.cluster_target(&stores, (&store.id, login)).await?;
                Other::Cluster(Arc::clone(clusters), Box::new(target))
            }
        };
        let connecting = Connection::new(ConnectionState::Connecting, now);
        let changed = stores.with(CustomKeyStore { connection: connecting, ..store });
        if !replace(call, &stores, &changed).await? {
            continue;
        }
        let (catalog, scope) = (Arc::clone(call.service.catalog()), (*home).clone());
        tokio::spawn(async move {
            let connection = match other.connect(now).await {
                Ok(()) => Connection::new(ConnectionState::Connected, now),
                Err(error) => Connection::failed(error, now),
            };
            if let Other::Cluster(clusters, target) = &other
                && let Err(error) = clusters
                    .learn(&catalog, &scope, (id.as_str(), target.cluster.id.as_str()))
                    .await
            {
                tracing::error!(store = id, %error, "cannot store the serial numbers of tokens");
            }
            if let Err(error) = settle(&catalog, &scope, &id, (connecting, connection)).await {
                tracing::error!(store = id, %error, "cannot store the state of a custom key store");
            }
        });
        return Ok(Answer::empty());
    }
    Err(contended())
}

/// What a store is to be connected to.
enum Other {
    Proxy(Arc<Proxies>, Box<Target>, Box<RequestMetadata>),
    Cluster(Arc<Clusters>, Box<cluster::Target>),
}

impl Other {
    async fn connect(&self, now: Timestamp) -> Result<(), ConnectionError> {
        match self {
            Self::Proxy(proxies, target, told) => {
                let health = proxies.health(target, told).await;
                proxies.observe(&target.store, &target.proxy, now);
                health.map(drop).map_err(|failure| failure.of_connection())
            }
            Self::Cluster(clusters, target) => {
                clusters.connect(target).await.map_err(|failure| failure.of_connection())
            }
        }
    }
}

/// Stores what has come of connecting a store, unless it has been disconnected meanwhile.
async fn settle(
    catalog: &Catalog,
    scope: &Scope,
    id: &str,
    (from, to): (Connection, Connection),
) -> Result<(), CatalogError> {
    for _ in Call::tries() {
        let stores = catalog.custom_key_stores(scope).await?;
        let Some(store) = stores.by_id(id).filter(|store| store.connection == from) else {
            return Ok(());
        };
        let changed = stores.with(CustomKeyStore { connection: to, ..store.clone() });
        if catalog.replace_custom_key_stores(&stores, &changed).await? == Update::Applied {
            return Ok(());
        }
    }
    Ok(())
}
