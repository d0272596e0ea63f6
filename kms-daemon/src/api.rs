//! The API: one row per operation in [`Operation`]'s table, one file per operation.
//!
//! Every operation works in the same order: shape of the parameters, naming of the key,
//! authorization (policy, state, usage), quotas, dry run, cryptography. A dry run of what looks at
//! something that was made before (a ciphertext, signature or MAC) ends after that.

use kms_model::Operation;
use std::sync::Arc;
use std::time::Instant;

use serde::de::DeserializeOwned;

use crate::cluster::Clusters;
use crate::iam::Iam;
use crate::link::OutboxSignal;
use crate::metrics::Times;
use crate::proxy::Proxies;
use crate::quota::{Pool, Quotas};
use crate::regions::Regions;
use kms_audit::AuditFacts;
use kms_base::clock::{Clock, Timestamp};
use kms_base::context::RequestContext;
use kms_base::error::{Exception, KmsError};
use kms_keys::last_usage::UsageTracker;
use kms_keys::{Catalog, CatalogError};
use kms_store::Store;

mod answer;
mod call;
mod callers;
mod checks;
mod development;
mod explanation;
mod grant_listing;
mod grant_token;
mod input;
mod managed_key;
mod marker;
mod metadata;
mod model;
mod operation;
mod recipient;
pub(crate) mod tagging;

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use self::tests::testing;

pub use self::answer::Answer;
pub use self::development::{CUSTOM_ID, CUSTOM_MATERIAL};
pub(crate) use self::operation::accept_policy;

use self::call::Call;
use self::checks::Checks;
use self::model::Request;
use self::operation::dispatch;
use crate::mac::MacKey;

/// The key management service: what is behind the HTTP front end.
pub struct Service {
    catalog: Arc<Catalog>,
    regions: Arc<Regions>,
    clock: Arc<dyn Clock>,
    seal: MacKey,
    usage: Arc<UsageTracker>,
    development: bool,
    quotas: Quotas,
    outbox: OutboxSignal,
    identities: Option<Arc<Iam>>,
    proxies: Option<Arc<Proxies>>,
    clusters: Option<Arc<Clusters>>,
    authorization: Times,
}

impl Service {
    /// A service over a store and the devices of `regions`. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`CatalogError`] if the store does not answer.
    pub async fn open(
        store: Arc<dyn Store>,
        regions: Arc<Regions>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CatalogError> {
        let seal = MacKey::open(&*store).await?;
        let catalog = Catalog::open(store).await?;
        let usage = UsageTracker::open(Arc::clone(&catalog), clock.now()).await?;
        Ok(Self {
            catalog,
            regions,
            clock,
            seal,
            usage: Arc::new(usage),
            development: false,
            quotas: Quotas::default(),
            outbox: OutboxSignal::default(),
            identities: None,
            proxies: None,
            clusters: None,
            authorization: Times::of_authorization(),
        })
    }

    /// The same service with what only developers want: chosen ids and material of keys.
    #[must_use]
    pub fn in_development(mut self) -> Self {
        self.development = true;
        self
    }

    /// The same service for users and roles as well. Without it there is the account root only.
    #[must_use]
    pub fn with_identities(mut self, identities: Arc<Iam>) -> Self {
        self.identities = Some(identities);
        self
    }

    /// The same service with external key stores: their proxies are called by these. It needs identities as
    /// well, which keep the secrets.
    #[must_use]
    pub fn with_proxies(mut self, proxies: Arc<Proxies>) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// The external key store proxies, if any may be called.
    pub(crate) fn proxies(&self) -> Option<&Arc<Proxies>> {
        self.proxies.as_ref()
    }

    /// The same service with custom key stores on the PKCS#11 tokens of these clusters. It needs identities as
    /// well, which keep the passwords.
    #[must_use]
    pub fn with_clusters(mut self, clusters: Arc<Clusters>) -> Self {
        self.clusters = Some(clusters);
        self
    }

    /// The clusters of PKCS#11 tokens, if any module may be run.
    pub(crate) fn clusters(&self) -> Option<&Arc<Clusters>> {
        self.clusters.as_ref()
    }

    /// The same service, which counts there what authorizations take.
    #[must_use]
    pub fn with_authorization(mut self, times: Times) -> Self {
        self.authorization = times;
        self
    }

    /// The same service with request quotas.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// The last uses of keys, to be written from time to time.
    #[must_use]
    pub fn usage(&self) -> &Arc<UsageTracker> {
        &self.usage
    }

    /// The Regions.
    #[must_use]
    pub fn regions(&self) -> &Arc<Regions> {
        &self.regions
    }

    /// What Regions of other daemons are to be told.
    #[must_use]
    pub fn outbox(&self) -> &OutboxSignal {
        &self.outbox
    }

    /// The quotas.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The keys and aliases, for the deletion job.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Runs one operation of an authenticated caller on the JSON `body`.
    ///
    /// `facts` receives what the audit record needs, also when the operation is refused.
    ///
    /// # Errors
    /// The exception the client is to see.
    pub async fn call(
        &self,
        operation: Operation,
        request: &RequestContext,
        body: &[u8],
        facts: &mut AuditFacts,
    ) -> Result<Answer, KmsError> {
        let begin = Instant::now();
        let policies = self.policies(&request.principal).await?;
        let found_out = begin.elapsed();
        let mut call = Call::new(self, operation, (request, &policies), facts)?;
        if let Some(pool) = Pool::of_operation(operation) {
            call.count(pool)?;
        }
        let answer = dispatch(operation, &mut call, body).await;
        if let Some(decided) = call.deciding() {
            self.authorization.observe(found_out + decided);
        }
        let answer = answer?;
        if operation.changes_a_key() {
            call.facts.name_changed_key();
        }
        call.note_usage();
        Ok(answer)
    }
}

/// Reads a request and checks it against the service model.
fn read<T: Request>(body: &[u8]) -> Result<T, KmsError> {
    let wire = parse(body)?;
    let mut checks = Checks::new();
    let input = T::check(wire, &mut checks);
    checks.finish(input)
}

/// Reads the body of a request. Unknown members are ignored, as new clients send them.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, KmsError> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(KmsError::new(Exception::Serialization, "The request is not a JSON object."));
    }
    // The parser's own text may quote a value, which may be a secret.
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = format!("The request cannot be read at line {line}, column {column}.");
        KmsError::new(Exception::Serialization, text)
    })
}
