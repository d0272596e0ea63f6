//! What policies ask that is in no request and no record of a key.

use super::Call;
use crate::api::Service;
use crate::policy::Lookups;
use kms_base::error::KmsError;
use kms_keys::KeyRecord;
use kms_model::Action;

const MILLIS_A_DAY: u64 = 24 * 60 * 60 * 1000;

impl Call<'_> {
    /// Looks up what policies ask for, and nothing else.
    ///
    /// It is read from the store for every decision, so that what has changed counts at once.
    pub(in crate::api) async fn look_up(
        &self,
        action: Action,
        key: &KeyRecord,
    ) -> Result<Lookups, KmsError> {
        let mut lookups = Lookups::default();
        if Lookups::need_aliases(self.requester()) {
            lookups.aliases =
                Some(self.service.catalog().aliases().of_key(&key.scope, key.id).await?);
        }
        if Lookups::need_usage(self.requester(), action, key) {
            lookups.unused_days = Some(self.service.unused_days(key).await?);
        }
        Ok(lookups)
    }
}

impl Service {
    /// Whole days since a key was last used or, if it never was, since uses of it are tracked.
    pub(in crate::api) async fn unused_days(&self, key: &KeyRecord) -> Result<i64, KmsError> {
        let usage = &self.usage;
        let last = usage.last(&key.scope, key.id).await?;
        let since = last.map_or(usage.since().max(key.created), |last| last.at);
        let unused = self.now().as_millis().saturating_sub(since.as_millis());
        i64::try_from(unused / MILLIS_A_DAY).map_err(KmsError::internal)
    }
}
