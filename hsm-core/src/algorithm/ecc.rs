//! Keys on short Weierstrass curves: ECDSA (FIPS 186-5) and ECDH (SP 800-56A).
//!
//! Per-message secret numbers are random and depend on key and digest too (see [`nonce`]), so that
//! neither a weak generator nor a fault in the computation gives the key away. Public keys are uncompressed DER `SubjectPublicKeyInfo` (RFC 5480) with a named curve;
//! private keys leave as PKCS#8 with the public key inside (RFC 5958, RFC 5915).

use core::marker::PhantomData;

use ecdsa::elliptic_curve::array::typenum::Unsigned;
use ecdsa::elliptic_curve::ff::PrimeField;
use ecdsa::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use ecdsa::elliptic_curve::{
    Curve, CurveArithmetic, FieldBytes, Generate, NonZeroScalar, PublicKey, SecretKey, ecdh,
};
use ecdsa::{EcdsaCurve, Signature, hazmat};
use hsm_protocol::ErrorCode;
use hsm_protocol::bytes::concat;
use hsm_protocol::key_spec::{KeySpec, SigningAlgorithm};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use rand_core::CryptoRng;
use sec1::EcPrivateKey;
use sec1::der::Decode;
use sha2::Digest;
use sha2::digest::Output;
use sha2::digest::block_api::BlockSizeUser;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Algorithm, Message, PublicKeyBuf};
use crate::fault::{self, Kat};
use crate::secret::SecretBuf;

#[cfg(all(feature = "cortex-m4", target_arch = "arm"))]
mod cortex_m4;
pub(crate) mod der;
mod nonce;

#[cfg(all(feature = "cortex-m4", target_arch = "arm"))]
pub use cortex_m4::CortexM4;

/// id-ecPublicKey (RFC 5480 2.1.1).
const ID_EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// Secret numbers tried for one signature. Even the second is out of reach unless something is
/// broken.
const ATTEMPTS: usize = 8;

/// Curve `C`, computed by `B`.
#[derive(Clone, Copy, Debug)]
pub struct Ecc<C, B = Portable>(PhantomData<fn() -> (C, B)>);

impl<C, B> Ecc<C, B> {
    /// The registry entry.
    pub const ENTRY: Self = Self(PhantomData);
}

/// Who computes with points.
pub trait Backend<C: CurveArithmetic + EcdsaCurve> {
    /// The public key of a secret scalar.
    fn public(secret: &NonZeroScalar<C>) -> Option<PublicKey<C>>;

    /// Signs a digest with the secret number `k` (FIPS 186-5 6.4.1); `None` if r or s is zero.
    fn sign(secret: &NonZeroScalar<C>, k: &NonZeroScalar<C>, digest: &[u8])
    -> Option<Signature<C>>;

    /// Whether a signature is valid (FIPS 186-5 6.4.2).
    fn verify(public: &PublicKey<C>, digest: &[u8], signature: &Signature<C>) -> bool;

    /// The shared secret Z (SP 800-56A 5.7.1.2).
    fn agree(secret: &NonZeroScalar<C>, peer: &PublicKey<C>) -> Option<Zeroizing<FieldBytes<C>>>;
}

/// The curve's own crate, which runs everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl<C: CurveArithmetic + EcdsaCurve> Backend<C> for Portable {
    fn public(secret: &NonZeroScalar<C>) -> Option<PublicKey<C>> {
        Some(PublicKey::from_secret_scalar(secret))
    }

    fn sign(
        secret: &NonZeroScalar<C>,
        k: &NonZeroScalar<C>,
        digest: &[u8],
    ) -> Option<Signature<C>> {
        hazmat::sign_prehashed(secret, k, digest).ok().map(|(signature, _)| signature)
    }

    fn verify(public: &PublicKey<C>, digest: &[u8], signature: &Signature<C>) -> bool {
        hazmat::verify_prehashed(&public.to_projective(), digest, signature).is_ok()
    }

    fn agree(secret: &NonZeroScalar<C>, peer: &PublicKey<C>) -> Option<Zeroizing<FieldBytes<C>>> {
        let z = ecdh::diffie_hellman::<C>(secret, peer.as_affine());
        Some(Zeroizing::new(*z.raw_secret_bytes()))
    }
}

