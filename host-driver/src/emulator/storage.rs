//! Files of an emulated device on disk: its directory, lock, flash image, and socket.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::EmulatorError;
use super::machine::Flash;

/// Longest path of a unix socket in bytes (`sun_path` in unix(7)).
const MAX_SOCKET_PATH: usize = 107;
const SOCKET: &str = "link";
/// The file that says which board a flash image is of.
const BOARD: &str = "board";
const IMAGE: &str = "flash.img";

/// What a new flash image holds: bytes, and the offset of each.
pub(super) type Contents = Vec<(u64, Vec<u8>)>;

/// The directory of an emulated device, locked: no other process uses it meanwhile.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) flash: PathBuf,
    pub(super) socket: PathBuf,
    _lock: File,
}

impl Storage {
    /// Makes what is missing, and locks the directory.
    pub(super) fn open(
        directory: &Path,
        board: &str,
        flash: Flash,
        contents: &Contents,
    ) -> Result<Self, EmulatorError> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |source| EmulatorError::Storage { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed(directory))?;
        let directory = fs::canonicalize(directory).map_err(failed(directory))?;
        let lock = lock(&directory.join("lock"))?;
        let image = directory.join(IMAGE);
        prepare_board(&directory, board)?;
        prepare_image(&image, flash, contents)?;
        let socket = socket_path(&directory)?;
        Ok(Self { flash: image, socket, _lock: lock })
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // What is left behind is reused by the next start.
        let _ = fs::remove_file(&self.socket);
        if let Some(directory) = self.socket.parent()
            && Some(directory) != self.flash.parent()
        {
            let _ = fs::remove_dir(directory);
        }
    }
}

