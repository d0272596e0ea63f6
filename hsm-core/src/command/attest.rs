//! Results for attested environments only.

use hsm_protocol::command::attest::{
    Attest, AttestationRoots, Attested, DataKeyFor, DataKeyPairFor, DecryptFor, DecryptPrivateFor,
    DeriveSharedSecretFor, Enveloped, GenerateDataKeyFor, GenerateDataKeyPairFor, MAX_DOCUMENT,
    RandomFor, Recipient, RootList, SetAttestationRoots,
};
use hsm_protocol::token::sealed::AttestedRecipient;
use hsm_protocol::{Bytes, ErrorCode};

use crate::attestation;
use crate::dispatch::{Context, Execute};
use crate::envelope;
use crate::keystore::sealed;
use crate::platform::Platform;

/// Milliseconds that an attested key may be used.
const VALIDITY_MS: u64 = 300_000;
/// Longest envelope in bytes: 4 KiB of content and the recipient's part.
const ENVELOPE: usize = 6144;
/// Room for the answer of the command inside, besides twice the request.
const INSIDE: usize = 6144;

impl Execute for SetAttestationRoots<'_> {
    fn execute<P: Platform>(self, cx: &mut Context<'_, P>, _: &mut [u8]) -> Result<(), ErrorCode> {
        cx.module.set_roots(&self.roots)
    }
}

impl Execute for AttestationRoots {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<RootList<'o>, ErrorCode> {
        let roots = cx.module.roots()?;
        let roots = roots.as_flattened();
        let out = scratch.get_mut(..roots.len()).ok_or(ErrorCode::INTERNAL)?;
        out.copy_from_slice(roots);
        Ok(RootList { roots: Bytes(out) })
    }
}

impl Execute for Attest<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Attested<'o>, ErrorCode> {
        if self.document.len() > MAX_DOCUMENT {
            return Err(ErrorCode::TOO_LARGE);
        }
        let roots = cx.module.roots()?;
        let facts = attestation::verify(self.document.0, self.now_ms, &roots)?;
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
        let (domain, rng) = cx.module.token_parts()?;
        let attributes = AttestedRecipient { expires_ms };
        let length = sealed::seal(domain, &attributes, facts.public_key, rng, rest)?;
        Ok(Attested {
            module_id: core::str::from_utf8(module_id).map_err(|_| ErrorCode::INTERNAL)?,
            timestamp_ms: facts.timestamp_ms,
            pcrs: Bytes(pcrs),
            recipient: Bytes(rest.get(..length).unwrap_or_default()),
        })
    }
}

impl Execute for DecryptFor<'_> {
    const ANSWER: usize = INSIDE + ENVELOPE;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Enveloped<'o>, ErrorCode> {
        let (inside, out) = split(scratch)?;
        let answer = self.request.execute(cx, inside)?;
        enveloped(cx, &self.recipient, &answer.plaintext, out)
    }
}

impl Execute for DecryptPrivateFor<'_> {
    const ANSWER: usize = INSIDE + ENVELOPE;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Enveloped<'o>, ErrorCode> {
        let (inside, out) = split(scratch)?;
        let answer = self.request.execute(cx, inside)?;
        enveloped(cx, &self.recipient, &answer.plaintext, out)
    }
}

impl Execute for DeriveSharedSecretFor<'_> {
    const ANSWER: usize = INSIDE + ENVELOPE;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Enveloped<'o>, ErrorCode> {
        let (inside, out) = split(scratch)?;
        let answer = self.request.execute(cx, inside)?;
        enveloped(cx, &self.recipient, &answer.secret, out)
    }
}

impl Execute for GenerateDataKeyFor<'_> {
    const ANSWER: usize = INSIDE + ENVELOPE;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<DataKeyFor<'o>, ErrorCode> {
        let (inside, out) = split(scratch)?;
        let answer = self.request.execute(cx, inside)?;
        let envelope = enveloped(cx, &self.recipient, &answer.plaintext, out)?.envelope;
        Ok(DataKeyFor { envelope, blob: answer.blob })
    }
}

impl Execute for GenerateDataKeyPairFor<'_> {
    const ANSWER: usize = INSIDE + ENVELOPE;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<DataKeyPairFor<'o>, ErrorCode> {
        let (inside, out) = split(scratch)?;
        let answer = self.request.execute(cx, inside)?;
        let envelope = enveloped(cx, &self.recipient, &answer.private, out)?.envelope;
        Ok(DataKeyPairFor { envelope, blob: answer.blob, public: answer.public })
    }
}

impl Execute for RandomFor<'_> {
    const ANSWER: usize = INSIDE + ENVELOPE;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Enveloped<'o>, ErrorCode> {
        let (inside, out) = split(scratch)?;
        let answer = self.request.execute(cx, inside)?;
        enveloped(cx, &self.recipient, &answer.bytes, out)
    }
}

/// The scratch memory of the command inside, and that of the envelope.
fn split(scratch: &mut [u8]) -> Result<(&mut [u8], &mut [u8]), ErrorCode> {
    let inside = scratch.len().checked_sub(ENVELOPE).ok_or(ErrorCode::INTERNAL)?;
    scratch.split_at_mut_checked(inside).ok_or(ErrorCode::INTERNAL)
}

/// Seals a result to the recipient; it leaves the device in no other form.
fn enveloped<'o, P: Platform>(
    cx: &mut Context<'_, P>,
    recipient: &Recipient<'_>,
    content: &[u8],
    out: &'o mut [u8],
) -> Result<Enveloped<'o>, ErrorCode> {
    let (domain, rng) = cx.module.token_parts()?;
    let (attributes, public) = sealed::open::<AttestedRecipient>(domain, &recipient.token)?;
    if recipient.now_ms >= attributes.expires_ms {
        return Err(ErrorCode::TOKEN_EXPIRED);
    }
    let length = envelope::seal_to(public.expose(), content, rng, out)?;
    Ok(Enveloped { envelope: Bytes(out.get(..length).unwrap_or_default()) })
}
