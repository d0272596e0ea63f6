//! The last uses of access keys, users and roles: time, service and Region.
//!
//! As with keys of KMS, a use is noted in memory and written soon after, many at a time: no request
//! waits for a write, and each identity takes at most one write a minute, however many uses there
//! are. The audit log has everything that a crash loses.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::layout;
use super::record::{Record, Version};
use kms_base::clock::Timestamp;
use kms_base::principal::{Principal, PrincipalKind};
use kms_keys::CatalogError;
use kms_store::{Commit, Store, Transaction};

/// Identities written at a time: each takes two guards and a write.
const BATCH: usize = 40;

/// The last use for a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Use {
    /// When.
    pub(crate) at: Timestamp,
    /// The Region that the request was signed for.
    pub(crate) region: String,
}

/// Last uses, by the names of the services in actions.
pub(crate) type ByService = BTreeMap<String, Use>;

/// The uses of an access key, a user, a role or an account root, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UsesRecord {
    pub(crate) version: Version,
    /// Access key id, unique id of the user or role, or number of the account.
    pub(crate) id: String,
    pub(crate) services: ByService,
}

impl Record for UsesRecord {
    fn key(&self) -> Vec<u8> {
        layout::uses(&self.id)
    }
}

/// What was noted of an identity since the last write.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Noted {
    /// Where its own record is: without one, nothing is written.
    record: Vec<u8>,
    services: ByService,
}

/// Notes the uses of identities.
pub(crate) struct Uses {
    store: Arc<dyn Store>,
    recent: Mutex<HashMap<String, Noted>>,
}

impl Uses {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, recent: Mutex::default() }
    }

    /// Notes that `principal` has signed a request.
    pub(crate) fn note(&self, principal: &Principal, service: &str, region: &str, at: Timestamp) {
        let account = principal.account.as_str();
        let (id, record) = match &principal.kind {
            PrincipalKind::Root => (account, layout::account(account)),
            PrincipalKind::User(user) => (user.id.as_str(), layout::user(account, &user.name)),
            PrincipalKind::Role(role) => (role.role_id.as_str(), layout::role(account, &role.role)),
        };
        let mut recent = self.recent();
        if principal.session.is_none() {
            let key = principal.access_key_id.as_str();
            // Those of the file with the root's keys have no record of their own.
            let of_key = match principal.is_root() {
                true => record.clone(),
                false => layout::access_key(key),
            };
            add(&mut recent, (key, of_key), service, region, at);
        }
        add(&mut recent, (id, record), service, region, at);
    }

    /// The last uses of an identity or an access key.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) async fn of(&self, id: &str) -> Result<ByService, CatalogError> {
        let noted = self.recent().get(id).map(|noted| noted.services.clone());
        let stored = self.stored(id).await?.map(|(_, record)| record.services);
        // Another daemon may have seen later ones.
        Ok(merged(stored.unwrap_or_default(), noted.unwrap_or_default()))
    }

    /// Writes what was noted, and returns for how many.
    ///
    /// # Errors
    /// [`CatalogError`]; what is not written yet stays noted.
    pub(crate) async fn flush(&self) -> Result<usize, CatalogError> {
        let all: Vec<(String, Noted)> = self.recent().clone().into_iter().collect();
        let mut written = 0;
        for batch in all.chunks(BATCH) {
            let mut transaction = Transaction::new();
            let mut guarded = std::collections::BTreeSet::new();
            for (id, noted) in batch {
                // One that is gone is not to be remembered.
                let Some(own) = self.store.get(&noted.record).await?.value else { continue };
                let stored = self.stored(id).await?;
                let (revision, before) = match stored {
                    Some((revision, record)) => (Some(revision), record.services),
                    None => (None, ByService::new()),
                };
                let services = merged(before, noted.services.clone());
                let record = UsesRecord { version: Version, id: id.clone(), services };
                let key = record.key();
                let encoded = record.encode().map_err(|error| CatalogError::Record {
                    key: String::from_utf8_lossy(&key).into_owned(),
                    error,
                })?;
                if guarded.insert(noted.record.clone()) {
                    transaction = transaction.unchanged(noted.record.clone(), own.revision);
                }
                transaction = match revision {
                    Some(revision) => transaction.unchanged(key.clone(), revision),
                    None => transaction.absent(key.clone()),
                };
                transaction = transaction.put(key, encoded);
            }
            if self.store.commit(transaction).await? == Commit::Conflict {
                // One of them is being changed: the next time will do.
                continue;
            }
            let mut recent = self.recent();
            for (id, noted) in batch {
                // Used again meanwhile: that is still to be written.
                if recent.get(id) == Some(noted) {
                    recent.remove(id);
                }
            }
            written += batch.len();
        }
        Ok(written)
    }

    async fn stored(
        &self,
        id: &str,
    ) -> Result<Option<(kms_store::Revision, UsesRecord)>, CatalogError> {
        let key = layout::uses(id);
        let Some(entry) = self.store.get(&key).await?.value else { return Ok(None) };
        let record = UsesRecord::decode(&entry.value).map_err(|error| CatalogError::Record {
            key: String::from_utf8_lossy(&key).into_owned(),
            error,
        })?;
        Ok(Some((entry.revision, record)))
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<String, Noted>> {
        // A map that is whole between any two of its methods: a panic elsewhere spoils nothing.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(
    recent: &mut HashMap<String, Noted>,
    (id, record): (&str, Vec<u8>),
    service: &str,
    region: &str,
    at: Timestamp,
) {
    let noted = match recent.get_mut(id) {
        Some(noted) => noted,
        None => recent
            .entry(id.to_owned())
            .or_insert(Noted { record: Vec::new(), services: ByService::new() }),
    };
    // A user may have another name since.
    noted.record = record;
    match noted.services.get_mut(service) {
        Some(own) if own.region == region => own.at = own.at.max(at),
        Some(own) => *own = Use { at, region: region.to_owned() },
        None => {
            noted.services.insert(service.to_owned(), Use { at, region: region.to_owned() });
        }
    }
}

/// The later ones of two.
fn merged(mut one: ByService, other: ByService) -> ByService {
    for (service, used) in other {
        match one.get_mut(&service) {
            Some(own) if own.at >= used.at => {}
            _ => drop(one.insert(service, used)),
        }
    }
    one
}
