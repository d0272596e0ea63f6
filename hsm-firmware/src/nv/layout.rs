//! Bytes of segment headers, record headers and commits.

use crc::{CRC_32_ISCSI, Crc, Table};

use super::MAX_DATA;

/// Everything in a segment starts at a multiple of this many bytes.
pub(super) const UNIT: u32 = 16;
/// Length of a segment header, and so the offset of the first record.
pub(super) const SEGMENT_HEADER: u32 = 32;
/// Length of a record header.
pub(super) const RECORD_HEADER: u32 = 16;
/// Length of a commit.
pub(super) const COMMIT: u32 = 16;
/// Length of the longest record with header and commit.
pub(super) const MAX_RECORD: u32 = {
    assert!(MAX_DATA <= u16::MAX as usize);
    #[allow(clippy::cast_possible_truncation)] // just checked
    record_size(MAX_DATA as u16)
};

/// What erased flash reads as.
pub(super) const ERASED: u8 = 0xFF;

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);
const SEGMENT_MAGIC: [u8; 4] = *b"SRNV";
const COMMIT_MAGIC: [u8; 8] = *b"committd";
const VERSION: u16 = 1;

/// Length of a record in the log, header and commit included.
pub(super) const fn record_size(data: u16) -> u32 {
    RECORD_HEADER + padded(data) + COMMIT
}

/// Length of data with its padding.
pub(super) const fn padded(data: u16) -> u32 {
    (data as u32).next_multiple_of(UNIT)
}

/// Checksum of a record's data.
pub(super) fn data_crc(data: &[u8]) -> u32 {
    CRC.checksum(data)
}

/// Purpose of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub(super) enum SegmentKind {
    /// Holds the live records.
    Log = 0x474C,
    /// All other segments are being erased.
    Zeroising = 0x455A,
}

/// The header that makes a segment valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub(super) kind: SegmentKind,
    /// Counts rotations; the highest is active.
    pub(super) sequence: u64,
}

impl SegmentHeader {
    pub(super) fn encode(self, segment_size: u32) -> [u8; SEGMENT_HEADER as usize] {
        let mut out = [0; SEGMENT_HEADER as usize];
        let mut at = Cursor(&mut out);
        at.put(&SEGMENT_MAGIC);
        at.put(&VERSION.to_le_bytes());
        at.put(&(self.kind as u16).to_le_bytes());
        at.put(&self.sequence.to_le_bytes());
        at.put(&segment_size.to_le_bytes());
        at.put(&[0; 8]);
        let crc = out.split_last_chunk::<4>().map_or(0, |(body, _)| CRC.checksum(body));
        if let Some(end) = out.last_chunk_mut() {
            *end = crc.to_le_bytes();
        }
        out
    }

    /// The header, if these bytes are a complete one of this geometry.
    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER as usize], segment_size: u32) -> Option<Self> {
        [SegmentKind::Log, SegmentKind::Zeroising].into_iter().find_map(|kind| {
            let sequence = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
            let header = Self { kind, sequence };
            (header.encode(segment_size) == *bytes).then_some(header)
        })
    }
}

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub(super) enum RecordKind {
    /// The record has this data.
    Present = 0x5250,
    /// The record does not exist any more.
    Removed = 0x4D52,
}

/// Where a record stands. It is part of the header's checksum, so that bytes that look like a
/// record (inside data, or left from another rotation) are not taken for one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Sequence of the segment.
    pub(super) sequence: u64,
    /// Offset of the record in the segment.
    pub(super) offset: u32,
}

/// Header of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordHeader {
    pub(super) kind: RecordKind,
    pub(super) id: u16,
    pub(super) len: u16,
    pub(super) data_crc: u32,
}

impl RecordHeader {
    pub(super) fn encode(self, place: Place) -> [u8; RECORD_HEADER as usize] {
        let mut out = [0; RECORD_HEADER as usize];
        let mut at = Cursor(&mut out);
        at.put(&(self.kind as u16).to_le_bytes());
        at.put(&self.id.to_le_bytes());
        at.put(&self.len.to_le_bytes());
        at.put(&[0; 2]);
        at.put(&self.data_crc.to_le_bytes());
        at.put(&self.crc(place).to_le_bytes());
        out
    }

