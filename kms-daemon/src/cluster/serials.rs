//! Which tokens a cluster has. A label is a name that anybody may give; the serial number is what tells a token from
//! another one that was put in its place.
//!
//! The serial number of a token is learnt when its cluster is registered, or when it is logged in to first. From then
//! on, a token with another one does not get the password. The operator may accept it.

use kms_pkcs11::{Fault, Presence, Token};
use zeroize::Zeroizing;

use super::{Clusters, Failure, Target, key_id, place};
use kms_base::identifier::Scope;
use kms_keys::Catalog;
use kms_keys::catalog::{CatalogError, Update};
use kms_keys::custom_store::Cluster;

/// Tries of a change that others interfere with.
const TRIES: usize = 16;
/// Whose share of the processes those count to that only look at tokens.
const LOOKS: &str = "looks";
/// Keys whose ids are read at once.
const PAGE: usize = 500;

/// A token that is there, or why it is not; without logging in.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    /// The label.
    pub(crate) label: String,
    /// What is there under that label, also if it is another token than it was.
    pub(crate) found: Result<Presence, Fault>,
}

/// Why a token was not accepted.
#[derive(Debug)]
pub(crate) enum NotAccepted {
    /// It does not serve.
    Failure(Failure),
    /// It does not have this key, or has it as one that may leave it.
    Key(String, Fault),
    /// The keys cannot be listed.
    Catalog(CatalogError),
}

impl Clusters {
    /// Looks at the tokens of a cluster.
    pub(crate) async fn look(&self, cluster: &Cluster) -> Result<Vec<Looked>, Failure> {
        if !self.allows(&cluster.module) {
            return Err(Failure::NotAllowed);
        }
        let mut looked = Vec::new();
        for label in &cluster.tokens {
            let place = place(cluster, label, LOOKS);
            let found = match Token::look(&self.modules, &place).await {
                Err(Fault::Replaced) => {
                    let any = kms_pkcs11::Place { serial: None, ..place };
                    Token::look(&self.modules, &any).await
                }
                found => found,
            };
            looked.push(Looked { label: label.clone(), found });
        }
        Ok(looked)
    }

    /// The labels of those tokens of a cluster that are there, without logging in. One that is another than it was
    /// is not.
    pub(crate) async fn present(&self, cluster: &Cluster) -> Result<Vec<String>, Failure> {
        let (mut present, mut why) = (Vec::new(), None);
        for Looked { label, found } in self.look(cluster).await? {
            match found {
                Ok(token) if cluster.serial(&label).is_none_or(|it| *it == token.serial) => {
                    present.push(label);
                }
                Ok(_) => why = Some(Fault::Replaced),
                Err(fault) => why = Some(fault),
            }
        }
        match (present.is_empty(), why) {
            (true, Some(fault)) => Err(Failure::Token(fault)),
            _ => Ok(present),
        }
    }

    /// The serial numbers of the tokens of a store that were logged in to, by label.
    pub(crate) fn serials(&self, store: &str) -> Vec<(String, String)> {
        let client = super::lock(&self.stores).get(store).cloned();
        let tokens = client.iter().flat_map(|client| &client.tokens);
        let serial = |token: &Token| Some((token.label().to_owned(), token.report().serial?));
        tokens.filter_map(|watched| serial(&watched.token)).collect()
    }

    /// Stores the serial numbers of tokens of a store's cluster that were not known yet.
    pub(crate) async fn learn(
        &self,
        catalog: &Catalog,
        scope: &Scope,
        (store, cluster): (&str, &str),
    ) -> Result<(), CatalogError> {
        let serials = self.serials(store);
        for _ in 0..TRIES {
            let stores = catalog.custom_key_stores(scope).await?;
            let mut changed = stores.value.clone();
            let found = changed.clusters.iter_mut().find(|it| it.id == cluster);
            if !found.is_some_and(|cluster| cluster.learn(&serials))
                || catalog.replace_custom_key_stores(&stores, &changed).await? == Update::Applied
            {
                break;
            }
        }
        Ok(())
    }

    /// Checks that a token, whose serial number the target's cluster has already, has all keys of the store, and that
    /// none of them can leave it.
    pub(crate) async fn check_keys(
        &self,
        (catalog, scope): (&Catalog, &Scope),
        target: &Target,
        label: &str,
    ) -> Result<(), NotAccepted> {
        let pin = std::str::from_utf8(&target.secret);
        let pin = pin.map_err(|_| NotAccepted::Failure(Failure::Password))?;
        let pin = Zeroizing::new(pin.to_owned());
        let token = Token::new(&self.modules, place(&target.cluster, label, &target.store), pin);
        let fault = |fault| NotAccepted::Failure(Failure::Token(fault));
        token.connect().await.map_err(fault)?;
        let mut after = None;
        loop {
            let page = catalog.external_keys_in(scope, &target.store, (after.as_deref(), PAGE));
            let page = page.await.map_err(NotAccepted::Catalog)?;
            for key in &page {
                let id = key_id(key).map_err(NotAccepted::Failure)?;
                match token.check(&id).await {
                    Ok(()) => {}
                    Err(missing @ (Fault::NoKey | Fault::WrongKey)) => {
                        return Err(NotAccepted::Key(key.clone(), missing));
                    }
                    Err(other) => return Err(fault(other)),
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }
}
