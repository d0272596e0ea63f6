//! What this daemon does when another one asks.
//!
//! Every change is made once however often it is asked for, because an answer can be lost.

use std::sync::Arc;

use hsm_protocol::command::replica::DomainKeyInfo;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};
use uuid::Uuid;

use crate::api::accept_policy;
use crate::app::App;
use crate::link::message::{Describe, Described, Gone, Hello, Promote, Replicate, Synchronise};
use crate::link::{Place, Wrapped};
use crate::policy::{
    self, Attachment, Lookups, NewKey, RequestAttributes, Requester, Subject, Traits, service,
};
use kms_audit::{AuditError, KeyEvent};
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_base::principal::Principal;
use kms_keys::catalog::{Update, Versioned, elsewhere};
use kms_keys::multi_region::{SharedMaterial, SharedState, Tokens};
use kms_keys::{KeyMaterial, KeyRecord, Stored};
use kms_model::action::{self, KeyAction as _};
use kms_model::enums::MultiRegionKeyType;
use kms_model::state::KeyState;
use kms_store::Revision;

/// Tries of a change that others interfere with.
const MAX_TRIES: usize = 16;

/// Answers one daemon.
pub(super) struct Receiver {
    pub(super) app: Arc<App>,
    /// The Regions that it serves.
    pub(super) speaks_for: Arc<[String]>,
}

impl Receiver {
    pub(super) async fn hello(&self, message: Hello) -> Result<DomainKeyInfo, KmsError> {
        self.app.service.regions().info(&message.region).await
    }

    pub(super) async fn describe(&self, message: Describe) -> Result<Described, KmsError> {
        let key = self.find(&message.place).await?;
        Ok(described(&key))
    }

    /// Makes a replica, unless it was made before.
    pub(super) async fn replicate(&self, message: Replicate) -> Result<Described, KmsError> {
        self.check_source(&message.from, &message.shared)?;
        let Place { scope, key: id } = &message.place;
        self.check_place(&message.place).await?;
        let service = &self.app.service;
        if let Some(known) = service.catalog().key(scope, *id).await? {
            let same = known.is_replica()
                && known.multi_region.as_ref().is_some_and(|own| own.primary == message.from);
            return match same {
                true => self.synchronised(&message.place, &message.shared, Tokens::new()).await,
                false => {
                    let text = format!("{} already exists", known.arn());
                    Err(KmsError::new(Exception::AlreadyExists, text))
                }
            };
        }
        service.quotas().take_key(service.catalog(), scope).await?;
        let principal = Principal::root(&*scope.account, "link");
        let (text, arn) = (message.policy.clone(), scope.key_arn(*id));
        let (bound, requester) = (service.bound(&text).await?, Requester::root(&principal));
        let traits = Traits {
            spec: Some(&message.spec),
            usage: Some(&message.usage),
            origin: Some(&message.origin),
            multi_region: Some(MultiRegionKeyType::REPLICA),
        };
        let subject = Subject::New(NewKey { traits, tags: &message.tags });
        let place = Attachment { scope, arn: &arn, subject, lookups: Lookups::NONE };
        let policy = accept_policy(&text, &bound, message.bypass, requester, place)?;
        let unknown = || KmsError::internal("a key of a kind that is not known here");
        let blank = KeyRecord {
            id: *id,
            scope: scope.clone(),
            spec: KeySpec::from_aws_name(&message.spec).ok_or_else(unknown)?,
            usage: KeyUsage::from_aws_name(&message.usage).ok_or_else(unknown)?,
            origin: Origin::from_aws_name(&message.origin).ok_or_else(unknown)?,
            state: KeyState::Enabled,
            description: message.description.clone(),
            created: message.created,
            deletion: None,
            rotation: None,
            policy,
            tags: message.tags.clone(),
            materials: Vec::new(),
            pending: None,
            multi_region: Some(message.shared.regions.clone()),
            service: None,
            external: None,
        };
        let all = message.shared.materials.iter();
        let tokens = self.take(&blank, all, &message.domain, &message.material).await?;
        let replica = blank.sharing(&message.shared, &tokens);
        let made = service.catalog().change_related(&[], Some(&replica), &[]).await?;
        if made == Update::Applied {
            self.record("CreateKey", &replica).await?;
        }
        Ok(described(&replica))
    }

    /// Takes what a primary shares.
    pub(super) async fn synchronise(&self, message: Synchronise) -> Result<Described, KmsError> {
        self.check_source(&message.from, &message.shared)?;
        self.check_place(&message.place).await?;
        let key = self.find(&message.place).await?;
        self.check_primary(&key, &message.from).await?;
        let all = message.shared.materials.iter();
        let tokens = self.take(&key, all, &message.domain, &message.material).await?;
        match message.ahead {
            true => self.keep_ready(&message.place, &message.shared, &tokens).await,
            false => {
                let done = self.synchronised(&message.place, &message.shared, tokens).await?;
                self.record("SynchronizeMultiRegionKey", &key).await?;
                Ok(done)
            }
        }
    }

