//! THE command table.
//!
//! Numbers are explicit and never reused; the high byte is the family. [`for_each_command`] hands the
//! rows to other crates, so that a row without an implementation does not compile.
//!
//! Withdrawn: 0x0303, which prepared key pairs without a purpose; 0x0005, 0x0201 to 0x0209, 0x0B02 and
//! 0x0B03, by which a single host changed a domain or said which other one may have its keys.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::bytes::Field;
use crate::command::{Command, Pace, RoleSet, StateSet};

/// The number of a command. Values this build does not know survive decoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Opcode(pub u16);

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:04x}", self.0),
        }
    }
}

/// Calls `$callback!` with every row of the command table:
/// `number Name request => response, roles, states, audit = bool, idempotent = bool, pace = Pace;`, with
/// `, hides(field, …)` behind some: the last fields of the request, of which the first is a caller's own
/// data, or a digest of it. The audit chain's digest leaves them out ([`crate::audit::RequestDigest`]).
#[macro_export]
macro_rules! for_each_command {
    ($callback:path) => {
        $callback! {
            0x0001 Info system::Info => system::DeviceInfo<'o>, PUBLIC, ALL, audit = false, idempotent = true, pace = Ordinary;
            0x0002 Status system::Status => system::ModuleStatus, PUBLIC, ALL, audit = false, idempotent = true, pace = Ordinary;
            0x0003 Reset system::Reset => (), PUBLIC, HALTED, audit = false, idempotent = true, pace = Ordinary;
            0x0004 SelfTest system::SelfTest => system::SelfTestReport, ENROLLED, OPERATIONAL, audit = true, idempotent = true, pace = Slow;
            0x0006 MemoryUse system::MemoryUse => system::MemoryPeaks, ENROLLED, OPERATIONAL, audit = false, idempotent = true, pace = Ordinary;
            0x0007 Admission system::Admission => system::AdmissionChallenge, PUBLIC, WORKING, audit = false, idempotent = true, pace = Ordinary;
            0x0008 LastReset system::LastReset => system::ResetReport, PUBLIC, ALL, audit = false, idempotent = true, pace = Ordinary;

            0x0101 CloseSession session::CloseSession => (), ANY, ALL, audit = false, idempotent = false, pace = Ordinary;
            0x0102 SessionInfo session::SessionInfo => session::SessionState, ANY, ALL, audit = false, idempotent = true, pace = Ordinary;

            0x020A AttestationRoots attest::AttestationRoots => attest::RootList<'o>, ENROLLED, OPERATIONAL, audit = false, idempotent = true, pace = Ordinary;
            0x020B FoundDomain domain::FoundDomain<'_> => domain::DomainSummary, BOOTSTRAP, UNINITIALISED, audit = true, idempotent = false, pace = Slow;
            0x020C JoinDomain domain::JoinDomain<'_> => domain::DomainSummary, BOOTSTRAP, UNINITIALISED, audit = true, idempotent = false, pace = Slow;
            0x020D ChangeDomain domain::ChangeDomain<'_> => domain::DomainSummary, ENROLLED, OPERATIONAL, audit = true, idempotent = false, pace = Slow;
            0x020E ExportDomain domain::ExportDomain => domain::ExportedDomain<'o>, ENROLLED, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x020F ReceiveKeys domain::ReceiveKeys<'_> => domain::DomainSummary, ENROLLED, OPERATIONAL, audit = true, idempotent = true, pace = Slow;
            0x0210 DomainInfo domain::DomainInfo => domain::DomainStatus, ANY, WORKING, audit = false, idempotent = true, pace = Ordinary;
            0x0211 DescribeDomain domain::DescribeDomain => domain::DescribedDomain<'o>, ENROLLED, OPERATIONAL, audit = false, idempotent = true, pace = Ordinary;

            0x0301 GenerateKey key::GenerateKey => key::NewKey<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Slow;
            0x0302 ExportPublicKey key::ExportPublicKey<'_> => key::PublicKeyInfo<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0304 AdoptKeyPair key::AdoptKeyPair<'_> => key::NewKey<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0305 ParametersForImport import::ParametersForImport<'_> => import::ImportParameters<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0306 ImportKey import::ImportKey<'_> => key::NewKey<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Slow;
            0x0307 PrepareKeyPair key::PrepareKeyPair => key::PreparedKeyPair<'o>, CRYPTO_USER, OPERATIONAL, audit = false, idempotent = true, pace = Search;
            0x0308 RewrapKey key::RewrapKey<'_> => key::NewKey<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;

            0x0401 Encrypt cipher::Encrypt<'_> => cipher::Ciphertext<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary, hides(plaintext);
            0x0402 Decrypt cipher::Decrypt<'_> => cipher::Plaintext<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0403 ReEncrypt cipher::ReEncrypt<'_> => cipher::Ciphertext<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0404 GenerateDataKey cipher::GenerateDataKey<'_> => cipher::DataKey<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0405 GenerateDataKeyWithoutPlaintext cipher::GenerateDataKeyWithoutPlaintext<'_> => cipher::Ciphertext<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0406 EncryptPublic cipher::EncryptPublic<'_> => cipher::Ciphertext<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary, hides(plaintext);
            0x0407 DecryptPrivate cipher::DecryptPrivate<'_> => cipher::Plaintext<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0408 ReEncryptAcross cipher::ReEncryptAcross<'_> => cipher::Ciphertext<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0409 GenerateDataKeyPair cipher::GenerateDataKeyPair<'_> => cipher::DataKeyPair<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Slow;
            0x040A GenerateDataKeyPairWithoutPlaintext cipher::GenerateDataKeyPairWithoutPlaintext<'_> => cipher::SealedDataKeyPair<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Slow;

            0x0501 Sign sign::Sign<'_> => sign::Signature<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary, hides(message);
            0x0502 Verify sign::Verify<'_> => (), CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary, hides(message, signature);

            0x0601 GenerateMac mac::GenerateMac<'_> => mac::Mac<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary, hides(message);
            0x0602 VerifyMac mac::VerifyMac<'_> => (), CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary, hides(message, mac);

            0x0701 Random random::Random => random::RandomBytes<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;

            0x0801 AuditHead audit::AuditHead => audit::SignedHead, ENROLLED, OPERATIONAL, audit = false, idempotent = true, pace = Ordinary;
            0x0802 AuditEntries audit::AuditEntries => audit::AuditPage<'o>, AUDITOR, OPERATIONAL, audit = false, idempotent = true, pace = Ordinary;
            0x0803 MakeCheckpoint audit::MakeCheckpoint => audit::SignedCheckpoint, AUDITOR, OPERATIONAL, audit = false, idempotent = false, pace = Slow;
            0x0804 LastCheckpoint audit::LastCheckpoint => audit::LastMade, ENROLLED, OPERATIONAL, audit = false, idempotent = true, pace = Ordinary;

            0x0901 DeriveSharedSecret agree::DeriveSharedSecret<'_> => agree::SharedSecret<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0902 Encapsulate agree::Encapsulate<'_> => agree::Encapsulation<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0903 Decapsulate agree::Decapsulate<'_> => agree::SharedSecret<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;

            0x0A01 Attest attest::Attest<'_> => attest::Attested<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Slow;
            0x0A02 DecryptFor attest::DecryptFor<'_> => attest::Enveloped<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0A03 DecryptPrivateFor attest::DecryptPrivateFor<'_> => attest::Enveloped<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0A04 DeriveSharedSecretFor attest::DeriveSharedSecretFor<'_> => attest::Enveloped<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0A05 GenerateDataKeyFor attest::GenerateDataKeyFor<'_> => attest::Enveloped<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0A06 GenerateDataKeyPairFor attest::GenerateDataKeyPairFor<'_> => attest::Enveloped<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Slow;
            0x0A07 RandomFor attest::RandomFor<'_> => attest::Enveloped<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;

            0x0B01 ReplicationKey replica::ReplicationKey => replica::DomainKeyInfo, ENROLLED, OPERATIONAL, audit = false, idempotent = true, pace = Ordinary;
            0x0B04 ExportReplica replica::ExportReplica<'_> => replica::ExportedReplica<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0B05 ImportReplica replica::ImportReplica<'_> => key::NewKey<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;

            0x0C01 AttestKey statement::AttestKey<'_> => statement::Statement<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0C02 AttestDevice statement::AttestDevice<'_> => statement::Statement<'o>, ANY, WORKING, audit = true, idempotent = true, pace = Ordinary;

            0x0D01 GenerateGuardedKey approval::GenerateGuardedKey => key::NewKey<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Slow;
            0x0D02 PrepareGuardedPair approval::PrepareGuardedPair => key::PreparedKeyPair<'o>, CRYPTO_USER, OPERATIONAL, audit = false, idempotent = true, pace = Search;
            0x0D03 RequireApproval approval::RequireApproval<'_> => key::NewKey<'o>, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = true, pace = Ordinary;
            0x0D04 RequestApproval approval::RequestApproval<'_> => approval::ApprovalRequest, CRYPTO_USER, OPERATIONAL, audit = true, idempotent = false, pace = Ordinary, hides(request);
            0x0D05 Approve approval::Approve => (), CRYPTO_USER, OPERATIONAL, audit = true, idempotent = false, pace = Slow;
            0x0D06 PermitDeletion approval::PermitDeletion<'_> => (), CRYPTO_USER, OPERATIONAL, audit = true, idempotent = false, pace = Ordinary;

            0x0E01 MakeRecovery recovery::MakeRecovery => recovery::RecoverySet<'o>, ENROLLED, OPERATIONAL, audit = true, idempotent = true, pace = Slow;
            0x0E02 RestoreDomain recovery::RestoreDomain<'_> => domain::DomainSummary, BOOTSTRAP, UNINITIALISED, audit = true, idempotent = false, pace = Slow;
            0x0E03 DrillRecovery recovery::DrillRecovery<'_> => recovery::Drilled, BOOTSTRAP, UNINITIALISED, audit = true, idempotent = true, pace = Slow;

            0x0F01 FirmwareInfo firmware::FirmwareInfo => firmware::FirmwareState, ANY, WORKING, audit = false, idempotent = true, pace = Ordinary;
            0x0F02 BeginUpdate firmware::BeginUpdate<'_> => firmware::UpdateProgress, UPDATER, WORKING, audit = true, idempotent = true, pace = Slow;
            0x0F03 WriteImage firmware::WriteImage<'_> => firmware::UpdateProgress, UPDATER, WORKING, audit = false, idempotent = false, pace = Slow;
            0x0F04 FinishUpdate firmware::FinishUpdate => firmware::Staged, UPDATER, WORKING, audit = true, idempotent = false, pace = Slow;
            0x0F05 CancelUpdate firmware::CancelUpdate => (), UPDATER, WORKING, audit = true, idempotent = false, pace = Slow;
            0x0F06 StartUpdate firmware::StartUpdate => (), UPDATER, WORKING, audit = true, idempotent = false, pace = Ordinary;
        }
    };
}