/// A curve, its encodings and its known answers.
pub(super) trait NamedCurve:
    EcdsaCurve
    + CurveArithmetic<AffinePoint: FromSec1Point<Self> + ToSec1Point<Self>>
    + Curve<FieldBytesSize: ModulusSize>
{
    /// The hash of [`NamedCurve::ALGORITHM`].
    type Hash: Digest + BlockSizeUser;
    const SPEC: KeySpec;
    const ALGORITHM: SigningAlgorithm;
    const APPROVED: bool = true;
    const OID: ObjectIdentifier;
    /// `SubjectPublicKeyInfo` up to the point.
    const SPKI_PREFIX: &'static [u8];
    /// `OneAsymmetricKey` up to the scalar.
    const PKCS8_PREFIX: &'static [u8];
    /// What stands between scalar and point: `[1] BIT STRING`.
    const PKCS8_PUBLIC: &'static [u8];
    const SIGNATURE_KAT: SignatureKat;
    /// `None`: the key spec has no key agreement.
    const AGREEMENT_KAT: Option<AgreementKat>;
}

/// A signature with a given secret number.
pub(super) struct SignatureKat {
    pub(super) sign: Kat,
    pub(super) verify: Kat,
    pub(super) message: &'static [u8],
    pub(super) secret: &'static [u8],
    /// The secret number k.
    pub(super) nonce: &'static [u8],
    /// Uncompressed point.
    pub(super) public: &'static [u8],
    /// r || s.
    pub(super) signature: &'static [u8],
}

/// A shared secret Z (SP 800-56A 5.7.1.2).
pub(super) struct AgreementKat {
    pub(super) kat: Kat,
    pub(super) secret: &'static [u8],
    /// Uncompressed point.
    pub(super) peer: &'static [u8],
    pub(super) shared: &'static [u8],
}

impl<C: NamedCurve, B: Backend<C>> Algorithm for Ecc<C, B> {
    fn spec(&self) -> KeySpec {
        C::SPEC
    }

    fn is_approved(&self) -> bool {
        C::APPROVED
    }

    fn self_test(&self) -> Result<(), ErrorCode> {
        nonce::self_test()
            .and_then(|()| signature_test::<C, B>(&C::SIGNATURE_KAT))
            .and_then(|()| C::AGREEMENT_KAT.as_ref().map_or(Ok(()), agreement_test::<C, B>))
            .map_err(|_| ErrorCode::SELF_TEST_FAILED)
    }

    /// FIPS 186-5 A.2.2, rejection sampling.
    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode> {
        let secret = SecretKey::<C>::generate_from_rng(rng);
        let bytes = Zeroizing::new(secret.to_bytes());
        out.resize(bytes.len())?.copy_from_slice(&bytes);
        Ok(())
    }

    fn pairwise_test(&self, secret: &SecretBuf, rng: &mut dyn CryptoRng) -> Result<(), ErrorCode> {
        let mut digest = C::Hash::digest(b"pair-wise consistency");
        let mut signature = [0; der::MAX_SIZE];
        let mut public = PublicKeyBuf::new();
        let message = Message::Digest(&digest);
        let length = self.sign(secret, C::ALGORITHM, message, rng, &mut signature)?;
        self.public_key(secret, &mut public)?;
        fault::tamper(Kat::Pairwise, &mut digest);
        let signature = signature.get(..length).unwrap_or_default();
        self.verify(&public, C::ALGORITHM, Message::Digest(&digest), signature)
            .map_err(|_| ErrorCode::PAIRWISE_FAILED)
    }

    fn public_key(&self, secret: &SecretBuf, out: &mut PublicKeyBuf) -> Result<(), ErrorCode> {
        let secret = parse_secret::<C>(secret.expose())?;
        let point = B::public(&secret).ok_or(ErrorCode::INTERNAL)?.to_sec1_point(false);
        out.set(&[C::SPKI_PREFIX, point.as_bytes()])
    }

