//! Exports multi-Region keys to other domains, and imports them from there.

use hsm_protocol::command::key::NewKey;
use hsm_protocol::command::replica::{
    DomainKeyInfo, ExportReplica, ExportedReplica, ImportReplica, ReplicationKey,
};
use hsm_protocol::key_spec::Origin;
use hsm_protocol::token::History;
use hsm_protocol::{Bytes, ErrorCode};

use crate::dispatch::{Context, Execute};
use crate::keystore::replica::{self, ReplicationPair};
use crate::keystore::wrap::{self, NewAttributes};
use crate::platform::Platform;
use crate::secret::SecretBuf;

impl Execute for ReplicationKey {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<DomainKeyInfo, ErrorCode> {
        let (domain, identity, _) = cx.module.export_parts()?;
        Ok(ReplicationPair::active(identity.curve(), domain)?.info)
    }
}

impl Execute for ExportReplica<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<ExportedReplica<'o>, ErrorCode> {
        if !self.key.id.multi_region {
            return Err(ErrorCode::USAGE_DENIED);
        }
        check(cx, &self.peer)?;
        let (domain, _) = cx.module.token_parts()?;
        // Not through the cache: it may hold the secret expanded.
        let mut secret = SecretBuf::new();
        let attributes = wrap::unwrap(domain, &self.key.token, &mut secret)?;
        cx.subject = attributes.material;
        if attributes.key != self.key.id {
            return Err(ErrorCode::KEY_MISMATCH);
        }
        // The other domain has other operators.
        if attributes.approval.is_some() {
            return Err(ErrorCode::APPROVAL_BOUND);
        }
        cx.algorithm(attributes.spec)?;
        let (domain, identity, rng) = cx.module.export_parts()?;
        let new = NewAttributes::of(&attributes);
        let (own, what) = ((domain, identity.curve()), (&new, attributes.material));
        let length = replica::export(own, &self.peer, what, &secret, rng, scratch)?;
        Ok(ExportedReplica { token: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for ImportReplica<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<NewKey<'o>, ErrorCode> {
        check(cx, &self.peer)?;
        let (domain, identity, _) = cx.module.export_parts()?;
        let mut secret = SecretBuf::new();
        let own = (domain, identity.curve());
        let attributes = replica::import(own, &self.peer, &self.token, &mut secret)?;
        if attributes.key != self.id {
            return Err(ErrorCode::KEY_MISMATCH);
        }
        if !attributes.key.multi_region {
            return Err(ErrorCode::USAGE_DENIED);
        }
        cx.algorithm(attributes.spec)?;
        let (domain, rng) = cx.module.token_parts()?;
        let new = NewAttributes {
            key: attributes.key,
            spec: attributes.spec,
            usage: attributes.usage,
            origin: attributes.origin,
            history: match attributes.origin {
                Origin::AWS_KMS => History::OTHER_DOMAIN,
                _ => History::OTHER_DOMAIN.and(History::IMPORTED),
            },
            approval: None,
        };
        let (material, length) = wrap::wrap(domain, &new, &secret, rng, scratch)?;
        cx.subject = material;
        Ok(NewKey { material, token: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

/// Whether the operators of this domain approve the other one.
fn check<P: Platform>(cx: &mut Context<'_, P>, peer: &DomainKeyInfo) -> Result<(), ErrorCode> {
    let (domain, _) = cx.module.token_parts()?;
    match domain.state()?.approves(peer) {
        true => Ok(()),
        false => Err(ErrorCode::PEER_DENIED),
    }
}
