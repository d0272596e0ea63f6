//! A directory on another medium with sealed copies of the store: the last one, and the one before it.
//!
//! Each copy is an export of its own, which is read back before it gets its name. A copy that is newer than the store
//! shows that the store was put back to an older state; then nothing is written or removed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::export::{Exported, export};
use super::file::Header;
use super::{Progress, TransferError};
use kms_audit::StoreId;
use kms_base::passphrase::Passphrase;
use kms_store::Scan;

/// What names of copies start and end with; the revision, in 20 digits, is between.
const NAME: (&str, &str) = ("store-", ".export");
/// Copies that are kept.
const KEPT: usize = 2;

/// Where the copies are, and what opens them.
pub struct Replica {
    dir: PathBuf,
    passphrase: Passphrase,
}

impl Replica {
    /// Uses a directory that is there, belongs to this user and is closed to others, outside of `data`.
    ///
    /// # Errors
    /// [`TransferError`].
    pub fn open(dir: &Path, passphrase: Passphrase, data: &Path) -> Result<Self, TransferError> {
        let failed = |source| TransferError::File { what: "use", path: dir.to_owned(), source };
        let path = fs::canonicalize(dir).map_err(failed)?;
        let about = fs::metadata(&path).map_err(failed)?;
        let user = rustix::process::geteuid().as_raw();
        if !about.is_dir() || about.uid() != user || about.mode() & 0o077 != 0 {
            return Err(TransferError::OpenReplica(path));
        }
        if path.starts_with(data) {
            return Err(TransferError::ReplicaInside(path));
        }
        Ok(Self { dir: path, passphrase })
    }

    /// Writes a copy of a store, unless there is one of this revision. Returns the copy, if one was written.
    ///
    /// # Errors
    /// [`TransferError`]; [`TransferError::StoreOlder`] if a copy is newer than the store.
    pub async fn copy(
        &self,
        scan: Scan,
        (created, from, id): (String, String, Option<StoreId>),
        progress: Progress<'_>,
    ) -> Result<Option<Exported>, TransferError> {
        let revision = scan.revision();
        let copies = self.copies()?;
        let path = self.dir.join(format!("{}{:020}{}", NAME.0, revision.0, NAME.1));
        if let Some((newest, copy)) = copies.last()
            && *newest >= revision.0
        {
            return match *newest == revision.0 {
                true => Ok(None),
                false => {
                    let (copy, newest) = (copy.clone(), *newest);
                    Err(TransferError::StoreOlder { has: revision.0, copy, newest })
                }
            };
        }
        let header = Header::new(created, from, id, revision);
        let made = export(&path, scan, header, &self.passphrase, progress).await?;
        let surplus = (copies.len() + 1).saturating_sub(KEPT);
        for (_, path) in copies.into_iter().take(surplus) {
            fs::remove_file(&path).map_err(|source| TransferError::File {
                what: "remove",
                path,
                source,
            })?;
        }
        Ok(Some(made))
    }

    /// The copies that are there, by revision, the oldest first.
    fn copies(&self) -> Result<Vec<(u64, PathBuf)>, TransferError> {
        let failed = |source| TransferError::File { what: "read", path: self.dir.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix(NAME.0));
            let digits = digits.and_then(|name| name.strip_suffix(NAME.1));
            if let Some(revision) = digits.and_then(|digits| digits.parse().ok()) {
                found.push((revision, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::ExportFile;
    use kms_store::{RedbStore, Store as _, Transaction};

    fn secret() -> Passphrase {
        Passphrase::of_file(b"correct horse battery staple\n").unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_copies_are_kept_and_an_older_store_replaces_none() {
        use std::os::unix::fs::PermissionsExt;
        let (data, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = fs::canonicalize(data.path()).unwrap();
        let mode =
            |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o750);
        let open = || Replica::open(dir.path(), secret(), &data);
        assert!(matches!(open(), Err(TransferError::OpenReplica(_))));
        mode(0o700);
        let within = data.join("replica");
        kms_base::durable::create_private_dir(&within).unwrap();
        let inside = Replica::open(&within, secret(), &data);
        assert!(matches!(inside, Err(TransferError::ReplicaInside(_))));
        let replica = open().unwrap();
        let path = data.join("store.redb");
        let store = RedbStore::open(&path).unwrap();
        let old = data.join("old");
        let copy = async |store: &RedbStore| {
            let about = ("now".to_owned(), "here".to_owned(), None);
            replica.copy(Scan::of_redb(store).unwrap(), about, &mut |_, _| {}).await
        };
        for n in 1..=4_u8 {
            let _ = store.commit(Transaction::new().put("key", [n])).await.unwrap();
            if n == 2 {
                store.snapshot().unwrap().write_to(&old).unwrap();
            }
            assert!(copy(&store).await.unwrap().is_some());
            assert!(copy(&store).await.unwrap().is_none(), "nothing has changed");
        }
        let revisions =
            || replica.copies().unwrap().into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!(revisions(), [3, 4]);
        let older = RedbStore::open(&old).unwrap();
        let refused = copy(&older).await.unwrap_err();
        assert!(matches!(refused, TransferError::StoreOlder { has: 2, newest: 4, .. }));
        assert_eq!(revisions(), [3, 4]);
        let passphrase = secret();
        for (revision, path) in replica.copies().unwrap() {
            let file = ExportFile::open(&path, &passphrase, &mut |_, _| {}).unwrap();
            assert_eq!((file.header().revision, file.count()), (revision, 1));
        }
    }
}
