//! Documents in memory once, however many keys have them: most keys of an account have its
//! default policy.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use super::{Bound, Document};
use kms_policy::PolicyError;

/// The documents that keys in memory have.
static SHARED: LazyLock<Shared> = LazyLock::new(Shared::default);

/// The document of this content: one that is in memory already, or what `read` makes of it.
///
/// # Errors
/// Those of `read`.
pub(super) fn document(
    text: &str,
    partition: &str,
    bound: &Bound,
    read: impl FnOnce() -> Result<Document, PolicyError>,
) -> Result<Arc<Document>, PolicyError> {
    SHARED.document(text, partition, bound, read)
}

#[derive(Default)]
struct Shared {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By the hash of their content; of two with the same hash the later one.
    documents: HashMap<u64, Weak<Document>>,
    /// How many there were when those without a key were last removed.
    kept: usize,
}

/// Fewer documents than this are not looked through for some without a key.
const FEW: usize = 1024;

impl Shared {
    fn document(
        &self,
        text: &str,
        partition: &str,
        bound: &Bound,
        read: impl FnOnce() -> Result<Document, PolicyError>,
    ) -> Result<Arc<Document>, PolicyError> {
        let hash = self.hasher.hash_one((text, partition, bound));
        let same = |known: &Arc<Document>| {
            known.text == text && known.partition == partition && known.bound == *bound
        };
        let find = |known: &Known| known.documents.get(&hash).and_then(Weak::upgrade).filter(same);
        if let Some(document) = find(&self.known()) {
            return Ok(document);
        }
        let document = Arc::new(read()?);
        let mut known = self.known();
        // Another thread may have read the same meanwhile.
        if let Some(document) = find(&known) {
            return Ok(document);
        }
        known.keep(hash, &document);
        Ok(document)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn keep(&mut self, hash: u64, document: &Arc<Document>) {
        if self.documents.len() >= FEW.max(2 * self.kept) {
            self.documents.retain(|_, known| known.strong_count() > 0);
            self.kept = self.documents.len();
        }
        self.documents.insert(hash, Arc::downgrade(document));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::KeyPolicy;
    use kms_base::identifier::Scope;

    fn document(shared: &Shared, text: &str, partition: &str, bound: &Bound) -> Arc<Document> {
        let compiled = KeyPolicy::default_for(&Scope::new("111122223333", "eu-west-1"));
        let read = || {
            Ok(Document {
                text: text.to_owned(),
                partition: partition.to_owned(),
                bound: bound.clone(),
                compiled: compiled.compiled().clone(),
            })
        };
        shared.document(text, partition, bound, read).unwrap()
    }

    #[test]
    fn equal_documents_are_one_and_no_others() {
        let (shared, none) = (Shared::default(), Bound::new());
        let first = document(&shared, "a", "aws", &none);
        assert!(Arc::ptr_eq(&first, &document(&shared, "a", "aws", &none)));
        assert!(!Arc::ptr_eq(&first, &document(&shared, "b", "aws", &none)));
        assert!(!Arc::ptr_eq(&first, &document(&shared, "a", "aws-cn", &none)));
        // The same name, but of another user: it must not be taken for the first.
        let again = Bound::from([("arn:aws:iam::111122223333:user/a".into(), "AIDA2".into())]);
        assert!(!Arc::ptr_eq(&first, &document(&shared, "a", "aws", &again)));
    }

    #[test]
    fn keys_of_an_account_share_their_default() {
        let scope = Scope::new("111122223333", "eu-west-1");
        let (one, other) = (KeyPolicy::default_for(&scope), KeyPolicy::default_for(&scope));
        assert!(std::ptr::eq(one.compiled(), other.compiled()));
        assert_eq!(one, other);
        // But not for a caller who must not learn that it exists.
        let apart = KeyPolicy::parse_apart(one.text(), &scope, one.bound()).unwrap();
        assert!(!std::ptr::eq(one.compiled(), apart.compiled()));
        assert_eq!(one, apart);
    }

    #[test]
    fn what_no_key_has_is_forgotten() {
        let (shared, none) = (Shared::default(), Bound::new());
        let kept = document(&shared, "kept", "aws", &none);
        for count in 0..10 * FEW {
            document(&shared, &count.to_string(), "aws", &none);
        }
        assert!(shared.known().documents.len() <= FEW + 1);
        assert!(Arc::ptr_eq(&kept, &document(&shared, "kept", "aws", &none)));
    }
}
