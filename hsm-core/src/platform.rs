//! The interface of a board: entropy, non-volatile storage, time, and its algorithms.
//!
//! The core has no other way to the outside world. A board implements three traits and hands
//! itself to the HSM at boot.

use core::fmt;

use hsm_protocol::ErrorCode;
use hsm_protocol::attestation::Measurement;
use hsm_protocol::command::firmware::{FirmwareState, UpdateProgress};
use hsm_protocol::command::system::MemoryPeaks;
use hsm_protocol::domain::DeviceKind;
use hsm_protocol::key_spec::KeySpec;
use hsm_protocol::reset::ResetReport;
use rand_core::CryptoRng;

use crate::algorithm::Algorithm;
use crate::memory::Owner;
use crate::secret::SecretBuf;

/// Longest record of [`NvStorage`], in bytes.
pub const MAX_RECORD: usize = 4096;

/// A board.
pub trait Platform {
    /// How the core holds the memory that the board gives it.
    type Memory: Owner;
    /// The noise source.
    type Entropy: EntropySource;
    /// The record store.
    type Storage: NvStorage;

    /// The noise source.
    fn entropy(&mut self) -> &mut Self::Entropy;
    /// The record store.
    fn storage(&mut self) -> &mut Self::Storage;
    /// Microseconds since boot; never goes back.
    fn monotonic_us(&self) -> u64;
    /// The algorithm registry: one entry for each key spec, at most 32. P-256 must be there: the module's own
    /// keys are of that spec.
    fn algorithms(&self) -> &'static [&'static dyn Algorithm];
    /// A key that outlives power and that only this firmware can read; it seals what the core
    /// stores. `None` if the board has no place for one: records are then only integrity-checked
    /// and whoever reads the flash chip has the device's keys.
    fn sealing_key(&self) -> Option<&[u8; 32]>;
    /// The board's name, as in [`hsm_protocol::command::system::DeviceInfo`].
    fn board(&self) -> &'static str;
    /// What keeps the device's secrets. A device says so in its status and attestations, whatever its
    /// certificate says.
    fn kind(&self) -> DeviceKind;
    /// SHA-256 of the firmware image as loaded, with its integrity value, if a loader has taken it; `None` if
    /// the core is to take it of [`Platform::image`].
    fn measurement(&self) -> Option<Measurement> {
        None
    }
    /// The firmware image as loaded, followed by its 32-byte [`crate::self_test::image_mac`];
    /// empty if the loader has checked it.
    fn image(&self) -> &'static [u8];
    /// Restarts the device after the reply in progress has been sent.
    fn reset(&mut self);
    /// Why the device was reset before this start.
    fn last_reset(&self) -> ResetReport {
        ResetReport::UNKNOWN
    }
    /// Bytes of encoded frames that the board buffers while a request is served: what a host may
    /// have unanswered.
    fn receive_buffer(&self) -> u32;
    /// Deepest stack use in bytes that [`Platform::erase_stack`] has found since boot or the last
    /// [`Platform::take_peaks`]; 0 where it is not measured. Costs next to nothing.
    fn stack_peak(&self) -> u32 {
        0
    }
    /// Looks for the most stack and heap in use at a time since boot or the last call, and begins to
    /// measure both anew; zeros where they are not measured. Reads the whole stack.
    fn take_peaks(&mut self) -> MemoryPeaks {
        MemoryPeaks { stack: 0, heap: 0 }
    }
    /// Processors beside the core's that look for key pairs; `None` where the core looks for them
    /// itself, between requests.
    fn pair_search(&mut self) -> Option<&mut dyn PairSearch> {
        None
    }
    /// What replaces the firmware; `None` on a board without a second stage, or whose second stage was not there.
    fn firmware(&mut self) -> Option<&mut dyn FirmwareUpdate> {
        None
    }
    /// Erases what calls that have returned have left below the caller's frame, as deep as the stack
    /// was used. The core calls it where secrets end: see [`crate::Hsm`]. Nothing where the stack
    /// belongs to somebody else.
    fn erase_stack(&mut self) {}
}

/// The firmware of a board whose second stage verifies it, and its replacement.
///
/// Each step is durable when it returns; a power cut leaves the state before it or after it.
pub trait FirmwareUpdate {
    /// What runs, and what the other slot holds; `permitted` is the caller's to fill in.
    fn state(&self) -> FirmwareState;

    /// The image that a manifest is about. Nothing of the manifest is verified.
    ///
    /// # Errors
    /// [`ErrorCode::FIRMWARE_MALFORMED`].
    fn announced(&self, manifest: &[u8]) -> Result<Measurement, ErrorCode>;

    /// Verifies a manifest, and begins its update or continues it.
    ///
    /// # Errors
    /// Those of family 08.
    fn begin(&mut self, manifest: &[u8]) -> Result<UpdateProgress, ErrorCode>;

    /// Takes bytes of the image from `offset` on.
    ///
    /// # Errors
    /// [`ErrorCode::UPDATE_ABSENT`], [`ErrorCode::UPDATE_OUT_OF_ORDER`], [`ErrorCode::UPDATE_FAILED`].
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<UpdateProgress, ErrorCode>;

    /// Verifies the image on flash, and has the next start try it; returns what it is.
    ///
    /// # Errors
    /// [`ErrorCode::UPDATE_INCOMPLETE`] and those of [`FirmwareUpdate::begin`].
    fn finish(&mut self) -> Result<Measurement, ErrorCode>;

