//! What explanations of decisions need to know of a key.

use std::collections::HashSet;

use kms_policy::Grantee;

use super::Service;
use crate::policy::{Lookups, Requester};
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::{Forms, KeyRef, Scope};
use kms_keys::{GrantId, GrantRecord, KeyRecord, Stored};

/// Grants that are read at a time.
const GRANTS: usize = 100;

/// A key, and what is of interest for one caller.
pub(crate) struct KeyForCaller {
    /// The key.
    pub(crate) key: Stored<KeyRecord>,
    /// What conditions can ask about it beside its record.
    pub(crate) lookups: Lookups,
    /// The grants on it that name the caller, or an earlier principal of the caller's name.
    pub(crate) grants: Vec<(GrantId, Stored<GrantRecord>, Grantee)>,
}

impl Service {
    /// The key that `named` names in an account and Region.
    ///
    /// # Errors
    /// [`Exception::NotFound`] or [`Exception::InvalidArn`]; `Exception::KmsInternal` if the store
    /// does not answer.
    pub(crate) async fn key_named(
        &self,
        home: &Scope,
        named: &str,
    ) -> Result<Stored<KeyRecord>, KmsError> {
        let named = KeyRef::parse(named, Forms::KeyOrAlias, home, Exception::InvalidArn)?;
        let (catalog, scope) = (&self.catalog, named.scope());
        let id = match &named {
            KeyRef::Key(_, id) => Some(*id),
            KeyRef::Alias(_, name) => {
                catalog.aliases().get(scope, name).await?.map(|alias| alias.target)
            }
        };
        let key = match id {
            Some(id) => catalog.key(scope, id).await?,
            None => None,
        };
        key.ok_or_else(|| named.not_found())
    }

    /// The key that `named` names in an account and Region, and the grants of a caller on it.
    ///
    /// # Errors
    /// [`Exception::NotFound`] or [`Exception::InvalidArn`]; `Exception::KmsInternal` if the store
    /// does not answer.
    pub(crate) async fn key_for_caller(
        &self,
        home: &Scope,
        named: &str,
        requester: Requester<'_>,
    ) -> Result<KeyForCaller, KmsError> {
        let key = self.key_named(home, named).await?;
        let (catalog, scope) = (&self.catalog, &key.scope);
        let mut grants = Vec::new();
        let mut known = HashSet::new();
        let names = requester.names();
        // Those that mean the caller, and those that mean an earlier one of its name.
        let lasting = names.iter().map(|name| (name.lasting(), name.grantee));
        let present = names.iter().map(|name| (&*name.arn, name.grantee));
        for (name, grantee) in lasting.chain(present) {
            let mut after = None;
            loop {
                let page = catalog.grants().list_to(scope, key.id, name, after, GRANTS).await?;
                after = page.items.last().map(|(id, _)| *id);
                let found = page.items.into_iter().filter_map(|(id, found)| {
                    let record = found?.record;
                    known.insert(id).then_some((id, record, grantee))
                });
                grants.extend(found);
                if !page.more {
                    break;
                }
            }
        }
        let aliases = Some(catalog.aliases().of_key(scope, key.id).await?);
        let lookups = Lookups { aliases, unused_days: Some(self.unused_days(&key).await?) };
        Ok(KeyForCaller { key, lookups, grants })
    }
}
