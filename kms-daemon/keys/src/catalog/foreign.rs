//! Keys and grants that callers of other accounts name.
//!
//! Until such a caller is known to be allowed to use a key, nothing may show whether the key
//! exists: neither a response nor its time. These reads therefore find something in any case. In
//! place of a missing key or grant they return a key whose policy denies everything, or a grant
//! that names nobody. For these they read the store as often, and decode as much, as for existing
//! ones. The cache would show what others use, so it is neither read nor filled.
//!
//! A ciphertext does not say whose key made it. An index gives the owner of each key id.

use std::sync::{Arc, LazyLock};

use hsm_protocol::MaterialId;
use hsm_protocol::key_spec::{KeySpec, KeyUsage, Origin};

use super::form::decode;
use super::{Catalog, CatalogError, FoundGrant, Stored, Versioned, encode, form, unreadable};
use crate::document::KeyPolicy;
use crate::grant::{Constraints, Party, Terms};
use crate::{AliasRecord, GrantId, GrantRecord, KeyMaterial, KeyRecord, layout};
use kms_base::clock::Timestamp;
use kms_base::identifier::{KeyId, KeyRef, Scope, Tags};
use kms_base::record::RecordError;
use kms_model::state::KeyState;
use kms_store::{MAX_OPERATIONS, Range, Revision, Transaction};

/// The entry that says that the index of owners includes the keys of earlier releases.
const INDEXED: &[u8] = b"service/owners-indexed";
/// Approximate length in bytes of the token of a symmetric key.
const TOKEN: usize = 137;

/// What callers of other accounts look for. What is not there is found all the same.
#[derive(Clone, Copy)]
pub struct Foreign<'c>(&'c Catalog);

impl Catalog {
    /// What callers of other accounts look for. What is not there is found all the same.
    #[must_use]
    pub const fn foreign(&self) -> Foreign<'_> {
        Foreign(self)
    }
}

impl Foreign<'_> {
    /// Returns the named key of another account, or a key that is closed to everybody if there is
    /// none.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn key(self, named: &KeyRef) -> Result<Stored<KeyRecord>, CatalogError> {
        let (scope, id) = match named {
            KeyRef::Key(scope, id) => (scope, *id),
            KeyRef::Alias(scope, name) => {
                let entry = layout::alias(scope, name);
                let decoy = &DECOYS.alias;
                let alias = self.read_or(entry, decoy, decode::<AliasRecord>).await?;
                (scope, alias.target)
            }
        };
        self.named(scope, id).await
    }

    /// Returns the key with an id, whichever other account owns it. Returns a key that is closed to
    /// everybody if there is none, or if several accounts have the id: developers can give one id
    /// to several keys.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn key_of(self, region: &str, id: KeyId) -> Result<Stored<KeyRecord>, CatalogError> {
        let prefix = layout::owners(region, id);
        let range = Range { prefix: prefix.clone(), after: None, limit: 2 };
        let owners = self.0.store.range(range).await?.value.entries;
        let account = match owners.as_slice() {
            [owner] => owner.key.strip_prefix(prefix.as_slice()).unwrap_or_default(),
            _ => NOBODY.as_bytes(),
        };
        let account = std::str::from_utf8(account).unwrap_or(NOBODY);
        self.named(&Scope::new(account, region), id).await
    }

    /// Returns a grant on a key of another account, or a grant that names nobody if there is none.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn grant(
        self,
        scope: &Scope,
        key: KeyId,
        id: GrantId,
    ) -> Result<FoundGrant, CatalogError> {
        let entry = layout::grant(scope, key, id);
        let record = self.read_or(entry, &DECOYS.grant, decode).await?;
        Ok(FoundGrant { scope: scope.clone(), key, id, record })
    }

    async fn named(self, scope: &Scope, id: KeyId) -> Result<Stored<KeyRecord>, CatalogError> {
        let named = |bytes: &[u8]| {
            let record = KeyRecord::decode_apart(bytes)?;
            Ok(KeyRecord { scope: scope.clone(), id, ..record })
        };
        self.read_or(layout::key(scope, id), &DECOYS.key, named).await
    }

    /// Reads past the cache. Returns `decoy` if there is nothing.
    async fn read_or<T>(
        self,
        key: Vec<u8>,
        decoy: &[u8],
        read: impl Fn(&[u8]) -> Result<T, RecordError>,
    ) -> Result<Stored<T>, CatalogError> {
        let entry = self.0.store.get(&key).await?.value;
        let (bytes, revision) = match &entry {
            Some(entry) => (&*entry.value, entry.revision),
            None => (decoy, Revision::default()),
        };
        let value = read(bytes).map_err(|error| unreadable(&key, error))?;
        Ok(Arc::new(Versioned { revision, value }))
    }

    /// Adds the keys that an earlier release has stored to the index of owners.
    pub(super) async fn index_owners(self) -> Result<(), CatalogError> {
        if self.0.store.get(INDEXED).await?.value.is_some() {
            return Ok(());
        }
        let mut after = None;
        loop {
            let range = Range { prefix: layout::KEYS.into(), after, limit: MAX_OPERATIONS };
            let page = self.0.store.range(range).await?.value;
            after = page.entries.last().map(|entry| entry.key.clone());
            let owners = page.entries.iter().filter_map(|entry| layout::parse_key(&entry.key));
            let index = owners.fold(Transaction::new(), |t, (scope, id)| {
                t.put(layout::owner(&scope, id), Vec::new())
            });
            // The commit is unconditional: naming the owner of a key that is gone does no harm.
            let _ = self.0.store.commit(index).await?;
            if !page.more {
                break;
            }
        }
        let done = Transaction::new().put(INDEXED, form::encode(INDEXED, &true)?);
        let _ = self.0.store.commit(done).await?;
        Ok(())
    }
}

/// The account of decoys. It is not a valid account, so nothing is ever found in it.
const NOBODY: &str = "";

/// The records that are returned in place of missing ones, in their stored form.
struct Decoys {
    key: Vec<u8>,
    alias: Vec<u8>,
    grant: Vec<u8>,
}

static DECOYS: LazyLock<Decoys> =
    LazyLock::new(|| Decoys::new().expect("records of ours can be stored"));

impl Decoys {
    fn new() -> Result<Self, CatalogError> {
        // The names are as long as those of real keys; they are replaced by the requested ones.
        let scope = Scope::new("000000000000", "us-east-1");
        let (id, created) = (KeyId::random(), Timestamp::from_millis(1_800_000_000_000));
        let key = KeyRecord {
            id,
            spec: KeySpec::SYMMETRIC_DEFAULT,
            usage: KeyUsage::ENCRYPT_DECRYPT,
            origin: Origin::AWS_KMS,
            state: KeyState::Enabled,
            description: String::new(),
            created,
            deletion: None,
            rotation: None,
            policy: KeyPolicy::decoy_for(&scope),
            scope,
            tags: Tags::new(),
            materials: vec![KeyMaterial {
                id: MaterialId([0; 32]),
                token: vec![0; TOKEN],
                rotated: None,
                imported: None,
            }],
            pending: None,
            multi_region: None,
            service: None,
            external: None,
        };
        let grant = GrantRecord {
            name: None,
            created,
            grantee: Party::Service(NOBODY.to_owned()),
            retiring: None,
            issuer: NOBODY.to_owned(),
            terms: Terms { operations: Vec::new(), constraints: Constraints::default() },
        };
        let alias = AliasRecord { target: id, created, updated: created };
        Ok(Self {
            key: encode(b"", &key)?,
            alias: form::encode(b"", &alias)?,
            grant: form::encode(b"", &grant)?,
        })
    }
}
