//! The module: its state, its secrets, and the operations that handlers may perform on them.

use hsm_protocol::attestation::Measurement;
use hsm_protocol::command::ModuleState;
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::command::system::{MemoryPeaks, ModuleStatus};
use hsm_protocol::identity::IdentityDocument;
use hsm_protocol::key_spec::{KeySpec, KeyUsage};
use hsm_protocol::{DeviceId, ErrorCode, MaterialId, approval};
use rand_core::Rng;

use crate::admission::Admission;
use crate::algorithm::{self, Algorithm};
use crate::approval::Approvals;
use crate::audit::{self, Chain};
use crate::dispatch::{Granted, Part, Request};
use crate::drbg::{Drbg, SEED_SIZE};
use crate::entropy::{Cutoffs, Noise};
use crate::keystore::cache;
use crate::keystore::domain::Domain;
use crate::keystore::identity::Identity;
use crate::keystore::record;
use crate::memory::Owner;
use crate::platform::{EntropySource, NvStorage, Platform, RecordId};
use crate::secret::{Secret, SecretBuf};
use crate::self_test;

mod attestation;
mod awaited;
mod checkpoint;
mod key;
mod pairs;
mod provisioning;
mod residue;
mod secrets;

pub(crate) use key::Key;
use residue::Residue;
use secrets::Secrets;

/// The module.
pub(crate) struct Module<P: Platform> {
    pub(crate) platform: P,
    /// The chain of audited commands.
    pub(crate) audit: Chain<P::Memory>,
    state: ModuleState,
    error: Option<ErrorCode>,
    noise: Noise,
    secrets: Secrets<P::Memory>,
    residue: Residue,
    admission: Admission,
    approvals: Approvals,
    device: DeviceId,
    /// Public, so it outlives the secrets.
    document: Option<IdentityDocument>,
    measurement: Option<Measurement>,
    /// Registry entries whose known-answer test has passed, a bit each.
    tested: u32,
    self_test_us: u32,
    busy_us: u64,
    /// Deepest stack use before the last [`Module::take_peaks`].
    stack_peak: u32,
    is_firmware_confirmed: bool,
}

impl<P: Platform> Module<P> {
    /// A module that has not started, and so answers as one in the error state; it holds no secret.
    pub(crate) fn new(
        platform: P,
        keys: <P::Memory as Owner>::Of<[cache::Slot]>,
        entries: <P::Memory as Owner>::Of<[audit::Slot]>,
    ) -> Self {
        let nobody = DeviceId([0; 16]);
        Self {
            platform,
            audit: Chain::new(entries),
            state: ModuleState::Error,
            error: None,
            noise: Noise::new(const { Cutoffs::new(P::Entropy::MIN_ENTROPY) }),
            secrets: Secrets::none(keys),
            residue: Residue::none(),
            admission: Admission::new(),
            approvals: Approvals::new(),
            device: nobody,
            document: None,
            measurement: None,
            tested: 0,
            self_test_us: 0,
            busy_us: 0,
            stack_peak: 0,
            is_firmware_confirmed: false,
        }
    }

    /// Runs the power-up self-tests and loads what the device knows. A failure is the error state.
    /// Never inlined, so that all of its frame is below the caller's, who erases it.
    #[inline(never)]
    pub(crate) fn start(&mut self) {
        if let Err(error) = self.load() {
            self.fail(error);
        }
        self.end_secrets();
    }

