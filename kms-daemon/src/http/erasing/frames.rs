//! The position of a reader in the frames of HTTP/2, and frames that the reader ignores.

use tokio::io::ReadBuf;

/// Bytes of the connection preface (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// Bytes of a frame's header (RFC 9113 section 4.1).
const HEAD: usize = 9;
/// Longest payload in bytes that a peer must accept unless it has announced another limit.
const MAX_PAYLOAD: usize = 16_384;
/// Types of frames that may begin a block of header fields, which no other frame may interrupt.
const BLOCKS: [u8; 3] = [0x1, 0x5, 0x9];
/// The flag of these frames at the end of the block.
const END_HEADERS: u8 = 0x4;
/// A frame type that no document defines.
pub(super) const IGNORED: u8 = 0xe4;

/// The position in a stream of frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes of the preface that have passed.
    preface: usize,
    head: [u8; HEAD],
    /// Bytes of the header that have passed.
    in_head: usize,
    /// Bytes of the payload that have not passed yet.
    payload: usize,
    /// Whether the position is within a block of header fields.
    in_block: bool,
    /// Whether bytes that have passed may still be in the reader's buffer.
    is_dirty: bool,
    /// The rest of an ignored frame: its header, bytes of the header that remain, and zeros that
    /// remain.
    filler: ([u8; HEAD], usize, usize),
}

impl Frames {
    /// Takes note of bytes that the reader has received.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        let preface = (PREFACE - self.preface).min(bytes.len());
        self.preface += preface;
        bytes = bytes.get(preface..).unwrap_or_default();
        self.is_dirty |= !bytes.is_empty();
        while !bytes.is_empty() {
            let payload = self.payload.min(bytes.len());
            self.payload -= payload;
            bytes = bytes.get(payload..).unwrap_or_default();
            for byte in bytes.iter().take(HEAD - self.in_head) {
                if let Some(place) = self.head.get_mut(self.in_head) {
                    *place = *byte;
                }
                self.in_head += 1;
                bytes = bytes.get(1..).unwrap_or_default();
            }
            if self.in_head == HEAD {
                let [high, middle, low, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.payload = usize::try_from(length).unwrap_or(usize::MAX);
                self.in_block = BLOCKS.contains(&kind) && flags & END_HEADERS == 0;
                self.in_head = 0;
            }
        }
    }

    /// Begins an ignored frame that fills the reader's buffer, if a frame is allowed here and bytes
    /// that have passed may still be in the buffer. Returns whether bytes were put into the buffer.
    pub(super) fn begin_filler(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let between = self.preface == PREFACE && self.in_head == 0 && self.payload == 0;
        let room = buffer.remaining();
        if !self.is_dirty || !between || self.in_block || room == 0 {
            return false;
        }
        let payload = room.saturating_sub(HEAD).min(MAX_PAYLOAD);
        let [.., high, middle, low] = payload.to_be_bytes();
        self.filler = ([high, middle, low, IGNORED, 0, 0, 0, 0, 0], HEAD, payload);
        self.is_dirty = payload == MAX_PAYLOAD;
        self.continue_filler(buffer)
    }

    /// Continues such a frame. Returns whether bytes were put into the buffer.
    pub(super) fn continue_filler(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let (head, left, zeros) = &mut self.filler;
        let part = (*left).min(buffer.remaining());
        let begin = HEAD - *left;
        buffer.put_slice(head.get(begin..begin + part).unwrap_or_default());
        *left -= part;
        let count = (*zeros).min(buffer.remaining());
        buffer.initialize_unfilled_to(count).fill(0);
        buffer.advance(count);
        *zeros -= count;
        part + count > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [.., high, middle, low] = payload.to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + payload, 0xee);
        frame
    }

    /// Returns what is put into `room` bytes, parsed as frames.
    fn filler(frames: &mut Frames, room: usize) -> Vec<u8> {
        let mut memory = vec![0x55; room];
        let mut buffer = ReadBuf::new(&mut memory);
        match frames.begin_filler(&mut buffer) {
            true => buffer.filled().to_vec(),
            false => Vec::new(),
        }
    }

    #[test]
    fn nothing_before_the_preface_and_nothing_twice() {
        let mut frames = Frames::default();
        frames.pass(&[b'x'; PREFACE - 1]);
        assert!(filler(&mut frames, 100).is_empty());
        frames.pass(b"x");
        assert!(filler(&mut frames, 100).is_empty(), "no frame has passed");
        frames.pass(&frame(0, 1, 5));
        assert_eq!(filler(&mut frames, 100).len(), 100);
        assert!(filler(&mut frames, 100).is_empty());
    }

    #[test]
    fn nothing_within_a_block_of_header_fields() {
        let mut frames = Frames::default();
        frames.pass(&[0; PREFACE]);
        frames.pass(&frame(1, 1, 30));
        assert!(filler(&mut frames, 100).is_empty());
        frames.pass(&frame(9, 0, 30));
        assert!(filler(&mut frames, 100).is_empty());
        frames.pass(&frame(9, END_HEADERS, 30));
        assert_eq!(filler(&mut frames, 100).len(), 100);
    }

    #[test]
    fn a_frame_that_does_not_fit_is_ended_in_the_next_buffer() {
        let mut frames = Frames::default();
        frames.pass(&[0; PREFACE]);
        frames.pass(&frame(0, 1, 5));
        let mut begun = filler(&mut frames, 4);
        assert_eq!(begun, [0, 0, 0, IGNORED]);
        let mut memory = [0x55; 20];
        let mut buffer = ReadBuf::new(&mut memory);
        assert!(frames.continue_filler(&mut buffer));
        begun.extend_from_slice(buffer.filled());
        assert_eq!(begun, [0, 0, 0, IGNORED, 0, 0, 0, 0, 0]);
        assert!(!frames.continue_filler(&mut buffer));
    }

    #[test]
    fn a_large_buffer_takes_several() {
        let mut frames = Frames::default();
        frames.pass(&[0; PREFACE]);
        frames.pass(&frame(0, 1, 5));
        let mut room = 40_000;
        let mut lengths = Vec::new();
        while room > 0 {
            let put = filler(&mut frames, room).len();
            lengths.push(put);
            room -= put;
        }
        assert_eq!(lengths, [MAX_PAYLOAD + HEAD, MAX_PAYLOAD + HEAD, 40_000 - 2 * 16_393]);
    }

    proptest! {
        /// However the bytes are split, a filler comes only between frames.
        #[test]
        fn fillers_stand_between_frames(
            frames_in in prop::collection::vec((0_u8..10, any::<u8>(), 0_usize..40), 1..8),
            cuts in prop::collection::vec(1_usize..30, 1..80),
        ) {
            let mut tracked = Frames::default();
            tracked.pass(&[0; PREFACE]);
            let bytes: Vec<u8> =
                frames_in.iter().flat_map(|&(kind, flags, size)| frame(kind, flags, size)).collect();
            let mut ends = std::collections::BTreeMap::new();
            let mut end = 0;
            for (kind, flags, size) in &frames_in {
                end += HEAD + size;
                ends.insert(end, BLOCKS.contains(kind) && flags & END_HEADERS == 0);
            }
            let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
            while at < bytes.len() {
                let next = (at + cuts.next().unwrap_or(1)).min(bytes.len());
                tracked.pass(&bytes[at..next]);
                at = next;
                let expected = if ends.get(&at) == Some(&false) { 50 } else { 0 };
                prop_assert_eq!(filler(&mut tracked, 50).len(), expected, "at {}", at);
            }
        }
    }
}
