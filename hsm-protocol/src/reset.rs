//! Why a device was reset.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The reason for a reset. Values that this build does not know survive decoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResetReason(pub u8);

macro_rules! reasons {
    ($($(#[$doc:meta])* $number:literal $name:ident $text:literal, failure = $failure:literal;)+) => {
        impl ResetReason {
            $($(#[$doc])* pub const $name: Self = Self($number);)+

            /// Every reason that this build knows.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// A few words for people; `None` if this build does not know the number.
            #[must_use]
            pub const fn text(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)+
                    _ => None,
                }
            }

            /// Whether the device ended although nobody asked for it and power was not cut; `false` for
            /// unknown numbers.
            #[must_use]
            pub const fn is_failure(self) -> bool {
                match self.0 {
                    $($number => $failure,)+
                    _ => false,
                }
            }
        }

        // A number used twice does not compile.
        #[repr(u8)]
        #[allow(dead_code, non_camel_case_types, clippy::upper_case_acronyms)]
        enum Unique { $($name = $number),+ }
    };
}

// The numbers are those of `hsm_boot::ResetReason`.
reasons! {
    /// Power came on.
    1 POWER_ON "power came on", failure = false;
    /// The reset pin, or a debugger.
    2 PIN "the reset pin", failure = false;
    /// The firmware was asked for it.
    3 SOFTWARE "asked for", failure = false;
    /// The watchdog: the main loop did not come round.
    4 WATCHDOG "the firmware hung", failure = true;
    /// The supply voltage was too low.
    5 BROWNOUT "the supply voltage was too low", failure = true;
    /// A fault of the processor, such as a forbidden access.
    6 FAULT "a fault of the processor", failure = true;
    /// None of these, or unknown.
    7 OTHER "unknown", failure = false;
    /// The firmware found itself to be wrong.
    8 PANIC "the firmware panicked", failure = true;
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => f.write_str(text),
            None => write!(f, "reason {}", self.0),
        }
    }
}

impl fmt::Debug for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.0)
    }
}

/// What a device knows about its last reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResetReport {
    /// Why it was reset.
    pub reason: ResetReason,
    /// Failures in a row, this one included: without ten seconds of operation between them, and without a
    /// reset that was asked for.
    pub failures: u32,
}

impl ResetReport {
    /// What a device says that cannot tell.
    pub const UNKNOWN: Self = Self { reason: ResetReason::OTHER, failures: 0 };
}
