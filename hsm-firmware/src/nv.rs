//! Non-volatile storage: a record log on NOR flash that survives a power cut at any instant.
//!
//! Guarantees, for any part behind the `embedded-storage` traits with a write size up to 16 bytes:
//!
//! - A write or removal is atomic, and durable when it returns. A cut during it leaves the record
//!   as it was before or as it is after, and never changes another record.
//! - The first mount after a cut settles which of the two it is, even if half-programmed cells
//!   read differently each time: what is kept is copied to a fresh segment before anything else
//!   happens, and cells that might only look erased are erased again before use.
//! - No cell is programmed twice between erasures, so parts with ECC words work too.
//! - [`RecordLog::erase_all`] erases every segment. Cut short, it is finished by the next mount.
//! - Damage that no power cut explains is reported as [`LogError::Corrupt`], not repaired by
//!   guessing: the older state would look valid.
//!
//! # Layout
//! The region is a ring of equal segments, of which one is active. All numbers are little-endian,
//! all CRCs are CRC-32C (RFC 3720 appendix B.4), every unit is a multiple of 16 bytes.
//!
//! ```text
//! segment  = header [32] | record* | erased
//! header   = "SRNV" | version u16 | kind u16 | sequence u64 | segment bytes u32 | 0 [8] | crc u32
//! record   = kind u16 | id u16 | length u16 | 0 u16 | crc(data) u32 | crc(sequence, offset, above) u32
//!          | data, padded with 0xFF to 16 | commit [16]
//! commit   = "committd" | record header crc u32 | its complement u32
//! ```
//!
//! - The segment header is written last, when the live records have been copied and verified: it
//!   is the commit of a *rotation*. The highest sequence is active; all other segments are garbage.
//! - A record counts from the moment its commit is there; the later of two with one id wins.
//! - Rotation goes round the ring, so all segments wear alike. It happens when the active segment
//!   is full, when a program failed in it, and at each mount. The old segment is erased at once: no
//!   superseded secret outlives its segment.
//! - Zeroisation makes an empty segment of kind `ZEROISING` active, erases all others, and makes an
//!   empty segment of kind `LOG` active.
//!
//! `sequential-storage` 8 was considered: it is asynchronous, keeps deleted values until their page
//! is reused, has no restartable erasure of the whole region, repairs damage silently, and trusts
//! cells that read as erased.

mod index;
mod layout;
mod log;
mod mount;
mod region;
mod rotate;
mod storage;

pub use log::{LogError, MAX_RECORDS, RecordLog};
pub use region::Geometry;

/// Longest data of a record, in bytes.
pub const MAX_DATA: usize = hsm_core::platform::MAX_RECORD;
