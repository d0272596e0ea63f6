//! Keys of several Regions, as a call changes them.

use super::{Call, KeyUse, contended};
use crate::error::{Exception, KmsError};
use crate::key::catalog::Update;
use crate::key::multi_region::Tokens;
use crate::key::{KeyMaterial, KeyRecord};
use crate::policy::Authorized;
use crate::regions::Shared;

impl Call<'_> {
    /// Changes what the keys of a multi-Region key share: as [`Call::update_key`], on the primary
    /// only, and its replicas change in the same moment.
    pub(in crate::api) async fn update_shared(
        &mut self,
        key_use: KeyUse<'_>,
        change: impl Fn(&KeyRecord) -> Result<KeyRecord, KmsError>,
    ) -> Result<KeyRecord, KmsError> {
        for _ in Self::tries() {
            let key = self.authorize(key_use).await?;
            refuse_replica(&key)?;
            let changed = change(&key)?;
            if self.replace_shared(&key, &changed).await? == Update::Applied {
                return Ok(changed);
            }
        }
        Err(contended())
    }

    /// Replaces a key and, if it is a primary, what its replicas share with it. New material goes
    /// to their devices.
    pub(in crate::api) async fn replace_shared(
        &mut self,
        key: &Authorized<KeyRecord>,
        changed: &KeyRecord,
    ) -> Result<Update, KmsError> {
        let (catalog, regions) = (self.catalog(), self.regions());
        let devices = (self.request.audit_tag(), &mut self.facts.receipts);
        let shared = Shared::prepare(catalog, regions, devices, key, changed).await?;
        Ok(shared.commit(catalog, key, changed).await?)
    }

    /// Gives all material of a primary to the devices of another Region.
    pub(in crate::api) async fn transfer(
        &mut self,
        key: &Authorized<KeyRecord>,
        region: &str,
    ) -> Result<Tokens, KmsError> {
        let regions = self.regions();
        let devices = (self.request.audit_tag(), &mut self.facts.receipts);
        regions.transfer(devices, key, &key.untold(None), region).await
    }

    /// Whether material that waits for its rotation is there in every Region of the key.
    pub(in crate::api) async fn is_imported_everywhere(
        &self,
        key: &KeyRecord,
    ) -> Result<bool, KmsError> {
        let present = |key: &KeyRecord| key.pending.as_ref().is_some_and(KeyMaterial::is_present);
        let related = self.catalog().related(key).await?;
        Ok(present(key) && related.iter().all(|related| present(related)))
    }
}

/// Refuses to change on a replica what is its primary's business.
pub(in crate::api) fn refuse_replica(key: &KeyRecord) -> Result<(), KmsError> {
    match &key.multi_region {
        Some(regions) if key.is_replica() => {
            let (arn, primary) = (key.arn(), &regions.primary);
            let text = format!(
                "{arn} is a replica key. This operation is only valid on the primary key, in \
                 {primary}."
            );
            Err(KmsError::new(Exception::UnsupportedOperation, text))
        }
        _ => Ok(()),
    }
}
