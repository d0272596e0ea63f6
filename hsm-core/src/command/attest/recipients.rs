//! Results for attested environments: the document that says what one is, and answers sealed to it.

use hsm_protocol::command::Command;
use hsm_protocol::command::attest::{Attest, Attested, Confidential, Enveloped, For, Recipient};
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::token::sealed::AttestedRecipient;
use hsm_protocol::{Bytes, ErrorCode};

use crate::dispatch::{Context, Execute};
use crate::keystore::sealed;
use crate::platform::Platform;
use crate::secret::Secret;
use crate::{attestation, envelope};

/// Milliseconds that an attested key may be used.
const VALIDITY_MS: u64 = 300_000;
/// Longest envelope in bytes: the longest plaintext, and what is around it.
const ENVELOPE: usize = hsm_protocol::command::cipher::MAX_PLAINTEXT + envelope::OVERHEAD;

impl Execute for Attest<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Attested<'o>, ErrorCode> {
        let p384 = cx.algorithm(KeySpec::ECC_NIST_P384)?;
        let roots = cx.module.roots()?;
        let facts = attestation::verify(&self.document, self.now_ms, roots, p384)?;
        let public_key = facts.public_key.ok_or(ErrorCode::ATTESTATION_MALFORMED)?;
        let rsa = cx.algorithm(envelope::spec_of(public_key)?)?;
        let (domain, rng) = cx.module.token_parts()?;
        // A key that nothing can be encrypted to is refused here, not when a result is there.
        envelope::encrypt_key(rsa, public_key, &Secret::zeroed(), rng, scratch)?;

        let name = facts.module_id.as_bytes();
        let (module_id, rest) =
            scratch.split_at_mut_checked(name.len()).ok_or(ErrorCode::TOO_LARGE)?;
        module_id.copy_from_slice(name);
        let mut end = 0usize;
        for (index, value) in facts.pcrs() {
            let length = u8::try_from(value.len()).map_err(|_| ErrorCode::INTERNAL)?;
            let free = rest.get_mut(end..).ok_or(ErrorCode::TOO_LARGE)?;
            let written = hsm_protocol::bytes::concat(free, &[&[index, length], value]);
            end = end.saturating_add(written.ok_or(ErrorCode::TOO_LARGE)?.len());
        }
        let (pcrs, rest) = rest.split_at_mut_checked(end).ok_or(ErrorCode::TOO_LARGE)?;
        let expires_ms = self.now_ms.saturating_add(VALIDITY_MS);
        let attributes = AttestedRecipient { expires_ms };
        let length = sealed::seal(domain, &attributes, public_key, rng, rest)?;
        Ok(Attested {
            module_id: core::str::from_utf8(module_id).map_err(|_| ErrorCode::INTERNAL)?,
            timestamp_ms: facts.timestamp_ms,
            measured: facts.measured,
            pcrs: Bytes(pcrs),
            recipient: Bytes(rest.get(..length).unwrap_or_default()),
            expires_ms,
        })
    }
}

impl<C> Execute for For<'_, C>
where
    C: Execute,
    for<'r> C::Response<'r>: Confidential<'r>,
    for<'r> Self: Command<Response<'r> = Enveloped<'r>>,
{
    const ANSWER: usize = C::ANSWER.saturating_add(ENVELOPE);

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Enveloped<'o>, ErrorCode> {
        // Before the work: who gets it?
        let recipient = open(cx, &self.recipient)?;
        let inside = scratch.len().checked_sub(ENVELOPE).ok_or(ErrorCode::INTERNAL)?;
        let (inside, out) = scratch.split_at_mut_checked(inside).ok_or(ErrorCode::INTERNAL)?;
        let answer = self.request.execute(cx, inside)?.parts();

        let rsa = cx.algorithm(envelope::spec_of(recipient.expose())?)?;
        let (_, rng) = cx.module.token_parts()?;
        let length = envelope::seal_to(rsa, recipient.expose(), answer.secret, rng, out)?;
        Ok(Enveloped {
            envelope: Bytes(out.get(..length).unwrap_or_default()),
            blob: Bytes(answer.blob),
            public: Bytes(answer.public),
        })
    }
}

/// The recipient's key.
fn open<P: Platform>(
    cx: &mut Context<'_, P>,
    recipient: &Recipient<'_>,
) -> Result<sealed::Body, ErrorCode> {
    let (domain, _) = cx.module.token_parts()?;
    let (attributes, key) = sealed::open::<AttestedRecipient>(domain, &recipient.token)?;
    match recipient.now_ms < attributes.expires_ms {
        true => Ok(key),
        false => Err(ErrorCode::TOKEN_EXPIRED),
    }
}
