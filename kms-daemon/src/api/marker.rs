//! Pagination markers: where a listing goes on, sealed with a MAC.
//!
//! A marker names the last item of a page. The MAC binds it to the listing it was issued for, so
//! that a client can neither make one up nor use it elsewhere. The MAC key is kept in the store,
//! so markers outlive a restart.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Operation;
use crate::error::{Exception, KmsError};
use crate::key::Scope;
use crate::store::{Store, StoreError, Transaction};

/// Where the MAC key is.
const STORE_KEY: &[u8] = b"service/marker-key";
/// Length of the MAC key in bytes: a block of SHA-256, which HMAC takes as it is.
const KEY_SIZE: usize = 64;
/// Length of the truncated MAC in bytes.
const MAC_SIZE: usize = 16;

/// Issues and checks markers.
pub(super) struct Markers {
    key: [u8; KEY_SIZE],
}

/// A listing that a marker belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListingId<'a> {
    /// The operation that lists.
    pub(super) operation: Operation,
    /// The account and Region it lists in.
    pub(super) scope: &'a Scope,
    /// Whatever selects the items, for example a key id.
    pub(super) filter: &'a str,
}

impl Markers {
    /// Reads the MAC key from the store, or makes it.
    pub(super) async fn open(store: &dyn Store) -> Result<Self, StoreError> {
        let mut fresh = [0; KEY_SIZE];
        getrandom::fill(&mut fresh).map_err(|error| StoreError::Engine(error.to_string()))?;
        // Conflict means that the key exists, perhaps made by another process just now.
        let _ = store.commit(Transaction::new().absent(STORE_KEY).put(STORE_KEY, fresh)).await?;
        let entry = store.get(STORE_KEY).await?.value;
        let key = entry.and_then(|entry| <[u8; KEY_SIZE]>::try_from(&*entry.value).ok());
        Ok(Self { key: key.ok_or(StoreError::Invalid("the marker key is damaged"))? })
    }

    /// A marker for what comes after `position`.
    pub(super) fn issue(&self, listing: ListingId<'_>, position: &str) -> String {
        let mac = self.mac(listing, position).finalize().into_bytes();
        let mut marker = mac[..MAC_SIZE].to_vec();
        marker.extend_from_slice(position.as_bytes());
        URL_SAFE_NO_PAD.encode(marker)
    }

    /// The position of a marker issued for `listing`.
    pub(super) fn read(&self, listing: ListingId<'_>, marker: &str) -> Result<String, KmsError> {
        self.open_marker(listing, marker).ok_or_else(|| {
            KmsError::new(Exception::InvalidMarker, "The marker is not valid for this request.")
        })
    }

    fn open_marker(&self, listing: ListingId<'_>, marker: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(marker).ok()?;
        let (mac, position) = bytes.split_at_checked(MAC_SIZE)?;
        let position = std::str::from_utf8(position).ok()?;
        self.mac(listing, position).verify_truncated_left(mac).ok()?;
        Some(position.to_owned())
    }

    fn mac(&self, listing: ListingId<'_>, position: &str) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&self.key.into());
        let fields = [
            listing.operation.name(),
            &listing.scope.account,
            &listing.scope.region,
            listing.filter,
            position,
        ];
        for field in fields {
            mac.update(&(field.len() as u64).to_le_bytes());
            mac.update(field.as_bytes());
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn markers_are_bound_to_their_listing() {
        let store = MemoryStore::new();
        let markers = Markers::open(&store).await.unwrap();
        let (scope, other) = (Scope::new("1", "us-east-1"), Scope::new("2", "us-east-1"));
        let listing = ListingId { operation: Operation::ListKeys, scope: &scope, filter: "a" };
        let marker = markers.issue(listing, "position");
        assert_eq!(markers.read(listing, &marker).unwrap(), "position");
        let reopened = Markers::open(&store).await.unwrap();
        assert_eq!(reopened.read(listing, &marker).unwrap(), "position");

        for elsewhere in [
            ListingId { operation: Operation::ListAliases, ..listing },
            ListingId { scope: &other, ..listing },
            ListingId { filter: "b", ..listing },
        ] {
            assert!(markers.read(elsewhere, &marker).is_err());
        }
        let stranger = Markers::open(&MemoryStore::new()).await.unwrap();
        for forged in [stranger.issue(listing, "position"), String::new(), "x".repeat(1024)] {
            let refusal = markers.read(listing, &forged).unwrap_err();
            assert_eq!(refusal.exception(), Exception::InvalidMarker);
        }
    }
}