    fn private_key(&self, secret: &SecretBuf, out: &mut [u8]) -> Result<usize, ErrorCode> {
        let scalar = parse_secret::<C>(secret.expose())?;
        let point = B::public(&scalar).ok_or(ErrorCode::INTERNAL)?.to_sec1_point(false);
        let parts = [C::PKCS8_PREFIX, secret.expose(), C::PKCS8_PUBLIC, point.as_bytes()];
        concat(out, &parts).map(|der| der.len()).ok_or(ErrorCode::TOO_LARGE)
    }

    fn import(&self, material: &[u8], out: &mut SecretBuf) -> Result<(), ErrorCode> {
        let scalar = decode_private::<C, B>(material).ok_or(ErrorCode::KEY_MATERIAL_INVALID)?;
        let bytes = Zeroizing::new(scalar.to_repr());
        out.resize(bytes.len())?.copy_from_slice(&bytes);
        Ok(())
    }

    fn sign(
        &self,
        secret: &SecretBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        rng: &mut dyn CryptoRng,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let digest = digest::<C>(algorithm, message)?;
        let signature = sign_digest::<C, B>(secret.expose(), &digest, rng)?;
        let (r, s) = signature.split_bytes();
        der::encode(&r, &s, out)
    }

    fn verify(
        &self,
        public: &PublicKeyBuf,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        let digest = digest::<C>(algorithm, message)?;
        let public = decode_public::<C>(public.as_bytes()).ok_or(ErrorCode::SPEC_DENIED)?;
        let mut r = FieldBytes::<C>::default();
        let mut s = FieldBytes::<C>::default();
        der::decode(signature, &mut r, &mut s).ok_or(ErrorCode::SIGNATURE_INVALID)?;
        let signature = Signature::from_scalars(r, s).map_err(|_| ErrorCode::SIGNATURE_INVALID)?;
        verify_digest::<C, B>(&public, &digest, signature)
    }

    fn agree(
        &self,
        secret: &SecretBuf,
        peer: &[u8],
        shared: &mut SecretBuf,
    ) -> Result<(), ErrorCode> {
        if C::AGREEMENT_KAT.is_none() {
            return Err(ErrorCode::UNSUPPORTED);
        }
        let secret = parse_secret::<C>(secret.expose())?;
        let peer = decode_public::<C>(peer).ok_or(ErrorCode::KEY_MATERIAL_INVALID)?;
        let z = B::agree(&secret, &peer).ok_or(ErrorCode::INTERNAL)?;
        shared.resize(z.len())?.copy_from_slice(&z);
        Ok(())
    }
}

fn signature_test<C: NamedCurve, B: Backend<C>>(kat: &SignatureKat) -> Result<(), ErrorCode> {
    let mut digest = C::Hash::digest(kat.message);
    let (secret, k) = (parse_secret::<C>(kat.secret)?, parse_secret::<C>(kat.nonce)?);
    let signature = B::sign(&secret, &k, &digest).ok_or(ErrorCode::SELF_TEST_FAILED)?;
    let mut signature = signature.to_bytes();
    fault::tamper(kat.sign, &mut signature);
    if !bool::from(signature[..].ct_eq(kat.signature)) {
        return Err(ErrorCode::SELF_TEST_FAILED);
    }
    fault::tamper(kat.verify, &mut digest);
    let public = PublicKey::<C>::from_sec1_bytes(kat.public);
    let public = public.map_err(|_| ErrorCode::SELF_TEST_FAILED)?;
    let signature = Signature::from_slice(kat.signature);
    let signature = signature.map_err(|_| ErrorCode::SELF_TEST_FAILED)?;
    verify_digest::<C, B>(&public, &digest, signature)
}

fn agreement_test<C: NamedCurve, B: Backend<C>>(kat: &AgreementKat) -> Result<(), ErrorCode> {
    let secret = parse_secret::<C>(kat.secret)?;
    let peer = PublicKey::<C>::from_sec1_bytes(kat.peer);
    let peer = peer.map_err(|_| ErrorCode::SELF_TEST_FAILED)?;
    let mut z = B::agree(&secret, &peer).ok_or(ErrorCode::SELF_TEST_FAILED)?;
    fault::tamper(kat.kat, &mut z);
    if bool::from(z[..].ct_eq(kat.shared)) { Ok(()) } else { Err(ErrorCode::SELF_TEST_FAILED) }
}

