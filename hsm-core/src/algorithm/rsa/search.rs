//! The search for an RSA key pair, in slices (FIPS 186-5 A.1.3, random probable primes).
//!
//! A slice draws and sieves one candidate, or does 64 squarings of a Miller-Rabin test
//! (B.3.1). Both primes are drawn congruent to 7 modulo 8, which A.1.3 permits: then one
//! exponentiation decides a round. The exponentiation takes constant time; how many candidates were
//! rejected, and by what, is not secret. The sieve divides residues of 32 bits, on some processors in
//! a time that depends on them: once for a candidate, which an observer cannot repeat.
//!
//! [`Search`] is for the one processor of a chip. [`PrimeSearch`] and [`join`] are its two halves, for
//! a platform that lets several processors look ([`crate::platform::PairSearch`]).

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Choice, CtAssign, CtEq, Limb, NonZero, Odd};
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::KeySpec;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::PUBLIC_EXPONENT;
use crate::secret::SecretBuf;

/// Windows in a slice: 64 squarings.
const WINDOWS: u32 = 16;
/// Bits of the exponent that are handled at a time.
const WINDOW: u32 = 4;
/// Rounds of Miller-Rabin: FIPS 186-5 table B.1 asks for 5 of 1024-bit primes (error probability
/// 2^-112) and for fewer of longer ones.
const ROUNDS: u8 = 5;
/// Candidates are sieved by the odd primes below this.
const SIEVE: u32 = 5000;
/// Bytes of the longest prime, in RSA_4096.
const MAX_PRIME: usize = 256;
/// Bytes of the difference of the primes of which one must not be zero: it is then at least
/// 2^(n/2 - 96), and A.1.3, step 5.4, asks for more than 2^(n/2 - 100).
const DIFFERENCE: usize = 12;

/// A key pair being looked for.
pub struct Search {
    primes: PrimeSearch,
    first: Option<Prime>,
}

/// A prime or a candidate, big-endian, in the front of the array.
type Prime = Zeroizing<[u8; MAX_PRIME]>;

impl Search {
    /// A search for a pair of an RSA spec.
    ///
    /// # Errors
    /// [`ErrorCode::UNSUPPORTED`] for another spec.
    pub fn new(spec: KeySpec) -> Result<Self, ErrorCode> {
        Ok(Self { primes: PrimeSearch::new(spec)?, first: None })
    }

    /// Takes one slice; true when the pair is found and `out` holds it: p || q, p > q.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn step(
        &mut self,
        rng: &mut dyn CryptoRng,
        out: &mut SecretBuf,
    ) -> Result<bool, ErrorCode> {
        let Some(prime) = self.primes.step(rng)? else { return Ok(false) };
        let Some(first) = self.first.as_ref() else {
            let mut first: Prime = Zeroizing::new([0; MAX_PRIME]);
            hsm_protocol::bytes::concat(&mut *first, &[prime]).ok_or(ErrorCode::INTERNAL)?;
            self.first = Some(first);
            self.primes.forget();
            return Ok(false);
        };
        let first = first.get(..prime.len()).ok_or(ErrorCode::INTERNAL)?;
        let found = join(first, prime, out);
        self.first = None; // not taken out, which would leave the bytes behind
        self.primes.forget();
        found
    }
}

/// Writes the pair of two primes of the same length into `out`: p || q, p > q. False if they are too
/// close to each other (A.1.3, step 5.4), and both have to be given up.
///
/// # Errors
/// [`ErrorCode::INTERNAL`] only.
pub fn join(first: &[u8], second: &[u8], out: &mut SecretBuf) -> Result<bool, ErrorCode> {
    // Which of the two is larger says nothing of either.
    let (p, q) = if first > second { (first, second) } else { (second, first) };
    if !is_far(p, q) {
        return Ok(false);
    }
    let out = out.resize(p.len().saturating_add(q.len()))?;
    hsm_protocol::bytes::concat(out, &[p, q]).ok_or(ErrorCode::INTERNAL)?;
    Ok(true)
}

