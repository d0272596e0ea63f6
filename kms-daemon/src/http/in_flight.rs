//! What is known of a request while it is answered, for its context and its record.

use std::borrow::Cow;
use std::time::SystemTime;

use hyper::http::request::Parts;
use uuid::Uuid;

use super::front::Peer;
use super::head::{authority, claimed_key};
use crate::app::KMS;
use crate::iam::record::ExternalStore;
use crate::metrics::Refusal;
use kms_audit::{AuditFacts, Caller, Outcome, RequestRecord};
use kms_base::context::RequestContext;
use kms_base::principal::Principal;
use kms_base::text::bounded;

/// Longest `User-Agent` and `Referer` that is kept, in bytes.
const MAX_HEADER: usize = 1024;
/// Longest `amz-sdk-invocation-id` that is kept, in bytes: SDKs send a UUID.
const MAX_INVOCATION: usize = 64;
/// Longest `Host` that is kept: a domain name and a port.
const MAX_HOST: usize = 261;

/// A request under way.
pub(super) struct InFlight {
    pub(super) request_id: Uuid,
    event_id: Uuid,
    peer: Peer,
    /// `eventSource`.
    pub(super) source: Cow<'static, str>,
    /// `eventName`: the operation as the request names it, bounded.
    pub(super) name: String,
    /// `readOnly`.
    pub(super) read_only: bool,
    user_agent: Option<String>,
    invocation: Option<String>,
    referer: Option<String>,
    host: Option<String>,
    /// The access key id that the request names; a claim only.
    pub(super) claimed_key: Option<String>,
    pub(super) principal: Option<Principal>,
    /// The prefix of the external key store that it is for, once it is known to be signed for that store.
    store: Option<String>,
    /// Whether it is refused because there is no room for its record.
    pub(super) no_room: bool,
    /// That of the signature once it is verified, else the daemon's own.
    pub(super) region: String,
    pub(super) facts: AuditFacts,
    pub(super) received: SystemTime,
}

impl InFlight {
    pub(super) fn new(head: &Parts, peer: Peer, region: &str) -> Self {
        let (headers, authority) = (&head.headers, authority(head));
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let kept = |name: &str| text(name).map(|value| bounded(value, MAX_HEADER).to_owned());
        let claimed = text("authorization").and_then(claimed_key);
        Self {
            request_id: Uuid::new_v4(),
            event_id: Uuid::new_v4(),
            peer,
            source: KMS.into(),
            name: String::new(),
            read_only: false,
            user_agent: kept("user-agent"),
            invocation: text("amz-sdk-invocation-id")
                .filter(|id| id.len() <= MAX_INVOCATION)
                .map(str::to_owned),
            referer: kept("referer"),
            host: authority.or_else(|| text("host")).map(|host| bounded(host, MAX_HOST).to_owned()),
            claimed_key: claimed.map(str::to_owned),
            principal: None,
            store: None,
            no_room: false,
            region: region.to_owned(),
            facts: AuditFacts::default(),
            received: SystemTime::now(),
        }
    }

    /// Notes the principal that has signed the request.
    pub(super) fn identified(&mut self, principal: Principal) {
        self.peer.standing.prove();
        self.principal = Some(principal);
    }

    /// Notes the external key store for which the request was signed, with a credential of the store that has
    /// this access key id; returns the principal that the store acts for.
    pub(super) fn admitted(&mut self, store: &ExternalStore, access_key_id: &str) -> Principal {
        let root = Principal::root(&*store.scope.account, access_key_id);
        self.peer.standing.prove_for(&store.prefix);
        self.principal = Some(root.clone());
        self.store = Some(store.prefix.clone());
        self.region.clone_from(&store.scope.region);
        root
    }

    /// The context of the operation, for the principal that has signed the request.
    pub(super) fn context(&self, principal: Principal) -> RequestContext {
        RequestContext {
            request_id: self.request_id,
            event_id: self.event_id,
            principal,
            region: self.region.clone(),
            source_ip: self.peer.address,
            is_encrypted: self.peer.tls.is_some(),
            user_agent: self.user_agent.clone(),
            invocation: self.invocation.clone(),
            referer: self.referer.clone(),
            received: self.received,
        }
    }

    /// The service as metrics name it: clients may name any.
    fn service(&self) -> &'static str {
        const SERVED: [&str; 7] =
            ["kms", "iam", "sts", "tagging", "ec2", "cloudtrail", "kms-xks-proxy"];
        let claimed = self.source.split('.').next().unwrap_or_default();
        SERVED.into_iter().find(|service| *service == claimed).unwrap_or("other")
    }

    /// Tells of the request as one that was refused.
    pub(super) fn refusal(&self, code: &'static str, tell: impl FnOnce(&Refusal<'_>)) {
        let arn = self.principal.as_ref().map(Principal::caller_arn);
        tell(&Refusal {
            request: self.request_id,
            service: self.service(),
            operation: &self.name,
            code,
            who: arn.as_deref().or(self.claimed_key.as_deref()),
            source: self.peer.address,
            no_room: self.no_room,
        });
    }

    /// The record of the request; `account` is that of the installation, for callers who are not
    /// known.
    pub(super) fn record<'a>(
        &'a self,
        account: &'a str,
        outcome: Outcome<'a>,
    ) -> RequestRecord<'a> {
        let caller = match (&self.principal, &self.store) {
            (Some(principal), Some(prefix)) => Caller::Store(principal, prefix),
            (Some(principal), None) => Caller::Verified(principal),
            (None, _) => Caller::Unverified(self.claimed_key.as_deref()),
        };
        RequestRecord {
            request_id: self.request_id,
            event_id: self.event_id,
            source: &self.source,
            operation: &self.name,
            read_only: self.read_only,
            caller,
            region: &self.region,
            account: self.principal.as_ref().map_or(account, |principal| &principal.account),
            source_ip: self.peer.address,
            user_agent: self.user_agent.as_deref(),
            tls: self.peer.tls.as_deref(),
            host: self.host.as_deref(),
            completed: SystemTime::now(),
            outcome,
            no_room: self.no_room,
            facts: &self.facts,
        }
    }
}
