//! Published test vectors (NIST CAVP and ACVP, RFC 4231, known-answer tests of the post-quantum
//! standards) against the module's parts and against a registry of algorithms.
//!
//! The vectors are in `tests/vectors`, each family in a file; the README there says where they are
//! from and what was left out. Wycheproof's are beside the code, in `hsm-core`.

use std::fmt::Write;

use hsm_core::algorithm::Algorithm;
use hsm_protocol::key_spec::KeySpec;

mod der;
mod device;
mod ecc;
mod ed25519;
mod file;
mod ml_dsa;
mod ml_kem;
mod parts;
mod randomness;
mod rsa;

pub use device::{DeviceQuestion, DeviceVector, device_vectors};

use file::{Set, Vector};

/// Algorithms under test.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The registry.
    pub registry: &'static [&'static dyn Algorithm],
    /// Whether it draws randomness from the generator it is given, and from nowhere else.
    /// Otherwise what depends on known randomness is skipped.
    pub takes_randomness: bool,
}

impl Subject {
    /// The entry of a key spec, by its name.
    fn entry(&self, name: &str) -> &'static dyn Algorithm {
        let spec = KeySpec::from_aws_name(name).expect("a known spec");
        *self.registry.iter().find(|entry| entry.spec() == spec).expect("an entry of each spec")
    }
}

/// What became of one set of vectors. A vector that fails is a panic that names it.
#[derive(Debug)]
pub struct Report {
    /// What was tested.
    pub name: String,
    /// Where the vectors are from.
    pub source: String,
    /// Vectors of that source, in the file or left out.
    pub total: usize,
    /// Vectors run and passed.
    pub run: usize,
    /// Vectors in the file that were not run, as they need known randomness.
    pub skipped: usize,
}

/// Whether a vector applies.
enum Outcome {
    Passed,
    NeedsRandomness,
}

/// Checks one vector of a part.
type PartCheck = fn(&Vector);
/// Checks one vector of a registry entry.
type EntryCheck = fn(&Subject, &Set, &Vector) -> Outcome;

/// Vectors of the parts that every board shares: ciphers, hashes, key derivation, generator.
#[must_use]
pub fn run_parts() -> Vec<Report> {
    let families: [(&str, PartCheck); 6] = [
        ("aes_gcm", parts::aes_gcm),
        ("aes_kwp", parts::aes_kwp),
        ("ctr_drbg", parts::ctr_drbg),
        ("hmac", parts::hmac),
        ("kbkdf", parts::kbkdf),
        ("sha2", parts::sha2),
    ];
    let run = |(family, check): (&str, PartCheck)| {
        report(family, |_, vector| {
            check(vector);
            Outcome::Passed
        })
    };
    families.into_iter().flat_map(run).collect()
}

/// Vectors of the entries of a registry.
#[must_use]
pub fn run_registry(subject: &Subject) -> Vec<Report> {
    let families: [(&str, EntryCheck); 5] = [
        ("ecc", ecc::check),
        ("ed25519", ed25519::check),
        ("ml_dsa", ml_dsa::check),
        ("ml_kem", ml_kem::check),
        ("rsa", rsa::check),
    ];
    let run = |(family, check): (&str, EntryCheck)| {
        report(family, |set, vector| check(subject, set, vector))
    };
    families.into_iter().flat_map(run).collect()
}

/// A line for each set. What was left out is in the source but not in the file.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let mut out = String::from("  run | left out | skipped | set | source (all that ran passed)\n");
    for report in reports {
        let left = report.total - report.run - report.skipped;
        let _ = writeln!(
            out,
            "{:5} | {left:8} | {:7} | {} | {}",
            report.run, report.skipped, report.name, report.source
        );
    }
    let (run, sets) = (reports.iter().map(|report| report.run).sum::<usize>(), reports.len());
    let _ = writeln!(out, "{run} vectors of {sets} sets run and passed");
    out
}

fn report(family: &str, check: impl Fn(&Set, &Vector) -> Outcome) -> Vec<Report> {
    let run = |set: Set| {
        let (mut run, mut skipped) = (0, 0);
        for vector in set.vectors() {
            match check(&set, &vector) {
                Outcome::Passed => run += 1,
                Outcome::NeedsRandomness => skipped += 1,
            }
        }
        Report { name: set.name, source: set.source, total: set.total, run, skipped }
    };
    file::load(family).into_iter().map(run).collect()
}
