//! Key material and public keys.

use std::time::{Duration, Instant};

use host_driver::pool::Needs;
use host_driver::{CallError, Reply};
use hsm_protocol::command::approval::GenerateGuardedKey;
use hsm_protocol::command::{import, key};
use hsm_protocol::domain::Rule;
use hsm_protocol::key_spec::{KeySpec, KeySpecRow, KeyUsage, WrappingAlgorithm};
use hsm_protocol::token::KeyToken;
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, Command};
use zeroize::Zeroizing;

use super::approval::rule_of_key;
use super::{Busy, Devices, current, refusal, response};
use crate::admission::client_leaves;
use crate::policy::{Authorized, AuthorizedAccount};
use kms_base::context::RequestContext;
use kms_base::error::KmsError;
use kms_base::identifier::KeyId;
use kms_keys::KeyMaterial;
use kms_model::action;

/// How long a request waits for a key pair if none is in stock. Clients of AWS wait a minute for
/// an answer by default, and try again after a refusal; their next try has the place of this one.
const PAIR_PATIENCE: Duration = Duration::from_secs(50);

impl Devices<'_> {
    /// Makes the first key material of a new key.
    ///
    /// # Errors
    /// `Exception::UnsupportedOperation` if no
    /// device has the spec; `Exception::DependencyTimeout` if none can
    /// do it now.
    pub async fn generate_key(
        &mut self,
        _account: &AuthorizedAccount<action::CreateKey>,
        id: KeyId,
        spec: KeySpec,
        usage: KeyUsage,
    ) -> Result<KeyMaterial, KmsError> {
        self.material(id, spec, usage, None).await
    }

    /// Makes new key material of a key, under the approval rule that the key has.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device can do it now.
    pub async fn rotate(
        &mut self,
        key: &Authorized<action::RotateKeyOnDemand>,
    ) -> Result<KeyMaterial, KmsError> {
        self.material(key.id, key.spec, key.usage, rule_of_key(key)).await
    }

    /// A wrapping key pair for an import.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device has found one in time.
    pub async fn wrapping_pair(
        &mut self,
        _key: &Authorized<action::GetParametersForImport>,
        wrapping: KeySpec,
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        self.pair_if_slow(wrapping, PairPurpose::IMPORT, Busy::DependencyTimeout).await
    }

    /// The public wrapping key of a pair, and the token to import with.
    ///
    /// # Errors
    /// `Exception::DependencyTimeout` if no device can do it now.
    pub async fn import_parameters<'k>(
        &mut self,
        key: &Authorized<action::GetParametersForImport>,
        wrapping: KeySpec,
        algorithm: WrappingAlgorithm,
        expires_ms: u64,
        pair: &'k [u8],
    ) -> Result<Reply<import::ParametersForImport<'k>>, KmsError> {
        let command = import::ParametersForImport {
            id: key.id.device(),
            spec: key.spec,
            usage: key.usage,
            algorithm,
            expires_ms,
            pair: Bytes(pair),
        };
        self.call(&command, Some(wrapping), Busy::DependencyTimeout).await
    }

    /// Unwraps key material for a key.
    ///
    /// # Errors
    /// `Exception::InvalidImportToken`, `Exception::ExpiredImportToken`,
    /// `Exception::InvalidCiphertext`, `Exception::IncorrectKeyMaterial`;
    /// `Exception::DependencyTimeout` if no device can do it now.
    pub async fn import_key(
        &mut self,
        key: &Authorized<action::ImportKeyMaterial>,
        now_ms: u64,
        token: &[u8],
        wrapped: &[u8],
    ) -> Result<KeyMaterial, KmsError> {
        let (token, wrapped) = (Bytes(token), Bytes(wrapped));
        let command = import::ImportKey { id: key.id.device(), now_ms, token, wrapped };
        // Wrapped with RSA; a board has all sizes of it or none.
        let needs = Needs::from(key.spec).and(KeySpec::RSA_2048);
        let reply = self.call(&command, needs, Busy::Import).await?;
        let made = response(&reply)?;
        let (id, token) = (made.material, made.token.to_vec());
        Ok(KeyMaterial { id, token, rotated: None, imported: None })
    }

    /// Wraps a key token anew, under the newest key of the domain. The key is not used by that, whatever
    /// its policy or the rule that guards it says; the device sees to it that nothing but the wrapping
    /// changes.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Refused`] if no device can open the token.
    pub async fn rewrap(&mut self, token: &[u8]) -> Result<Vec<u8>, CallError> {
        let refused =
            |code| CallError::Refused { opcode: key::RewrapKey::OPCODE, code, receipt: None };
        let former = KeyToken::parse(token).map_err(refused)?.attributes;
        let key = key::KeyRef { id: former.key, token: Bytes(token) };
        let reply = self.attempt(&key::RewrapKey { key }, Needs::default()).await?;
        let made = reply.response()?;
        let bad = || CallError::BadAnswer(key::RewrapKey::OPCODE);
        let new = KeyToken::parse(&made.token).map_err(|_| bad())?.attributes;
        let is_same = (new.domain, new.key, new.material, new.spec, new.usage, new.origin)
            == (
                former.domain,
                former.key,
                former.material,
                former.spec,
                former.usage,
                former.origin,
            )
            && new.approval == former.approval;
        if is_same { Ok(made.token.to_vec()) } else { Err(bad()) }
    }

    async fn material(
        &mut self,
        id: KeyId,
        spec: KeySpec,
        usage: KeyUsage,
        rule: Option<Rule>,
    ) -> Result<KeyMaterial, KmsError> {
        let (id, busy) = (id.device(), Busy::DependencyTimeout);
        let form = |made: key::NewKey<'_>| {
            let (id, token) = (made.material, made.token.to_vec());
            KeyMaterial { id, token, rotated: None, imported: None }
        };
        if let Some(rule) = rule {
            // No key of a slow spec rotates.
            let request = key::GenerateKey { id, spec, usage };
            let command = GenerateGuardedKey { request, rule };
            let reply = self.call(&command, Some(spec), busy).await?;
            response(&reply).map(form)
        } else if is_slow(spec) {
            let pair = self.key_pair(spec, PairPurpose::KEY, busy).await?;
            let command = key::AdoptKeyPair { id, usage, pair: Bytes(&pair) };
            let error = match self.attempt(&command, Some(spec)).await {
                Ok(reply) => return response(&reply).map(form),
                Err(error) => error,
            };
            if error.retryable() && !error.maybe_executed() {
                self.pool.put_back(spec, PairPurpose::KEY, pair);
            }
            Err(refusal(error, busy))
        } else {
            let command = key::GenerateKey { id, spec, usage };
            let reply = self.call(&command, Some(spec), busy).await?;
            response(&reply).map(form)
        }
    }

    /// The public half of an asymmetric key.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device can do it now.
    pub async fn public_key<'k>(
        &mut self,
        key: &'k Authorized<action::GetPublicKey>,
    ) -> Result<Reply<key::ExportPublicKey<'k>>, KmsError> {
        self.use_public(key, &key::ExportPublicKey { key: current(key)? }).await
    }

    /// A key pair that belongs to no key yet, if the spec is slow; else nothing, because a device
    /// makes it when it is needed.
    pub(super) async fn pair_if_slow(
        &mut self,
        spec: KeySpec,
        purpose: PairPurpose,
        busy: Busy,
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        match is_slow(spec) {
            true => self.key_pair(spec, purpose, busy).await,
            false => Ok(Zeroizing::default()),
        }
    }

    async fn key_pair(
        &mut self,
        spec: KeySpec,
        purpose: PairPurpose,
        busy: Busy,
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let claimant = self.request.map(claimant);
        let deadline = Instant::now() + PAIR_PATIENCE;
        let waits = self.pool.key_pair(spec, purpose, claimant.as_deref(), deadline);
        let pair = tokio::select! {
            biased;
            pair = waits => pair,
            // With the next try its place is the one that it had.
            () = client_leaves() => Err(CallError::CallerGone),
        };
        pair.map_err(|error| refusal(error, busy))
    }
}

