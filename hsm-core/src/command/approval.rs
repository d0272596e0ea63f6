//! Commands for keys whose uses operators approve.

use hsm_protocol::command::approval::{
    ApprovalRequest, Approve, GenerateGuardedKey, PermitDeletion, PrepareGuardedPair,
    RequestApproval, RequireApproval,
};
use hsm_protocol::command::key::{KeyRef, NewKey, PreparedKeyPair};
use hsm_protocol::domain::Rule;
use hsm_protocol::key_spec::Origin;
use hsm_protocol::token::sealed::GuardedPair;
use hsm_protocol::token::{History, KeyAttributes};
use hsm_protocol::{Bytes, ErrorCode};

use super::key::{ANY_USAGE, check_usage, wrap_new};
use crate::dispatch::{Caller, Context, Execute, Part};
use crate::keystore::wrap::{self, NewAttributes};
use crate::platform::Platform;
use crate::secret::SecretBuf;

impl Execute for GenerateGuardedKey {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<NewKey<'o>, ErrorCode> {
        let Self { request, rule } = self;
        check_rule(cx, rule)?;
        check_usage(request.spec, request.usage)?;
        cx.algorithm(request.spec)?;
        let mut secret = SecretBuf::new();
        cx.module.generate(request.spec, &mut secret)?;
        let attributes = NewAttributes {
            key: request.id,
            spec: request.spec,
            usage: request.usage,
            origin: Origin::AWS_KMS,
            history: History::CLEAN,
            approval: Some(rule),
        };
        wrap_new(cx, &attributes, &secret, scratch)
    }
}

impl Execute for PrepareGuardedPair {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<PreparedKeyPair<'o>, ErrorCode> {
        let Self { spec, rule } = self;
        check_rule(cx, rule)?;
        let length = cx.module.prepare_pair(spec, &GuardedPair { spec, rule }, scratch)?;
        Ok(PreparedKeyPair { pair: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for RequireApproval<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<NewKey<'o>, ErrorCode> {
        check_rule(cx, self.rule)?;
        let mut secret = SecretBuf::new();
        let former = unwrap(cx, &self.key, &mut secret)?;
        let is_lowered =
            |old: Rule| self.rule.total < old.total || self.rule.officers < old.officers;
        if former.approval.is_some_and(is_lowered) {
            return Err(ErrorCode::APPROVAL_BOUND);
        }
        let bind = |new: &mut NewAttributes| {
            new.history = new.history.and(History::BOUND_LATER);
            new.approval = Some(self.rule);
        };
        let (domain, rng) = cx.module.token_parts()?;
        let (material, length) = wrap::rewrap(domain, &former, bind, &secret, rng, scratch)?;
        Ok(NewKey { material, token: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}

impl Execute for RequestApproval<'_> {
    fn execute<P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        _: &mut [u8],
    ) -> Result<ApprovalRequest, ErrorCode> {
        let Caller::Host { host, .. } = cx.caller else { return Err(ErrorCode::CHANNEL_REQUIRED) };
        let mut secret = SecretBuf::new();
        let key = unwrap(cx, &self.key, &mut secret)?;
        // Nobody has to approve what nobody has bound.
        let rule = key.approval.ok_or(ErrorCode::INVALID_ARGUMENT)?;
        let mut asked = ApprovalRequest {
            domain: key.domain,
            device: cx.module.identity()?.device_id(),
            host,
            key: key.key,
            material: key.material,
            rule,
            opcode: self.opcode,
            request: self.request,
            challenge: [0; 16],
        };
        cx.module.random(&mut asked.challenge)?;
        cx.module.ask_approval(asked)?;
        Ok(asked)
    }
}

impl Execute for Approve {
    fn execute<P: Platform>(self, cx: &mut Context<'_, P>, _: &mut [u8]) -> Result<(), ErrorCode> {
        cx.subject = cx.module.approve(&self.challenge, &self.votes)?;
        Ok(())
    }
}

impl Execute for PermitDeletion<'_> {
    fn execute<P: Platform>(self, cx: &mut Context<'_, P>, _: &mut [u8]) -> Result<(), ErrorCode> {
        cx.key_for(&self.key, ANY_USAGE, Part::Secret).map(drop)
    }
}

/// Whether the operators that there are could ever approve a use.
fn check_rule<P: Platform>(cx: &mut Context<'_, P>, rule: Rule) -> Result<(), ErrorCode> {
    let (domain, _) = cx.module.token_parts()?;
    let is_rule = rule.total > 0 && rule.officers <= rule.total;
    match is_rule && rule.is_met_by(domain.state()?.operators.iter()) {
        true => Ok(()),
        false => Err(ErrorCode::RULES_DENIED),
    }
}

/// Unwraps the token of a key, not through the cache, which may hold the secret expanded; the audit entry
/// names its material from then on.
pub(super) fn unwrap<P: Platform>(
    cx: &mut Context<'_, P>,
    key: &KeyRef<'_>,
    secret: &mut SecretBuf,
) -> Result<KeyAttributes, ErrorCode> {
    let (domain, _) = cx.module.token_parts()?;
    let attributes = wrap::unwrap(domain, &key.token, secret)?;
    cx.subject = attributes.material;
    if attributes.key != key.id {
        return Err(ErrorCode::KEY_MISMATCH);
    }
    cx.algorithm(attributes.spec)?;
    Ok(attributes)
}
