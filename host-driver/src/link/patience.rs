//! How long a device may take.

use std::time::Duration;

use hsm_protocol::Opcode;

/// Bytes per second of the slowest line, 115 200 baud 8N1 less COBS and a margin.
const SLOWEST_LINE: u32 = 10_000;

/// How long the device may work on `opcode` before it counts as hung, if an ordinary command may
/// take `ordinary` and so many bytes are on a slow line.
pub(super) fn limit(ordinary: Duration, opcode: Opcode, in_flight_bytes: usize) -> Duration {
    let bytes = u32::try_from(in_flight_bytes).unwrap_or(u32::MAX);
    let line = Duration::from_secs(1) * bytes / SLOWEST_LINE;
    ordinary * if is_slow(opcode) { 10 } else { 1 } + line
}

/// Commands that write non-volatile storage, verify many signatures, run every self-test, or search for primes.
fn is_slow(opcode: Opcode) -> bool {
    [
        Opcode::SelfTest,
        Opcode::FoundDomain,
        Opcode::JoinDomain,
        Opcode::ChangeDomain,
        Opcode::ExportDomain,
        Opcode::ReceiveKeys,
        Opcode::GenerateKey,
        Opcode::MakeCheckpoint,
        Opcode::PrepareKeyPair,
        Opcode::GenerateDataKeyPair,
        Opcode::GenerateDataKeyPairWithoutPlaintext,
    ]
    .contains(&opcode)
}