fn sign_digest<C: NamedCurve, B: Backend<C>>(
    secret: &[u8],
    digest: &Output<C::Hash>,
    rng: &mut dyn CryptoRng,
) -> Result<Signature<C>, ErrorCode> {
    let scalar = parse_secret::<C>(secret)?;
    for _ in 0..ATTEMPTS {
        let mut candidate = Zeroizing::new(FieldBytes::<C>::default());
        nonce::draw(secret, digest, rng, &mut candidate);
        // A candidate has as many bits as the order; only P-521's are not whole bytes.
        let spare = candidate.len().saturating_mul(8).saturating_sub(C::Scalar::NUM_BITS as usize);
        if let Some(first) = candidate.first_mut() {
            *first &= u8::MAX >> spare;
        }
        let k = parse_secret::<C>(&candidate);
        if let Some(signature) = k.ok().and_then(|k| B::sign(&scalar, &k, digest)) {
            return Ok(signature);
        }
    }
    Err(ErrorCode::INTERNAL)
}

fn verify_digest<C: NamedCurve, B: Backend<C>>(
    public: &PublicKey<C>,
    digest: &Output<C::Hash>,
    signature: Signature<C>,
) -> Result<(), ErrorCode> {
    // (r, s) is valid exactly if (r, -s) is. Where the curve's crate signs with low s it also
    // refuses a high one, which the standard does not.
    let signature = if C::NORMALIZE_S { signature.normalize_s() } else { signature };
    match B::verify(public, digest, &signature) {
        true => Ok(()),
        false => Err(ErrorCode::SIGNATURE_INVALID),
    }
}

fn digest<C: NamedCurve>(
    algorithm: SigningAlgorithm,
    message: Message<'_>,
) -> Result<Output<C::Hash>, ErrorCode> {
    if algorithm != C::ALGORITHM {
        return Err(ErrorCode::SPEC_DENIED);
    }
    match message {
        Message::Raw(message) => Ok(C::Hash::digest(message)),
        Message::Digest(digest) => digest.try_into().map_err(|_| ErrorCode::MESSAGE_LENGTH),
        Message::ExternalMu(_) => Err(ErrorCode::SPEC_DENIED),
    }
}

/// Reads the big-endian scalar of a token.
fn parse_secret<C: NamedCurve>(secret: &[u8]) -> Result<Zeroizing<NonZeroScalar<C>>, ErrorCode> {
    NonZeroScalar::try_from(secret).map(Zeroizing::new).map_err(|_| ErrorCode::SPEC_DENIED)
}

/// Reads DER `SubjectPublicKeyInfo` with an uncompressed point of the curve, not the identity.
/// The cofactor is 1: that is full validation (SP 800-56A 5.6.2.3.3).
fn decode_public<C: NamedCurve>(spki: &[u8]) -> Option<PublicKey<C>> {
    let point = spki.strip_prefix(C::SPKI_PREFIX)?;
    if point.len() != <C::FieldBytesSize as ModulusSize>::UncompressedPointSize::USIZE {
        return None;
    }
    PublicKey::from_sec1_bytes(point).ok()
}

/// Reads PKCS#8 with a scalar of full length. Whatever it says about the curve and the public
/// key must be true.
fn decode_private<C: NamedCurve, B: Backend<C>>(
    pkcs8: &[u8],
) -> Option<Zeroizing<NonZeroScalar<C>>> {
    let info = PrivateKeyInfoRef::try_from(pkcs8).ok()?;
    info.algorithm.assert_oids(ID_EC_PUBLIC_KEY, C::OID).ok()?;
    let key = EcPrivateKey::from_der(info.private_key.as_bytes()).ok()?;
    if key.parameters.is_some_and(|parameters| parameters.named_curve() != Some(C::OID)) {
        return None;
    }
    let scalar = parse_secret::<C>(key.private_key).ok()?;
    let public = B::public(&scalar)?;
    let claims = [key.public_key, info.public_key.map(|claim| claim.raw_bytes())];
    let is_true = |claim| PublicKey::from_sec1_bytes(claim).is_ok_and(|claim| claim == public);
    claims.into_iter().flatten().all(is_true).then_some(scalar)
}

#[cfg(test)]
mod tests;
