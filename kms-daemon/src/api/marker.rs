//! Pagination markers: where a listing goes on, sealed with a MAC.
//!
//! A marker names the last item of a page. The MAC binds it to the listing it was issued for, so
//! that a client can neither make one up nor use it elsewhere.

use crate::mac::{MAC_SIZE, MacKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kms_base::error::{Exception, KmsError};
use kms_base::identifier::Scope;
use kms_model::Operation;

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

/// Items of a page, with the default of the operation filled in.
pub(super) fn page_size(limit: Option<i64>, default: usize) -> usize {
    limit.map_or(Ok(default), usize::try_from).unwrap_or(default)
}

/// A marker for what comes after `position`.
pub(super) fn issue(seal: &MacKey, listing: ListingId<'_>, position: &str) -> String {
    let mut marker = seal.mac(&fields(&listing, position)).to_vec();
    marker.extend_from_slice(position.as_bytes());
    URL_SAFE_NO_PAD.encode(marker)
}

/// The position of a marker issued for `listing`.
///
/// # Errors
/// [`Exception::InvalidMarker`].
pub(super) fn read(
    seal: &MacKey,
    listing: ListingId<'_>,
    marker: &str,
) -> Result<String, KmsError> {
    open(seal, listing, marker).ok_or_else(|| {
        KmsError::new(Exception::InvalidMarker, "The marker is not valid for this request.")
    })
}

fn open(seal: &MacKey, listing: ListingId<'_>, marker: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(marker).ok()?;
    let (mac, position) = bytes.split_at_checked(MAC_SIZE)?;
    let position = std::str::from_utf8(position).ok()?;
    seal.verify(&fields(&listing, position), mac).then(|| position.to_owned())
}

fn fields<'a>(listing: &ListingId<'a>, position: &'a str) -> [&'a [u8]; 5] {
    [
        listing.operation.name().as_bytes(),
        listing.scope.account.as_bytes(),
        listing.scope.region.as_bytes(),
        listing.filter.as_bytes(),
        position.as_bytes(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_store::MemoryStore;

    #[tokio::test]
    async fn markers_are_bound_to_their_listing() {
        let store = MemoryStore::new();
        let seal = MacKey::open(&store).await.unwrap();
        let (scope, other) = (Scope::new("1", "us-east-1"), Scope::new("2", "us-east-1"));
        let listing = ListingId { operation: Operation::ListKeys, scope: &scope, filter: "a" };
        let marker = issue(&seal, listing, "position");
        assert_eq!(read(&seal, listing, &marker).unwrap(), "position");
        let reopened = MacKey::open(&store).await.unwrap();
        assert_eq!(read(&reopened, listing, &marker).unwrap(), "position");

        for elsewhere in [
            ListingId { operation: Operation::ListAliases, ..listing },
            ListingId { scope: &other, ..listing },
            ListingId { filter: "b", ..listing },
        ] {
            assert!(read(&seal, elsewhere, &marker).is_err());
        }
        let stranger = MacKey::open(&MemoryStore::new()).await.unwrap();
        for forged in [issue(&stranger, listing, "position"), String::new(), "x".repeat(1024)] {
            let refusal = read(&seal, listing, &forged).unwrap_err();
            assert_eq!(refusal.exception(), Exception::InvalidMarker);
        }
    }
}
