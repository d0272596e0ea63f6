//! The key that a request is about, as conditions see it.

use kms_policy::{Action, ConditionKey, Name, Value, pair};

use kms_base::identifier::Tags;
use kms_keys::KeyRecord;
use kms_model::enums::MultiRegionKeyType;

/// The key that a request is about, if any.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// The request is about an account or an alias, not a key.
    Account,
    /// An existing key.
    Key(&'a KeyRecord),
    /// A key that is still to be created.
    New(NewKey<'a>),
}

/// A key that is to be created.
#[derive(Debug, Clone, Copy)]
pub struct NewKey<'a> {
    /// The kind of the key.
    pub traits: Traits<'a>,
    /// The tags that the key will have.
    pub tags: &'a Tags,
}

/// The kind of a key, in the words of the API. Conditions see a name that is `None` as unknown.
#[derive(Debug, Clone, Copy)]
pub struct Traits<'a> {
    /// `KeySpec`.
    pub spec: Option<&'a str>,
    /// `KeyUsage`.
    pub usage: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// Whether the key is a primary or a replica; `None` if it is not a multi-Region key.
    pub multi_region: Option<MultiRegionKeyType>,
}

impl<'a> NewKey<'a> {
    /// Describes a replica of `key`.
    #[must_use]
    pub fn replica_of(key: &'a KeyRecord, tags: &'a Tags) -> Self {
        let multi_region = Some(MultiRegionKeyType::REPLICA);
        Self { traits: Traits { multi_region, ..Traits::of(key) }, tags }
    }
}

impl Traits<'_> {
    fn of(key: &KeyRecord) -> Self {
        let multi_region = key.multi_region.as_ref().map(|_| match key.is_replica() {
            true => MultiRegionKeyType::REPLICA,
            false => MultiRegionKeyType::PRIMARY,
        });
        Self {
            spec: key.spec.aws_name(),
            usage: key.usage.aws_name(),
            origin: key.origin_name(),
            multi_region,
        }
    }
}

impl<'a> Subject<'a> {
    /// Returns the key, if it exists already.
    pub(super) const fn key(&self) -> Option<&'a KeyRecord> {
        match self {
            Self::Key(key) => Some(key),
            Self::Account | Self::New(_) => None,
        }
    }

    /// Returns the values of condition keys that describe a key.
    pub(super) fn value(&self, key: &ConditionKey, action: Action) -> Option<Value<'a>> {
        let traits = match self {
            Self::Account => return None,
            Self::Key(record) => Traits::of(record),
            Self::New(new) => new.traits,
        };
        let named = |name: Option<&'a str>| name.map_or(Value::Unknown, Value::from);
        Some(match key.name() {
            Name::KeySpec | Name::CustomerMasterKeySpec => named(traits.spec),
            Name::KeyUsage | Name::CustomerMasterKeyUsage => named(traits.usage),
            Name::KeyOrigin => named(traits.origin),
            Name::MultiRegion => Value::Bool(traits.multi_region.is_some()),
            Name::MultiRegionKeyType => Value::from(traits.multi_region?.name()),
            Name::ResourceTag => {
                let tags = self.tags(action)?;
                return pair(key, tags.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            }
            _ => return None,
        })
    }

    /// Returns the tags of the key. A key that is to be created does not have its tags yet, but
    /// will have them when its policy is put again.
    fn tags(&self, action: Action) -> Option<&'a Tags> {
        match self {
            Self::Account => None,
            Self::Key(record) => Some(&record.tags),
            Self::New(new) => (action == Action::PutKeyPolicy).then_some(new.tags),
        }
    }
}
