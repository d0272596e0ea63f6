//! Files of the log that is being written. Tests see every step that a power cut can take back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[cfg(test)]
pub(super) mod trace;

/// An open file. What is written to it is durable once it was synced.
#[derive(Debug)]
pub(super) struct DiskFile {
    file: File,
    #[cfg(test)]
    trace: Option<trace::TracedFile>,
}

impl DiskFile {
    /// Takes over `file`, which is at `path`.
    pub(super) fn new(file: File, path: &Path) -> Self {
        #[cfg(not(test))]
        let _ = path;
        Self {
            file,
            #[cfg(test)]
            trace: trace::of(path),
        }
    }

    /// A second handle to the same file.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            #[cfg(test)]
            trace: self.trace.clone(),
        })
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some(trace) = &self.trace {
            return trace.write(offset, bytes, || self.file.write_all_at(bytes, offset));
        }
        self.file.write_all_at(bytes, offset)
    }

    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some(trace) = &self.trace {
            return trace.set_len(length, || self.file.set_len(length));
        }
        self.file.set_len(length)
    }

    /// Makes durable what was written, and what is needed to read it.
    pub(super) fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(trace) = &self.trace {
            return trace.sync(|| self.file.sync_data());
        }
        self.file.sync_data()
    }

    /// The same, with times and all else that the file system keeps.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(trace) = &self.trace {
            return trace.sync(|| self.file.sync_all());
        }
        self.file.sync_all()
    }
}
