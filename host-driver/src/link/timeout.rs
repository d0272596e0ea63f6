//! How long a device may take.

use std::time::Duration;

use hsm_protocol::Opcode;
use hsm_protocol::command::Pace;

/// Bytes per second of the slowest line, 115 200 baud 8N1 less COBS and a margin.
const SLOWEST_LINE: u32 = 10_000;

/// How long the device may work on `opcode` before it counts as hung, if an ordinary command may
/// take `ordinary` and so many bytes are on a slow line.
pub(super) fn limit(ordinary: Duration, opcode: Opcode, in_flight_bytes: usize) -> Duration {
    let bytes = u32::try_from(in_flight_bytes).unwrap_or(u32::MAX);
    let line = Duration::from_secs(1) * bytes / SLOWEST_LINE;
    ordinary * factor(opcode.pace()) + line
}

/// How many times as long as an ordinary command one of this pace may take. A search must be noticed to
/// hang before the calls behind it are at their deadline: it only tests itself and the pair.
const fn factor(pace: Pace) -> u32 {
    match pace {
        Pace::Ordinary => 1,
        Pace::Search => 2,
        Pace::Slow => 10,
    }
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

    /// By what each command does in the device; what is not listed is ordinary.
    #[test]
    fn a_device_has_the_time_that_each_command_takes() {
        let search = [Opcode::PrepareKeyPair, Opcode::PrepareGuardedPair];
        let storage = [
            Opcode::FoundDomain,
            Opcode::JoinDomain,
            Opcode::ChangeDomain,
            Opcode::ReceiveKeys,
            Opcode::RestoreDomain,
            Opcode::MakeCheckpoint,
            Opcode::BeginUpdate,
            Opcode::WriteImage,
            Opcode::FinishUpdate,
            Opcode::CancelUpdate,
        ];
        let signatures =
            [Opcode::Attest, Opcode::Approve, Opcode::MakeRecovery, Opcode::DrillRecovery];
        let keys = [
            Opcode::GenerateKey,
            Opcode::GenerateGuardedKey,
            Opcode::ImportKey,
            Opcode::GenerateDataKeyPair,
            Opcode::GenerateDataKeyPairWithoutPlaintext,
            Opcode::GenerateDataKeyPairFor,
        ];
        let slow = [&storage[..], &signatures, &keys, &[Opcode::SelfTest]].concat();
        let second = Duration::from_secs(1);
        for &opcode in Opcode::ALL {
            let factor = match opcode {
                _ if slow.contains(&opcode) => 10,
                _ if search.contains(&opcode) => 2,
                _ => 1,
            };
            assert_eq!(limit(second, opcode, 0), factor * second, "{opcode:?}");
        }
        assert_eq!(limit(second, Opcode(0xFFFF), 0), second);
    }
}
