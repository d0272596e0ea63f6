//! Binds the store to the domain of each Region's keys.
//!
//! A Region's keys open in the devices of one domain. Once there are keys, no device of another domain
//! gets into service for the Region, and no new domain is made for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hsm_protocol::{DeviceId, DomainId};

use super::exchange::SharedLedger;
use host_driver::ceremony::Ledger;
use kms_ceremony::ledger::Ballots;
use kms_keys::CatalogError;
use kms_keys::tokens::{Look, domains};
use kms_store::{Blocking, BlockingReads, Commit, RedbStore, Store, StoreError, Transaction};
use tokio::runtime::Handle;

/// Facts of the store: the domain of a Region.
const DOMAIN: &str = "domain/";
/// Facts of the store: the devices that have served a Region.
const DEVICES: &str = "devices/";

/// Records of a shared store: the domain of a Region, 16 bytes. Whoever is first claims it.
pub(crate) const CLAIM: &str = "service/domains/";

/// The domains of a store's Regions.
pub struct Domains {
    store: Arc<RedbStore>,
    /// The records, if they are not in `store`.
    shared: Option<Blocking>,
    /// Of the store, for texts.
    path: PathBuf,
    bound: Mutex<BTreeMap<String, Bound>>,
}

/// What a Region's keys are bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The domain.
    pub domain: DomainId,
    /// Devices of it that have served the Region, as far as that is known.
    pub devices: Vec<DeviceId>,
    /// The store, for texts.
    pub store: PathBuf,
}

impl Domains {
    /// Those of a store, which is the file `path`.
    #[must_use]
    pub fn of(store: Arc<RedbStore>, path: PathBuf) -> Arc<Self> {
        Arc::new(Self { store, shared: None, path, bound: Mutex::default() })
    }

    /// Those of a shared store, with facts in `store`. Needs a Tokio runtime.
    #[must_use]
    pub fn of_shared(store: Arc<RedbStore>, records: Arc<dyn Store>, name: PathBuf) -> Arc<Self> {
        let shared = Some(Blocking { store: records, runtime: Handle::current() });
        Arc::new(Self { store, shared, path: name, bound: Mutex::default() })
    }

    /// How the domain of a Region came to its state: as the data directory knows and, where the records are
    /// shared, as other daemons know.
    #[must_use]
    pub fn ledger(&self, data: &Path, region: &str) -> Arc<dyn Ledger + Send + Sync> {
        let own = Ballots::of_data(data, region);
        match &self.shared {
            Some(records) => Arc::new(SharedLedger::new(own, records.clone(), region)),
            None => Arc::new(own),
        }
    }

    fn records(&self) -> &dyn BlockingReads {
        self.shared.as_ref().map_or(&*self.store, |shared| shared)
    }

