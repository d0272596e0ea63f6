//! What the second stage tells the firmware that it starts: 64 bytes at a place in RAM on which both
//! are linked and which neither clears.
//!
//! ```text
//!    0  magic "SRBT" 4 | version u16 = 1 | slot u8 | mode u8
//!    8  reset reason u8 | reason for A u8, 0 for none | reason for B u8 | flags u8
//!   12  security version u32 | rollback floor u32 | image length u32
//!   24  measurement 32 | zero 4 | CRC-32C of the 60 bytes
//! ```
//!
//! The checksum tells a report from what RAM holds by chance. It does not authenticate: firmware that
//! was started by something else than the second stage can be told anything. The firmware erases the
//! report once it has read it, so that no later start takes it for its own.

use crate::bytes::{Reader, Writer};
use crate::layout::SlotId;
use crate::reason::Reason;
use crate::record::CRC;
use crate::state::{Mode, Reasons};

/// Length of the encoded report in bytes.
pub const REPORT_SIZE: usize = 64;

const MAGIC: [u8; 4] = *b"SRBT";
const VERSION: u16 = 1;

/// Why the processor was reset, as far as the board tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ResetReason {
    /// Power came on.
    PowerOn = 1,
    /// The reset pin, or a debugger.
    Pin = 2,
    /// The firmware asked for it.
    Software = 3,
    /// The watchdog: the firmware did not serve it.
    Watchdog = 4,
    /// The supply voltage was too low.
    Brownout = 5,
    /// A fault that the processor could not handle.
    Fault = 6,
    /// None of these, or unknown.
    Other = 7,
    /// The firmware found itself to be wrong.
    Panic = 8,
}

impl ResetReason {
    fn from_number(number: u8) -> Option<Self> {
        use ResetReason::{Brownout, Fault, Other, Panic, Pin, PowerOn, Software, Watchdog};

        [PowerOn, Pin, Software, Watchdog, Brownout, Fault, Other, Panic]
            .into_iter()
            .find(|reason| *reason as u8 == number)
    }
}

/// What was out of order at boot and did not prevent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// There was no boot record: a first start, or damage. The slot was chosen by its image.
    pub record_made: bool,
    /// The boot record could not be written. Updates will fail.
    pub record_stuck: bool,
    /// The rollback counter could not be raised to the security version of the image.
    pub counter_behind: bool,
}

/// What was started, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// The slot of the firmware that runs.
    pub slot: SlotId,
    /// Whether it is confirmed.
    pub mode: Mode,
    /// Why the processor was reset.
    pub reset: ResetReason,
    /// Why the slots that do not run were not started.
    pub reasons: Reasons,
    /// What was out of order.
    pub flags: Flags,
    /// The image's security version.
    pub security_version: u32,
    /// The rollback floor at boot: the higher one of boot record and rollback counter.
    pub floor: u32,
    /// Length of the image in bytes.
    pub length: u32,
    /// SHA-256 of the image as flash held it at boot.
    pub measurement: [u8; 32],
}

impl Report {
    /// Returns the bytes for the place in RAM.
    #[must_use]
    pub fn encode(&self) -> [u8; REPORT_SIZE] {
        let Flags { record_made, record_stuck, counter_behind } = self.flags;
        let flags =
            u8::from(record_made) | u8::from(record_stuck) << 1 | u8::from(counter_behind) << 2;
        let number = |reason: Option<Reason>| reason.map_or(0, |reason| reason as u8);
        let mut out = [0; REPORT_SIZE];
        let mut at = Writer(&mut out);
        at.put(&MAGIC);
        at.put(&VERSION.to_le_bytes());
        at.put(&[self.slot as u8, self.mode as u8, self.reset as u8]);
        at.put(&[number(self.reasons.a), number(self.reasons.b), flags]);
        at.put_u32(self.security_version);
        at.put_u32(self.floor);
        at.put_u32(self.length);
        at.put(&self.measurement);
        let crc = out.split_last_chunk::<4>().map_or(0, |(body, _)| CRC.checksum(body));
        if let Some(end) = out.last_chunk_mut() {
            *end = crc.to_le_bytes();
        }
        out
    }

    /// Reads a report; `None` if the bytes are not what [`Report::encode`] writes.
    #[must_use]
    pub fn decode(bytes: &[u8; REPORT_SIZE]) -> Option<Self> {
        let mut at = Reader(bytes);
        at.take::<6>()?;
        let slot = SlotId::from_number(at.u8()?)?;
        let mode = at.u8()?;
        let mode = [Mode::Confirmed, Mode::Trial, Mode::Fallback]
            .into_iter()
            .find(|known| *known as u8 == mode)?;
        let reset = ResetReason::from_number(at.u8()?)?;
        let reasons =
            Reasons { a: Reason::from_number(at.u8()?), b: Reason::from_number(at.u8()?) };
        let flags = at.u8()?;
        let report = Self {
            slot,
            mode,
            reset,
            reasons,
            flags: Flags {
                record_made: flags & 1 != 0,
                record_stuck: flags & 2 != 0,
                counter_behind: flags & 4 != 0,
            },
            security_version: at.u32()?,
            floor: at.u32()?,
            length: at.u32()?,
            measurement: *at.take()?,
        };
        (report.encode() == *bytes).then_some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: Report = Report {
        slot: SlotId::B,
        mode: Mode::Trial,
        reset: ResetReason::Watchdog,
        reasons: Reasons { a: Some(Reason::Measurement), b: None },
        flags: Flags { record_made: true, record_stuck: false, counter_behind: true },
        security_version: 3,
        floor: 2,
        length: 0x1234,
        measurement: [7; 32],
    };

    /// Firmware in the field reads this layout: add a version, never edit it.
    #[test]
    fn golden_bytes() {
        let bytes = REPORT.encode();
        assert_eq!(bytes[..12], *b"SRBT\x01\0\x02\x02\x04\x0A\0\x05");
        assert_eq!(bytes[12..24], [3, 0, 0, 0, 2, 0, 0, 0, 0x34, 0x12, 0, 0]);
        assert_eq!(bytes[24..56], [7; 32]);
        assert_eq!(bytes[56..60], [0; 4]);
        assert_eq!(bytes[60..], CRC.checksum(&bytes[..60]).to_le_bytes());
        assert_eq!(Report::decode(&bytes), Some(REPORT));
    }

    #[test]
    fn every_number_is_read_back() {
        for number in 0..=255 {
            if let Some(reason) = Reason::from_number(number) {
                let reasons = Reasons { a: None, b: Some(reason) };
                let report = Report { reasons, ..REPORT };
                assert_eq!(Report::decode(&report.encode()), Some(report));
            }
            if let Some(reset) = ResetReason::from_number(number) {
                let report = Report { reset, ..REPORT };
                assert_eq!(Report::decode(&report.encode()), Some(report));
            }
        }
        assert_eq!((1..=255).filter_map(Reason::from_number).count(), 14);
        assert_eq!((1..=255).filter_map(ResetReason::from_number).count(), 8);
    }

    #[test]
    fn ram_without_a_report_is_not_read_as_one() {
        assert_eq!(Report::decode(&[0; 64]), None);
        assert_eq!(Report::decode(&[0xFF; 64]), None);
        let bytes = REPORT.encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Report::decode(&bad), None, "bit {bit}");
        }
    }
}