    /// Makes a replica the primary, unless it is.
    pub(super) async fn promote(&self, message: Promote) -> Result<SharedState, KmsError> {
        let Promote { place, from, shared } = message;
        self.check_source(&from, &shared)?;
        self.check_place(&place).await?;
        self.check_primary(&*self.find(&place).await?, &from).await?;
        let catalog = self.app.service.catalog();
        for _ in 0..MAX_TRIES {
            let key = self.find(&place).await?;
            let lost = || KmsError::internal("a multi-Region key without Regions");
            if !key.is_replica() {
                return key.shared().ok_or_else(lost);
            }
            let principal = Principal::root(&*place.scope.account, "link");
            let action = action::UpdatePrimaryRegion::RULE.action;
            let request = policy::Request {
                attributes: RequestAttributes::PrimaryRegion(&place.scope.region),
                ..policy::Request::on_key(Requester::root(&principal), action, &key)
            };
            let permitted = policy::permit(&request, Stored::clone(&key));
            let permitted = permitted.map_err(|refused| refused.into_refusal())?;
            permitted.authorize::<action::UpdatePrimaryRegion>(self.app.service.now())?;
            let current = key.sharing(&shared, &Tokens::new());
            let next = current.with_primary(&place.scope.region);
            let related = catalog.related(&next).await?;
            let away = elsewhere(&next, &related);
            let state = next.shared().ok_or_else(lost)?;
            let mut changes = vec![(key, next)];
            changes.extend(related.into_iter().map(|old| {
                let new = old.sharing(&state, &Tokens::new());
                (old, new)
            }));
            if catalog.change_related(&changes, None, &away).await? == Update::Applied {
                self.app.service.outbox().wake();
                return Ok(state);
            }
        }
        Err(KmsError::internal("too many concurrent changes of one key"))
    }

    /// Lets a primary forget a replica.
    pub(super) async fn gone(&self, message: Gone) -> Result<(), KmsError> {
        if !self.speaks_for.contains(&message.from) {
            return Err(not_yours(&message.from));
        }
        let catalog = self.app.service.catalog();
        for _ in 0..MAX_TRIES {
            let Some(key) = catalog.key(&message.place.scope, message.place.key).await? else {
                return Ok(());
            };
            let there = Scope::new(&*key.scope.account, &*message.from);
            if key.is_replica() || !key.related().contains(&there) {
                return Ok(());
            }
            let related = catalog.related(&key).await?;
            let (version, now) = (key.version() + 1, self.app.service.now());
            let all = std::iter::once(Stored::clone(&key)).chain(related.iter().cloned());
            let changes: Vec<_> = all
                .map(|old| {
                    let new = old.without_replica(&message.from, version, now);
                    (old, new)
                })
                .collect();
            let mut away = elsewhere(&key, &related);
            away.retain(|scope| *scope != there);
            if catalog.change_related(&changes, None, &away).await? == Update::Applied {
                self.app.service.outbox().wake();
                return Ok(());
            }
        }
        Err(KmsError::internal("too many concurrent changes of one key"))
    }

    async fn find(&self, place: &Place) -> Result<Stored<KeyRecord>, KmsError> {
        let found = self.app.service.catalog().key(&place.scope, place.key).await?;
        found.ok_or_else(|| {
            let text = format!("Key '{}' does not exist", place.scope.key_arn(place.key));
            KmsError::new(Exception::NotFound, text)
        })
    }

    /// Brings a replica to what is shared; an older version changes nothing.
    async fn synchronised(
        &self,
        place: &Place,
        shared: &SharedState,
        tokens: Tokens,
    ) -> Result<Described, KmsError> {
        let catalog = self.app.service.catalog();
        for _ in 0..MAX_TRIES {
            let key = self.find(place).await?;
            if key.version() >= shared.regions.version {
                return Ok(described(&key));
            }
            let next = key.sharing(shared, &tokens);
            if catalog.replace_key(&key, &next).await? == Update::Applied {
                return Ok(described(&next));
            }
        }
        Err(KmsError::internal("too many concurrent changes of one key"))
    }