/// A prime of a key pair being looked for. Every candidate is drawn anew, so that several searches
/// side by side find primes in as much less time as they are more.
pub struct PrimeSearch {
    /// Bytes of a prime.
    size: usize,
    /// The candidate that is being tested, or the prime that was found.
    test: Option<MillerRabin>,
}

impl PrimeSearch {
    /// A search for a prime of an RSA spec.
    ///
    /// # Errors
    /// [`ErrorCode::UNSUPPORTED`] for another spec.
    pub fn new(spec: KeySpec) -> Result<Self, ErrorCode> {
        match spec.row() {
            Some(row) if row.slow => Ok(Self { size: row.secret_size >> 1, test: None }),
            _ => Err(ErrorCode::UNSUPPORTED),
        }
    }

    /// Takes one slice; the prime, once it is found, big-endian. [`Self::forget`] it before the next
    /// slice.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] only.
    pub fn step(&mut self, rng: &mut dyn CryptoRng) -> Result<Option<&[u8]>, ErrorCode> {
        let Some(test) = &mut self.test else {
            self.test = draw(self.size, rng)?;
            return Ok(None);
        };
        match test.advance(rng)? {
            Verdict::Open => Ok(None),
            Verdict::Composite => {
                self.test = None;
                Ok(None)
            }
            Verdict::Prime => {
                let prime = self.test.as_ref().and_then(|test| test.candidate.get(..self.size));
                prime.map(Some).ok_or(ErrorCode::INTERNAL)
            }
        }
    }

    /// Erases the candidate, or the prime that was found.
    pub fn forget(&mut self) {
        self.test = None;
    }
}

impl core::fmt::Debug for PrimeSearch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PrimeSearch({} bits)", self.size.saturating_mul(8))
    }
}

impl core::fmt::Debug for Search {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Search({} bits)", self.primes.size.saturating_mul(16))
    }
}

/// Draws a candidate; `None` if the sieve rejects it.
fn draw(size: usize, rng: &mut dyn CryptoRng) -> Result<Option<MillerRabin>, ErrorCode> {
    let mut candidate: Prime = Zeroizing::new([0; MAX_PRIME]);
    let bytes = candidate.get_mut(..size).ok_or(ErrorCode::INTERNAL)?;
    rng.fill_bytes(bytes);
    // Both top bits, so that the product has its full length (above sqrt(2)/2 of the range).
    if let [first, .., last] = bytes {
        *first |= 0xc0;
        *last |= 0x07;
    }
    let number = Zeroizing::new(integer(bytes)?);
    if !survives(&number) {
        return Ok(None);
    }
    Ok(Some(MillerRabin { candidate, size, rounds: 0, round: None }))
}

/// Whether no small prime divides the candidate, and e has an inverse.
fn survives(candidate: &BoxedUint) -> bool {
    let remainder = |divisor: u32| {
        let divisor = Option::<NonZero<Limb>>::from(NonZero::new(Limb::from(divisor)));
        divisor.map_or(0, |divisor| candidate.rem_limb(divisor).0)
    };
    if remainder(PUBLIC_EXPONENT) == 1 {
        return false;
    }
    let mut divisor = 3;
    while divisor < SIEVE {
        // As many small numbers as one division takes.
        let begin = divisor;
        let mut product = 1u32;
        while let (true, Some(next)) = (divisor < SIEVE, product.checked_mul(divisor)) {
            product = next;
            divisor = next_prime(divisor);
        }
        let residue = remainder(product);
        let mut factor = begin;
        while factor < divisor {
            if residue.checked_rem(Limb::from(factor).0) == Some(0) {
                return false;
            }
            factor = next_prime(factor);
        }
    }
    true
}

/// The prime after an odd one.
const fn next_prime(mut number: u32) -> u32 {
    loop {
        number = number.saturating_add(2);
        let mut factor = 3u32;
        while factor.saturating_mul(factor) <= number {
            if number.is_multiple_of(factor) {
                break;
            }
            factor = factor.saturating_add(2);
        }
        if factor.saturating_mul(factor) > number {
            return number;
        }
    }
}

