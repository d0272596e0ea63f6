//! Generates key pairs of slow specs between requests, a slice at a time.

use hsm_protocol::ErrorCode;
use hsm_protocol::domain::Rule;
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::token::History;
use hsm_protocol::token::sealed::{Attributes, GuardedPair, PairPurpose, PreparedPair};

use super::Module;
use super::secrets::Secrets;
use crate::algorithm::Search;
use crate::keystore::sealed::{self, Kind};
use crate::platform::Platform;
use crate::secret::SecretBuf;

/// Slow specs that can wait to be collected at a time: all there are.
const SLOTS: usize = 3;
/// Microseconds that a request for a pair spends on the search itself, so that a device which is
/// never idle finds one too. Other requests wait no longer than this and a slice.
const SHARE_US: u64 = 10_000;

/// What the device looks for, and what it has found.
pub(super) struct Pairs {
    search: Option<(KeySpec, Search)>,
    found: [Option<(KeySpec, SecretBuf)>; SLOTS],
}

impl Pairs {
    pub(super) const fn new() -> Self {
        Self { search: None, found: [const { None }; SLOTS] }
    }

    /// Copies a pair that was found into `out`, and zeroises it here; false if there is none.
    fn take(&mut self, spec: KeySpec, out: &mut SecretBuf) -> Result<bool, ErrorCode> {
        let wanted = |slot: &&mut Option<(KeySpec, SecretBuf)>| {
            slot.as_ref().is_some_and(|(found, _)| *found == spec)
        };
        let Some(slot) = self.found.iter_mut().find(wanted) else { return Ok(false) };
        let Some((_, secret)) = &*slot else { return Ok(false) };
        out.set(secret.expose())?;
        *slot = None; // not `take`, which would leave the bytes behind
        Ok(true)
    }

    /// Gives up the search and every pair.
    pub(super) fn clear(&mut self) {
        self.search = None;
        self.found.iter_mut().for_each(|slot| *slot = None);
    }
}

impl<P: Platform> Module<P> {
    /// A pair of a slow spec, sealed with these attributes into the front of `out`; returns the token's
    /// length.
    ///
    /// # Errors
    /// [`ErrorCode::NOT_READY`] while none is found; [`ErrorCode::INVALID_ARGUMENT`] for a spec
    /// that is not slow; [`ErrorCode::UNSUPPORTED`].
    pub(crate) fn prepare_pair<K: Kind>(
        &mut self,
        spec: KeySpec,
        attributes: &K,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        if !spec.row().is_some_and(|row| row.slow) {
            return Err(ErrorCode::INVALID_ARGUMENT);
        }
        self.algorithm(spec)?;
        let mut secret = SecretBuf::new();
        let found = match self.platform.pair_search().is_some() {
            true => self.collect(spec, &mut secret)?,
            false => self.look(spec, &mut secret)?,
        };
        if !found {
            return Err(ErrorCode::NOT_READY);
        }
        let (domain, drbg) = self.token_parts()?;
        sealed::seal(domain, attributes, secret.expose(), drbg, out)
    }

    /// A pair that the core has found itself; goes on looking for a while if there is none.
    fn look(&mut self, spec: KeySpec, secret: &mut SecretBuf) -> Result<bool, ErrorCode> {
        let pairs = &mut self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?.pairs;
        let mut found = pairs.take(spec, secret)?;
        if !found {
            if pairs.search.is_none() {
                let search = Search::new(spec)?;
                self.reseed()?; // long-lived keys have entropy of their own
                let pairs = &mut self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?.pairs;
                pairs.search = Some((spec, search));
            }
            let begin = self.platform.monotonic_us();
            while self.search()? && self.platform.monotonic_us().saturating_sub(begin) < SHARE_US {}
            let pairs = &mut self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?.pairs;
            found = pairs.take(spec, secret)?;
        }
        Ok(found)
    }

    /// A pair that the processors beside the core have found; if there is none and they look for
    /// nothing, they begin.
    fn collect(&mut self, spec: KeySpec, secret: &mut SecretBuf) -> Result<bool, ErrorCode> {
        let search = self.platform.pair_search().ok_or(ErrorCode::INTERNAL)?;
        if search.collect(spec, secret)? {
            let registry = self.platform.algorithms();
            let drbg = &mut self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?.drbg;
            let (_, algorithm) = crate::algorithm::find(registry, spec)?;
            return algorithm.pairwise_test(secret, drbg).map(|()| true);
        }
        if search.sought().is_none() {
            self.reseed()?; // long-lived keys have entropy of their own
            let drbg = &mut self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?.drbg;
            let search = self.platform.pair_search().ok_or(ErrorCode::INTERNAL)?;
            search.begin(spec, drbg)?;
        }
        Ok(false)
    }

