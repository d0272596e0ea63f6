//! Imports key material.

use hsm_protocol::command::import::{
    ImportKey, ImportParameters, MAX_WRAPPED, ParametersForImport,
};
use hsm_protocol::command::key::NewKey;
use hsm_protocol::key_spec::Origin;
use hsm_protocol::token::History;
use hsm_protocol::token::sealed::{ImportToken, PairPurpose};
use hsm_protocol::{Bytes, ErrorCode};
use zeroize::Zeroizing;

use crate::algorithm::PublicKeyBuf;
use crate::dispatch::{Context, Execute};
use crate::keystore::import::unwrap_material;
use crate::keystore::sealed;
use crate::keystore::wrap::{self, NewAttributes};
use crate::platform::Platform;
use crate::secret::SecretBuf;

impl Execute for ParametersForImport<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<ImportParameters<'o>, ErrorCode> {
        let Self { id: key, spec, usage, algorithm, expires_ms, pair } = self;
        if !spec.row().ok_or(ErrorCode::UNSUPPORTED)?.usages.contains(&usage) {
            return Err(ErrorCode::USAGE_DENIED);
        }
        if algorithm.aws_name().is_none() {
            return Err(ErrorCode::UNSUPPORTED);
        }
        cx.algorithm(spec)?;
        let mut secret = SecretBuf::new();
        let (wrapping, _) = cx.module.open_pair(&pair, PairPurpose::IMPORT, &mut secret)?;
        let mut public = PublicKeyBuf::new();
        cx.algorithm(wrapping)?.public_key(&secret, &mut public)?;
        let public = public.as_bytes();
        let (spki, out) = scratch.split_at_mut_checked(public.len()).ok_or(ErrorCode::INTERNAL)?;
        spki.copy_from_slice(public);
        let token = ImportToken { key, spec, usage, wrapping, algorithm, expires_ms };
        let (domain, rng) = cx.module.token_parts()?;
        let length = sealed::seal(domain, &token, secret.expose(), rng, out)?;
        let token = out.get(..length).unwrap_or_default();
        Ok(ImportParameters { public: Bytes(spki), token: Bytes(token) })
    }
}

impl Execute for ImportKey<'_> {
    fn execute<'o, P: Platform>(
        self,
        cx: &mut Context<'_, P>,
        scratch: &'o mut [u8],
    ) -> Result<NewKey<'o>, ErrorCode> {
        if self.wrapped.len() > MAX_WRAPPED {
            return Err(ErrorCode::TOO_LARGE);
        }
        let (domain, _) = cx.module.token_parts()?;
        let (token, private) = sealed::open::<ImportToken>(domain, &self.token)?;
        if token.key != self.id {
            return Err(ErrorCode::KEY_MISMATCH);
        }
        if self.now_ms >= token.expires_ms {
            return Err(ErrorCode::TOKEN_EXPIRED);
        }
        let private = SecretBuf::copy_from(private.expose())?;
        let (algorithm, unwrapper) = (cx.algorithm(token.spec)?, cx.algorithm(token.wrapping)?);
        let (domain, rng) = cx.module.token_parts()?;
        let mut material = Zeroizing::new([0; MAX_WRAPPED]);
        let length = unwrap_material(
            &private,
            token.wrapping,
            token.algorithm,
            &self.wrapped,
            unwrapper,
            rng,
            &mut *material,
        )?;
        let mut secret = SecretBuf::new();
        algorithm.import(material.get(..length).unwrap_or_default(), &mut secret)?;
        // An invalid pair is its owner's fault, not the module's.
        let paired = algorithm.pairwise_test(&secret, rng);
        paired.map_err(|_| ErrorCode::KEY_MATERIAL_INVALID)?;
        let ImportToken { key, spec, usage, .. } = token;
        let (origin, history) = (Origin::EXTERNAL, History::IMPORTED);
        let attributes = NewAttributes { key, spec, usage, origin, history, approval: None };
        let (material, length) = wrap::wrap(domain, &attributes, &secret, rng, scratch)?;
        cx.subject = material;
        Ok(NewKey { material, token: Bytes(scratch.get(..length).unwrap_or_default()) })
    }
}
