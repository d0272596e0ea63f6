//! The code and constants of this program in memory, where the firmware runs in a process.

use core::ffi::c_void;
use core::ptr::with_exposed_provenance_mut;
use std::io;

use rustix::mm::{Advice, madvise, munlock};

/// Gives the pages of code and constants back to the operating system, which reads those that are needed again
/// from their files; unlocks them first, as they have no secrets. Most of a program is run once, when it starts.
/// Returns how many bytes were in memory. Pages that were written, as by a debugger, stay.
///
/// # Errors
/// Those of the operating system; the pages stay.
pub fn give_back() -> io::Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/smaps")?;
    let mut resident = 0;
    for mapping in mappings(&maps).filter(Mapping::is_of_file_and_unwritten) {
        let place = with_exposed_provenance_mut::<c_void>(mapping.begin);
        let length = mapping.end - mapping.begin;
        // SAFETY: the range is a private mapping of a file, may not be written, and no page of it was: whatever
        // is removed is read from the same file again.
        unsafe {
            munlock(place, length)?;
            madvise(place, length, Advice::LinuxDontNeed)?;
        }
        resident += mapping.resident << 10;
    }
    Ok(resident)
}

/// A mapping, as proc_pid_smaps(5) describes it.
#[derive(Debug, Default)]
struct Mapping<'a> {
    begin: usize,
    end: usize,
    permissions: &'a str,
    path: &'a str,
    /// Kilobytes in memory, and of those the ones that are no longer the file's.
    resident: usize,
    written: Option<usize>,
}

impl<'a> Mapping<'a> {
    /// Reads the line that a mapping begins with.
    fn begin(line: &'a str) -> Option<Self> {
        let (range, rest) = line.split_once(' ')?;
        let (begin, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let permissions = rest.split(' ').next()?;
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
        Some(Self {
            begin: number(begin)?,
            end: number(end)?,
            permissions,
            path,
            ..Self::default()
        })
    }

    fn is_of_file_and_unwritten(&self) -> bool {
        matches!(self.permissions, "r-xp" | "r--p")
            && !self.path.is_empty()
            && self.written == Some(0)
    }
}

fn mappings(maps: &str) -> impl Iterator<Item = Mapping<'_>> {
    let mut lines = maps.lines().peekable();
    core::iter::from_fn(move || {
        let mut mapping = lines.by_ref().find_map(Mapping::begin)?;
        while let Some(line) = lines.next_if(|line| Mapping::begin(line).is_none()) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value =
                value.trim().strip_suffix(" kB").and_then(|kilobytes| kilobytes.parse().ok());
            match (name, value) {
                ("Rss", Some(value)) => mapping.resident = value,
                ("Anonymous", value) => mapping.written = value,
                _ => {}
            }
        }
        Some(mapping)
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const MAPS: &str = "\
1000-2000 r--p 00000000 fe:00 7                   /usr/bin/kmsd
Rss:                   4 kB
Anonymous:             0 kB
2000-5000 r-xp 00001000 fe:00 7                   /usr/bin/kmsd
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
5000-6000 r-xp 00000000 00:00 0                   [vdso]
Anonymous:             0 kB
6000-7000 r--p 00004000 fe:00 7                   /usr/bin/kmsd
Rss:                   4 kB
Anonymous:             4 kB
7000-8000 rw-p 00004000 fe:00 7                   /usr/bin/kmsd
Anonymous:             0 kB
8000-9000 r--s 00004000 fe:00 7                   /var/lib/table
Anonymous:             0 kB
9000-a000 r--p 00004000 fe:00 7                   /usr/lib/libc.so.6
Rss:                   4 kB
";

    #[test]
    fn only_what_is_as_in_its_file_is_given_back() {
        let found: Vec<_> = mappings(MAPS).filter(Mapping::is_of_file_and_unwritten).collect();
        let ranges: Vec<_> = found.iter().map(|it| (it.begin, it.end, it.resident)).collect();
        assert_eq!(ranges, [(0x1000, 0x2000, 4), (0x2000, 0x5000, 8)]);
        assert_eq!(mappings(MAPS).count(), 7);
        assert_eq!(mappings("").count(), 0);
    }

    #[test]
    fn what_was_given_back_runs_again() {
        let resident = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            mappings(&maps).filter(Mapping::is_of_file_and_unwritten).map(|it| it.resident).sum()
        };
        let before: usize = resident();
        assert!(give_back().unwrap() > 0);
        let after: usize = resident();
        assert!(after < before, "{after} of {before} kB are left");
    }
}
