//! The credential store: secrets of access keys and session tokens, sealed by devices, opened by them when needed, and
//! then held in memory.
//!
//! A device of a Region encrypts them under the system key of that Region. The key token of the system key is in the
//! store under a reserved name, and it belongs to no account, so no request can refer to it. The encryption context
//! says whose secret it is, so one secret cannot stand in for another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hsm_protocol::MaterialId;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};
use hsm_protocol::token::{Blob, context};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::record::{Record, Version};
use crate::engine::{Receiver, response};
use crate::envelope::Envelope;
use crate::policy::service::{self, OwnKey};
use crate::regions::Regions;
use host_driver::audit::DeviceReceipt;
use kms_base::clock::Timestamp;
use kms_base::error::KmsError;
use kms_base::hex;
use kms_base::identifier::{KeyId, Tags};
use kms_keys::catalog::CatalogError;
pub use kms_keys::own::Sealed;
use kms_keys::own::SystemKey;
use kms_keys::{KeyMaterial, KeyRecord};
use kms_model::state::KeyState;
use kms_store::{Store, Transaction};

/// Secrets that are held in memory at a time.
const MAX_OPENED: usize = 4096;
/// Bytes of the blob of an ordinary secret access key.
const ORDINARY: usize = Blob::OVERHEAD + 40;
/// Longest canonical encryption context, in bytes.
const MAX_CONTEXT: usize = 512;

/// The request that devices work for: their audit tag, and where their receipts go.
pub type Trace<'t> = ([u8; 16], &'t mut Vec<DeviceReceipt>);
/// What a secret is for: sorted pairs.
pub(super) type Purpose<'p> = &'p [(&'p str, &'p str)];
/// A secret in memory, zeroised when its last holder drops it.
pub(super) type Opened = Arc<Zeroizing<Vec<u8>>>;

/// Seals and opens secrets.
pub(super) struct Vault {
    store: Arc<dyn Store>,
    regions: Arc<Regions>,
    /// Whose devices seal.
    region: String,
    /// With the count of re-wrapped tokens before each was read: an older one may be worth nothing.
    keys: Mutex<HashMap<String, (u64, OwnKey)>>,
    /// By the SHA-256 of purpose and blob.
    opened: Mutex<HashMap<[u8; 32], Opened>>,
}

impl Vault {
    /// A vault whose secrets are sealed by the devices of `region`.
    pub(super) fn new(store: Arc<dyn Store>, regions: Arc<Regions>, region: String) -> Self {
        Self { store, regions, region, keys: Mutex::default(), opened: Mutex::default() }
    }

    /// Seals a secret of at most 4,096 bytes.
    ///
    /// # Errors
    /// As for `Devices::encrypt`.
    pub(super) async fn seal(
        &self,
        purpose: Purpose<'_>,
        secret: &[u8],
        (tag, receipts): Trace<'_>,
    ) -> Result<Sealed, KmsError> {
        let key = match self.known_key(&self.region).await? {
            Some(key) => key,
            None => self.make_key((tag, &mut *receipts)).await?,
        };
        let engine = self.regions.engine(&self.region)?;
        let mut devices = engine.devices(tag, receipts);
        let context = canonical(purpose)?;
        let key = key.authorized();
        let reply = devices.encrypt(&key, &context, secret).await?;
        let blob = response(&reply)?.blob.to_vec();
        Ok(Sealed { region: self.region.clone(), blob })
    }

    /// Opens a secret; from memory, if it was opened before.
    ///
    /// # Errors
    /// `Exception::InvalidCiphertext` if it was not sealed for this purpose;
    /// `Exception::KeyUnavailable` if no device can do it now.
    pub(super) async fn open(
        &self,
        purpose: Purpose<'_>,
        sealed: &Sealed,
        (tag, receipts): Trace<'_>,
    ) -> Result<Opened, KmsError> {
        let context = canonical(purpose)?;
        let name = name(&context, &sealed.blob);
        if let Some(opened) = lock(&self.opened).get(&name) {
            return Ok(Arc::clone(opened));
        }
        let secret = self.unseal(&context, sealed, (tag, receipts)).await?;
        let mut opened = lock(&self.opened);
        if opened.len() >= MAX_OPENED
            && let Some(victim) = opened.keys().next().copied()
        {
            // Hash order is as good as random, and needs no bookkeeping on the hot path.
            opened.remove(&victim);
        }
        opened.insert(name, Arc::clone(&secret));
        Ok(secret)
    }

    /// Has a device open a secret, and forgets it.
    ///
    /// # Errors
    /// As for [`Vault::open`].
    pub(super) async fn check(
        &self,
        purpose: Purpose<'_>,
        sealed: &Sealed,
        trace: Trace<'_>,
    ) -> Result<(), KmsError> {
        self.unseal(&canonical(purpose)?, sealed, trace).await.map(drop)
    }

    async fn unseal(
        &self,
        context: &[u8],
        sealed: &Sealed,
        (tag, receipts): Trace<'_>,
    ) -> Result<Opened, KmsError> {
        self.regions.open(&sealed.region).await?;
        let key = self.known_key(&sealed.region).await?;
        let key = key.ok_or_else(|| {
            KmsError::internal(format!("{} has no system key for its secrets", sealed.region))
        })?;
        let engine = self.regions.engine(&sealed.region)?;
        let mut devices = engine.devices(tag, receipts);
        let blob = Envelope::parse(&sealed.blob)?;
        let key = key.authorized();
        let delivery = devices.decrypt(&key, context, blob, Receiver::Client).await?;
        Ok(Arc::new(Zeroizing::new(delivery.parts()?.plaintext.to_vec())))
    }

