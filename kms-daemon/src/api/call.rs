//! One call of the API: what every operation needs while it runs.

use kms_model::Operation;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::marker::{self, ListingId};
use super::{Service, managed_key};
use crate::api::operation::malformed_arn;
use crate::engine::{Devices, Engine};
use crate::policy::{self, Authorized, CallerPolicies, Lookups, Requester};
use crate::quota::Pool;
use kms_audit::{AuditFacts, KeyEvent};
use kms_base::context::RequestContext;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::{Forms, KeyRef, Scope};
use kms_base::principal::Principal;
use kms_keys::catalog::Update;
use kms_keys::last_usage::LastUsage;
use kms_keys::{KeyRecord, Stored};
use kms_model::action::{Action, KeyAction};

mod accounts;
mod decision;
mod external;
mod foreign;
mod grants;
mod key_use;
mod lookups;
pub(super) mod regions;

pub(super) use self::key_use::KeyUse;

/// Tries of an update that others interfere with. Each failed try means that another one
/// succeeded, so this many callers can change one key at the same time.
const MAX_TRIES: usize = 64;

/// A key that was found, and that the caller may not use yet.
pub(super) enum Located {
    /// Of the caller's account.
    Home(Stored<KeyRecord>),
    /// Of another one; something that is closed to everybody if there is none.
    Foreign(Stored<KeyRecord>),
}

impl Located {
    /// The record.
    pub(super) fn key(&self) -> &KeyRecord {
        match self {
            Self::Home(key) | Self::Foreign(key) => &key.value,
        }
    }
}

