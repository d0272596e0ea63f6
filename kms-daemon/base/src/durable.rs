//! Small files that are written whole: after a power cut either the old or the new content is
//! there, and never anyone else's to read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Creates `dir` and its parents if missing, readable by the owner only.
///
/// # Errors
/// Any failure of the file system.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Writes `content` to `path` with `mode`, replacing what was there; durable when it returns.
///
/// # Errors
/// Any failure of the file system. The old content is then still there.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let staged = parent.join(name);
    // What a crash left here may have a wider mode, which opening would keep.
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    sync_dir(parent)
}

/// Writes `content` to `path` with mode 0600 where nothing was; durable when it returns.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is a file of that name, which stays; any failure of the file
/// system.
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut staged = tempfile_in(parent)?;
    staged.1.write_all(content)?;
    staged.1.sync_all()?;
    // A link fails where something is; a rename would replace it.
    let linked = fs::hard_link(&staged.0, path);
    fs::remove_file(&staged.0)?;
    linked?;
    sync_dir(parent)
}

/// A file that nobody else has, in a directory.
fn tempfile_in(dir: &Path) -> io::Result<(std::path::PathBuf, File)> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    for number in 0..u16::MAX {
        let path = dir.join(format!("{}-{number}.new", std::process::id()));
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((path, opened?)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Opens a file, or makes it for its owner alone; what is in it stays.
///
/// # Errors
/// Any failure of the file system.
pub fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Makes creations, renames and removals in `dir` durable.
///
/// # Errors
/// Any failure of the file system.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ballot");
        write_new(&path, b"one").unwrap();
        let refused = write_new(&path, b"two").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn replaces_whole_and_keeps_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(dir.path().join("secret.new"), "left by a crash").unwrap();
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let mut opened = open_private(&path).unwrap();
        assert_eq!(io::read_to_string(&mut opened).unwrap(), "two");
        open_private(&dir.path().join("new")).unwrap().write_all(b"one").unwrap();
        let mode = fs::metadata(dir.path().join("new")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
