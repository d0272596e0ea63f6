//! External key stores: who has signed a request to one, and what requests to those of others are signed
//! with. The passwords of custom key stores on tokens are kept in the same way.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Iam;
use super::record::{ExternalCredential, ExternalStore};
use super::vault::{Sealed, Trace};
use kms_base::error::KmsError;
use kms_keys::Stored;
use kms_keys::custom_store::{CloudHsm, XksProxy};
use kms_sigv4::{AccessKey, Claim, Session, Verifier};
use kms_xks::{ErrorName, XksError};

/// The secret of a credential, for the verifier.
struct Secret(Zeroizing<String>);

impl AccessKey for Secret {
    fn secret(&self) -> &str {
        &self.0
    }

    fn session(&self) -> Option<Session> {
        None
    }
}

impl Iam {
    /// The store that a request is for, if it was signed with one of the store's credentials.
    ///
    /// A stranger gets one answer, whether the store, the access key or the signature is wrong, at the
    /// same cost. Whoever has signed with a credential of another store is told that the path is wrong,
    /// whether a store has that path or not.
    ///
    /// # Errors
    /// `AuthenticationFailedException`, `InvalidUriPathException`; `InternalException` or
    /// `DependencyTimeoutException` if it cannot be determined now.
    pub(crate) async fn identify_store(
        &self,
        verifier: &Verifier,
        claim: &Claim<'_>,
        prefix: &str,
        trace: Trace<'_>,
    ) -> Result<Stored<ExternalStore>, XksError> {
        let id = claim.access_key_id();
        let was_cached = self.directory.has_cached_external_credential(id);
        let credential = self.directory.external_credential(id).await.map_err(KmsError::from)?;
        let found = match &credential {
            Some(credential) => Some(self.open_external(credential, trace).await?),
            None => {
                self.vault.look_in_vain(&purpose(id, prefix));
                None
            }
        };
        let verified = verifier.verify(claim, found);
        if verified.is_err() && (credential.is_some() || was_cached) {
            self.directory.read_external_credential(id).await.map_err(KmsError::from)?;
        }
        verified?;
        let own = credential.filter(|credential| credential.prefix == prefix);
        let Some(credential) = own else {
            let text = "The path is not that of the store whose credential has signed the request.";
            return Err(XksError::new(ErrorName::InvalidUriPath, text));
        };
        let store = self.directory.external_store(prefix).await.map_err(KmsError::from)?;
        let store = store.filter(|store| store.credentials.contains(&credential.id));
        store.ok_or_else(XksError::unauthenticated)
    }

    /// Whether there is such a credential, by what needs no device.
    ///
    /// # Errors
    /// `Exception::KmsInternal` if that cannot be determined now.
    pub(crate) async fn knows_external(&self, id: &str) -> Result<bool, KmsError> {
        Ok(self.directory.external_credential(id).await?.is_some())
    }

    /// Has a device seal the secret of a new credential.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` or `Exception::KeyUnavailable` if no device does so now.
    pub(crate) async fn seal_external(
        &self,
        (id, prefix): (&str, &str),
        secret: &str,
        trace: Trace<'_>,
    ) -> Result<Sealed, KmsError> {
        self.vault.seal(&purpose(id, prefix), secret.as_bytes(), trace).await
    }

    /// Erases the secret of a credential, which must not be used any more, from memory.
    pub(crate) fn forget_external(&self, credential: &ExternalCredential) {
        self.vault.forget(&purpose(&credential.id, &credential.prefix), &credential.secret);
    }

    /// Has a device seal the secret that requests to the proxy of a custom key store are signed with.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` or `Exception::KeyUnavailable` if no device does so now.
    pub(crate) async fn seal_proxy_secret(
        &self,
        (store, access_key_id): (&str, &str),
        secret: &str,
        trace: Trace<'_>,
    ) -> Result<Sealed, KmsError> {
        let purpose = proxy_purpose(store, access_key_id);
        self.vault.seal(&purpose, secret.as_bytes(), trace).await
    }

    /// Opens that secret; from memory, if it was opened before.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device does so now.
    pub(crate) async fn open_proxy_secret(
        &self,
        store: &str,
        proxy: &XksProxy,
        trace: Trace<'_>,
    ) -> Result<Arc<Zeroizing<Vec<u8>>>, KmsError> {
        let purpose = proxy_purpose(store, &proxy.access_key_id);
        self.vault.open(&purpose, &proxy.secret, trace).await
    }

    /// Erases that secret, which is not to be used any more, from memory.
    pub(crate) fn forget_proxy_secret(&self, store: &str, proxy: &XksProxy) {
        self.vault.forget(&proxy_purpose(store, &proxy.access_key_id), &proxy.secret);
    }

    /// Has a device seal the password of a custom key store on tokens.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` or `Exception::KeyUnavailable` if no device does so now.
    pub(crate) async fn seal_password(
        &self,
        store: &str,
        password: &str,
        trace: Trace<'_>,
    ) -> Result<Sealed, KmsError> {
        self.vault.seal(&password_purpose(store), password.as_bytes(), trace).await
    }

    /// Opens that password; from memory, if it was opened before.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device does so now.
    pub(crate) async fn open_password(
        &self,
        store: &str,
        login: &CloudHsm,
        trace: Trace<'_>,
    ) -> Result<Arc<Zeroizing<Vec<u8>>>, KmsError> {
        self.vault.open(&password_purpose(store), &login.password, trace).await
    }

    /// Erases that password, which is not to be used any more, from memory.
    pub(crate) fn forget_password(&self, store: &str, login: &CloudHsm) {
        self.vault.forget(&password_purpose(store), &login.password);
    }

    async fn open_external(
        &self,
        credential: &ExternalCredential,
        trace: Trace<'_>,
    ) -> Result<Secret, KmsError> {
        let purpose = purpose(&credential.id, &credential.prefix);
        let secret = self.vault.open(&purpose, &credential.secret, trace).await?;
        let secret = std::str::from_utf8(&secret).map_err(KmsError::internal)?;
        Ok(Secret(secret.to_owned().into()))
    }
}

/// What the secret of a credential is sealed for.
pub(super) fn purpose<'p>(id: &'p str, prefix: &'p str) -> [(&'p str, &'p str); 3] {
    [("accessKeyId", id), ("prefix", prefix), ("purpose", "external-key-store")]
}

/// What the secret for the proxy of a custom key store is sealed for.
pub(super) fn proxy_purpose<'p>(store: &'p str, access_key_id: &'p str) -> [(&'p str, &'p str); 3] {
    [("accessKeyId", access_key_id), ("customKeyStoreId", store), ("purpose", "custom-key-store")]
}

/// What the password of a custom key store on tokens is sealed for.
pub(super) fn password_purpose(store: &str) -> [(&str, &str); 2] {
    [("customKeyStoreId", store), ("purpose", "key-store-password")]
}
