//! Keeps the replicas of multi-Region keys as their primaries are.

use std::collections::BTreeMap;

use super::Regions;
use crate::audit::DeviceReceipt;
use crate::error::KmsError;
use crate::key::catalog::Update;
use crate::key::multi_region::Tokens;
use crate::key::{Catalog, CatalogError, KeyMaterial, KeyRecord, Stored};
use crate::policy::Authorized;

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
        key: &Authorized<KeyRecord>,
        changed: &KeyRecord,
    ) -> Result<Self, KmsError> {
        let mut tokens = BTreeMap::new();
        let replicas = match changed.is_replica() {
            true => Vec::new(),
            false => catalog.related(changed).await?,
        };
        for replica in &replicas {
            let (region, untold) = (&replica.scope.region, changed.untold(Some(&**replica)));
            let given = regions.transfer((tag, &mut *receipts), key, &untold, region).await?;
            tokens.insert(region.clone(), given);
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
        key: &Authorized<KeyRecord>,
        changed: &KeyRecord,
    ) -> Result<Update, CatalogError> {
        let Self { replicas, tokens } = self;
        catalog.replace_shared(key.stored(), changed, replicas, &tokens).await
    }
}

impl Regions {
    /// Gives material of a key to the devices of another Region, and returns their key tokens.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if devices do not answer now.
    pub async fn transfer(
        &self,
        (tag, receipts): ([u8; 16], &mut Vec<DeviceReceipt>),
        key: &Authorized<KeyRecord>,
        materials: &[&KeyMaterial],
        region: &str,
    ) -> Result<Tokens, KmsError> {
        let mut tokens = Tokens::new();
        if materials.is_empty() {
            return Ok(tokens);
        }
        let home = &key.scope.region;
        let (source, target) = (self.engine(home)?, self.engine(region)?);
        let (there, back) = (self.approve(home, region).await?, self.approve(region, home).await?);
        for material in materials {
            let mut devices = source.devices(tag, receipts);
            let wrapped = devices.export_replica(key, material, there).await?;
            let mut devices = target.devices(tag, receipts);
            let token = devices.import_replica(key, material, back, &wrapped).await?;
            tokens.insert(material.id, token);
        }
        Ok(tokens)
    }
}