    fn load(&mut self) -> Result<(), ErrorCode> {
        let begin = self.platform.monotonic_us();
        let passed = self_test::power_up(self.platform.image(), self.platform.algorithms())?;
        self.measurement = self.platform.measurement().or(passed.measurement);
        let (index, _) = algorithm::find(self.platform.algorithms(), KeySpec::ECC_NIST_P256)?;
        self.tested |= bit(index); // the module's own keys are of that spec
        self.start_drbg()?;
        let elapsed = self.platform.monotonic_us().saturating_sub(begin);
        self.self_test_us = u32::try_from(elapsed).unwrap_or(u32::MAX);

        let Secrets { drbg, identity, domain, .. } = &mut self.secrets;
        *identity = Identity::load(&mut self.platform)?;
        domain.load(&mut self.platform, identity.as_ref())?;
        // Without its domain a device is a fresh one, whatever else was removed or left: nothing of
        // the old domain is in it.
        let state = match domain.exists() {
            true => ModuleState::Operational,
            false => ModuleState::Uninitialised,
        };
        if identity.is_none() {
            *identity = Some(Identity::create(&mut self.platform, drbg)?);
        }
        let identity = identity.as_ref().ok_or(ErrorCode::STORAGE_FAILED)?;
        let epoch = next_epoch(&mut self.platform, drbg)?;
        self.device = identity.device_id();
        self.document = Some(*identity.document());
        self.audit.begin(&self.device, epoch, self.platform.last_reset());
        self.state = state;
        self.secrets.set_loaded();
        Ok(())
    }

    /// Start-up test of the noise source, then the DRBG from its first seed.
    fn start_drbg(&mut self) -> Result<(), ErrorCode> {
        let mut seed = Secret::zeroed();
        let entropy = self.platform.entropy();
        let source = &mut |out: &mut [u8]| entropy.fill_raw(out);
        self.noise.start_up(source)?;
        self.noise.seed(source, &mut seed)?;
        let mut personalization = [0; SEED_SIZE];
        let board = self.platform.board().as_bytes();
        personalization.iter_mut().zip(board).for_each(|(out, byte)| *out = *byte);
        self.secrets.drbg.instantiate_in_place(&seed, &personalization);
        Ok(())
    }

    /// The present state.
    pub(crate) const fn state(&self) -> ModuleState {
        self.state
    }

    /// What `Status` answers.
    pub(crate) fn status(&mut self, sessions: u8) -> ModuleStatus {
        let (storage_used, storage_size) = self.platform.storage().usage();
        ModuleStatus {
            device: self.device,
            state: self.state,
            error: self.error,
            epoch: self.audit.epoch(),
            audit_entries: self.audit.entries(),
            uptime_us: self.platform.monotonic_us(),
            busy_us: self.busy_us,
            sessions,
            tested: self.tested,
            self_test_us: self.self_test_us,
            stack_peak: self.platform.stack_peak().max(self.stack_peak),
            storage_used,
            storage_size,
            kind: self.platform.kind(),
            measurement: self.measurement,
        }
    }

    /// SHA-256 of the firmware image, taken at boot: by a loader, or with the integrity test. `None` if the image
    /// is not known: the device runs in an operating system, or has failed before it was checked.
    pub(crate) const fn measurement(&self) -> Option<Measurement> {
        self.measurement
    }

    /// What `MemoryUse` answers.
    pub(crate) fn take_peaks(&mut self) -> MemoryPeaks {
        let peaks = self.platform.take_peaks();
        self.stack_peak = self.stack_peak.max(peaks.stack);
        peaks
    }

    /// Counts time spent on a request.
    pub(crate) fn spent(&mut self, since_us: u64) {
        let elapsed = self.platform.monotonic_us().saturating_sub(since_us);
        self.busy_us = self.busy_us.saturating_add(elapsed);
    }

    /// Periodic duties before a request: reseeding, and zeroising idle keys.
    pub(crate) fn prepare(&mut self) {
        self.expire();
        let Some(secrets) = self.secrets.as_mut() else { return };
        if secrets.drbg.needs_reseed()
            && let Err(error) = self.reseed()
        {
            self.fail(error);
        }
    }

    /// Reseeds the DRBG: prediction resistance for what is drawn next (SP 800-90A 8.8).
    fn reseed(&mut self) -> Result<(), ErrorCode> {
        let secrets = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        let mut seed = Secret::zeroed();
        let entropy = self.platform.entropy();
        self.noise.seed(&mut |out: &mut [u8]| entropy.fill_raw(out), &mut seed)?;
        secrets.drbg.reseed(&seed, &[0; SEED_SIZE]);
        Ok(())
    }