/// Whether p - q, of two numbers of the same length, is large enough.
fn is_far(p: &[u8], q: &[u8]) -> bool {
    let mut difference = Zeroizing::new([0; MAX_PRIME]);
    let mut borrow = false;
    for ((out, p), q) in difference.iter_mut().zip(p).zip(q).rev() {
        let (partial, first) = p.overflowing_sub(*q);
        let (byte, second) = partial.overflowing_sub(u8::from(borrow));
        *out = byte;
        borrow = first | second;
    }
    difference.iter().take(DIFFERENCE).any(|byte| *byte != 0)
}

fn integer(bytes: &[u8]) -> Result<BoxedUint, ErrorCode> {
    let bits = u32::try_from(bytes.len().saturating_mul(8)).map_err(|_| ErrorCode::INTERNAL)?;
    BoxedUint::from_be_slice(bytes, bits).map_err(|_| ErrorCode::INTERNAL)
}

/// What a slice of the test said.
enum Verdict {
    Open,
    Composite,
    Prime,
}

/// A candidate under test.
struct MillerRabin {
    candidate: Prime,
    size: usize,
    /// Rounds passed.
    rounds: u8,
    round: Option<Round>,
}

/// One exponentiation, to (candidate - 1) / 2, from the top.
struct Round {
    /// The powers 0 to 15 of the base.
    table: [BoxedMontyForm; 1 << WINDOW],
    power: BoxedMontyForm,
    /// Bits of the exponent that are still to come, a multiple of [`WINDOW`].
    left: u32,
}

impl MillerRabin {
    fn advance(&mut self, rng: &mut dyn CryptoRng) -> Result<Verdict, ErrorCode> {
        let Some(round) = &mut self.round else {
            self.round = Some(self.begin(rng)?);
            return Ok(Verdict::Open);
        };
        let bytes = self.candidate.get(..self.size).ok_or(ErrorCode::INTERNAL)?;
        for _ in 0..WINDOWS.min(round.left / WINDOW) {
            round.left = round.left.saturating_sub(WINDOW);
            for _ in 0..WINDOW {
                round.power = round.power.square();
            }
            let digit = digit(bytes, round.left);
            round.power = round.power.mul(&select(&round.table, digit));
        }
        if round.left > 0 {
            return Ok(Verdict::Open);
        }
        let one = BoxedMontyForm::one(round.power.params());
        let passed = round.power.ct_eq(&one) | round.power.ct_eq(&one.neg());
        self.round = None;
        if !passed.to_bool() {
            return Ok(Verdict::Composite);
        }
        self.rounds = self.rounds.saturating_add(1);
        Ok(if self.rounds >= ROUNDS { Verdict::Prime } else { Verdict::Open })
    }

    /// Draws a base and computes its powers.
    fn begin(&self, rng: &mut dyn CryptoRng) -> Result<Round, ErrorCode> {
        let bytes = self.candidate.get(..self.size).ok_or(ErrorCode::INTERNAL)?;
        let modulus = Option::<Odd<BoxedUint>>::from(Odd::new(integer(bytes)?));
        let params = BoxedMontyParams::new(modulus.ok_or(ErrorCode::INTERNAL)?);
        let mut base = Zeroizing::new([0; MAX_PRIME]);
        let base = base.get_mut(..self.size).ok_or(ErrorCode::INTERNAL)?;
        rng.fill_bytes(base);
        if let [first, ..] = base {
            *first &= 0x7f; // below the candidate, whose top bit is set
        }
        let base = BoxedMontyForm::new(integer(base)?, &params);
        let mut power = BoxedMontyForm::one(&params);
        let table = core::array::from_fn(|_| {
            let entry = power.clone();
            power = power.mul(&base);
            entry
        });
        let left = u32::try_from(self.size.saturating_mul(8)).map_err(|_| ErrorCode::INTERNAL)?;
        Ok(Round { table, power: BoxedMontyForm::one(&params), left })
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.table.iter_mut().for_each(Zeroize::zeroize);
        self.power.zeroize();
    }
}