    /// Opens a prepared pair of `purpose` into `secret` and returns its spec, and what is known of it.
    ///
    /// # Errors
    /// [`ErrorCode::TOKEN_MALFORMED`], [`ErrorCode::TOKEN_DOMAIN`], [`ErrorCode::TOKEN_INVALID`];
    /// [`ErrorCode::PAIR_DENIED`] for a pair of another purpose.
    pub(crate) fn open_pair(
        &mut self,
        pair: &[u8],
        purpose: PairPurpose,
        secret: &mut SecretBuf,
    ) -> Result<(KeySpec, History), ErrorCode> {
        let (domain, _) = self.token_parts()?;
        let (prepared, body) = sealed::open::<PreparedPair>(domain, pair)?;
        if prepared.purpose != purpose {
            return Err(ErrorCode::PAIR_DENIED);
        }
        secret.set(body.expose())?;
        Ok((prepared.spec, body.history()))
    }

    /// Opens a prepared pair that is to be the material of a key into `secret`: its spec, the rule that it
    /// is bound to, and what is known of it.
    ///
    /// # Errors
    /// Those of [`Module::open_pair`].
    pub(crate) fn open_key_pair(
        &mut self,
        pair: &[u8],
        secret: &mut SecretBuf,
    ) -> Result<(KeySpec, Option<Rule>, History), ErrorCode> {
        if pair.first() != Some(&GuardedPair::VERSION) {
            let (spec, history) = self.open_pair(pair, PairPurpose::KEY, secret)?;
            return Ok((spec, None, history));
        }
        let (domain, _) = self.token_parts()?;
        let (prepared, body) = sealed::open::<GuardedPair>(domain, pair)?;
        secret.set(body.expose())?;
        Ok((prepared.spec, Some(prepared.rule), body.history()))
    }

    /// A new data key pair of a spec: out of `pair` if the spec is slow, else generated.
    ///
    /// # Errors
    /// [`ErrorCode::PAIR_REQUIRED`] for a slow spec without a pair;
    /// [`ErrorCode::SPEC_DENIED`] for a pair of another spec, or one that is not wanted;
    /// [`ErrorCode::PAIR_DENIED`] for a pair of another purpose.
    pub(crate) fn new_data_key_pair(
        &mut self,
        spec: KeySpec,
        pair: &[u8],
        secret: &mut SecretBuf,
    ) -> Result<(), ErrorCode> {
        if pair.is_empty() {
            return self.generate(spec, secret);
        }
        match self.open_pair(pair, PairPurpose::DATA_KEY_PAIR, secret)?.0 == spec {
            true => Ok(()),
            false => Err(ErrorCode::SPEC_DENIED),
        }
    }

    /// Whether there is a search to go on with.
    pub(crate) fn is_searching(&self) -> bool {
        self.secrets.as_ref().is_some_and(|secrets| secrets.pairs.search.is_some())
    }

    /// One slice of the search for a key pair, to be called between requests; whether there is
    /// more to do. A search that fails is a failed module.
    pub(crate) fn work(&mut self) -> bool {
        self.search().unwrap_or_else(|error| {
            self.fail_on(error);
            false
        })
    }

    fn search(&mut self) -> Result<bool, ErrorCode> {
        let registry = self.platform.algorithms();
        let Some(Secrets { drbg, pairs, .. }) = self.secrets.as_mut() else { return Ok(false) };
        let Some((spec, search)) = &mut pairs.search else { return Ok(false) };
        let (spec, mut secret) = (*spec, SecretBuf::new());
        let (_, algorithm) = crate::algorithm::find(registry, spec)?;
        if !search.step(drbg, &mut secret)? {
            return Ok(true);
        }
        pairs.search = None;
        algorithm.pairwise_test(&secret, drbg)?;
        let slot = pairs.found.iter_mut().find(|slot| slot.is_none());
        let slot = slot.ok_or(ErrorCode::INTERNAL)?;
        slot.insert((spec, SecretBuf::new())).1.set(secret.expose())?;
        Ok(false)
    }
}
