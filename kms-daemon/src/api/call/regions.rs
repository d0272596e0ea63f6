//! Keys of several Regions, as a call changes them.

use super::{Call, KeyUse, contended};
use crate::link::{Place, Replicate};
use crate::policy::{Authorized, Shares};
use crate::regions::Shared;
use kms_base::error::{Exception, KmsError};
use kms_keys::catalog::{Update, elsewhere};
use kms_keys::multi_region::{SharedState, Tokens};
use kms_keys::{KeyMaterial, KeyRecord};
use kms_model::state::{KeyState, StateRule};
use kms_model::{Action, Operation, action};

impl Call<'_> {
    /// Changes what the keys of a multi-Region key share: as [`Call::update_key`], on the primary
    /// only, and its replicas change in the same moment.
    pub(in crate::api) async fn update_shared<A: Shares>(
        &mut self,
        key_use: KeyUse<'_, A>,
        change: impl Fn(&KeyRecord) -> Result<KeyRecord, KmsError>,
    ) -> Result<KeyRecord, KmsError> {
        for _ in Self::tries() {
            let key = self.authorize(key_use).await?;
            refuse_replica(&key, A::RULE.action)?;
            refuse_moving(&key)?;
            let changed = change(&key)?;
            if self.replace_shared(&key, &changed).await? == Update::Applied {
                return Ok(changed);
            }
        }
        Err(contended())
    }

    /// Replaces a key and, if it is a primary, what its replicas share with it. New material goes
    /// to their devices.
    pub(in crate::api) async fn replace_shared<A: Shares>(
        &mut self,
        key: &Authorized<A>,
        changed: &KeyRecord,
    ) -> Result<Update, KmsError> {
        let key = &key.for_replicas();
        let (catalog, regions) = (self.service.catalog(), self.service.regions());
        let devices = (self.request.audit_tag(), &mut self.facts.receipts);
        let shared = Shared::prepare(catalog, regions, devices, key, changed).await?;
        let update = shared.commit(catalog, key, changed).await?;
        self.wake_outbox();
        Ok(update)
    }

    /// Gives all material of a primary to the devices of another Region.
    pub(in crate::api) async fn transfer(
        &mut self,
        key: &Authorized<action::ReplicateKey>,
        region: &str,
    ) -> Result<Tokens, KmsError> {
        let key = &key.for_replicas();
        let regions = self.service.regions();
        let devices = (self.request.audit_tag(), &mut self.facts.receipts);
        regions.transfer(devices, key, &key.untold(|_| false), region).await
    }

    /// Has a replica made by the daemon of another Region, and returns its state. What the answer
    /// to this was lost of, the same call finds made.
    pub(in crate::api) async fn replicate_elsewhere(
        &mut self,
        key: &Authorized<action::ReplicateKey>,
        replica: &KeyRecord,
        shared: SharedState,
        bypass: bool,
    ) -> Result<KeyState, KmsError> {
        let key = &key.for_replicas();
        let regions = self.service.regions();
        let region = &replica.scope.region;
        let devices = (self.request.audit_tag(), &mut self.facts.receipts);
        let material = regions.wrap(devices, key, &key.untold(|_| false), region).await?;
        let named = |name: Option<&str>| name.unwrap_or_default().to_owned();
        let message = Replicate {
            place: Place { scope: replica.scope.clone(), key: key.id },
            from: key.scope.region.clone(),
            domain: regions.info(&key.scope.region).await?,
            spec: named(key.spec.aws_name()),
            usage: named(key.usage.aws_name()),
            origin: named(key.origin.aws_name()),
            description: replica.description.clone(),
            created: replica.created,
            policy: replica.policy.text().to_owned(),
            bypass,
            tags: replica.tags.clone(),
            shared,
            material,
        };
        Ok(regions.peers().replicate(&message).await?.state)
    }

    /// There may be something to tell other daemons.
    pub(in crate::api) fn wake_outbox(&self) {
        self.service.outbox.wake();
    }

    /// Whether imported material that waits for its rotation is there in every Region of the key.
    pub(in crate::api) async fn is_imported_everywhere(
        &self,
        key: &KeyRecord,
    ) -> Result<bool, KmsError> {
        let Some(pending) = key.pending.as_ref().filter(|pending| pending.is_present()) else {
            return Ok(false);
        };
        let related = self.service.catalog().related(key).await?;
        let here = |key: &KeyRecord| key.pending.as_ref().is_some_and(KeyMaterial::is_present);
        if !related.iter().all(|related| here(related)) {
            return Ok(false);
        }
        for scope in elsewhere(key, &related) {
            let there = Place { scope, key: key.id };
            let known = self.service.regions().peers().describe(there).await?;
            if !known.present.contains(&pending.id.to_string()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Refuses to change what is shared while the primary moves to another daemon.
pub(in crate::api) fn refuse_moving(key: &KeyRecord) -> Result<(), KmsError> {
    let moving = key.multi_region.as_ref().is_some_and(|regions| regions.moving_to.is_some());
    match moving {
        true => StateRule::Enabled.check(KeyState::Updating, || key.arn()),
        false => Ok(()),
    }
}

/// Refuses to change on a replica what is its primary's business.
pub(in crate::api) fn refuse_replica(key: &KeyRecord, action: Action) -> Result<(), KmsError> {
    if !key.is_replica() {
        return Ok(());
    }
    let (arn, operation) = (key.arn(), Operation::of(action).map_or("", Operation::name));
    let text = format!("{arn} is a multi-region replica key which is not valid for {operation}.");
    Err(KmsError::new(Exception::UnsupportedOperation, text))
}
