//! Quotas: how often an account may send requests, in the pools of AWS KMS, and how many keys it
//! may have.
//!
//! Each account, Region and pool has a token bucket. It holds the requests of one second, and at
//! least one. A pool without a configured rate has no limit.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use hsm_protocol::key_spec::{KeyFamily, KeySpec};

use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_keys::Catalog;
use kms_model::Operation;
use kms_model::operation::Quota;

mod keys;

use self::keys::KeyCounts;

/// The setting that stands for AWS's default rates.
pub const AWS: &str = "aws";
/// The setting for the number of keys, and AWS's default for it.
const KEYS: (&str, u64) = ("keys", 100_000);
/// The prefix of the settings for data key pairs; the spec follows.
const PAIRS: &str = "data-key-pair:";

/// A pool: the operations that share a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// Cryptography with symmetric and HMAC keys, and random bytes.
    Symmetric,
    /// Cryptography with RSA keys.
    Rsa,
    /// Signatures and key agreement on elliptic curves.
    Ecc,
    /// ML-DSA signatures.
    MlDsa,
    /// ML-KEM.
    MlKem,
    /// Data key pairs of one spec.
    DataKeyPair(KeySpec),
    /// Any other operation, each in a pool of its own.
    Operation(Operation),
}

/// Requests per second that AWS KMS allows by default in the pools that operations share. Where the
/// rate depends on the Region, it is the lowest. The rates of other pools are in the operation
/// table.
const DEFAULTS: &[(&str, f64)] = &[
    ("symmetric", 10_000.0),
    ("rsa", 1000.0),
    ("ecc", 1000.0),
    ("ml-dsa", 1000.0),
    ("ml-kem", 1000.0),
    ("data-key-pair:ECC_NIST_P256", 25.0),
    ("data-key-pair:ECC_NIST_P384", 10.0),
    ("data-key-pair:ECC_NIST_P521", 5.0),
    ("data-key-pair:ECC_SECG_P256K1", 25.0),
    ("data-key-pair:RSA_2048", 1.0),
    ("data-key-pair:RSA_3072", 0.5),
    ("data-key-pair:RSA_4096", 0.1),
];

impl Pool {
    /// Returns the pool of an operation; `None` if it depends on the key or key pair.
    #[must_use]
    pub const fn of_operation(operation: Operation) -> Option<Self> {
        match operation.facts().quota {
            Quota::Symmetric => Some(Self::Symmetric),
            Quota::OfKey | Quota::OfPair => None,
            Quota::Own(_) | Quota::Unrated => Some(Self::Operation(operation)),
        }
    }