macro_rules! implement {
    ($($number:literal $name:ident $family:ident::$request:ident $(<$lifetime:lifetime>)? => $response:ty,
       $roles:ident, $states:ident, audit = $audit:literal, idempotent = $idempotent:literal, pace = $pace:ident
       $(, hides($($hidden:ident),+))?;)+) => {
        use crate::command::{
            agree, approval, attest, audit, cipher, domain, firmware, import, key, mac, random, recovery,
            replica, session, sign, statement, system,
        };

        impl Opcode {
            $(#[doc = concat!("[`", stringify!($family), "::", stringify!($request), "`](crate::command::", stringify!($family), "::", stringify!($request), ").")]
            #[allow(non_upper_case_globals)]
            pub const $name: Self = Self($number);)+

            /// Every command, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The command's name; `None` if this build does not know the number.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)+
                    _ => None,
                }
            }

            /// The number of the command with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// Whether the audit chain records the command; `false` for unknown numbers.
            #[must_use]
            pub const fn is_audited(self) -> bool {
                match self.0 {
                    $($number => $audit,)+
                    _ => false,
                }
            }

            /// How long the command takes; [`Pace::Ordinary`] for unknown numbers, which every device
            /// refuses at once.
            #[must_use]
            pub const fn pace(self) -> Pace {
                match self.0 {
                    $($number => Pace::$pace,)+
                    _ => Pace::Ordinary,
                }
            }
        }

        $(impl Command for $family::$request $(<$lifetime>)? {
            const OPCODE: Opcode = Opcode::$name;
            const ROLES: RoleSet = RoleSet::$roles;
            const STATES: StateSet = StateSet::$states;
            const AUDIT: bool = $audit;
            const IDEMPOTENT: bool = $idempotent;
            const PACE: Pace = Pace::$pace;
            type Response<'o> = $response;

            $(fn hidden(&self) -> usize {
                // The first one's length is before it, and stays.
                let fields: &[&dyn Field] = &[$(&self.$hidden),+];
                let size = fields.iter().fold(0usize, |sum, field| sum.saturating_add(field.size()));
                let length = fields.first().map_or(0, |first| first.length_size());
                size.saturating_sub(length)
            })?
        })+

        // A number used twice does not compile.
        #[repr(u16)]
        #[allow(dead_code)]
        enum Unique { $($name = $number),+ }
    };
}

for_each_command!(implement);
