//! External key stores at work: requests of another KMS, with keys of this one.
//!
//! Three decide, in this order, before a device is asked: the store has the key in its list; the policy of
//! the store allows the request, by what the other KMS tells of it; the policy of the key allows it to the
//! root of the account, for which the store acts. Then origin, state and usage of the key are checked, as for
//! any other use.

use std::time::Instant;

use host_driver::health::{DeviceHealth, Service as DeviceState};
use zeroize::Zeroizing;

use crate::api::Service;
use crate::engine::{Receiver, response};
use crate::envelope::Envelope;
use crate::iam::record::ExternalStore;
use crate::policy::{self, Authorized, RequestAttributes, Requester};
use crate::quota::Pool;
use kms_audit::AuditFacts;
use kms_base::context::RequestContext;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::KeyId;
use kms_keys::last_usage::LastUsage;
use kms_keys::spec::Algorithm;
use kms_keys::{KeyRecord, Stored};
use kms_model::action::{self, KeyAction};
use kms_model::enums::EncryptionAlgorithmSpec;
use kms_xks::{
    Arrival, Call, Conditions, DecryptRequest, EncryptRequest, ErrorName, Fleet, FleetMember,
    HealthStatus, Parts, RequestMetadata, XksError, authenticated, read_health, read_metadata,
    write_decrypted, write_encrypted, write_health, write_metadata,
};

/// A request to an external key store, signed with one of its credentials.
pub(crate) struct Proxied<'r> {
    /// What requests are served with.
    pub(crate) service: &'r Service,
    /// The store.
    pub(crate) store: &'r ExternalStore,
    /// The request, of the root of the store's account.
    pub(crate) context: &'r RequestContext,
}

