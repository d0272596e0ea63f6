//! The two halves of a decision: whether the caller may, and whether the key can be used.

use super::{Call, KeyUse};
use crate::api::operation::incorrect_key;
use crate::envelope::Envelope;
use crate::policy::{self, Authorized, Permitted};
use kms_base::error::KmsError;
use kms_keys::{KeyRecord, Stored};
use kms_model::action::KeyAction;

impl Call<'_> {
    /// Lets policies and grants decide.
    pub(super) async fn permit<'u>(
        &self,
        request: &policy::Request<'u>,
        grant_tokens: &[String],
        key: Stored<KeyRecord>,
    ) -> Result<Permitted, KmsError> {
        for token in grant_tokens {
            self.find_token(token).await?;
        }
        let refused = match policy::permit(request, key) {
            Ok(permitted) => return Ok(permitted),
            Err(refused) => refused,
        };
        let granted = match refused.needs_grant(request) {
            true => self.find_grant(request, refused.key()).await?,
            false => None,
        };
        Ok(refused.by_grant(granted)?)
    }

    /// Checks that a key which the caller may use can be used. Whether it made the ciphertext of
    /// the request comes first: what else is wrong with another key is of no interest then.
    pub(super) async fn ready<A: KeyAction>(
        &mut self,
        key_use: KeyUse<'_, A>,
        permitted: Permitted,
    ) -> Result<Authorized<A>, KmsError> {
        if let Some(blob) = key_use.blob
            && Envelope::parse(blob)?.key != permitted.key().id
        {
            return Err(incorrect_key());
        }
        let state = self.state_of(permitted.key()).await?;
        let key = permitted.authorize_in::<A>(state, self.service.now())?;
        if self.operation.is_tracked() {
            self.used.push(key.stored());
        }
        Ok(key)
    }
}
