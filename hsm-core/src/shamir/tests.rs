use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::testing::TestRng;

/// The product as it is taught: shift, add, reduce.
fn product(a: u8, b: u8) -> u8 {
    let mut sum = 0u16;
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            sum ^= u16::from(a) << bit;
        }
    }
    for bit in (8..16).rev() {
        if sum >> bit & 1 == 1 {
            sum ^= 0x11b << (bit - 8);
        }
    }
    u8::try_from(sum).unwrap()
}

#[test]
fn the_field_is_that_of_aes() {
    // FIPS 197 4.2: {57} · {83} = {c1}, {57} · {13} = {fe}.
    assert_eq!((multiply(0x57, 0x83), multiply(0x57, 0x13)), (0xc1, 0xfe));
    for a in 0..=255 {
        for b in 0..=255 {
            assert_eq!(multiply(a, b), product(a, b), "{a} {b}");
        }
        let one = u8::from(a != 0);
        assert_eq!(multiply(a, invert(a)), one, "{a}");
    }
}

/// Computed with Python from the definition: f(n) = s + c1·n + c2·n², s = 00..1f, c1 = 40..5f, c2 = 80..9f.
#[test]
fn known_shares() {
    struct Counting(u8);
    impl rand_core::TryRng for Counting {
        type Error = core::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(0)
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(0)
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            out.iter_mut().zip(self.0..).for_each(|(out, byte)| *out = byte);
            self.0 += 0x40;
            Ok(())
        }
    }
    impl rand_core::TryCryptoRng for Counting {}
    let secret = Secret::copy_from(&core::array::from_fn(|at| u8::try_from(at).unwrap()));
    let sharing = Sharing::of(&secret, 3, &mut Counting(0x40)).unwrap();
    let mut share = Secret::zeroed();
    for (number, expected) in VECTORS {
        sharing.share(number, &mut share).unwrap();
        assert_eq!(*share.expose(), expected, "share {number}");
    }
    assert_eq!(sharing.share(0, &mut share), Err(ErrorCode::INVALID_ARGUMENT));
    let [one, two, _, eight] = VECTORS;
    let mut combined = Secret::zeroed();
    combine(&[(eight.0, &eight.1), (one.0, &one.1), (two.0, &two.1)], &mut combined).unwrap();
    assert_eq!(combined.expose(), secret.expose());
}

const VECTORS: [(u8, [u8; SIZE]); 4] = [
    (1, hex!("c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf")),
    (2, hex!("b6b1b8bfaaada4a38e89808792959c9bc6c1c8cfdaddd4d3fef9f0f7e2e5eceb")),
    (3, hex!("7671787f6a6d64634e49404752555c5b0601080f1a1d14133e39303722252c2b")),
    (8, hex!("7b32e9a0440dd69f054c97de3a73a8e187ce155cb8f12a63f9b06b22c68f541d")),
];

#[test]
fn known_answer_passes_and_a_corrupted_one_fails() {
    assert_eq!(self_test(), Ok(()));
    fault::inject(Some(Kat::Shamir));
    assert_eq!(self_test(), Err(ErrorCode::SELF_TEST_FAILED));
    fault::inject(None);
}

#[test]
fn shares_that_cannot_be_are_refused() {
    let (share, mut out) = ([1; SIZE], Secret::zeroed());
    for shares in
        [&[][..], &[(0, &share)], &[(1, &share), (2, &share), (1, &share)], &[(1, &share); 9]]
    {
        assert_eq!(combine(shares, &mut out), Err(ErrorCode::INVALID_ARGUMENT));
    }
    for threshold in [0, 9, 255] {
        let sharing = Sharing::of(&Secret::zeroed(), threshold, &mut TestRng(1));
        assert_eq!(sharing.err(), Some(ErrorCode::INVALID_ARGUMENT));
    }
}

/// One share less says nothing: for every secret there is a last share that would give it.
#[test]
fn one_share_less_fits_every_secret() {
    let secret = Secret::copy_from(&[0x5a; SIZE]);
    let sharing = Sharing::of(&secret, 2, &mut TestRng(1)).unwrap();
    let mut known = Secret::zeroed();
    sharing.share(1, &mut known).unwrap();
    let mut seen = [false; 256];
    for last in 0..=255 {
        let mut combined = Secret::zeroed();
        combine(&[(1, known.expose()), (2, &[last; SIZE])], &mut combined).unwrap();
        seen[usize::from(combined.expose()[0])] = true;
    }
    assert!(seen.iter().all(|seen| *seen));
}

/// A share of one byte takes each value alike, whatever the secret: a coefficient that is never zero, a known
/// fault of other libraries, would leave one out.
#[test]
fn shares_are_not_biased() {
    let mut rng = TestRng(7);
    for secret in [0, 0xff] {
        let secret = Secret::copy_from(&[secret; SIZE]);
        let mut counts = [0u32; 256];
        let mut share = Secret::zeroed();
        for _ in 0..2048 {
            let sharing = Sharing::of(&secret, 2, &mut rng).unwrap();
            sharing.share(1, &mut share).unwrap();
            share.expose().iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        }
        // 65,536 in 256 cells of 256: seven standard deviations on each side.
        assert!(counts.iter().all(|count| (144..368).contains(count)), "{counts:?}");
    }
}

proptest! {
    #[test]
    fn any_threshold_of_shares_gives_the_secret(
        secret in any::<[u8; SIZE]>(),
        seed in any::<u64>(),
        threshold in 1u8..=8,
        more in 0usize..8,
        start in 1u8..=247,
    ) {
        let secret = Secret::copy_from(&secret);
        let sharing = Sharing::of(&secret, threshold, &mut TestRng(seed)).unwrap();
        let count = (usize::from(threshold) + more).min(MAX_SHARES);
        let shares: Vec<(u8, Secret<SIZE>)> = (start..)
            .take(count)
            .map(|number| {
                let mut share = Secret::zeroed();
                sharing.share(number, &mut share).unwrap();
                (number, share)
            })
            .collect();
        let given: Vec<(u8, &[u8; SIZE])> =
            shares.iter().rev().map(|(number, share)| (*number, share.expose())).collect();
        let mut combined = Secret::zeroed();
        combine(&given, &mut combined).unwrap();
        prop_assert_eq!(combined.expose(), secret.expose());
        let enough = usize::from(threshold);
        combine(&given[..enough], &mut combined).unwrap();
        prop_assert_eq!(combined.expose(), secret.expose());
        if enough > 1 {
            combine(&given[..enough - 1], &mut combined).unwrap();
            prop_assert_ne!(combined.expose(), secret.expose());
        }
    }
}