    /// The header, if these bytes are a complete one for this place.
    pub(super) fn decode(bytes: &[u8; RECORD_HEADER as usize], place: Place) -> Option<Self> {
        let [k0, k1, i0, i1, l0, l1, _, _, c0, c1, c2, c3, ..] = *bytes;
        let kind = match u16::from_le_bytes([k0, k1]) {
            k if k == RecordKind::Present as u16 => RecordKind::Present,
            k if k == RecordKind::Removed as u16 => RecordKind::Removed,
            _ => return None,
        };
        let header = Self {
            kind,
            id: u16::from_le_bytes([i0, i1]),
            len: u16::from_le_bytes([l0, l1]),
            data_crc: u32::from_le_bytes([c0, c1, c2, c3]),
        };
        let valid = header.encode(place) == *bytes && usize::from(header.len) <= MAX_DATA;
        valid.then_some(header)
    }

    /// The commit that belongs to this record.
    pub(super) fn commit(self, place: Place) -> [u8; COMMIT as usize] {
        let crc = self.crc(place);
        let mut out = [0; COMMIT as usize];
        let mut at = Cursor(&mut out);
        at.put(&COMMIT_MAGIC);
        at.put(&crc.to_le_bytes());
        at.put(&(!crc).to_le_bytes());
        out
    }

    fn crc(self, place: Place) -> u32 {
        let mut digest = CRC.digest();
        digest.update(&place.sequence.to_le_bytes());
        digest.update(&place.offset.to_le_bytes());
        digest.update(&(self.kind as u16).to_le_bytes());
        digest.update(&self.id.to_le_bytes());
        digest.update(&self.len.to_le_bytes());
        digest.update(&[0; 2]);
        digest.update(&self.data_crc.to_le_bytes());
        digest.finalize()
    }
}

/// Fills a fixed buffer from its front.
struct Cursor<'b>(&'b mut [u8]);

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some((head, rest)) = core::mem::take(&mut self.0).split_at_mut_checked(bytes.len()) {
            head.copy_from_slice(bytes);
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { sequence: 7, offset: 32 };
    const RECORD: RecordHeader =
        RecordHeader { kind: RecordKind::Present, id: 5, len: 300, data_crc: 0x0123_4567 };

    /// A device in the field must read what older firmware wrote: add a version, never edit these.
    #[test]
    fn golden_bytes() {
        let header = SegmentHeader { kind: SegmentKind::Log, sequence: 7 }.encode(0x4_0000);
        let expected: [u8; 32] = [
            b'S', b'R', b'N', b'V', 1, 0, b'L', b'G', 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(header[..28], expected[..28]);
        assert_eq!(header[28..], CRC.checksum(&expected[..28]).to_le_bytes());

        let bytes = RECORD.encode(PLACE);
        assert_eq!(bytes[..12], [b'P', b'R', 5, 0, 44, 1, 0, 0, 0x67, 0x45, 0x23, 0x01]);
        let mut bound = [7, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0].to_vec();
        bound.extend_from_slice(&bytes[..12]);
        assert_eq!(bytes[12..], CRC.checksum(&bound).to_le_bytes());

        let commit = RECORD.commit(PLACE);
        assert_eq!(commit[..8], *b"committd");
        assert_eq!(commit[8..12], bytes[12..]);
        assert!(commit[8..12].iter().zip(&commit[12..]).all(|(a, b)| *a == !*b));
    }

    #[test]
    fn crc_is_the_published_one() {
        // RFC 3720 appendix B.4.
        assert_eq!(data_crc(&[0; 32]), 0x8A91_36AA);
        assert_eq!(data_crc(&[0xFF; 32]), 0x62A8_AB43);
    }

    #[test]
    fn any_flipped_bit_voids_a_header() {
        let header = SegmentHeader { kind: SegmentKind::Zeroising, sequence: 1 << 40 };
        let bytes = header.encode(4096);
        assert_eq!(SegmentHeader::decode(&bytes, 4096), Some(header));
        assert_eq!(SegmentHeader::decode(&bytes, 8192), None);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad, 4096), None);
        }

        let bytes = RECORD.encode(PLACE);
        assert_eq!(RecordHeader::decode(&bytes, PLACE), Some(RECORD));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&bad, PLACE), None);
        }
    }

    #[test]
    fn a_record_is_bound_to_its_place() {
        let bytes = RECORD.encode(PLACE);
        assert_eq!(RecordHeader::decode(&bytes, Place { offset: 48, ..PLACE }), None);
        assert_eq!(RecordHeader::decode(&bytes, Place { sequence: 8, ..PLACE }), None);
    }
}
