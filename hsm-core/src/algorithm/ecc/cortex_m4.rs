//! P-256 with the assembly of `p256-cm4`, for processors with the multiplier of a Cortex-M4.
//!
//! Points are its business, scalars are not: its multiplication modulo n loads a list of one
//! register, which the architecture leaves undefined (Armv7-M A7.7.41) and emulators refuse.
#![allow(clippy::arithmetic_side_effects)] // operators of scalars, modulo n, and of points

use ecdsa::Signature;
use ecdsa::elliptic_curve::ff::PrimeField;
use ecdsa::elliptic_curve::ops::Reduce;
use ecdsa::elliptic_curve::point::AffineCoordinates;
use ecdsa::elliptic_curve::sec1::{FromSec1Point, ToSec1Point};
use ecdsa::elliptic_curve::{Group, PublicKey};
use p256::{AffinePoint, FieldBytes, NistP256, NonZeroScalar, ProjectivePoint, Scalar, Sec1Point};
use p256_cm4::SignPrecomp;
use zeroize::{Zeroize, Zeroizing};

use super::Backend;

/// The assembly.
#[derive(Clone, Copy, Debug)]
pub struct CortexM4;

/// A number below 2^256, least significant word first.
type Words = [u32; 8];

impl Backend<NistP256> for CortexM4 {
    fn public(secret: &NonZeroScalar) -> Option<PublicKey<NistP256>> {
        PublicKey::from_affine(base(secret)?).ok()
    }

    fn sign(
        secret: &NonZeroScalar,
        k: &NonZeroScalar,
        digest: &[u8],
    ) -> Option<Signature<NistP256>> {
        let mut first = SignPrecomp::default();
        if !p256_cm4::sign_step1(&mut first, &secret_words(k)) {
            return None;
        }
        let r = scalar(&first.r);
        let k_inverse = scalar(&first.k_inv).map(Zeroizing::new);
        first.k_inv.zeroize();
        let (r, k_inverse) = (r?, k_inverse?);
        let s = *k_inverse * (reduce(digest)? + r * secret.as_ref());
        Signature::from_scalars(r, s).ok()
    }

    fn verify(
        public: &PublicKey<NistP256>,
        digest: &[u8],
        signature: &Signature<NistP256>,
    ) -> bool {
        verify(public, digest, signature).unwrap_or(false)
    }

    fn agree(secret: &NonZeroScalar, peer: &PublicKey<NistP256>) -> Option<Zeroizing<FieldBytes>> {
        let (x, y) = coordinates(peer)?;
        let mut shared = Zeroizing::new(FieldBytes::default());
        p256_cm4::ecdh_calc_shared_secret((&mut *shared).into(), &secret_words(secret), &x, &y)
            .then_some(shared)
    }
}

/// FIPS 186-5 6.4.2 from step 3 on. All of it is public.
fn verify(
    public: &PublicKey<NistP256>,
    digest: &[u8],
    signature: &Signature<NistP256>,
) -> Option<bool> {
    let (r, s) = signature.split_scalars();
    let inverse = Option::<Scalar>::from(s.invert_vartime())?;
    let (u, v) = (reduce(digest)? * inverse, *r * inverse);
    let first = match Option::<NonZeroScalar>::from(NonZeroScalar::new(u)) {
        Some(u) => base(&u)?.into(),
        None => ProjectivePoint::IDENTITY,
    };
    let (x, y) = coordinates(public)?;
    let mut product = ([0; 8], [0; 8]);
    if !p256_cm4::scalarmult_generic(&mut product.0, &mut product.1, &words(&v.to_repr()), &x, &y) {
        return None;
    }
    let sum = first + ProjectivePoint::from(affine(&product)?);
    if bool::from(sum.is_identity()) {
        return None;
    }
    Some(reduce(&sum.to_affine().x())? == *r)
}

/// A multiple of the base point.
fn base(scalar: &NonZeroScalar) -> Option<AffinePoint> {
    let mut point = ([0; 8], [0; 8]);
    p256_cm4::scalarmult_base(&mut point.0, &mut point.1, &secret_words(scalar)).then_some(())?;
    affine(&point)
}

fn affine((x, y): &(Words, Words)) -> Option<AffinePoint> {
    let point = Sec1Point::from_affine_coordinates(&bytes(x), &bytes(y), false);
    AffinePoint::from_sec1_point(&point).into()
}

fn coordinates(public: &PublicKey<NistP256>) -> Option<(Words, Words)> {
    let point = public.to_sec1_point(false);
    Some((words(point.x()?), words(point.y()?)))
}

/// The leftmost 256 bits of a digest, modulo n.
fn reduce(digest: &[u8]) -> Option<Scalar> {
    let front = FieldBytes::try_from(digest.get(..32)?).ok()?;
    Some(<Scalar as Reduce<FieldBytes>>::reduce(&front))
}

fn scalar(words: &Words) -> Option<Scalar> {
    Scalar::from_repr(*Zeroizing::new(bytes(words))).into()
}

fn secret_words(scalar: &NonZeroScalar) -> Zeroizing<Words> {
    Zeroizing::new(words(&Zeroizing::new(scalar.to_repr())))
}

fn words(big_endian: &FieldBytes) -> Words {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(big_endian.as_chunks().0.iter().rev()) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

fn bytes(words: &Words) -> FieldBytes {
    let mut out = FieldBytes::default();
    for (bytes, word) in out.as_chunks_mut().0.iter_mut().zip(words.iter().rev()) {
        *bytes = word.to_be_bytes();
    }
    out
}
