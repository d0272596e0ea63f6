//! Keeps the replicas of multi-Region keys as their primaries are.

use std::collections::BTreeMap;

use super::Regions;
use crate::link::{Place, Synchronise, Wrapped};
use crate::policy::{Authorized, Replication};
use host_driver::audit::DeviceReceipt;
use kms_base::error::KmsError;
use kms_keys::catalog::{Update, elsewhere};
use kms_keys::multi_region::Tokens;
use kms_keys::{Catalog, CatalogError, KeyMaterial, KeyRecord, Stored};

/// What a change of a primary brings its replicas. New material has gone to their devices, wrapped
/// by those of the primary; nothing counts before [`Shared::commit`].
#[must_use]
pub struct Shared {
    replicas: Vec<Stored<KeyRecord>>,
    tokens: BTreeMap<String, Tokens>,
}

impl Shared {
    /// Prepares the change of `key` to `changed`, which need not be a multi-Region key.
    ///
    /// # Errors
    /// As `CatalogError`; `Exception::DependencyTimeout` if devices do not answer now.
    pub async fn prepare(
        catalog: &Catalog,
        regions: &Regions,
        (tag, receipts): ([u8; 16], &mut Vec<DeviceReceipt>),
        key: &Authorized<Replication>,
        changed: &KeyRecord,
    ) -> Result<Self, KmsError> {
        let mut tokens = BTreeMap::new();
        let replicas = match changed.is_replica() {
            true => Vec::new(),
            false => catalog.related(changed).await?,
        };
        for replica in &replicas {
            let region = &replica.scope.region;
            let untold = changed.untold(|id| replica.material(id).is_some());
            let given = regions.transfer((tag, &mut *receipts), key, &untold, region).await?;
            tokens.insert(region.clone(), given);
        }
        // A Region elsewhere has new material before anything is encrypted with it.
        if !changed.is_replica() && !changed.untold(|id| key.material(id).is_some()).is_empty() {
            for scope in elsewhere(changed, &replicas) {
                let there = Place { scope, key: key.id };
                regions.tell((tag, &mut *receipts), key, changed, there, true).await?;
            }
        }
        Ok(Self { replicas, tokens })
    }

    /// Makes the change durable in all Regions, or in none.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn commit(
        self,
        catalog: &Catalog,
        key: &Authorized<Replication>,
        changed: &KeyRecord,
    ) -> Result<Update, CatalogError> {
        let Self { replicas, tokens } = self;
        catalog.replace_shared(key.stored(), changed, replicas, &tokens).await
    }
}

impl Regions {
    /// Gives material of a key to the devices of another Region here, and returns their key
    /// tokens.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if devices do not answer now.
    pub async fn transfer(
        &self,
        (tag, receipts): ([u8; 16], &mut Vec<DeviceReceipt>),
        key: &Authorized<Replication>,
        materials: &[&KeyMaterial],
        region: &str,
    ) -> Result<Tokens, KmsError> {
        let mut tokens = Tokens::new();
        if materials.is_empty() {
            return Ok(tokens);
        }
        let home = &key.scope.region;
        let (source, target) = (self.engine(home)?, self.engine(region)?);
        let (own, peer) = (self.info(home).await?, self.info(region).await?);
        self.approve(home, &peer).await?;
        self.approve(region, &own).await?;
        for material in materials {
            let mut devices = source.devices(tag, receipts);
            let wrapped = devices.export_replica(key, material, peer).await?;
            let mut devices = target.devices(tag, receipts);
            let token = devices.import_replica(key, &material.id, own, &wrapped).await?;
            tokens.insert(material.id, token);
        }
        Ok(tokens)
    }

    /// Wraps material of a key for the devices of another daemon's Region.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if devices or the other daemon do not answer now.
    pub(crate) async fn wrap(
        &self,
        (tag, receipts): ([u8; 16], &mut Vec<DeviceReceipt>),
        key: &Authorized<Replication>,
        materials: &[&KeyMaterial],
        region: &str,
    ) -> Result<Wrapped, KmsError> {
        let mut wrapped = Wrapped::default();
        if materials.is_empty() {
            return Ok(wrapped);
        }
        let home = &key.scope.region;
        let peer = self.info(region).await?;
        self.approve(home, &peer).await?;
        let engine = self.engine(home)?;
        for material in materials {
            let mut devices = engine.devices(tag, receipts);
            let token = devices.export_replica(key, material, peer).await?;
            wrapped.insert(&material.id, &token);
        }
        Ok(wrapped)
    }

    /// Tells a Region of another daemon what a primary shares once it is `changed`, with the
    /// material that it does not have. `ahead` of the change, it only keeps new material ready.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if devices or the other daemon do not answer now.
    pub(crate) async fn tell(
        &self,
        (tag, receipts): ([u8; 16], &mut Vec<DeviceReceipt>),
        key: &Authorized<Replication>,
        changed: &KeyRecord,
        there: Place,
        ahead: bool,
    ) -> Result<(), KmsError> {
        let Some(shared) = changed.shared() else { return Ok(()) };
        let region = there.scope.region.clone();
        let known = self.peers().describe(there.clone()).await?;
        if !ahead && known.version >= shared.regions.version {
            return Ok(());
        }
        let untold = changed.untold(|id| known.present.contains(&id.to_string()));
        let material = self.wrap((tag, receipts), key, &untold, &region).await?;
        let from = key.scope.region.clone();
        let domain = self.info(&from).await?;
        let message = Synchronise { place: there, from, domain, shared, material, ahead };
        self.peers().synchronise(&message).await?;
        Ok(())
    }
}