/// Bits `at` to `at` + 3 of (candidate - 1) / 2; `at` is a multiple of 4. The candidate is odd, so
/// that is its bits `at` + 1 to `at` + 4.
fn digit(candidate: &[u8], at: u32) -> u32 {
    let bit = at as usize;
    let byte = |index: usize| {
        let index = candidate.len().checked_sub(index.saturating_add(1));
        index.and_then(|index| candidate.get(index)).copied().unwrap_or(0)
    };
    let low = bit >> 3;
    let pair = u32::from(byte(low)) | u32::from(byte(low.saturating_add(1))) << 8;
    pair >> (at & 7).saturating_add(1) & 0xf
}

/// The entry at a secret index.
fn select(table: &[BoxedMontyForm; 1 << WINDOW], index: u32) -> BoxedMontyForm {
    let [first, ..] = table;
    let mut entry = first.clone();
    for (at, other) in (0u32..).zip(table) {
        entry.ct_assign(other, Choice::from_u32_eq(at, index));
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestRng;

    fn search(spec: KeySpec, seed: u64) -> (SecretBuf, usize) {
        let mut search = Search::new(spec).unwrap();
        let (mut rng, mut secret) = (TestRng(seed), SecretBuf::new());
        let mut slices = 1;
        while !search.step(&mut rng, &mut secret).unwrap() {
            slices += 1;
        }
        (secret, slices)
    }

    #[test]
    fn primes_have_their_form_and_the_search_is_repeatable() {
        let (secret, slices) = search(KeySpec::RSA_2048, 1);
        assert!(slices > 5 * 2 * 16, "five rounds of sixteen slices for each prime, at least");
        assert_eq!(secret.expose(), search(KeySpec::RSA_2048, 1).0.expose());
        let (p, q) = secret.expose().split_at(128);
        assert!(p > q);
        for prime in [p, q] {
            assert_eq!((prime[0] & 0xc0, prime[127] & 7), (0xc0, 7));
            let number = integer(prime).unwrap();
            assert!(crypto_primes::is_prime(crypto_primes::Flavor::Any, &number));
        }
    }

    #[test]
    fn primes_too_close_to_each_other() {
        let mut q = [0xd5; 128];
        let mut p = q;
        p[12] += 1;
        assert!(!is_far(&p, &q));
        p[11] += 1;
        assert!(is_far(&p, &q));
        // Prefixes that differ, numbers that hardly do.
        (p, q) = ([0; 128], [0xff; 128]);
        (p[0], q[0]) = (0xe0, 0xdf);
        assert!(!is_far(&p, &q));
    }

    #[test]
    fn only_slow_specs() {
        assert_eq!(Search::new(KeySpec::ECC_NIST_P256).err(), Some(ErrorCode::UNSUPPORTED));
    }

    #[test]
    fn digits_are_those_of_half_the_candidate() {
        let candidate = [0xd3u8, 0x5a, 0x17, 0xef];
        let half = (u32::from_be_bytes(candidate) - 1) / 2;
        for at in (0..32).step_by(4) {
            assert_eq!(digit(&candidate, at), half >> at & 0xf, "bit {at}");
        }
    }

    #[test]
    fn the_sieve_knows_its_primes() {
        let mut prime = 3;
        let mut count = 1;
        while next_prime(prime) < SIEVE {
            prime = next_prime(prime);
            count += 1;
        }
        assert_eq!((prime, count), (4999, 668));
        for (number, expected) in [(4999u64 * 5003, false), (5003 * 5009, true)] {
            assert_eq!(survives(&BoxedUint::from(number)), expected, "{number}");
        }
    }

    #[test]
    fn composites_without_small_factors_are_found_out() {
        // A Carmichael number passes Fermat tests to most bases, and no Miller-Rabin test for long.
        let mut candidate: Prime = Zeroizing::new([0; MAX_PRIME]);
        let carmichael = 0x0000_0001_0000_000fu64; // any odd composite congruent to 7 modulo 8
        candidate[..8].copy_from_slice(&(carmichael | 0xc000_0000_0000_0000).to_be_bytes());
        let mut test = MillerRabin { candidate, size: 8, rounds: 0, round: None };
        loop {
            match test.advance(&mut TestRng(3)).unwrap() {
                Verdict::Open => {}
                Verdict::Composite => break,
                Verdict::Prime => panic!("a composite number passed"),
            }
        }
    }
}