    /// Keeps material ready that the primary is about to use.
    async fn keep_ready(
        &self,
        place: &Place,
        shared: &SharedState,
        tokens: &Tokens,
    ) -> Result<Described, KmsError> {
        let catalog = self.app.service.catalog();
        for _ in 0..MAX_TRIES {
            let key = self.find(place).await?;
            let Some(last) = shared.materials.last() else { return Ok(described(&key)) };
            if key.material(&last.id).is_some() {
                return Ok(described(&key));
            }
            let Some(token) = tokens.get(&last.id) else { return Ok(described(&key)) };
            let (id, token) = (last.id, token.clone());
            let pending = Some(KeyMaterial { id, token, rotated: None, imported: None });
            let next = KeyRecord { pending, ..key.value.clone() };
            if catalog.replace_key(&key, &next).await? == Update::Applied {
                return Ok(described(&next));
            }
        }
        Err(KmsError::internal("too many concurrent changes of one key"))
    }

    /// Takes material from the devices of another domain.
    async fn take<'m>(
        &self,
        key: &KeyRecord,
        materials: impl Iterator<Item = &'m SharedMaterial>,
        domain: &DomainKeyInfo,
        wrapped: &Wrapped,
    ) -> Result<Tokens, KmsError> {
        let (regions, region) = (self.app.service.regions(), &key.scope.region);
        regions.approve(region, domain).await?;
        let engine = regions.engine(region)?;
        let (mut tokens, mut receipts) = (Tokens::new(), Vec::new());
        let revision = Revision::default();
        let stored = Stored::new(Versioned { revision, value: key.clone() });
        let key = service::vouched_by_record(stored)
            .ok_or_else(|| KmsError::internal("material for a key of one Region"))?;
        for material in materials {
            let Some(token) = wrapped.find(&material.id).transpose()? else { continue };
            let mut devices = engine.devices(Uuid::new_v4().into_bytes(), &mut receipts);
            let token = devices.import_replica(&key, &material.id, *domain, &token).await?;
            tokens.insert(material.id, token);
        }
        if !receipts.is_empty() {
            let recorded = self.app.audit.device_entries(&receipts).await;
            recorded.map_err(AuditError::refuse)?;
        }
        Ok(tokens)
    }

    /// Whether the daemon may say what is shared: it has the primary.
    fn check_source(&self, from: &str, shared: &SharedState) -> Result<(), KmsError> {
        let speaks = self.speaks_for.iter().any(|region| region == from);
        let primary = shared.regions.primary == from;
        if speaks && primary { Ok(()) } else { Err(not_yours(from)) }
    }

    /// Whether a Region is believed to have the primary of a key here: the one known, or the one
    /// that it moves to, by the word of the one known.
    async fn check_primary(&self, key: &KeyRecord, from: &str) -> Result<(), KmsError> {
        let Some(regions) = &key.multi_region else { return Err(not_yours(from)) };
        if regions.primary == from || regions.moving_to.as_deref() == Some(from) {
            return Ok(());
        }
        if !key.is_replica() || !regions.replicas.contains(from) {
            return Err(not_yours(from));
        }
        let scope = Scope::new(&*key.scope.account, &*regions.primary);
        let primary = match self.app.service.catalog().key(&scope, key.id).await? {
            Some(known) => known.multi_region.clone().map(|regions| regions.primary),
            None => {
                let place = Place { scope, key: key.id };
                self.app.service.regions().peers().describe(place).await?.primary
            }
        };
        if primary.as_deref() == Some(from) { Ok(()) } else { Err(not_yours(from)) }
    }

    /// Whether this daemon has the account and the Region.
    async fn check_place(&self, place: &Place) -> Result<(), KmsError> {
        let Scope { account, region } = &place.scope;
        let multi_region = place.key.device().multi_region;
        if multi_region
            && self.app.service.regions().has(region)
            && self.app.iam.has_account(account).await?
        {
            return Ok(());
        }
        let text = format!("No daemon here serves account {account} in {region}.");
        Err(KmsError::new(Exception::UnsupportedOperation, text))
    }

    async fn record(&self, name: &'static str, key: &KeyRecord) -> Result<(), KmsError> {
        let (scope, arn) = (key.scope.clone(), key.arn());
        let event =
            KeyEvent { name, key: key.id.to_string(), scope, arn, details: Default::default() };
        self.app.audit.key_event(&event).await.map_err(AuditError::refuse)
    }
}

fn described(key: &KeyRecord) -> Described {
    let all = key.materials.iter().chain(&key.pending);
    let present = all.filter(|material| material.is_present());
    Described {
        state: key.state,
        version: key.version(),
        primary: key.multi_region.as_ref().map(|regions| regions.primary.clone()),
        present: present.map(|material| material.id.to_string()).collect(),
    }
}

fn not_yours(region: &str) -> KmsError {
    let text = format!("This daemon is not known to speak for the primary Region {region}.");
    KmsError::new(Exception::AccessDenied, text)
}
