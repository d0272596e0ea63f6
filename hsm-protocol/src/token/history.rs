//! What has happened to key material: where it may have been, besides a hardware device of its domain.

use core::fmt;

/// A set of facts about key material. Facts are added, never taken away: a key that is rewrapped
/// takes along what is known of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct History(u8);

impl History {
    /// Nothing to say: made in a hardware device of a production domain, and only ever there.
    pub const CLEAN: Self = Self(0);
    /// Imported: whoever made it may have it.
    pub const IMPORTED: Self = Self(1);
    /// Made by a firmware that kept no history.
    pub const UNKNOWN: Self = Self(1 << 1);
    /// A member of the domain that was not hardware could open it.
    pub const SOFT_MEMBER: Self = Self(1 << 2);
    /// The domain was ruled by a key beside the data.
    pub const DEVELOPMENT: Self = Self(1 << 3);
    /// It came from another domain, and is there as well.
    pub const OTHER_DOMAIN: Self = Self(1 << 4);
    /// The approval rule was bound to the key after it was made: a token without it may exist.
    pub const BOUND_LATER: Self = Self(1 << 5);
    /// Operators hold recovery shares of a domain key that it was under.
    pub const RECOVERABLE: Self = Self(1 << 6);

    /// Every fact, with its name in attestations, in the order of the bits.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::IMPORTED, "imported"),
        (Self::UNKNOWN, "unknown"),
        (Self::SOFT_MEMBER, "soft-member"),
        (Self::DEVELOPMENT, "development"),
        (Self::OTHER_DOMAIN, "other-domain"),
        (Self::BOUND_LATER, "rule-bound-later"),
        (Self::RECOVERABLE, "recovery-shares"),
    ];

    /// The set with these bits; `None` if this build does not know one of them.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & 0x80 == 0 { Some(Self(bits)) } else { None }
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all facts of `other` are in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the facts in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        Self::ALL.into_iter().filter(move |(fact, _)| self.contains(*fact)).map(|(_, name)| name)
    }

    /// The fact with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Whether the material, by what the device knows, has never been outside hardware devices of its
    /// one production domain. When a rule was bound says nothing about that.
    #[must_use]
    pub const fn was_never_outside(self) -> bool {
        self.0 & !Self::BOUND_LATER.0 == 0
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