    /// Enters the error state if `error` means that the module is broken (family 07xx, except for a
    /// full storage).
    pub(crate) fn fail_on(&mut self, error: ErrorCode) {
        let broken = error.to_u16() >> 8 == ErrorCode::SELF_TEST_FAILED.to_u16() >> 8;
        if broken && error != ErrorCode::STORAGE_FULL {
            self.fail(error);
        }
    }

    /// Enters the error state; what came first stays on record.
    fn fail(&mut self, error: ErrorCode) {
        self.erase_secrets();
        self.state = ModuleState::Error;
        self.error.get_or_insert(error);
    }

    /// Erases every secret in RAM, of processors beside the core too.
    fn erase_secrets(&mut self) {
        self.secrets.erase();
        self.admission.clear();
        self.approvals.clear();
        if let Some(search) = self.platform.pair_search() {
            search.stop();
        }
        self.end_secrets();
    }

    /// Every self-test on demand; returns how many ran.
    pub(crate) fn self_test(&mut self) -> Result<u16, ErrorCode> {
        let passed = self_test::power_up(self.platform.image(), self.platform.algorithms())?;
        let entropy = self.platform.entropy();
        self.noise.start_up(&mut |out: &mut [u8]| entropy.fill_raw(out))?;
        let registry = self.platform.algorithms();
        for (index, algorithm) in registry.iter().take(algorithm::MAX_ALGORITHMS).enumerate() {
            algorithm.self_test()?;
            self.tested |= bit(index);
        }
        let algorithms = u16::try_from(registry.len()).unwrap_or(u16::MAX);
        Ok(passed.tests.saturating_add(algorithms).saturating_add(1))
    }

    /// Erases all secrets, in RAM and in storage.
    pub(crate) fn zeroise(&mut self) -> Result<(), ErrorCode> {
        self.erase_secrets();
        self.platform.storage().erase_all()?;
        self.state = ModuleState::Zeroised;
        Ok(())
    }

    /// Zeroises the keys of the cache, as a session has ended. Another that uses the same keys
    /// unwraps them again: sessions end rarely, and nobody has to tell whose a key was.
    pub(crate) fn forget_keys(&mut self) {
        self.end_secrets();
        if let Some(secrets) = self.secrets.as_mut() {
            secrets.cache.clear();
        }
    }

    /// The device's public identity; `None` if the module failed before it was known.
    pub(crate) const fn document(&self) -> Option<&IdentityDocument> {
        self.document.as_ref()
    }

    /// The device's identity.
    pub(crate) fn identity(&self) -> Result<&Identity, ErrorCode> {
        let secrets = self.secrets.as_ref().ok_or(ErrorCode::INTERNAL)?;
        secrets.identity.as_ref().ok_or(ErrorCode::INTERNAL)
    }

    /// Identity and randomness, for a handshake.
    pub(crate) fn identity_and_rng(&mut self) -> Result<(&Identity, &mut Drbg), ErrorCode> {
        let Secrets { drbg, identity, .. } = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        Ok((identity.as_ref().ok_or(ErrorCode::INTERNAL)?, drbg))
    }

    /// Fills `out` from the DRBG.
    pub(crate) fn random(&mut self, out: &mut [u8]) -> Result<(), ErrorCode> {
        self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?.drbg.fill_bytes(out);
        Ok(())
    }

    /// Generates key material of a spec that is not slow.
    ///
    /// # Errors
    /// [`ErrorCode::PAIR_REQUIRED`] for a slow spec; [`ErrorCode::PAIRWISE_FAILED`].
    pub(crate) fn generate(
        &mut self,
        spec: KeySpec,
        secret: &mut SecretBuf,
    ) -> Result<(), ErrorCode> {
        if spec.row().is_some_and(|row| row.slow) {
            return Err(ErrorCode::PAIR_REQUIRED);
        }
        let algorithm = self.algorithm(spec)?;
        self.reseed()?; // long-lived keys have entropy of their own
        let Secrets { drbg, .. } = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        algorithm.generate(drbg, secret)?;
        algorithm.pairwise_test(secret, drbg)
    }

