//! What the service hands out and takes back: sealed with a MAC under a key in the store, so that
//! it outlives a restart and nobody else can make it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use kms_store::{Store, StoreError, Transaction};

/// Where the MAC key is.
const STORE_KEY: &[u8] = b"service/marker-key";
/// Length of the MAC key in bytes: a block of SHA-256, which HMAC takes as it is.
const KEY_SIZE: usize = 64;
/// Length of the truncated MAC in bytes.
pub(crate) const MAC_SIZE: usize = 16;

/// The MAC key.
pub(crate) struct MacKey {
    key: [u8; KEY_SIZE],
}

impl MacKey {
    /// Reads the MAC key from the store, or makes it.
    pub(crate) async fn open(store: &dyn Store) -> Result<Self, StoreError> {
        let mut fresh = [0; KEY_SIZE];
        getrandom::fill(&mut fresh).map_err(|error| StoreError::Engine(error.to_string()))?;
        // Conflict means that the key exists, perhaps made by another process just now.
        let _ = store.commit(Transaction::new().absent(STORE_KEY).put(STORE_KEY, fresh)).await?;
        let entry = store.get(STORE_KEY).await?.value;
        let key = entry.and_then(|entry| <[u8; KEY_SIZE]>::try_from(&*entry.value).ok());
        Ok(Self { key: key.ok_or(StoreError::Invalid("the marker key is damaged"))? })
    }

    /// The MAC of a list of fields. The first one says what it is for.
    pub(crate) fn mac(&self, fields: &[&[u8]]) -> [u8; MAC_SIZE] {
        let mut mac = [0; MAC_SIZE];
        mac.copy_from_slice(&self.state(fields).finalize().into_bytes()[..MAC_SIZE]);
        mac
    }

    /// Whether `mac` is that of `fields`, in constant time.
    pub(crate) fn verify(&self, fields: &[&[u8]], mac: &[u8]) -> bool {
        mac.len() == MAC_SIZE && self.state(fields).verify_truncated_left(mac).is_ok()
    }

    fn state(&self, fields: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&self.key.into());
        for field in fields {
            mac.update(&(field.len() as u64).to_le_bytes());
            mac.update(field);
        }
        mac
    }
}
