//! Statements of the device about itself and its keys.

use hsm_protocol::attestation::{
    Claims, DomainClaims, KeyClaims, MAX_CLAIMS, MAX_STATEMENT, Signed, cose,
};
use hsm_protocol::command::statement::{AttestDevice, AttestKey, Statement};
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::key_spec::MAX_PUBLIC_KEY;
use hsm_protocol::{Bytes, ErrorCode};

use super::key::ANY_USAGE;
use crate::dispatch::{Context, Execute, Part};
use crate::keystore::domain::Domain;
use crate::platform::Platform;

/// The public key, the claims, and the statement around them.
const ROOM: usize = MAX_PUBLIC_KEY + MAX_CLAIMS + MAX_STATEMENT;

impl Execute for AttestDevice<'_> {
    const ANSWER: usize = ROOM;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Statement<'o>, ErrorCode> {
        state(cx, &self.nonce, None, scratch)
    }
}

impl Execute for AttestKey<'_> {
    const ANSWER: usize = ROOM;

    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<Statement<'o>, ErrorCode> {
        let (public, scratch) =
            scratch.split_at_mut_checked(MAX_PUBLIC_KEY).ok_or(ErrorCode::INTERNAL)?;
        // Nobody has to approve it: the secret half is not used.
        let mut key = cx.key_for(&self.key, ANY_USAGE, Part::Public)?;
        let attributes = *key.attributes();
        let public = match key.spec().row() {
            Some(row) if row.public_size > 0 => {
                let spki = key.public()?.as_bytes();
                let out = public.get_mut(..spki.len()).ok_or(ErrorCode::INTERNAL)?;
                out.copy_from_slice(spki);
                &*out
            }
            _ => &[],
        };
        let domain = cx.module.domain().ok_or(ErrorCode::INTERNAL)?;
        let claims = KeyClaims {
            id: attributes.key,
            material: attributes.material,
            spec: attributes.spec,
            usage: attributes.usage,
            origin: attributes.origin,
            domain_key: attributes.domain_key,
            history: attributes.history.and(domain.history(attributes.domain_key)?),
            approval: attributes.approval,
            public,
        };
        state(cx, &self.nonce, Some(claims), scratch)
    }
}

/// Makes and signs a statement.
fn state<'o, P: Platform>(
    cx: &mut Context<'_, P>,
    nonce: &[u8],
    key: Option<KeyClaims<'_>>,
    scratch: &'o mut [u8],
) -> Result<Statement<'o>, ErrorCode> {
    let (module, platform) = (&*cx.module, &cx.module.platform);
    let device = module.identity()?.device_id();
    let claims = Claims {
        nonce,
        device,
        kind: platform.kind(),
        board: platform.board(),
        firmware: env!("CARGO_PKG_VERSION"),
        measurement: module.measurement(),
        boot: module.audit.epoch(),
        domain: module.domain().map(domain_claims).transpose()?,
        key,
    };
    let (room, out) = scratch.split_at_mut_checked(MAX_CLAIMS).ok_or(ErrorCode::INTERNAL)?;
    let length = claims.encode(room)?;
    let claims = room.get(..length).ok_or(ErrorCode::INTERNAL)?;
    let (identity, rng) = cx.module.identity_and_rng()?;
    let signature = identity.sign_digest(&cose::digest(claims)?, rng)?;
    let length = Signed { device, certificate: None, claims, signature }.write(out)?;
    Ok(Statement { statement: Bytes(out.get(..length).unwrap_or_default()) })
}

fn domain_claims(domain: &Domain) -> Result<DomainClaims, ErrorCode> {
    let state = domain.state()?;
    let soft = state.members.iter().filter(|member| member.kind != DeviceKind::Hardware);
    Ok(DomainClaims {
        id: state.domain,
        kind: state.kind,
        state: state.hash()?,
        version: state.version,
        soft_members: u8::try_from(soft.count()).map_err(|_| ErrorCode::INTERNAL)?,
    })
}