    /// Domain and randomness, for tokens.
    pub(crate) fn token_parts(&mut self) -> Result<(&Domain, &mut Drbg), ErrorCode> {
        let (domain, _, rng) = self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?.export_parts()?;
        Ok((domain, rng))
    }

    /// Unwraps a key, if the request passes the gate. `subject` is set as soon as the token is authentic.
    pub(crate) fn key(
        &mut self,
        key: &KeyRef<'_>,
        gate: Gate<'_>,
        subject: &mut MaterialId,
    ) -> Result<Key<'_>, ErrorCode> {
        let Gate { usages, part, request, granted } = gate;
        let now = self.platform.monotonic_us();
        let registry = self.platform.algorithms();
        let Secrets { drbg, domain, cache, .. } =
            self.secrets.as_mut().ok_or(ErrorCode::INTERNAL)?;
        if !domain.exists() {
            return Err(ErrorCode::INTERNAL);
        }
        let unwrapped = cache.unwrap(domain, &key.token, now)?;
        let attributes = unwrapped.attributes;
        *subject = attributes.material;
        if attributes.key != key.id {
            return Err(ErrorCode::KEY_MISMATCH);
        }
        if !usages.contains(&attributes.usage) {
            return Err(ErrorCode::USAGE_DENIED);
        }
        let is_free = attributes.approval.is_none() || part == Part::Public;
        if !is_free && !granted.contains(&attributes.material) {
            let digest = approval::digest(request.opcode, request.body);
            self.approvals.claim(request.host, &attributes, (request.opcode, &digest), now)?;
            granted.push(attributes.material).map_err(|_| ErrorCode::INTERNAL)?;
        }
        let algorithm = test_before_use(registry, attributes.spec, &mut self.tested)?;
        unwrapped.expand(algorithm)?;
        Ok(Key { unwrapped, algorithm, rng: drbg })
    }

    /// The registry entry of a spec, tested before its first use.
    pub(crate) fn algorithm(&mut self, spec: KeySpec) -> Result<&'static dyn Algorithm, ErrorCode> {
        test_before_use(self.platform.algorithms(), spec, &mut self.tested)
    }
}

/// What a use of a key has to pass.
pub(crate) struct Gate<'u> {
    /// What the command is for: the key must be for one of these.
    pub(crate) usages: &'u [KeyUsage],
    /// What of the key it uses.
    pub(crate) part: Part,
    /// The request, as operators may have approved it.
    pub(crate) request: Request<'u>,
    /// The keys of the request that have passed before.
    pub(crate) granted: &'u mut Granted,
}

/// The registry entry of a spec; its known-answer test runs before its first use
/// (FIPS 140-3 IG 10.3.A, conditional algorithm self-test).
fn test_before_use(
    registry: &'static [&'static dyn Algorithm],
    spec: KeySpec,
    tested: &mut u32,
) -> Result<&'static dyn Algorithm, ErrorCode> {
    let (index, algorithm) = algorithm::find(registry, spec)?;
    if *tested & bit(index) == 0 {
        algorithm.self_test()?;
        *tested |= bit(index);
    }
    Ok(algorithm)
}

/// The bit of a registry entry; a registry has no more entries than there are bits.
fn bit(index: usize) -> u32 {
    u32::try_from(index).ok().and_then(|index| 1u32.checked_shl(index)).unwrap_or(0)
}

/// Counts this boot.
fn next_epoch<P: Platform>(platform: &mut P, rng: &mut Drbg) -> Result<u64, ErrorCode> {
    let mut buffer = record::buffer();
    let last = match record::read(platform, RecordId::EPOCH, &mut buffer)? {
        Some(stored) => {
            u64::from_le_bytes(stored.try_into().map_err(|_| ErrorCode::STORAGE_FAILED)?)
        }
        None => 0,
    };
    let epoch = last.checked_add(1).ok_or(ErrorCode::STORAGE_FAILED)?;
    record::write(platform, rng, RecordId::EPOCH, &epoch.to_le_bytes())?;
    Ok(epoch)
}
