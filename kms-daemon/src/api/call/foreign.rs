//! Keys of other accounts.
//!
//! A caller that may not use such a key learns neither whether it exists nor anything about it. A
//! key that does not exist takes the same path as one that does ([`Foreign::key`] returns a
//! key in either case), with the same reads, the same policy questions and the same error text.
//! Nothing about the key enters the caller's quotas or the record of the request until the caller
//! is known to be allowed to use the key.
//!
//! [`Foreign::key`]: kms_keys::catalog::Foreign::key

use std::time::Instant;

use super::{Call, KeyUse, Located};
use crate::policy::{self, Authorized};
use crate::quota::Pool;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::{KeyId, KeyRef};
use kms_keys::{KeyRecord, Stored};
use kms_model::action::KeyAction;

impl Call<'_> {
    /// Finds a key of another account, or a stand-in if the key does not exist.
    ///
    /// # Errors
    /// A refusal if the action cannot be used across accounts, and errors of the catalogue.
    pub(super) async fn locate_foreign<A: KeyAction>(
        &self,
        _: KeyUse<'_, A>,
        named: &KeyRef,
    ) -> Result<Located, KmsError> {
        let action = A::RULE.action;
        if !action.is_cross_account() {
            return Err(policy::deny_foreign(self.principal(), action.name()));
        }
        Ok(Located::Foreign(self.service.catalog().foreign().key(named).await?))
    }

    /// Authorizes the use of a key that a ciphertext names. The refusal does not show whether the
    /// key is missing or not allowed.
    ///
    /// Callers of the caller's own account may learn whether that account has the key.
    pub(in crate::api) async fn authorize_blob_key<A: KeyAction>(
        &mut self,
        id: KeyId,
        key_use: KeyUse<'_, A>,
    ) -> Result<Authorized<A>, KmsError> {
        let begin = Instant::now();
        let decided = match self.service.catalog().key(&self.home, id).await? {
            Some(key) => self.authorize_found(key_use, key).await,
            None => {
                let key = self.service.catalog().foreign().key_of(&self.home.region, id).await?;
                self.authorize_unknown(key_use, key).await
            }
        };
        self.decided_since(begin);
        decided.map_err(|refusal| match refusal.exception() {
            Exception::AccessDenied => policy::deny_ciphertext(),
            _ => refusal,
        })
    }

    /// Authorizes the use of a key whose existence the caller may not be allowed to know.
    pub(super) async fn authorize_unknown<A: KeyAction>(
        &mut self,
        key_use: KeyUse<'_, A>,
        key: Stored<KeyRecord>,
    ) -> Result<Authorized<A>, KmsError> {
        let lookups = self.look_up(A::RULE.action, &key).await?;
        let request = self.question(key_use, &key, &lookups)?;
        let permitted = self.permit(&request, key_use.grant_tokens, Stored::clone(&key)).await;
        // The quota of a refused request must not depend on the kind of the key.
        self.count(match &permitted {
            Ok(permitted) => Pool::of_key(permitted.key().spec),
            Err(_) => Pool::Symmetric,
        })?;
        let permitted = permitted?;
        self.facts.key(&permitted.key().scope.account, &permitted.key().arn());
        self.ready(key_use, permitted).await
    }
}