    /// Those of the store in a data directory that no kmsd uses; `None` if it has no store.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be opened.
    pub fn of_data(data: &Path) -> Result<Option<Arc<Self>>, StoreError> {
        let path = data.join("store.redb");
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Self::of(Arc::new(RedbStore::open(&path)?), path)))
    }

    /// What the keys of a Region are bound to; `None` if there are none. `hint` is the domain of the
    /// devices' files: a store that an earlier release wrote may have keys of several. Blocks.
    ///
    /// # Errors
    /// [`CatalogError`] if the store cannot be read.
    pub fn bound(
        &self,
        region: &str,
        hint: Option<DomainId>,
    ) -> Result<Option<Bound>, CatalogError> {
        if let Some(bound) = self.recorded(region)? {
            let has_keys = !domains(self.records(), region, Look::First)?.is_empty();
            return Ok(has_keys.then_some(bound));
        }
        let found = domains(self.records(), region, Look::All)?;
        let hint = hint.filter(|hint| found.contains_key(hint));
        let most = found.iter().max_by_key(|(_, count)| **count).map(|(domain, _)| *domain);
        let bound = |domain| Bound { domain, devices: Vec::new(), store: self.path.clone() };
        Ok(hint.or(most).map(bound))
    }

    /// Regions that are bound to a domain. Blocks.
    ///
    /// # Errors
    /// [`CatalogError`] if the store cannot be read.
    pub fn regions(&self) -> Result<Vec<String>, CatalogError> {
        let names = self.store.facts(DOMAIN)?.into_keys();
        Ok(names.filter_map(|name| name.strip_prefix(DOMAIN).map(str::to_owned)).collect())
    }

    /// Binds a Region to the domain of a device that is about to serve it, unless it is. Blocks.
    ///
    /// # Errors
    /// A text, if its keys are of another domain.
    pub fn bind(&self, region: &str, domain: &DomainId, device: &DeviceId) -> Result<(), String> {
        let mut known = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known
            .get(region)
            .is_some_and(|bound| bound.domain == *domain && bound.devices.contains(device));
        if is_known {
            return Ok(());
        }
        let bound = self.judge(region, domain, device).map_err(|error| error.to_string())??;
        if let Some(shared) = &self.shared {
            self.claim(shared, region, domain).map_err(|error| error.to_string())??;
        }
        let devices = bound.devices.iter().flat_map(|device| device.0).collect();
        let facts = vec![
            (format!("{DOMAIN}{region}"), Some(domain.0.to_vec())),
            (format!("{DEVICES}{region}"), Some(devices)),
        ];
        self.store.set_facts_blocking(facts).map_err(|error| error.to_string())?;
        known.insert(region.to_owned(), bound);
        Ok(())
    }

    /// Has a shared store say which domain a Region is of: daemons that start together, before there
    /// are keys, could otherwise each make keys in a domain of their own.
    fn claim(
        &self,
        shared: &Blocking,
        region: &str,
        domain: &DomainId,
    ) -> Result<Result<(), String>, CatalogError> {
        let key = format!("{CLAIM}{region}");
        let claim = Transaction::new().put(&*key, domain.0);
        let transaction = match shared.get_blocking(key.as_bytes())? {
            Some(entry) if *entry.value == domain.0 => return Ok(Ok(())),
            Some(entry) => {
                let found = domains(shared, region, Look::All)?;
                if found.keys().any(|other| other.0 == *entry.value) || found.is_empty() {
                    let other = <[u8; 16]>::try_from(&*entry.value).map(DomainId);
                    let other = other.map_or_else(|_| "?".to_owned(), |other| other.to_string());
                    return Ok(Err(format!(
                        "{region} in {} is of domain {other}, which another daemon uses, and the device is \
                         of domain {domain}. Connect a device of that domain",
                        self.path.display()
                    )));
                }
                claim.unchanged(&*key, entry.revision)
            }
            None => claim.absent(&*key),
        };
        Ok(match shared.commit(transaction)? {
            Commit::Applied { .. } => Ok(()),
            // It is tried again with the device.
            Commit::Conflict => Err("another daemon has claimed the Region meanwhile".to_owned()),
        })
    }

    /// What a Region is bound to once the device serves it.
    fn judge(
        &self,
        region: &str,
        domain: &DomainId,
        device: &DeviceId,
    ) -> Result<Result<Bound, String>, CatalogError> {
        let recorded = self.recorded(region)?;
        if let Some(mut bound) = recorded.clone().filter(|bound| bound.domain == *domain) {
            if !bound.devices.contains(device) {
                bound.devices.push(*device);
            }
            return Ok(Ok(bound));
        }
        let found = domains(self.records(), region, Look::All)?;
        let others: Vec<_> = found.iter().filter(|(other, _)| *other != domain).collect();
        let is_new = recorded.is_none() && found.contains_key(domain);
        if let Some((other, _)) = others.first().filter(|_| !is_new) {
            return Ok(Err(format!(
                "device {device} belongs to domain {domain}, and the keys of {region} in {} to \
                 domain {other}: it cannot open any of them, and no new key is made with it. \
                 Connect a device of that domain, or use another data directory",
                self.path.display()
            )));
        }
        for (other, keys) in others {
            tracing::warn!(region, domain = %other, keys, "keys of another domain, without a device");
        }
        if let Some(former) = recorded {
            tracing::warn!(region, former = %former.domain, %domain, "a new domain, as there were \
                                                                      no keys");
        }
        let (domain, devices, store) = (*domain, vec![*device], self.path.clone());
        Ok(Ok(Bound { domain, devices, store }))
    }

    fn recorded(&self, region: &str) -> Result<Option<Bound>, CatalogError> {
        let domain = self.store.fact(&format!("{DOMAIN}{region}"))?;
        let domain = domain.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let devices = self.store.fact(&format!("{DEVICES}{region}"))?.unwrap_or_default();
        let devices = devices.as_chunks::<16>().0.iter().map(|id| DeviceId(*id)).collect();
        Ok(domain.map(|domain| Bound {
            domain: DomainId(domain),
            devices,
            store: self.path.clone(),
        }))
    }
}
