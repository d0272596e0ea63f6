//! The two halves of a decision: whether the caller may, and whether the key can be used.

use super::Call;
use crate::error::KmsError;
use crate::key::{KeyRecord, KeyState, Stored};
use crate::policy::{self, Authorized, Permitted};

impl Call<'_> {
    /// Lets policies and grants decide.
    pub(super) async fn permit<'u>(
        &self,
        request: &policy::Request<'u>,
        grant_tokens: &[String],
        key: Stored<KeyRecord>,
    ) -> Result<Permitted<'u>, KmsError> {
        for token in grant_tokens {
            self.find_token(token).await?;
        }
        let refusal = match policy::permit(request, Stored::clone(&key), None) {
            Ok(permitted) => return Ok(permitted),
            Err(refusal) => refusal,
        };
        if !policy::needs_grant(request, &key, &refusal) {
            return Err(refusal.into());
        }
        let grant = self.find_grant(request, &key).await?.ok_or(refusal)?;
        Ok(policy::permit(request, key, Some(grant))?)
    }

    /// Checks that a key which the caller may use can be used.
    pub(super) fn ready(
        &mut self,
        permitted: Permitted<'_>,
    ) -> Result<Authorized<KeyRecord>, KmsError> {
        let state_rule = permitted.state_rule();
        let key = permitted.authorize()?;
        // Expired material is gone, whether it was destroyed yet or not.
        if key.has_expired(self.now()) {
            state_rule.check(KeyState::PendingImport, || key.arn())?;
        }
        if self.operation.is_tracked() {
            self.used.push(key.stored());
        }
        Ok(key)
    }
}