    /// Gives up an update, or an image that was not tried yet.
    ///
    /// # Errors
    /// [`ErrorCode::UPDATE_ABSENT`], [`ErrorCode::UPDATE_UNCONFIRMED`], [`ErrorCode::UPDATE_FAILED`].
    fn cancel(&mut self) -> Result<(), ErrorCode>;

    /// Confirms the image that runs. Does nothing once it is confirmed.
    ///
    /// # Errors
    /// [`ErrorCode::UPDATE_FAILED`]: it may not be confirmed.
    fn confirm(&mut self) -> Result<(), ErrorCode>;
}

/// A search for key pairs of slow specs beside the core, which goes on while the core serves requests.
/// The core tests what it finds before use.
pub trait PairSearch {
    /// What is being looked for; `None` once it is found.
    fn sought(&self) -> Option<KeySpec>;

    /// Begins to look for a pair of `spec`, in place of what is sought. All randomness of the search
    /// comes from generators that are seeded by `rng`.
    ///
    /// # Errors
    /// [`ErrorCode::UNSUPPORTED`] for a spec that is not slow; [`ErrorCode::INTERNAL`].
    fn begin(&mut self, spec: KeySpec, rng: &mut dyn CryptoRng) -> Result<(), ErrorCode>;

    /// Copies a pair that was found into `out`, as [`Algorithm::generate`] forms it, and erases it
    /// here; false if there is none of `spec`.
    ///
    /// # Errors
    /// [`ErrorCode::INTERNAL`] if the search failed.
    fn collect(&mut self, spec: KeySpec, out: &mut SecretBuf) -> Result<bool, ErrorCode>;

    /// Gives up the search and erases all that was found. It has ended when this returns.
    fn stop(&mut self);
}

/// Assessed min-entropy of a noise source (SP 800-90B 3.1.3), in thousandths of a bit for each
/// 8-bit sample: 1 to 8000.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MinEntropy(u16);

impl MinEntropy {
    /// An assessment in thousandths of a bit per byte, limited to 1 to 8000.
    #[must_use]
    pub const fn from_millibits(millibits: u16) -> Self {
        match millibits {
            0 => Self(1),
            8001.. => Self(8000),
            _ => Self(millibits),
        }
    }

    /// Thousandths of a bit per byte.
    #[must_use]
    pub const fn millibits(self) -> u16 {
        self.0
    }
}

/// A noise source, read as raw bytes: the core does health tests and conditioning.
pub trait EntropySource {
    /// What its samples are assessed to hold.
    const MIN_ENTROPY: MinEntropy;

    /// Fills `out` with the next samples, one byte each, unconditioned where the hardware allows.
    ///
    /// # Errors
    /// [`EntropyError`] if the source does not answer in its time; the module then fails.
    fn fill_raw(&mut self, out: &mut [u8]) -> Result<(), EntropyError>;
}

/// The noise source did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntropyError;

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the noise source does not answer")
    }
}

impl core::error::Error for EntropyError {}

/// Names a record. The core uses those of this type's constants; boards may use 0x8000 and up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RecordId(pub u16);

impl RecordId {
    /// The device's identity keys.
    pub const IDENTITY: Self = Self(1);
    /// The hosts of a device whose domain has layout 1; read, and not written any more.
    pub const HOSTS: Self = Self(2);
    /// The domain: its state and its keys.
    pub const DOMAIN: Self = Self(3);
    /// The boot counter.
    pub const EPOCH: Self = Self(4);
    /// The firmware that the domain permits: SHA-256 of the image.
    pub const FIRMWARE: Self = Self(5);
    /// The last checkpoint of the audit chain for each host.
    pub const CHECKPOINTS: Self = Self(16);
}

/// A power-cut-safe record store. Every write is atomic, and durable when it returns.
pub trait NvStorage {
    /// Reads a record into `buf`; `None` if there is none.
    ///
    /// # Errors
    /// [`NvError::TooLarge`] if the record is longer than `buf`, or a failure of the medium.
    fn read<'b>(&mut self, id: RecordId, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, NvError>;

    /// Writes a record of at most [`MAX_RECORD`] bytes, replacing any older one.
    ///
    /// # Errors
    /// After an error the record is as it was or as written, never in between.
    fn write(&mut self, id: RecordId, data: &[u8]) -> Result<(), NvError>;

    /// Removes a record; removing one that does not exist is not an error. The old bytes may stay on the medium.
    ///
    /// # Errors
    /// A failure of the medium.
    fn remove(&mut self, id: RecordId) -> Result<(), NvError>;

    /// Erases the medium physically: zeroisation (ISO/IEC 19790 7.9.7).
    ///
    /// # Errors
    /// A failure of the medium.
    fn erase_all(&mut self) -> Result<(), NvError>;

    /// Bytes in use and bytes in all; zeros where the store does not count.
    fn usage(&self) -> (u32, u32) {
        (0, 0)
    }
}

/// A failure of [`NvStorage`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NvError {
    /// The medium failed or holds what the store cannot read.
    Medium,
    /// No room is left.
    Full,
    /// The record exceeds [`MAX_RECORD`] or the buffer.
    TooLarge,
}

impl fmt::Display for NvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Medium => "non-volatile storage failed",
            Self::Full => "non-volatile storage is full",
            Self::TooLarge => "the record is too large",
        })
    }
}

impl core::error::Error for NvError {}

impl From<NvError> for ErrorCode {
    fn from(error: NvError) -> Self {
        match error {
            NvError::Full => Self::STORAGE_FULL,
            NvError::Medium | NvError::TooLarge => Self::STORAGE_FAILED,
        }
    }
}
