//! The keys that sign digests: one for each Region's domain, RSA with 2,048 bits.
//!
//! A device of the Region makes the key and signs with it; the store has only its token, under an
//! account that no request can name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hsm_protocol::MaterialId;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MessageType, SigningAlgorithm};
use rsa::PublicKey;
use rsa::pkcs1::EncodeRsaPublicKey;
use rsa::pkcs8::DecodePublicKey;
use uuid::Uuid;

use crate::engine::response;
use crate::iam::own_key;
use crate::policy::service::{self, OwnKey};
use crate::regions::Regions;
use kms_audit::{AuditError, AuditLog};
use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_base::hex;
use kms_base::identifier::KeyId;
use kms_base::record::{Record, Version};
use kms_keys::own::DigestKey;
use kms_store::{Store, Transaction};

const KIND: (KeySpec, KeyUsage) = (KeySpec::RSA_2048, KeyUsage::SIGN_VERIFY);

/// A digest key as it is stored, for the engine.
fn opened(key: &DigestKey) -> Result<OwnKey, KmsError> {
    let damaged = || KmsError::internal(format!("the digest key of {} is damaged", key.region));
    let id = KeyId::parse(&key.id).ok_or_else(damaged)?;
    let material = hex::decode(&key.material).map(MaterialId).ok_or_else(damaged)?;
    own_key(&key.region, id, KIND, (material, key.token.clone())).ok_or_else(damaged)
}

/// The digest keys of an installation.
pub(super) struct DigestKeys {
    store: Arc<dyn Store>,
    regions: Arc<Regions>,
    audit: Arc<AuditLog>,
    /// With the count of re-wrapped tokens before each was read: an older one may be worth nothing.
    known: Mutex<HashMap<String, (u64, Arc<DigestKey>)>>,
    /// Held while one is made.
    making: tokio::sync::Mutex<()>,
}

impl DigestKeys {
    pub(super) fn new(store: Arc<dyn Store>, regions: Arc<Regions>, audit: Arc<AuditLog>) -> Self {
        let (known, making) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { store, regions, audit, known, making }
    }

    /// The key of a Region, if it has been made.
    ///
    /// # Errors
    /// `Exception::KmsInternal` if the store does not tell.
    pub(super) async fn known(&self, region: &str) -> Result<Option<Arc<DigestKey>>, KmsError> {
        let rewrapped = self.regions.rewrapped();
        if let Some((_, key)) = lock(&self.known).get(region).filter(|(at, _)| *at == rewrapped) {
            return Ok(Some(Arc::clone(key)));
        }
        let found =
            self.store.get(&DigestKey::entry(region)).await.map_err(KmsError::internal)?.value;
        let Some(found) = found else { return Ok(None) };
        let key = Arc::new(DigestKey::decode(&found.value).map_err(KmsError::internal)?);
        lock(&self.known).insert(region.to_owned(), (rewrapped, Arc::clone(&key)));
        Ok(Some(key))
    }

    /// The key of a Region; it is made if there is none.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device can make it now.
    pub(super) async fn ensure(
        &self,
        region: &str,
        now: Timestamp,
    ) -> Result<Arc<DigestKey>, KmsError> {
        if let Some(key) = self.known(region).await? {
            return Ok(key);
        }
        let _alone = self.making.lock().await;
        if let Some(key) = self.known(region).await? {
            return Ok(key);
        }
        let mut receipts = Vec::new();
        let made = self.make(region, now, &mut receipts).await;
        self.record(&receipts).await?;
        let key = made?;
        let value = key.encode().map_err(KmsError::internal)?;
        let transaction = Transaction::new().absent(key.key()).put(key.key(), value);
        // A conflict means that another process has made it just now.
        let _ = self.store.commit(transaction).await.map_err(KmsError::internal)?;
        let key = self.known(region).await?;
        key.ok_or_else(|| KmsError::internal("the digest key is gone"))
    }

    /// Signs with the key of a Region; hexadecimal.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device can do it now.
    pub(super) async fn sign(&self, key: &DigestKey, text: &str) -> Result<String, KmsError> {
        let authorized = opened(key)?.authorized();
        let engine = self.regions.engine(&key.region)?;
        let mut receipts = Vec::new();
        let mut devices = engine.devices(*Uuid::new_v4().as_bytes(), &mut receipts);
        let algorithm = SigningAlgorithm::RSASSA_PKCS1_V1_5_SHA_256;
        let message = text.as_bytes();
        let signed = devices.sign(&authorized, algorithm, MessageType::RAW, message).await;
        self.record(&receipts).await?;
        let reply = signed?;
        Ok(hex::encode(response(&reply)?.signature.0))
    }

    async fn make(
        &self,
        region: &str,
        now: Timestamp,
        receipts: &mut Vec<host_driver::audit::DeviceReceipt>,
    ) -> Result<DigestKey, KmsError> {
        let (id, (spec, usage)) = (KeyId::random(), KIND);
        let engine = self.regions.engine(region)?;
        let mut devices = engine.devices(*Uuid::new_v4().as_bytes(), receipts);
        let account = service::own_account(region);
        let made = devices.generate_key(&account, id, spec, usage).await?;
        let (material, token) = (made.id, made.token);
        let mut key = DigestKey {
            version: Version,
            region: region.to_owned(),
            id: id.to_string(),
            material: material.to_string(),
            token,
            public: Vec::new(),
            created: now,
        };
        let authorized = opened(&key)?.authorized();
        let reply = devices.public_key(&authorized).await?;
        key.public = pkcs1(response(&reply)?.spki.0).map_err(KmsError::internal)?;
        Ok(key)
    }

    /// What devices did without a request of a client.
    async fn record(&self, receipts: &[host_driver::audit::DeviceReceipt]) -> Result<(), KmsError> {
        match receipts {
            [] => Ok(()),
            receipts => self.audit.device_entries(receipts).await.map_err(AuditError::refuse),
        }
    }
}

/// DER `RSAPublicKey` of a DER `SubjectPublicKeyInfo`.
fn pkcs1(spki: &[u8]) -> Result<Vec<u8>, String> {
    let key = PublicKey::from_public_key_der(spki).map_err(|error| error.to_string())?;
    let der = key.to_pkcs1_der().map_err(|error| error.to_string())?;
    Ok(der.as_bytes().to_vec())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A map that is whole between any two of its methods: a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