/// A call under way.
pub(super) struct Call<'a> {
    /// What all calls are served with.
    pub(super) service: &'a Service,
    operation: Operation,
    request: &'a RequestContext,
    policies: &'a CallerPolicies,
    home: Scope,
    engine: Engine,
    /// What the audit record is to say.
    pub(super) facts: &'a mut AuditFacts,
    /// The keys it was allowed to use.
    used: Vec<Stored<KeyRecord>>,
    /// Whether it was counted against a quota.
    counted: bool,
    /// How long keys were looked for and decided about.
    deciding: Option<Duration>,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        service: &'a Service,
        operation: Operation,
        (request, policies): (&'a RequestContext, &'a CallerPolicies),
        facts: &'a mut AuditFacts,
    ) -> Result<Self, KmsError> {
        let home = Scope::new(&request.principal.account, &request.region);
        let engine = service.regions.engine(&request.region)?;
        Ok(Self {
            service,
            operation,
            request,
            policies,
            home,
            engine,
            facts,
            used: Vec::new(),
            counted: false,
            deciding: None,
        })
    }

    /// The caller's account in the Region of the endpoint.
    pub(super) const fn home(&self) -> &Scope {
        &self.home
    }

    /// The caller.
    pub(super) const fn principal(&self) -> &'a Principal {
        &self.request.principal
    }

    /// The caller, as policies see it.
    pub(super) const fn requester(&self) -> Requester<'a> {
        let request = self.request;
        Requester { principal: &request.principal, policies: self.policies, request: Some(request) }
    }

    /// How long keys were looked for and decided about, if they were.
    pub(super) const fn deciding(&self) -> Option<Duration> {
        self.deciding
    }

    /// Notes that a decision is made, which has begun then.
    fn decided_since(&mut self, begin: Instant) {
        self.deciding = Some(self.deciding.unwrap_or_default() + begin.elapsed());
    }

    /// Counts the call against a quota, once.
    pub(super) fn count(&mut self, pool: Pool) -> Result<(), KmsError> {
        if self.counted {
            return Ok(());
        }
        self.counted = true;
        self.service.quotas.take(&self.home, pool, Instant::now())
    }

    /// Counts requests against a quota of another Region.
    pub(super) fn count_elsewhere(
        &self,
        scope: &Scope,
        pool: Pool,
        requests: usize,
    ) -> Result<(), KmsError> {
        (0..requests).try_for_each(|_| self.service.quotas.take(scope, pool, Instant::now()))
    }

    /// Counts a new key against the quota of keys.
    pub(super) async fn count_key(&self, scope: &Scope) -> Result<(), KmsError> {
        self.service.quotas.take_key(&self.service.catalog, scope).await
    }

    /// The devices, as used by this call.
    pub(super) fn devices(&mut self) -> Devices<'_> {
        let devices = self.engine.devices(self.request.audit_tag(), &mut self.facts.receipts);
        devices.serving(self.request)
    }

    /// Records something that the service did by itself to a key, in the course of the call.
    pub(super) fn event(
        &mut self,
        name: &'static str,
        key: &KeyRecord,
        details: Map<String, Value>,
    ) {
        self.facts.events.push(KeyEvent {
            name,
            key: key.id.to_string(),
            scope: key.scope.clone(),
            arn: key.arn(),
            details,
        });
    }

    /// Notes that a cryptographic operation has succeeded.
    pub(super) fn note_usage(&self) {
        for key in &self.used {
            let usage = LastUsage {
                operation: self.operation.name().to_owned(),
                at: self.service.now(),
                event: self.request.event_id_for(&key.scope.account),
                request: self.request.request_id,
            };
            self.service.usage.note(&key.scope, key.id, usage);
        }
    }

    /// Reads the name of a key, without looking it up.
    pub(super) fn key_ref(&self, text: &str, forms: Forms) -> Result<KeyRef, KmsError> {
        KeyRef::parse(text, forms, &self.home, malformed_arn(self.operation))
    }

    /// Whether a name of a key that is not found is an ARN of another Region.
    pub(super) fn names_another_region(&self, text: &str) -> bool {
        text.starts_with("arn:") && self.key_ref(text, Forms::KeyOrAlias).is_err()
    }

    /// Finds the key that is named, and authorizes its use.
    pub(super) async fn authorize<A: KeyAction>(
        &mut self,
        key_use: KeyUse<'_, A>,
    ) -> Result<Authorized<A>, KmsError> {
        let begin = Instant::now();
        let decided = match self.locate(key_use).await {
            Ok(located) => self.authorize_located(key_use, located).await,
            Err(error) => Err(error),
        };
        self.decided_since(begin);
        decided
    }

    /// Finds the key that is named. Whoever asked has no right to it yet.
    pub(super) async fn locate<A: KeyAction>(
        &mut self,
        key_use: KeyUse<'_, A>,
    ) -> Result<Located, KmsError> {
        let named = self.key_ref(key_use.key, key_use.forms)?;
        match named.scope().account == self.home.account {
            true => self.find(&named).await.map(Located::Home),
            false => self.locate_foreign(key_use, &named).await,
        }
    }

    /// Authorizes the use of a key that was located.
    pub(super) async fn authorize_located<A: KeyAction>(
        &mut self,
        key_use: KeyUse<'_, A>,
        located: Located,
    ) -> Result<Authorized<A>, KmsError> {
        match located {
            Located::Home(key) => self.authorize_found(key_use, key).await,
            Located::Foreign(key) => self.authorize_unknown(key_use, key).await,
        }
    }

    /// Authorizes the use of a related key in another Region.
    pub(super) async fn authorize_stored<A: KeyAction>(
        &mut self,
        key_use: KeyUse<'_, A>,
        key: Stored<KeyRecord>,
    ) -> Result<Authorized<A>, KmsError> {
        self.authorize_found(key_use, key).await
    }

    /// Authorizes the use of a key that was found already.
    async fn authorize_found<A: KeyAction>(
        &mut self,
        key_use: KeyUse<'_, A>,
        key: Stored<KeyRecord>,
    ) -> Result<Authorized<A>, KmsError> {
        self.facts.key(&key.scope.account, &key.arn());
        self.count(Pool::of_key(key.spec))?;
        let lookups = self.look_up(A::RULE.action, &key).await?;
        let request = self.question(key_use, &key, &lookups)?;
        let permitted = self.permit(&request, key_use.grant_tokens, Stored::clone(&key)).await?;
        self.ready(key_use, permitted).await
    }

    /// What policies are asked.
    ///
    /// # Errors
    /// As [`Call::ensure_needed`].
    fn question<'u, A: KeyAction>(
        &self,
        key_use: KeyUse<'u, A>,
        key: &'u KeyRecord,
        lookups: &'u Lookups,
    ) -> Result<policy::Request<'u>, KmsError>
    where
        'a: 'u,
    {
        let action = A::RULE.action;
        self.ensure_needed(action)?;
        Ok(policy::Request {
            named: key_use.key,
            algorithm: key_use.algorithm,
            context: key_use.context.pairs(),
            attributes: key_use.attributes,
            lookups,
            ..policy::Request::on_key(self.requester(), action, key)
        })
    }

    /// Whether the row of the operation says that its requests can be about an action. What the table
    /// does not say is not decided.
    fn ensure_needed(&self, action: Action) -> Result<(), KmsError> {
        match self.operation.needs(action) {
            true => Ok(()),
            false => {
                let operation = self.operation.name();
                Err(KmsError::internal(format!("{operation} is not known to need {action}")))
            }
        }
    }

    /// Changes a key: authorizes, lets `change` make the new record of the current one, and
    /// starts over if somebody else changes the key at the same time. Returns the new record.
    pub(super) async fn update_key<A: KeyAction>(
        &mut self,
        key_use: KeyUse<'_, A>,
        change: impl Fn(&KeyRecord) -> Result<KeyRecord, KmsError>,
    ) -> Result<KeyRecord, KmsError> {
        for _ in 0..MAX_TRIES {
            let key = self.authorize(key_use).await?;
            let changed = change(&key)?;
            if self.service.catalog().replace_key(&key, &changed).await? == Update::Applied {
                return Ok(changed);
            }
        }
        Err(contended())
    }

    /// Starts a change of several records over until nobody interferes.
    pub(super) fn tries() -> std::ops::Range<usize> {
        0..MAX_TRIES
    }

    /// Ends a dry run. Comes after everything that would refuse the request: where the answer
    /// depends on what was made before, the device has looked at that too.
    pub(super) fn finish_dry_run(dry_run: Option<bool>) -> Result<(), KmsError> {
        match dry_run {
            Some(true) => Err(KmsError::new(
                Exception::DryRunOperation,
                "The request would have succeeded, but the DryRun option is set.",
            )),
            _ => Ok(()),
        }
    }

    /// Where a listing goes on.
    pub(super) fn read_marker(
        &self,
        filter: &str,
        marker: Option<&str>,
    ) -> Result<Option<String>, KmsError> {
        let listing = ListingId { operation: self.operation, scope: &self.home, filter };
        marker.map(|text| marker::read(&self.service.seal, listing, text)).transpose()
    }

    /// The marker after the last item of a page, if there is more.
    pub(super) fn next_marker(
        &self,
        filter: &str,
        more: bool,
        last: Option<&str>,
    ) -> Option<String> {
        let listing = ListingId { operation: self.operation, scope: &self.home, filter };
        last.filter(|_| more).map(|last| marker::issue(&self.service.seal, listing, last))
    }

    async fn find(&mut self, named: &KeyRef) -> Result<Stored<KeyRecord>, KmsError> {
        let catalog = self.service.catalog();
        let found = match named {
            KeyRef::Key(scope, id) => catalog.key(scope, *id).await?,
            KeyRef::Alias(scope, name) => match catalog.aliases().get(scope, name).await? {
                Some(alias) => catalog.key(scope, alias.target).await?,
                None => match managed_key::service(name) {
                    Some(service) => managed_key::create(self, scope, name, service).await?,
                    None => None,
                },
            },
        };
        found.ok_or_else(|| named.not_found())
    }
}

/// The answer when an update keeps meeting others.
pub(super) fn contended() -> KmsError {
    KmsError::internal("too many concurrent changes of one key")
}
