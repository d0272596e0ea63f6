//! Enumerations of the service model as types.

/// A type that is an enumeration of the service model.
pub trait Enumeration: Copy + 'static {
    /// The value of that name; `None` for a name that the model does not have.
    fn parse(name: &str) -> Option<Self>;
}

/// An enumeration of the service model. Its values are called what they are called in the API, as
/// in the device protocol.
macro_rules! enumeration {
    ($(#[doc = $doc:literal])+ $name:ident { $($value:ident,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(
            non_camel_case_types,
            clippy::upper_case_acronyms,
            reason = "values have their names in the API"
        )]
        pub enum $name {
            $(#[doc = concat!("`", stringify!($value), "`.")] $value,)+
        }

        impl $name {
            /// All values, in the order of the model.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];
            /// The names of all values, in the same order.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($value)),+];

            /// The name in the API.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => stringify!($value)),+
                }
            }
        }

        impl $crate::enumeration::Enumeration for $name {
            fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }
    };
}

pub(crate) use enumeration;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enums::{ResourceOwnerType, SigningAlgorithmSpec};

    #[test]
    fn names_are_read_as_they_are_written() {
        for value in SigningAlgorithmSpec::ALL {
            assert_eq!(SigningAlgorithmSpec::parse(value.name()), Some(*value));
        }
        assert_eq!(ResourceOwnerType::parse("SELF"), Some(ResourceOwnerType::SELF));
        for unknown in ["", "self", "SELF ", "SELF,"] {
            assert_eq!(ResourceOwnerType::parse(unknown), None);
        }
        assert_eq!(ResourceOwnerType::NAMES, ["SELF", "OTHER_ACCOUNTS_VIA_RAM"]);
    }
}