/// Who takes up the place of a request that gave up: the caller, with the next try of the same call
/// if the SDK tells which one it is, else with any call.
fn claimant(request: &RequestContext) -> String {
    let invocation = request.invocation.as_deref().unwrap_or_default();
    [&*request.principal.caller_arn(), " ", invocation].concat()
}

pub(super) fn is_slow(spec: KeySpec) -> bool {
    let slow = |row: &KeySpecRow| row.slow;
    spec.row().is_some_and(slow)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::SystemTime;

    use uuid::Uuid;

    use super::*;
    use kms_base::principal::Principal;

    #[test]
    fn the_next_try_of_a_call_has_the_place_of_the_first() {
        let request = |account: &str, invocation: Option<&str>| RequestContext {
            request_id: Uuid::new_v4(),
            event_id: Uuid::new_v4(),
            principal: Principal::root(account, "AKIAEXAMPLE"),
            region: "us-east-1".to_owned(),
            source_ip: IpAddr::from([127, 0, 0, 1]),
            is_encrypted: false,
            user_agent: None,
            invocation: invocation.map(str::to_owned),
            referer: None,
            received: SystemTime::now(),
        };
        let of = |account, invocation| claimant(&request(account, invocation));
        let first = of("111111111111", Some("a"));
        assert_eq!(of("111111111111", Some("a")), first);
        assert_ne!(of("111111111111", Some("b")), first, "another call");
        assert_ne!(of("222222222222", Some("a")), first, "another caller");
        assert_eq!(of("111111111111", None), of("111111111111", None));
    }
}
