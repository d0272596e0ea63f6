//! How many operators a change needs.

use serde::{Deserialize, Serialize};

use super::state::{Operator, OperatorRole};

/// A quorum: how many operators must have signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Operators, of any role; at least one.
    pub total: u8,
    /// Security officers among them.
    pub officers: u8,
}

/// What changes are alike in, for the rules.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Class {
    /// Which devices have the domain keys.
    Members = 0,
    /// Which hosts may use them.
    Hosts = 1,
    /// The operators, the rules, the device CA, and what kind of domain it is.
    Rules = 2,
    /// Rotation and removal of domain keys.
    Keys = 3,
    /// Other domains that multi-Region keys are exchanged with.
    Peers = 4,
    /// The roots that attestation documents must chain to.
    Roots = 5,
    /// Erasing a device.
    Zeroise = 6,
}

impl Class {
    /// All, in the order of [`Rules::quorum`].
    pub const ALL: [Self; 7] = [
        Self::Members,
        Self::Hosts,
        Self::Rules,
        Self::Keys,
        Self::Peers,
        Self::Roots,
        Self::Zeroise,
    ];
}

/// The rules of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rules {
    /// The quorum of each class, in the order of [`Class::ALL`].
    pub quorum: [Rule; Class::ALL.len()],
    /// Whether a production domain takes devices that are not hardware.
    pub emulated_members: bool,
}

impl Rules {
    /// One quorum for everything.
    #[must_use]
    pub const fn uniform(total: u8) -> Self {
        Self { quorum: [Rule { total, officers: 0 }; Class::ALL.len()], emulated_members: false }
    }

    /// The quorum of a class.
    #[must_use]
    pub fn of(&self, class: Class) -> Rule {
        // The fallback cannot be met; the table has every class.
        let never = Rule { total: u8::MAX, officers: u8::MAX };
        self.quorum.get(usize::from(class as u8)).copied().unwrap_or(never)
    }
}

impl Rule {
    /// Whether these operators are enough.
    #[must_use]
    pub fn is_met_by<'a>(&self, operators: impl Iterator<Item = &'a Operator>) -> bool {
        let (mut total, mut officers) = (0u8, 0u8);
        for operator in operators {
            total = total.saturating_add(1);
            if operator.role == OperatorRole::SecurityOfficer {
                officers = officers.saturating_add(1);
            }
        }
        total >= self.total.max(1) && officers >= self.officers
    }
}
