//! Keys of custom key stores: the second layer of encryption, which an external key store proxy or a cluster of
//! tokens has the key of.
//!
//! A device encrypts first, under the material of the KMS key; the other side encrypts what the device made. It is
//! decrypted in the reverse order. No plaintext leaves the device for the other side, and nothing that it says is
//! taken for a plaintext: the device authenticates it.

use std::borrow::Cow;
use std::sync::Arc;

use super::Call;
use crate::cluster::{self, Clusters};
use crate::envelope::Envelope;
use crate::iam::Iam;
use crate::proxy::{Failure, Proxies, Target};
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_keys::custom_store::{
    Backend, CloudHsm, ConnectionState, CustomKeyStore, CustomKeyStores, XksProxy,
};
use kms_keys::{ExternalKey, KeyRecord, Stored};
use kms_model::state::KeyState;
use kms_xks::{Outer, RequestMetadata};

/// What has the other key of a key in a custom key store, connected.
enum Connected<'a> {
    Proxy(&'a Arc<Proxies>, Target),
    Cluster(&'a Arc<Clusters>, cluster::Target),
}

impl<'a> Call<'a> {
    /// The clusters of tokens, and what opens the passwords for them.
    ///
    /// # Errors
    /// [`Exception::UnsupportedOperation`] if the operator has named no module.
    pub(in crate::api) fn clusters(&self) -> Result<(&'a Arc<Clusters>, &'a Arc<Iam>), KmsError> {
        let service = self.service;
        service.clusters.as_ref().zip(service.identities.as_ref()).ok_or_else(|| {
            let text = "Custom key stores of type AWS_CLOUDHSM are not supported by this service: its \
                        operator names modules with --pkcs11-module.";
            KmsError::new(Exception::UnsupportedOperation, text)
        })
    }

    /// The cluster of a store, with the password opened by a device.
    pub(in crate::api) async fn cluster_target(
        &mut self,
        stores: &CustomKeyStores,
        (store, login): (&str, &CloudHsm),
    ) -> Result<cluster::Target, KmsError> {
        let (_, iam) = self.clusters()?;
        let cluster = stores.cluster(&login.cluster).cloned();
        let cluster = cluster.ok_or_else(|| cluster::Failure::NotRegistered.of_use())?;
        let trace = (self.request.audit_tag(), &mut self.facts.receipts);
        let secret = iam.open_password(store, login, trace).await?;
        Ok(cluster::Target { store: store.to_owned(), cluster, login: login.clone(), secret })
    }

    /// Has a device seal the password of a store on tokens.
    pub(in crate::api) async fn seal_password(
        &mut self,
        store: &str,
        password: &str,
    ) -> Result<kms_keys::own::Sealed, KmsError> {
        let (_, iam) = self.clusters()?;
        let trace = (self.request.audit_tag(), &mut self.facts.receipts);
        iam.seal_password(store, password, trace).await
    }

    /// The proxies, and what opens the secrets for them.
    ///
    /// # Errors
    /// [`Exception::UnsupportedOperation`] if the operator has named neither a host of a proxy nor a VPC endpoint
    /// service.
    pub(in crate::api) fn proxies(&self) -> Result<(&'a Arc<Proxies>, &'a Arc<Iam>), KmsError> {
        let service = self.service;
        service.proxies.as_ref().zip(service.identities.as_ref()).ok_or_else(|| {
            let text = "External key stores are not supported by this service: its operator names \
                        the hosts of proxies with --xks-proxy-allow, and VPC endpoint services with \
                        --xks-proxy-vpc.";
            KmsError::new(Exception::UnsupportedOperation, text)
        })
    }

    /// The custom key stores of a scope.
    pub(in crate::api) async fn stores_of(
        &self,
        scope: &Scope,
    ) -> Result<Stored<CustomKeyStores>, KmsError> {
        Ok(self.service.catalog().custom_key_stores(scope).await?)
    }

    /// The state of a key as callers see it: unavailable while its custom key store is not connected.
    pub(in crate::api) async fn state_of(&self, key: &KeyRecord) -> Result<KeyState, KmsError> {
        let Some(external) = &key.external else { return Ok(key.state) };
        let stores = self.stores_of(&key.scope).await?;
        let connected = stores
            .by_id(&external.store)
            .is_some_and(|store| store.connection.state == ConnectionState::Connected);
        Ok(key.state.seen(connected))
    }

    /// What a proxy learns about this request.
    pub(in crate::api) fn told(&self, key: Option<&KeyRecord>) -> RequestMetadata {
        RequestMetadata {
            aws_principal_arn: Some(self.principal().caller_arn().to_string()),
            kms_operation: self.operation.name().to_owned(),
            kms_key_arn: key.map(KeyRecord::arn),
            kms_request_id: self.request.request_id.to_string(),
            ..RequestMetadata::default()
        }
    }

    /// The proxy of a store of a scope, with the secret opened by a device.
    pub(in crate::api) async fn target(
        &mut self,
        (store, proxy): (&str, &XksProxy),
        scope: &Scope,
    ) -> Result<Target, KmsError> {
        let (_, iam) = self.proxies()?;
        let trace = (self.request.audit_tag(), &mut self.facts.receipts);
        let secret = iam.open_proxy_secret(store, proxy, trace).await?;
        let (store, scope) = (store.to_owned(), scope.clone());
        Ok(Target { store, proxy: proxy.clone(), scope, secret })
    }

    /// Has a device seal the secret of a store's credential.
    pub(in crate::api) async fn seal_secret(
        &mut self,
        (store, access_key_id): (&str, &str),
        secret: &str,
    ) -> Result<kms_keys::own::Sealed, KmsError> {
        let (_, iam) = self.proxies()?;
        let trace = (self.request.audit_tag(), &mut self.facts.receipts);
        iam.seal_proxy_secret((store, access_key_id), secret, trace).await
    }

    /// Lets the other side of a key's store encrypt what a device has encrypted in an encryption context, if the
    /// key is in one.
    ///
    /// # Errors
    /// [`Exception::KmsInvalidState`] if it does not do so, or the store is not connected.
    pub(in crate::api) async fn with_outer_layer<'b>(
        &mut self,
        key: &KeyRecord,
        context: &[u8],
        blob: &'b [u8],
    ) -> Result<Cow<'b, [u8]>, KmsError> {
        let Some(external) = &key.external else { return Ok(Cow::Borrowed(blob)) };
        let made = match self.connected(key, external).await? {
            Connected::Proxy(proxies, target) => {
                let told = self.told(Some(key));
                let made = proxies.encrypt(&target, &external.id, &told, (blob, context)).await;
                made.map_err(|failure| failure.of_use())?
            }
            Connected::Cluster(clusters, target) => {
                let made = clusters.encrypt(&target, &external.id, (blob, context)).await;
                made.map_err(|failure| failure.of_use())?
            }
        };
        let outer = Outer::write(blob, &made);
        outer.map(Cow::Owned).ok_or_else(|| KmsError::internal("a device has made no blob"))
    }

    /// Lets the other side of a key's store decrypt its layer of a ciphertext, if the key is in one. What it has
    /// decrypted is in `opened`.
    ///
    /// # Errors
    /// [`Exception::KmsInvalidState`] if it does not do so, or the store is not connected;
    /// [`Exception::InvalidCiphertext`] if the ciphertext is not one of such a key, and if tokens say that it is
    /// not one of this key and context.
    pub(in crate::api) async fn without_outer_layer<'b>(
        &mut self,
        key: &KeyRecord,
        context: &[u8],
        envelope: Envelope<'b>,
        opened: &'b mut Vec<u8>,
    ) -> Result<Envelope<'b>, KmsError> {
        let Some(external) = &key.external else { return Ok(envelope) };
        let outer = envelope.outer().ok_or_else(|| KmsError::bare(Exception::InvalidCiphertext))?;
        *opened = match self.connected(key, external).await? {
            Connected::Proxy(proxies, target) => {
                let told = self.told(Some(key));
                let made = proxies.decrypt(&target, &external.id, &told, (outer, context)).await;
                made.map_err(|failure| failure.of_use())?
            }
            Connected::Cluster(clusters, target) => {
                let made = clusters.decrypt(&target, &external.id, (outer, context)).await;
                made.map_err(|failure| failure.of_use())?
            }
        };
        envelope.opened(opened).ok_or_else(|| unfit(external))
    }

    /// What a caller is told if a device refuses what the other side has decrypted: it vouches for ciphertext and
    /// context, so it is what is wrong.
    pub(in crate::api) fn after_proxy(key: &KeyRecord, refusal: KmsError) -> KmsError {
        match (refusal.exception(), &key.external) {
            (Exception::InvalidCiphertext, Some(external)) => unfit(external),
            _ => refusal,
        }
    }

    /// The other side of a key's store, which has to be connected.
    async fn connected(
        &mut self,
        key: &KeyRecord,
        external: &ExternalKey,
    ) -> Result<Connected<'a>, KmsError> {
        let (store, id) = (external.store.as_str(), external.id.as_str());
        self.facts.additional("customKeyStoreId", store);
        match &external.cluster {
            Some(cluster) => {
                self.facts.additional("clusterId", cluster.as_str());
                self.facts.additional("keyHandle", id);
            }
            None => self.facts.additional("xksKeyId", id),
        }
        let stores = self.stores_of(&key.scope).await?;
        let found = stores.by_id(store).filter(|store| self.is_connected(store));
        let Some(found) = found else {
            let text = format!("The custom key store {store} is not connected.");
            return Err(KmsError::new(Exception::KmsInvalidState, text));
        };
        match &found.backend {
            Backend::Xks(proxy) => {
                let Ok((proxies, _)) = self.proxies() else {
                    return Err(Failure::NotAllowed.of_use());
                };
                let target = self.target((store, proxy), &key.scope).await?;
                Ok(Connected::Proxy(proxies, target))
            }
            Backend::CloudHsm(login) => {
                let Ok((clusters, _)) = self.clusters() else {
                    return Err(cluster::Failure::NotAllowed.of_use());
                };
                let target = self.cluster_target(&stores, (store, login)).await?;
                Ok(Connected::Cluster(clusters, target))
            }
        }
    }

    /// Whether keys of a store can be used.
    pub(in crate::api) fn is_connected(&self, store: &CustomKeyStore) -> bool {
        store.connection_at(self.service.now()).state == ConnectionState::Connected
    }
}

/// The other side has returned what no device has encrypted.
fn unfit(external: &ExternalKey) -> KmsError {
    match external.cluster {
        Some(_) => cluster::Failure::Content.of_use(),
        None => Failure::Content.of_use(),
    }
}