fn lock(path: &Path) -> Result<File, EmulatorError> {
    let failed = |source| EmulatorError::Storage { path: path.display().to_string(), source };
    let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
    let file = options.open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let directory = path.parent().unwrap_or(path).display().to_string();
            Err(EmulatorError::InUse { directory })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Returns the board that the flash image in a device's directory is of, or was of if the image is lost; `None`
/// if nothing says it, as before there was a choice of boards.
///
/// # Errors
/// If the file cannot be read.
pub fn board_of(directory: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(directory.join(BOARD)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses the image of another board; without an image, writes which board the next one is of.
fn prepare_board(directory: &Path, board: &str) -> Result<(), EmulatorError> {
    let path = directory.join(BOARD);
    let failed = |source| EmulatorError::Storage { path: path.display().to_string(), source };
    if !directory.join(IMAGE).exists() {
        return write_board(&path, board).map_err(failed);
    }
    match board_of(directory).map_err(failed)? {
        Some(found) if found != board => Err(EmulatorError::OtherBoard {
            directory: directory.display().to_string(),
            found,
            wanted: board.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Before the image is there: an image without its board would be taken for another board's.
fn write_board(path: &Path, board: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{board}")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Makes a new image, durably and all at once, or checks the one that is there.
fn prepare_image(path: &Path, flash: Flash, contents: &Contents) -> Result<(), EmulatorError> {
    let failed = |source| EmulatorError::Storage { path: path.display().to_string(), source };
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() == flash.bytes => Ok(()),
        Ok(metadata) => Err(EmulatorError::ImageSize {
            path: path.display().to_string(),
            found: metadata.len(),
            expected: flash.bytes,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_image(path, flash, contents).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn create_image(path: &Path, flash: Flash, contents: &Contents) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let block = vec![flash.erased; 1 << 20];
    let mut left = flash.bytes;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(block.get(..size).unwrap_or_default())?;
        left -= size as u64;
    }
    for (at, bytes) in contents {
        file.write_all_at(bytes, *at)?;
    }
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// A place for the socket: in the device's directory, or if that has a long path, in a directory
/// of our own, named after the device's, in the user's runtime directory.
fn socket_path(device: &Path) -> Result<PathBuf, EmulatorError> {
    let near = device.join(SOCKET);
    if near.as_os_str().len() <= MAX_SOCKET_PATH {
        let _ = fs::remove_file(&near); // left by an earlier process
        return Ok(near);
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let base = runtime.filter(|base| base.is_dir()).unwrap_or_else(std::env::temp_dir);
    runtime_socket(&base, device)
}

fn runtime_socket(base: &Path, device: &Path) -> Result<PathBuf, EmulatorError> {
    let name = fnv1a(device.as_os_str().as_bytes());
    let directory = base.join(format!("strongroom-{name:016x}"));
    let socket = directory.join(SOCKET);
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(EmulatorError::SocketPath(socket.display().to_string()));
    }
    // Left by an earlier process. Another user's directory cannot be removed, and is not used.
    let _ = fs::remove_file(&socket);
    let _ = fs::remove_dir(&directory);
    DirBuilder::new().mode(0o700).create(&directory).map_err(|source| EmulatorError::Storage {
        path: directory.display().to_string(),
        source,
    })?;
    Ok(socket)
}

/// FNV-1a: a short name, the same for every run.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const FLASH: Flash = Flash { bytes: 3 << 20, erased: 0xFF };

    #[test]
    fn a_new_image_is_erased_and_an_old_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let device = directory.path().join("a/b");
        let storage = Storage::open(&device, "one", FLASH, &Contents::new()).unwrap();
        let image = fs::read(&storage.flash).unwrap();
        assert_eq!(image.len() as u64, FLASH.bytes);
        assert!(image.iter().all(|byte| *byte == 0xFF));
        assert_eq!(fs::metadata(&storage.flash).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&device).unwrap().mode() & 0o777, 0o700);
        fs::write(&storage.flash, vec![7; 3 << 20]).unwrap();
        drop(storage);
        let storage = Storage::open(&device, "one", FLASH, &Contents::new()).unwrap();
        assert_eq!(fs::read(&storage.flash).unwrap()[0], 7);
        fs::write(&storage.flash, [1, 2, 3]).unwrap();
        drop(storage);
        let error = Storage::open(&device, "one", FLASH, &Contents::new()).unwrap_err();
        assert!(matches!(error, EmulatorError::ImageSize { found: 3, .. }), "{error}");
    }

    #[test]
    fn an_image_belongs_to_one_board() {
        let directory = tempfile::tempdir().unwrap();
        let device = directory.path();
        assert_eq!(board_of(device).unwrap(), None);
        let image = Storage::open(device, "one", FLASH, &Contents::new()).unwrap().flash.clone();
        assert_eq!(board_of(device).unwrap().as_deref(), Some("one"));
        let error = Storage::open(device, "other", FLASH, &Contents::new()).unwrap_err();
        assert!(
            matches!(&error, EmulatorError::OtherBoard { found, wanted, .. }
                if found == "one" && wanted == "other"),
            "{error}"
        );
        drop(Storage::open(device, "one", FLASH, &Contents::new()).unwrap());
        // Without the image, the directory is that of a new device.
        fs::remove_file(image).unwrap();
        assert_eq!(board_of(device).unwrap().as_deref(), Some("one"));
        drop(Storage::open(device, "other", FLASH, &Contents::new()).unwrap());
        assert_eq!(board_of(device).unwrap().as_deref(), Some("other"));
        // As images were before there was a choice.
        fs::remove_file(device.join(BOARD)).unwrap();
        assert_eq!(board_of(device).unwrap(), None);
        drop(Storage::open(device, "one", FLASH, &Contents::new()).unwrap());
    }

    #[test]
    fn a_directory_is_used_once() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Storage::open(directory.path(), "one", FLASH, &Contents::new()).unwrap();
        let error = Storage::open(directory.path(), "one", FLASH, &Contents::new()).unwrap_err();
        assert!(matches!(error, EmulatorError::InUse { .. }), "{error}");
    }

    #[test]
    fn the_path_of_the_socket_is_short() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::open(directory.path(), "one", FLASH, &Contents::new()).unwrap();
        assert_eq!(storage.socket.parent(), storage.flash.parent());

        let long = directory.path().join("x".repeat(120));
        let storage = Storage::open(&long, "one", FLASH, &Contents::new()).unwrap();
        let (socket, parent) = (storage.socket.clone(), storage.socket.parent().unwrap());
        assert!(socket.as_os_str().len() <= MAX_SOCKET_PATH);
        assert_eq!(fs::metadata(parent).unwrap().mode() & 0o777, 0o700);
        let parent = parent.to_owned();
        drop(storage);
        assert!(!parent.exists());
        // As after SIGKILL: the socket and its directory are still there.
        fs::create_dir(&parent).unwrap();
        fs::write(&socket, "").unwrap();
        assert_eq!(Storage::open(&long, "one", FLASH, &Contents::new()).unwrap().socket, socket);

        let error = runtime_socket(&long, &long).unwrap_err();
        assert!(error.to_string().contains("XDG_RUNTIME_DIR"), "{error}");
    }
}