    /// Returns the pool of cryptographic operations with a key of that spec.
    #[must_use]
    pub fn of_key(spec: KeySpec) -> Self {
        match spec.row().map(|row| row.family) {
            Some(KeyFamily::Rsa) => Self::Rsa,
            Some(KeyFamily::Ecc | KeyFamily::Edwards) => Self::Ecc,
            Some(KeyFamily::MlDsa) => Self::MlDsa,
            Some(KeyFamily::MlKem) => Self::MlKem,
            // Keys always have a spec with a row.
            Some(KeyFamily::Symmetric | KeyFamily::Hmac) | None => Self::Symmetric,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        if let Some(spec) = name.strip_prefix(PAIRS) {
            return KeySpec::from_aws_name(spec).map(Self::DataKeyPair);
        }
        Some(match name {
            "symmetric" => Self::Symmetric,
            "rsa" => Self::Rsa,
            "ecc" => Self::Ecc,
            "ml-dsa" => Self::MlDsa,
            "ml-kem" => Self::MlKem,
            // Only operations with a pool of their own have a setting.
            name => Self::of_operation(Operation::from_name(name)?)
                .filter(|pool| matches!(pool, Self::Operation(_)))?,
        })
    }
}

/// Returns AWS's default rates, for every pool that has one.
fn defaults() -> impl Iterator<Item = (Pool, f64)> {
    let shared = |(name, rate): &(&str, f64)| Some((Pool::from_name(name)?, *rate));
    let own = |operation: &Operation| match operation.facts().quota {
        Quota::Own(rate) => Some((Pool::Operation(*operation), rate)),
        Quota::OfKey | Quota::OfPair | Quota::Symmetric | Quota::Unrated => None,
    };
    DEFAULTS.iter().filter_map(shared).chain(Operation::ALL.iter().filter_map(own))
}

/// The configured rates, and how much of each is left.
#[derive(Debug, Default)]
pub struct Quotas {
    rates: HashMap<Pool, f64>,
    buckets: Mutex<HashMap<(Scope, Pool), Bucket>>,
    /// The limit on keys of an account in a Region; `None` for no limit.
    keys: Option<u64>,
    counts: KeyCounts,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Quotas {
    /// Parses settings: `aws` stands for AWS's defaults, `NAME=RATE` sets one rate. Later settings
    /// override earlier ones.
    ///
    /// # Errors
    /// A text that says what is wrong with a setting.
    pub fn parse(settings: &[impl AsRef<str>]) -> Result<Self, String> {
        let (mut rates, mut keys) = (HashMap::new(), None);
        for setting in settings.iter().map(AsRef::as_ref) {
            if setting == AWS {
                rates.extend(defaults());
                keys = Some(KEYS.1);
                continue;
            }
            let (name, rate) = setting.split_once('=').ok_or_else(|| {
                format!("quota {setting:?} is neither {AWS:?} nor NAME=RATE, such as CreateKey=5")
            })?;
            if name == KEYS.0 {
                let number =
                    rate.parse().map_err(|_| format!("quota {name}: {rate:?} is not a number"))?;
                keys = Some(number);
                continue;
            }
            let pool = Pool::from_name(name).ok_or_else(|| {
                format!(
                    "quota {name:?} is not a pool; the pools are keys, symmetric, rsa, ecc, ml-dsa, ml-kem, \
                     {PAIRS}RSA_2048, or a management operation such as CreateKey"
                )
            })?;
            let rate = rate.parse().ok().filter(|rate| (0.001..=1e9).contains(rate));
            let rate: f64 =
                rate.ok_or_else(|| format!("quota {name}: a rate is requests per second"))?;
            rates.insert(pool, rate);
        }
        Ok(Self { rates, keys, ..Self::default() })
    }

    /// Reserves room for one more key of an account.
    ///
    /// # Errors
    /// [`Exception::LimitExceeded`] if the account has reached its limit.
    pub async fn take_key(&self, catalog: &Catalog, scope: &Scope) -> Result<(), KmsError> {
        match self.keys {
            Some(limit) => self.counts.take(catalog, scope, limit, Instant::now()).await,
            None => Ok(()),
        }
    }

    /// Takes one request of an account from a pool.
    ///
    /// # Errors
    /// [`Exception::Throttling`] if the pool is empty.
    pub fn take(&self, scope: &Scope, pool: Pool, now: Instant) -> Result<(), KmsError> {
        let Some(&rate) = self.rates.get(&pool) else { return Ok(()) };
        let most = rate.max(1.0);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets
            .entry((scope.clone(), pool))
            .or_insert_with(|| Bucket { tokens: most, filled: now });
        let brought = now.saturating_duration_since(bucket.filled).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + brought).min(most);
        bucket.filled = bucket.filled.max(now);
        if bucket.tokens < 1.0 {
            return Err(KmsError::new(
                Exception::Throttling,
                "You have exceeded the rate at which you may call KMS. Reduce the frequency of \
                 your calls.",
            ));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn scope(account: &str) -> Scope {
        Scope::new(account, "us-east-1")
    }

    #[test]
    fn a_pool_holds_a_second_of_requests() {
        let quotas = Quotas::parse(&["rsa=3"]).unwrap();
        let start = Instant::now();
        let mut taken = 0;
        for millis in 0..10_000 {
            let now = start + Duration::from_millis(millis);
            taken += u32::from(quotas.take(&scope("1"), Pool::Rsa, now).is_ok());
        }
        assert!((32..=33).contains(&taken), "{taken} in ten seconds");
        // Other accounts have quotas of their own, and other pools have no limit.
        quotas.take(&scope("2"), Pool::Rsa, start).unwrap();
        for _ in 0..100 {
            quotas.take(&scope("1"), Pool::Ecc, start).unwrap();
        }
        let refusal = quotas.take(&scope("1"), Pool::Rsa, start).unwrap_err();
        assert_eq!((refusal.code(), refusal.status()), ("ThrottlingException", 400));
    }

    #[test]
    fn slow_pools_allow_one_request_at_a_time() {
        let quotas = Quotas::parse(&["data-key-pair:RSA_4096=0.1"]).unwrap();
        let pool = Pool::DataKeyPair(KeySpec::RSA_4096);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let allowed =
            [0, 1, 9, 10, 19, 20].map(|s| quotas.take(&scope("1"), pool, after(s)).is_ok());
        assert_eq!(allowed, [true, false, false, true, false, true]);
    }

    #[test]
    fn defaults_are_those_of_known_pools_and_can_be_changed() {
        let quotas = Quotas::parse(&[AWS]).unwrap();
        // The rates of the operation table, and those of shared pools.
        assert_eq!(quotas.rates.len(), 40 + DEFAULTS.len());
        let quotas = Quotas::parse(&[AWS, "CreateKey=50"]).unwrap();
        assert_eq!(quotas.rates[&Pool::Operation(Operation::CreateKey)], 50.0);
        assert!(Quotas::parse(&[""; 0]).unwrap().rates.is_empty());
        for bad in ["", "AWS", "CreateKey", "CreateKey=0", "CreateKey=x", "Encrypt=5", "x=5"] {
            let error = Quotas::parse(&[bad]).unwrap_err();
            assert!(error.starts_with("quota "), "{error}");
        }
    }

    #[test]
    fn keys_decide_the_pool_of_cryptography() {
        for (spec, pool) in [
            (KeySpec::SYMMETRIC_DEFAULT, Pool::Symmetric),
            (KeySpec::HMAC_256, Pool::Symmetric),
            (KeySpec::RSA_2048, Pool::Rsa),
            (KeySpec::ECC_NIST_P256, Pool::Ecc),
            (KeySpec::ECC_NIST_EDWARDS25519, Pool::Ecc),
            (KeySpec::ML_DSA_44, Pool::MlDsa),
            (KeySpec::ML_KEM_512, Pool::MlKem),
        ] {
            assert_eq!(Pool::of_key(spec), pool);
        }
    }
}
