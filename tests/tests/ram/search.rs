//! Finds secrets in RAM, in the forms in which programs keep them.

use std::collections::HashMap;
use std::fmt;

use hsm_tests::probe::Ram;
use p256::Scalar;
use p256::elliptic_curve::ff::PrimeField;

/// Bytes of a secret that are searched for at a time: as good as unique, and found too where only a
/// part of the secret is left.
const PART: usize = 16;
/// Bytes that a part is recognised by.
const HEAD: usize = 8;
/// Areas without anything are passed over in such steps.
const PAGE: usize = 4096;

/// Secrets to search for, each with a name.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<(String, [u8; PART])>);

/// Where secrets were found: what, in which form, and the address.
pub(crate) struct Found(Vec<(String, u32)>);

impl Found {
    /// Where the first part is of a secret whose name starts with `name`.
    pub(crate) fn first(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(found, _)| found.starts_with(name)).map(|(_, at)| *at)
    }

    /// How many parts there are of the secrets whose names start with `name`.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|(found, _)| found.starts_with(name)).count()
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} parts of secrets", self.0.len())?;
        self.0.iter().take(40).try_for_each(|(name, at)| writeln!(f, "  {at:#010x} {name}"))
    }
}

impl Secrets {
    /// Adds a secret of any kind: its bytes, also as words of 32 and 64 bits and as one number, least
    /// significant first, and as HMAC pads it.
    pub(crate) fn add(&mut self, name: &str, secret: &[u8]) {
        let forms = [
            ("as it is", secret.to_vec()),
            ("as a number", secret.iter().rev().copied().collect()),
            ("in words of 32 bits", swapped(secret, 4)),
            ("in words of 64 bits", swapped(secret, 8)),
        ];
        for (form, bytes) in &forms {
            self.add_form(&format!("{name}, {form}"), bytes);
            for pad in [0x36, 0x5c] {
                let padded: Vec<u8> = bytes.iter().map(|byte| byte ^ pad).collect();
                self.add_form(&format!("{name}, {form}, padded with {pad:#x}"), &padded);
            }
        }
    }

    /// Adds a scalar of P-256: also in Montgomery form.
    pub(crate) fn add_scalar(&mut self, name: &str, secret: &[u8; 32]) {
        self.add(name, secret);
        let scalar = Scalar::from_repr((*secret).into()).expect("below the order");
        let montgomery = (0..256).fold(scalar, |scalar, _| scalar.double());
        self.add(&format!("{name}, Montgomery form"), &montgomery.to_repr());
    }

    /// Both.
    pub(crate) fn and(&self, others: &Self) -> Self {
        Self([&self.0[..], &others.0].concat())
    }

    fn add_form(&mut self, name: &str, bytes: &[u8]) {
        let parts = bytes.chunks_exact(PART).map(|part| part.try_into().expect("16 bytes"));
        self.0.extend(parts.map(|part| (name.to_owned(), part)));
    }

    /// Where they are in RAM.
    pub(crate) fn find(&self, ram: &Ram) -> Found {
        let areas = ram.0.iter();
        Found(areas.flat_map(|area| self.find_in(&area.bytes, area.start).0).collect())
    }

    /// Where they are in other bytes, of which the first has this address.
    pub(crate) fn find_in(&self, bytes: &[u8], start: u32) -> Found {
        let mut heads = HashMap::<[u8; HEAD], Vec<usize>>::new();
        // Most places are ruled out by their first two bytes.
        let mut begins = vec![false; 1 << 16];
        for (at, (_, part)) in self.0.iter().enumerate() {
            let head = *part.first_chunk().expect("8 bytes");
            heads.entry(head).or_default().push(at);
            begins[usize::from(u16::from_le_bytes([head[0], head[1]]))] = true;
        }
        let mut found = Vec::new();
        for (page, address) in bytes.chunks(PAGE).zip((start..).step_by(PAGE)) {
            if page.iter().all(|byte| *byte == 0) {
                continue;
            }
            let from = usize::try_from(address - start).expect("an offset");
            let places = &bytes[from..bytes.len().min(from + PAGE + PART - 1)];
            for (place, window) in (address..).zip(places.windows(PART)) {
                if !begins[usize::from(u16::from_le_bytes([window[0], window[1]]))] {
                    continue;
                }
                let Some(candidates) = heads.get(&window[..HEAD]) else { continue };
                let same = candidates.iter().filter(|at| self.0[**at].1 == *window);
                found.extend(same.map(|at| (self.0[*at].0.clone(), place)));
            }
        }
        Found(found)
    }
}

/// The bytes of each word in reverse.
fn swapped(bytes: &[u8], word: usize) -> Vec<u8> {
    bytes.chunks(word).flat_map(|word| word.iter().rev().copied()).collect()
}

#[test]
fn the_search_finds_every_form_at_every_place() {
    let secret: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7 + 1).expect("a byte"));
    let mut secrets = Secrets::default();
    secrets.add_scalar("a secret", &secret);
    for place in [0, 1, PAGE - PART + 3, PAGE, 2 * PAGE - PART] {
        for (name, part) in &secrets.0 {
            let mut bytes = vec![0; 2 * PAGE];
            bytes[place..place + PART].copy_from_slice(part);
            let found = secrets.find_in(&bytes, 0x100);
            let expected = (name.clone(), 0x100 + u32::try_from(place).expect("small"));
            assert!(found.0.contains(&expected), "{name} at {place}");
        }
    }
    assert!(secrets.find_in(&[0x5a; 3 * PAGE], 0).is_empty());
}
