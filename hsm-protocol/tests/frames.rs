//! Frames through noise: whatever precedes, a good frame after a delimiter arrives.

use hsm_protocol::ErrorCode;
use hsm_protocol::frame::{
    self, Decoder, FrameKind, Header, MAX_ENCODED, MAX_PAYLOAD, encoded_size,
};
use proptest::prelude::*;

type Received = Vec<(Header, Vec<u8>)>;

fn receive(decoder: &mut Decoder<MAX_ENCODED>, line: &[u8], chunk: usize) -> Received {
    let mut frames = Vec::new();
    for mut input in line.chunks(chunk.max(1)) {
        while let Some(frame) = decoder.next(&mut input) {
            frames.push((frame.header, frame.payload.to_vec()));
        }
    }
    frames
}

fn encode(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0xAA; encoded_size(payload.len())];
    let length = frame::encode(header, payload, &mut out).unwrap();
    out.truncate(length);
    out
}

const HEADER: Header =
    Header { kind: FrameKind::SealedRequest, session: 0x0102, sequence: 0x0304_0506 };

#[test]
fn golden() {
    // kind 05, session 0201, sequence 06050403, payload "ok\0", CRC-32C little-endian. Revert
    // your change, not this test: deployed devices speak it.
    let encoded = encode(HEADER, b"ok\0");
    let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("golden/frame.hex").trim());
}

#[test]
fn largest_frame_and_one_byte_more() {
    let payload = vec![0x55; MAX_PAYLOAD];
    let line = encode(HEADER, &payload);
    assert!(line.len() <= MAX_ENCODED);
    let mut decoder = Box::new(Decoder::new());
    assert_eq!(receive(&mut decoder, &line, 4096), [(HEADER, payload)]);

    let mut out = vec![0; MAX_ENCODED + 1000];
    let refused = frame::encode(HEADER, &vec![0x55; MAX_PAYLOAD + 1], &mut out);
    assert_eq!(refused, Err(ErrorCode::TOO_LARGE));
    let refused = frame::encode(HEADER, b"abc", &mut out[..14]);
    assert_eq!(refused, Err(ErrorCode::TOO_LARGE));
}

#[test]
fn every_damaged_bit_drops_only_that_frame() {
    let good = encode(HEADER, b"good");
    let victim = encode(HEADER, b"to be damaged \0 here");
    for bit in 0..(victim.len() - 1) * 8 {
        let mut line = victim.clone();
        line[bit / 8] ^= 1 << (bit % 8);
        line.extend_from_slice(&good);
        let mut decoder = Box::new(Decoder::new());
        assert_eq!(receive(&mut decoder, &line, 7), [(HEADER, b"good".to_vec())], "bit {bit}");
        assert!(decoder.dropped() >= 1);
    }
}

#[test]
fn endless_garbage_costs_one_frame() {
    let mut decoder = Box::new(Decoder::new());
    let garbage = vec![0xFF; MAX_ENCODED * 3];
    assert!(receive(&mut decoder, &garbage, 1000).is_empty());
    assert!(receive(&mut decoder, &[0], 1).is_empty());
    assert_eq!(receive(&mut decoder, &encode(HEADER, b"next"), 3), [(HEADER, b"next".to_vec())]);
}

proptest! {
    #[test]
    fn arrives_in_any_chunks(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..6),
        chunk in 1usize..900,
        sequence: u32,
        session: u16,
    ) {
        let header = Header { kind: FrameKind::PlainResponse, session, sequence };
        let line: Vec<u8> = payloads.iter().flat_map(|payload| encode(header, payload)).collect();
        let mut decoder = Box::new(Decoder::new());
        let expected: Received = payloads.into_iter().map(|payload| (header, payload)).collect();
        prop_assert_eq!(receive(&mut decoder, &line, chunk), expected);
        prop_assert_eq!(decoder.dropped(), 0);
    }

    #[test]
    fn resynchronises_after_garbage(
        garbage in proptest::collection::vec(any::<u8>(), 0..5000),
        chunk in 1usize..900,
    ) {
        let mut line = garbage;
        line.push(0);
        line.extend(encode(HEADER, b"after"));
        let mut decoder = Box::new(Decoder::new());
        let frames = receive(&mut decoder, &line, chunk);
        prop_assert_eq!(frames.last(), Some(&(HEADER, b"after".to_vec())));
    }
}