    /// Does what [`Vault::open`] does for a secret in memory, for a key that has none: takes as long.
    pub(super) fn look_in_vain(&self, purpose: Purpose<'_>) {
        if let Ok(context) = canonical(purpose) {
            let opened = lock(&self.opened).get(&name(&context, &[0; ORDINARY])).map(Arc::clone);
            std::hint::black_box(opened);
        }
    }

    /// Drops a secret from memory: it is not to be used any more.
    pub(super) fn forget(&self, purpose: Purpose<'_>, sealed: &Sealed) {
        if let Ok(context) = canonical(purpose) {
            lock(&self.opened).remove(&name(&context, &sealed.blob));
        }
    }

    /// The system key of a Region, if it has been made.
    async fn known_key(&self, region: &str) -> Result<Option<OwnKey>, KmsError> {
        let rewrapped = self.regions.rewrapped();
        if let Some((_, key)) = lock(&self.keys).get(region).filter(|(at, _)| *at == rewrapped) {
            return Ok(Some(key.clone()));
        }
        let at = SystemKey::entry(region);
        let Some(entry) = self.store.get(&at).await.map_err(KmsError::internal)?.value else {
            return Ok(None);
        };
        let key = SystemKey::decode(&entry.value).map_err(|error| {
            let key = String::from_utf8_lossy(&at).into_owned();
            KmsError::internal(CatalogError::Record { key, error })
        })?;
        let key = opened(key, region)?;
        lock(&self.keys).insert(region.to_owned(), (rewrapped, key.clone()));
        Ok(Some(key))
    }

    /// Makes the system key of the vault's Region, unless another process is faster.
    async fn make_key(&self, (tag, receipts): Trace<'_>) -> Result<OwnKey, KmsError> {
        let (id, region) = (KeyId::random(), self.region.as_str());
        let account = service::own_account(region);
        let engine = self.regions.engine(region)?;
        let mut devices = engine.devices(tag, receipts);
        let (spec, usage) = (KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
        let made = devices.generate_key(&account, id, spec, usage).await?;
        let key = SystemKey {
            version: Version,
            region: region.to_owned(),
            id: id.to_string(),
            material: made.id.to_string(),
            token: made.token,
        };
        let value = key.encode().map_err(KmsError::internal)?;
        let transaction = Transaction::new().absent(key.key()).put(key.key(), value);
        // A conflict means that another process has made it just now.
        let _ = self.store.commit(transaction).await.map_err(KmsError::internal)?;
        let key = self.known_key(region).await?;
        key.ok_or_else(|| KmsError::internal("the system key is gone"))
    }
}

/// A system key as it is stored, for the engine.
fn opened(key: SystemKey, region: &str) -> Result<OwnKey, KmsError> {
    let damaged = || KmsError::internal(format!("the system key of {region} is damaged"));
    let id = KeyId::parse(&key.id).filter(|_| key.region == region).ok_or_else(damaged)?;
    let material = hex::decode(&key.material).map(MaterialId).ok_or_else(damaged)?;
    let kind = (KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT);
    own_key(region, id, kind, (material, key.token)).ok_or_else(damaged)
}

/// A key that the service has for itself, for the engine.
pub(crate) fn own_key(
    region: &str,
    id: KeyId,
    (spec, usage): (KeySpec, KeyUsage),
    (material, token): (MaterialId, Vec<u8>),
) -> Option<OwnKey> {
    let material = KeyMaterial { id: material, token, rotated: None, imported: None };
    OwnKey::new(KeyRecord {
        id,
        policy: service::closed(),
        scope: (*service::own_account(region)).clone(),
        spec,
        usage,
        origin: Origin::AWS_KMS,
        state: KeyState::Enabled,
        description: String::new(),
        created: Timestamp::default(),
        deletion: None,
        rotation: None,
        tags: Tags::new(),
        materials: vec![material],
        pending: None,
        multi_region: None,
        service: None,
        external: None,
    })
}

/// The canonical encryption context of a purpose.
fn canonical(purpose: Purpose<'_>) -> Result<Vec<u8>, KmsError> {
    let mut bytes = vec![0; MAX_CONTEXT];
    let pairs = purpose.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes()));
    let length = context::encode(pairs, &mut bytes).map_err(KmsError::internal)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn name(context: &[u8], blob: &[u8]) -> [u8; 32] {
    let length = (context.len() as u64).to_le_bytes();
    Sha256::new().chain_update(length).chain_update(context).chain_update(blob).finalize().into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A map that is whole between any two of its methods: a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_model::action;

    #[test]
    fn the_stored_form_of_a_system_key() {
        let (id, material) =
            (KeyId::parse("00000000-0000-4000-8000-000000000000").unwrap(), [7; 32]);
        let key = SystemKey {
            version: Version,
            region: "us-east-1".to_owned(),
            id: id.to_string(),
            material: MaterialId(material).to_string(),
            token: vec![1, 2, 3],
        };
        let text = format!(
            r#"{{"version":1,"region":"us-east-1","id":"00000000-0000-4000-8000-000000000000","material":"{}","token":"AQID"}}"#,
            "07".repeat(32)
        );
        assert_eq!(String::from_utf8(key.encode().unwrap()).unwrap(), text);
        assert_eq!(SystemKey::decode(text.as_bytes()).unwrap(), key);
        assert_eq!(key.key(), b"system-keys/us-east-1");
        let authorized = opened(key, "us-east-1").unwrap().authorized::<action::Encrypt>();
        assert_eq!((authorized.id, authorized.scope.account.as_str()), (id, "system"));
    }
}
