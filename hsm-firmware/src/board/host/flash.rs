//! A flash chip that is a file, or memory.
//!
//! The file is the chip: what a program or an erasure changed is on the disk when it returns. The
//! cells obey the rules of NOR flash.

use std::cell::RefCell;
use std::format;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

use crate::nv::Geometry;

const WORD: usize = 4;
const BLOCK: u32 = 4096;
/// How the records use the flash: all of it.
pub(super) const GEOMETRY: Geometry = Geometry { start: 0, segment: 16 * BLOCK, segments: 4 };
const SIZE: usize = (GEOMETRY.segment * GEOMETRY.segments) as usize;
const ERASED: u8 = 0xFF;

/// Where a device's flash is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FlashImage {
    /// A file of 256 KiB, made if it does not exist. One device at a time can have it.
    File(PathBuf),
    /// Memory: the device is a new one each time.
    Memory,
}

impl FlashImage {
    pub(super) fn open(&self) -> io::Result<Flash> {
        match self {
            Self::Memory => Ok(Flash { file: None, cells: vec![ERASED; SIZE] }),
            Self::File(path) => Flash::open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("flash image {}: {error}", path.display()))
            }),
        }
    }
}

/// The chip.
pub(super) struct Flash {
    file: Option<File>,
    /// What the file holds.
    cells: Vec<u8>,
}

impl Flash {
    fn open(path: &Path) -> io::Result<Self> {
        let file = match open_existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_erased(path)?;
                open_existing(path)?
            }
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = "another device is running on it";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut cells = Vec::with_capacity(SIZE);
        (&file).take(SIZE as u64 + 1).read_to_end(&mut cells)?;
        if cells.len() != SIZE {
            let message = format!(
                "it must have {SIZE} bytes, so it is damaged; put it back from a backup, or move it away to begin \
                 with a fresh device, which has none of its keys"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self { file: Some(file), cells })
    }

    /// Changes cells, on the disk first.
    fn store(&mut self, offset: usize, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let cells = self
            .cells
            .get_mut(offset..offset + bytes.len())
            .ok_or(NorFlashErrorKind::OutOfBounds)?;
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(offset as u64))
                .and_then(|_| file.write_all(bytes))
                .and_then(|()| file.sync_data())
                .map_err(|_| NorFlashErrorKind::Other)?;
        }
        cells.copy_from_slice(bytes);
        Ok(())
    }
}

fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Makes an image of erased flash: whole on the disk before it has its name.
fn create_erased(path: &Path) -> io::Result<()> {
    let unnamed = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unnamed)?;
    file.write_all(&vec![ERASED; SIZE])?;
    file.sync_all()?;
    fs::rename(&unnamed, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(directory) => sync_directory(directory),
        None => sync_directory(Path::new(".")),
    }
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(()) // the rename is durable by itself
}

/// The chip, which outlives a reset of the device on it.
#[derive(Clone)]
pub(super) struct SharedFlash(Rc<RefCell<Flash>>);

impl SharedFlash {
    pub(super) fn new(flash: Flash) -> Self {
        Self(Rc::new(RefCell::new(flash)))
    }
}

impl ErrorType for SharedFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for SharedFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let offset = offset as usize;
        let flash = self.0.borrow();
        let cells = flash.cells.get(offset..offset + bytes.len());
        bytes.copy_from_slice(cells.ok_or(NorFlashErrorKind::OutOfBounds)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        SIZE
    }
}

impl NorFlash for SharedFlash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = BLOCK as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.0.borrow_mut().store(from as usize, &vec![ERASED; (to - from) as usize])
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let mut flash = self.0.borrow_mut();
        let old = flash.cells.get(offset as usize..).unwrap_or_default();
        if old.iter().zip(bytes).any(|(old, new)| old & new != *new) {
            return Err(NorFlashErrorKind::Other); // programming sets no bit
        }
        flash.store(offset as usize, bytes)
    }
}
