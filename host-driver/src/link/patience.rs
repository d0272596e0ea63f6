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
    ordinary * factor(opcode) + line
}

/// What is asked for over and over, and answered whether or not a pair was found, must be noticed to hang
/// before the calls behind it are at their deadline: it only tests itself and the pair.
fn factor(opcode: Opcode) -> u32 {
    match opcode {
        Opcode::PrepareKeyPair | Opcode::PrepareGuardedPair => 2,
        slow if is_slow(slow) => 10,
        _ => 1,
    }
}

/// Commands that write non-volatile storage, verify many signatures, run every self-test, or make keys.
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
        Opcode::GenerateDataKeyPair,
        Opcode::GenerateDataKeyPairWithoutPlaintext,
    ]
    .contains(&opcode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_hangs_is_noticed_before_what_waits_behind_is_at_its_deadline() {
        let (ordinary, deadline) = (Duration::from_secs(3), Duration::from_secs(10));
        for opcode in [Opcode::Encrypt, Opcode::Sign, Opcode::PrepareKeyPair] {
            assert!(limit(ordinary, opcode, 8 << 10) < deadline, "{opcode:?}");
        }
        assert_eq!(limit(ordinary, Opcode::MakeCheckpoint, 0), 10 * ordinary);
        assert_eq!(limit(ordinary, Opcode::Encrypt, 20_000), ordinary + Duration::from_secs(2));
    }
}
