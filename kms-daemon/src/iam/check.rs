//! Reads stored records, and has devices open the secrets in them, for a check of the whole store.

use super::external::{password_purpose, proxy_purpose, purpose as external_purpose};
use super::record::{
    AccessKey, Account, ExternalCredential, ExternalStore, Group, ManagedPolicy, Record, Role, User,
};
use super::vault::{Sealed, Trace};
use super::{Iam, layout, purpose};
use kms_base::error::KmsError;
use kms_base::record::RecordError;
use kms_keys::custom_store::{Backend, CustomKeyStore, CustomKeyStores};

/// A secret in a record.
pub(crate) struct Secret {
    purpose: Vec<(String, String)>,
    sealed: Sealed,
}

/// Reads a record, and drops it.
type Read = fn(&[u8]) -> Result<(), RecordError>;

/// The start of the names of records of custom key stores.
const CUSTOM_KEY_STORES: &[u8] = b"custom-key-stores/";

impl Secret {
    /// The Region whose devices have sealed it.
    pub(crate) fn region(&self) -> &str {
        &self.sealed.region
    }

    fn of(purpose: &[(&str, &str)], sealed: Sealed) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { purpose: purpose.iter().map(owned).collect(), sealed }
    }
}

/// Reads a record as its name says, and returns the secrets in it. Records of other names are passed over.
///
/// # Errors
/// [`RecordError`], if it is not one of this release.
pub(crate) fn secrets(key: &[u8], value: &[u8]) -> Result<Vec<Secret>, RecordError> {
    let readers: [(&str, Read); 6] = [
        (layout::ACCOUNTS, |value| Account::decode(value).map(drop)),
        (layout::USERS, |value| User::decode(value).map(drop)),
        (layout::GROUPS, |value| Group::decode(value).map(drop)),
        (layout::ROLES, |value| Role::decode(value).map(drop)),
        (layout::POLICIES, |value| ManagedPolicy::decode(value).map(drop)),
        (layout::EXTERNAL_STORES, |value| ExternalStore::decode(value).map(drop)),
    ];
    if let Some((_, read)) = readers.iter().find(|(prefix, _)| key.starts_with(prefix.as_bytes())) {
        return read(value).map(|()| Vec::new());
    }
    if key.starts_with(layout::ACCESS_KEYS.as_bytes()) {
        let AccessKey { id, account, secret, .. } = AccessKey::decode(value)?;
        return Ok(vec![Secret::of(&purpose(&id, &account), secret)]);
    }
    if key.starts_with(layout::EXTERNAL_CREDENTIALS.as_bytes()) {
        let ExternalCredential { id, prefix, secret, .. } = ExternalCredential::decode(value)?;
        return Ok(vec![Secret::of(&external_purpose(&id, &prefix), secret)]);
    }
    if key.starts_with(CUSTOM_KEY_STORES) {
        let stores = CustomKeyStores::decode(value)?.stores.into_iter();
        let secret = |store: CustomKeyStore| match store.backend {
            Backend::Xks(proxy) => {
                Secret::of(&proxy_purpose(&store.id, &proxy.access_key_id), proxy.secret)
            }
            Backend::CloudHsm(login) => Secret::of(&password_purpose(&store.id), login.password),
        };
        return Ok(stores.map(secret).collect());
    }
    Ok(Vec::new())
}

impl Iam {
    /// Has a device open a secret; it is not kept.
    ///
    /// # Errors
    /// As for `Vault::open`.
    pub(crate) async fn check_secret(
        &self,
        secret: &Secret,
        trace: Trace<'_>,
    ) -> Result<(), KmsError> {
        let purpose = secret.purpose.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let purpose: Vec<_> = purpose.collect();
        self.vault.check(&purpose, &secret.sealed, trace).await
    }
}