impl Proxied<'_> {
    /// Answers a call with this body.
    ///
    /// `facts` receives what the audit record needs, also when the call is refused.
    ///
    /// # Errors
    /// What the other KMS is to see.
    pub(crate) async fn run(
        &self,
        call: Call<'_>,
        body: &[u8],
        facts: &mut AuditFacts,
    ) -> Result<Zeroizing<Vec<u8>>, XksError> {
        self.service.regions().open(&self.store.scope.region).await?;
        facts.parameter("xksProxyUriPathPrefix", &*self.store.prefix);
        facts.optional_parameter("keyId", call.key());
        match call {
            Call::Health => self.health(body, facts),
            Call::Metadata(key) => self.metadata(key, body, facts).await,
            Call::Encrypt(key) => self.encrypt(key, body, facts).await,
            Call::Decrypt(key) => self.decrypt(key, body, facts).await,
        }
    }

    /// The devices of the store's Region, as the pool knows them: it asks each of them every few seconds, and
    /// uses no key for that.
    fn health(&self, body: &[u8], facts: &mut AuditFacts) -> Result<Zeroizing<Vec<u8>>, XksError> {
        let metadata = read_health(body)?;
        facts.parameter("requestMetadata", metadata.recorded());
        let engine = self.service.regions().engine(&self.store.scope.region)?;
        let member = |device: DeviceHealth| FleetMember {
            id: device.name,
            model: device.info.map_or_else(|| "unknown".to_owned(), |info| info.board),
            health_status: match device.service {
                DeviceState::InService => HealthStatus::Active,
                DeviceState::Starting | DeviceState::Recovering => HealthStatus::Degraded,
                DeviceState::Resting
                | DeviceState::Unreachable
                | DeviceState::Draining
                | DeviceState::Drained
                | DeviceState::Quarantined
                | DeviceState::NotProvisioned(_) => HealthStatus::Unavailable,
            },
        };
        let members = engine.pool().health().into_iter().map(member).collect();
        let proxy = concat!("kmsd ", env!("CARGO_PKG_VERSION")).to_owned();
        write_health(&Fleet { proxy, members })
    }

    async fn metadata(
        &self,
        key: &str,
        body: &[u8],
        facts: &mut AuditFacts,
    ) -> Result<Zeroizing<Vec<u8>>, XksError> {
        let metadata = read_metadata(body)?;
        let key = self.authorize::<action::DescribeKey>(key, &metadata, facts).await?;
        let states = action::Encrypt::RULE.states;
        let is_usable = states.check(key.state, String::new).is_ok();
        write_metadata(is_usable && !key.has_expired(self.service.now()))
    }

    async fn encrypt(
        &self,
        key: &str,
        body: &[u8],
        facts: &mut AuditFacts,
    ) -> Result<Zeroizing<Vec<u8>>, XksError> {
        let request = EncryptRequest::read(body)?;
        let key = self.authorize::<action::Encrypt>(key, &request.metadata, facts).await?;
        let engine = self.service.regions().engine(&key.scope.region)?;
        let context = authenticated(&request.aad);
        let mut devices = engine.devices(self.context.audit_tag(), &mut facts.receipts);
        let reply = devices.encrypt(&key, &context, &request.plaintext).await?;
        let blob = response(&reply)?.blob;
        let material = Envelope::parse(&blob)?.material;
        let parts = Parts::of_blob(&blob).ok_or_else(|| KmsError::internal("not a blob"))?;
        let mut integrity = None;
        if request.wants_integrity {
            // In this order: what is damaged after the value was computed is noticed by its reader, what was
            // damaged before by the device.
            integrity = Some(parts.integrity(&request.aad));
            let returned = parts.to_blob(key.id.device(), &material);
            let returned = returned.ok_or_else(|| KmsError::internal("not a blob"))?;
            let check = key.for_check();
            let envelope = Envelope::parse(&returned)?;
            let opened = devices.decrypt(&check, &context, envelope, Receiver::Client).await?;
            if opened.parts()?.plaintext != &**request.plaintext {
                let text = "a device has decrypted something else than it has encrypted";
                return Err(KmsError::internal(text).into());
            }
        }
        facts.material_used("keyMaterialId", Some(&material.to_string()));
        self.note_usage(Call::Encrypt("").name(), &key);
        write_encrypted(&parts, integrity)
    }

    async fn decrypt(
        &self,
        key: &str,
        body: &[u8],
        facts: &mut AuditFacts,
    ) -> Result<Zeroizing<Vec<u8>>, XksError> {
        let request = DecryptRequest::read(body)?;
        let key = self.authorize::<action::Decrypt>(key, &request.metadata, facts).await?;
        let engine = self.service.regions().engine(&key.scope.region)?;
        let (context, parts) = (authenticated(&request.aad), request.parts());
        let materials = key.decrypting_materials().map(|material| material.id);
        for material in materials.filter(|id| parts.metadata.may_be_of(id)) {
            let Some(blob) = parts.to_blob(key.id.device(), &material) else { continue };
            let envelope = Envelope::parse(&blob)?;
            let mut devices = engine.devices(self.context.audit_tag(), &mut facts.receipts);
            match devices.decrypt(&key, &context, envelope, Receiver::Client).await {
                Ok(opened) => {
                    facts.material_used("keyMaterialId", Some(&material.to_string()));
                    self.note_usage(Call::Decrypt("").name(), &key);
                    return write_decrypted(opened.parts()?.plaintext);
                }
                // Another material may have an id that begins alike.
                Err(error) if error.exception() == Exception::InvalidCiphertext => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(XksError::ciphertext())
    }

    /// Finds a key of the store and authorizes its use.
    async fn authorize<A: KeyAction>(
        &self,
        key: &str,
        metadata: &RequestMetadata,
        facts: &mut AuditFacts,
    ) -> Result<Authorized<A>, XksError> {
        let (action, scope) = (A::RULE.action, &self.store.scope);
        facts.parameter("requestMetadata", metadata.recorded());
        let not_found = || XksError::new(ErrorName::KeyNotFound, "The store has no such key.");
        let id = KeyId::parse(key).filter(|id| self.store.keys.contains(id));
        let id = id.ok_or_else(not_found)?;
        let arn = scope.key_arn(id);
        facts.key(&scope.account, &arn);
        if let Some(policy) = &self.store.policy {
            let RequestContext { source_ip, is_encrypted, received, .. } = *self.context;
            let arrival = Arrival { source_ip, is_encrypted, received };
            let conditions = Conditions { metadata, arrival, scope };
            if !conditions.allowed(policy.compiled(), action, &arn) {
                let text =
                    format!("The policy of the store does not allow {action} to this request.");
                return Err(XksError::new(ErrorName::AccessDenied, text));
            }
        }
        let found = self.service.catalog().key(scope, id).await.map_err(KmsError::from)?;
        let found: Stored<KeyRecord> = found.ok_or_else(not_found)?;
        if found.external.is_some() {
            // A device would do without the proxy that has the key's other layer.
            let text = "The key is in an external key store itself.";
            return Err(XksError::new(ErrorName::InvalidKeyUsage, text));
        }
        self.service.quotas().take(scope, Pool::of_key(found.spec), Instant::now())?;
        let principal = &self.context.principal;
        let requester = Requester { request: Some(self.context), ..Requester::root(principal) };
        let is_decryption = action == action::Decrypt::RULE.action;
        let is_description = action == action::DescribeKey::RULE.action;
        let algorithm = Algorithm::Encryption(EncryptionAlgorithmSpec::SYMMETRIC_DEFAULT);
        let request = policy::Request {
            named: key,
            algorithm: (!is_description).then_some(algorithm),
            attributes: match is_decryption {
                true => RequestAttributes::Recipient(None),
                false => RequestAttributes::None,
            },
            ..policy::Request::on_key(requester, action, &found)
        };
        let permitted = policy::permit(&request, Stored::clone(&found));
        let permitted = permitted.map_err(|refused| KmsError::from(refused.into_refusal()))?;
        Ok(permitted.authorize::<A>(self.service.now())?)
    }

    /// Notes that a key was used.
    fn note_usage(&self, operation: &str, key: &KeyRecord) {
        let usage = LastUsage {
            operation: operation.to_owned(),
            at: self.service.now(),
            event: self.context.event_id,
            request: self.context.request_id,
        };
        self.service.usage().note(&key.scope, key.id, usage);
    }
}
