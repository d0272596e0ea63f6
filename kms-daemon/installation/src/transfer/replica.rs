//! A directory on another medium with sealed copies of the store: the last one, and the one before it.
//!
//! Each copy is an export of its own, which is read back before it gets its name. A copy that is newer than the store
//! shows that the store was put back to an older state; then nothing is written or removed. The same is true if a record
//! that the last copy has whole is damaged in the store: the copies may be all that it can be repaired from.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::difference::compare;
use super::export::{Exported, export};
use super::file::{ExportFile, Header};
use super::{Progress, TransferError};
use kms_audit::StoreId;
use kms_base::passphrase::Passphrase;
use kms_keys::{catalog, repair};
use kms_store::{Entry, Scan};

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
    /// [`TransferError`]; [`TransferError::StoreOlder`] if a copy is newer than the store;
    /// [`TransferError::Damaged`] if the store has damaged a record since the last copy.
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
        if let Some((_, newest)) = copies.last() {
            self.ensure_undamaged(newest, scan.again()).await?;
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

    /// Refuses a store that has lost what a copy has. The copy is sealed, so it is as it was written.
    async fn ensure_undamaged(&self, copy: &Path, scan: Scan) -> Result<(), TransferError> {
        let file = ExportFile::open(copy, &self.passphrase, &mut |_, _| {})?;
        compare(&file, scan, &mut |now, before| {
            let (Some(now), Some(before)) = (now, before) else { return Ok(()) };
            match damage(now, before) {
                None => Ok(()),
                Some(what) => Err(TransferError::Damaged {
                    key: String::from_utf8_lossy(&now.key).into_owned(),
                    what,
                    copy: copy.to_owned(),
                }),
            }
        })
        .await
    }

    /// Returns a record as each copy has it, the newest copy first. Copies that are not whole are passed over. Blocks.
    ///
    /// # Errors
    /// [`TransferError::File`] if the directory cannot be read.
    pub fn find(&self, key: &[u8]) -> Result<Vec<(PathBuf, Entry)>, TransferError> {
        let mut found = Vec::new();
        for (_, path) in self.copies()?.into_iter().rev() {
            match self.find_in(&path, key) {
                Ok(entry) => found.extend(entry.map(|entry| (path, entry))),
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "a copy of the store cannot be used");
                }
            }
        }
        Ok(found)
    }

    fn find_in(&self, copy: &Path, key: &[u8]) -> Result<Option<Entry>, TransferError> {
        let file = ExportFile::open(copy, &self.passphrase, &mut |_, _| {})?;
        let mut records = file.records()?;
        while let Some(entry) = records.next()? {
            if *entry.key >= *key {
                return Ok(Some(entry).filter(|entry| *entry.key == *key));
            }
        }
        Ok(None)
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

/// What the store has done to a record that nobody did, if anything.
fn damage(now: &Entry, before: &Entry) -> Option<&'static str> {
    if now.value == before.value {
        None
    } else if now.revision == before.revision {
        Some("it has other bytes, and nobody has written it")
    } else if repair::repaired(&now.key, &now.value, &before.value).is_some() {
        Some("a key token or a sealed secret has other bytes")
    } else if catalog::check(&now.key, &now.value).is_err()
        && catalog::check(&before.key, &before.value).is_ok()
    {
        Some("it cannot be read any longer")
    } else {
        None
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

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_disk_has_damaged_replaces_no_copy() {
        use std::os::unix::fs::PermissionsExt;
        const VALUE: &[u8] = b"a value that stands in the file as it is";
        let (data, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = fs::canonicalize(data.path()).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let replica = Replica::open(dir.path(), secret(), &data).unwrap();
        let path = data.join("store.redb");
        let copy = async |store: &RedbStore| {
            let about = ("now".to_owned(), "here".to_owned(), None);
            replica.copy(Scan::of_redb(store).unwrap(), about, &mut |_, _| {}).await
        };
        let put = |key: &str, value: &[u8]| Transaction::new().put(key, value);
        let alias = br#"{"version":1,"value":{"target":"1234abcd-12ab-34cd-56ef-1234567890ab","created":1,"updated":1}}"#;
        let store = RedbStore::open(&path).unwrap();
        let _ = store.commit(put("policies/one", VALUE)).await.unwrap();
        assert!(copy(&store).await.unwrap().is_some());
        drop(store);

        // One bit on the disk.
        let mut bytes = fs::read(&path).unwrap();
        let places = bytes.windows(VALUE.len()).enumerate();
        let places: Vec<_> = places.filter(|(_, part)| *part == VALUE).map(|(at, _)| at).collect();
        places.iter().for_each(|at| bytes[at + 5] ^= 1);
        fs::write(&path, &bytes).unwrap();
        let store = RedbStore::open(&path).unwrap();
        let found = store.get(b"policies/one").await.unwrap().value.unwrap();
        assert_eq!(*found.value, *b"a valte that stands in the file as it is");
        let _ = store.commit(put("more", b"x")).await.unwrap();
        let refused = copy(&store).await.unwrap_err();
        assert!(
            matches!(&refused, TransferError::Damaged { key, .. } if key == "policies/one"),
            "{refused}"
        );
        let kept = replica.find(b"policies/one").unwrap();
        assert_eq!((kept.len(), &*kept[0].1.value), (1, VALUE));
        // It is written anew: somebody has decided what it is.
        let _ = store.commit(put("policies/one", VALUE)).await.unwrap();
        assert!(copy(&store).await.unwrap().is_some());

        // A record that this release cannot read any longer, whoever has written it.
        let at = "aliases/000000000000/us-east-1/alias/a";
        let _ = store.commit(put(at, alias)).await.unwrap();
        assert_eq!(catalog::check(at.as_bytes(), alias).map_err(|e| e.to_string()), Ok(()));
        assert!(copy(&store).await.unwrap().is_some());
        let _ = store.commit(put(at, &alias[..20])).await.unwrap();
        let refused = copy(&store).await.unwrap_err();
        assert!(matches!(&refused, TransferError::Damaged { key, .. } if key == at), "{refused}");
        // A copy that is damaged itself is passed over.
        let copies = replica.copies().unwrap();
        assert_eq!(replica.find(b"policies/one").unwrap().len(), 2);
        let mut bytes = fs::read(&copies[1].1).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&copies[1].1, bytes).unwrap();
        let kept = replica.find(b"policies/one").unwrap();
        assert_eq!(kept.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&copies[0].1]);
        assert!(replica.find(b"policies/none").unwrap().is_empty());
    }
}
