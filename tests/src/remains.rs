//! What is left of secrets in the memory of a process, read as a debugger would.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::prelude::Engine;

/// Bytes of a secret that are looked for in one piece: what is left of it need not be whole.
const PIECE: usize = 12;
/// Bytes of memory that are read at a time, and bytes that may be all zero.
const CHUNK: usize = 4 << 20;
const PAGE: usize = 4096;

/// Something to look for, in each form in which it may be there.
pub struct Secret {
    name: String,
    pieces: Vec<([u8; PIECE], String)>,
}

impl Secret {
    /// Bytes: as they are, in Base64 wherever they begin in it, and in hexadecimal.
    ///
    /// # Panics
    /// If there are fewer than twelve bytes: such are found by chance.
    #[must_use]
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        assert!(bytes.len() >= PIECE, "{name} is too short");
        let mut pieces = cut("in the clear", bytes);
        for lead in 0..3_usize {
            let text = STANDARD_NO_PAD.encode([&vec![0; lead], bytes].concat());
            // The first and the last characters have bits of what stands beside the bytes.
            let sure = &text.as_bytes()[(lead * 8).div_ceil(6)..(lead + bytes.len()) * 8 / 6];
            pieces.extend(cut("as Base64", sure));
        }
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        pieces.extend(cut("as hexadecimal", hex.as_bytes()));
        Self { name: name.to_owned(), pieces }
    }
}

/// Pieces of which at least one is whole in what is left, if that is twice as long.
fn cut(form: &str, bytes: &[u8]) -> Vec<([u8; PIECE], String)> {
    let (pieces, _) = bytes.as_chunks::<PIECE>();
    let numbered = pieces.iter().enumerate();
    numbered.map(|(number, piece)| (*piece, format!("{form}, from {}", number * PIECE))).collect()
}

/// Where pieces of secrets were found, by the secret's name.
pub type Found = BTreeMap<String, Vec<String>>;

/// Looks for secrets in all memory of a process that it can read itself.
///
/// # Panics
/// If the memory cannot be read, which takes root.
#[must_use]
pub fn search(process: u32, secrets: &[Secret]) -> Found {
    let wanted = Wanted::new(secrets);
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("the process runs");
    let memory = File::open(format!("/proc/{process}/mem")).expect("root may read memory");
    let mut found = Found::new();
    let mut buffer = vec![0; CHUNK];
    let mut bytes_read = 0;
    for map in maps.lines() {
        let mut fields = map.split_whitespace();
        let (range, rights) = (fields.next().expect("a range"), fields.next().expect("rights"));
        let name = fields.nth(3).unwrap_or("anonymous memory");
        if !rights.starts_with('r') || name.starts_with("[v") {
            continue; // what the kernel maps for clocks
        }
        let (begin, end) = range.split_once('-').expect("two ends");
        let parse = |text| u64::from_str_radix(text, 16).expect("an address");
        let (begin, end) = (parse(begin), parse(end));
        let mut at = begin;
        while at < end {
            let length = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            let Ok(length) = memory.read_at(&mut buffer[..length], at) else {
                break; // unmapped since, or the end of a file
            };
            bytes_read += length;
            wanted.find_in(&buffer[..length], |place, secret, form| {
                let offset = at - begin + place as u64;
                let place = format!("{form}, at {offset} of {} in {name}", end - begin);
                found.entry(secret.to_owned()).or_default().push(place);
            });
            // A piece may lie across two chunks.
            at += length.saturating_sub(PIECE - 1).max(1) as u64;
            if length < PIECE {
                break;
            }
        }
    }
    assert!(bytes_read > 1 << 20, "{bytes_read} bytes of memory are not all there is");
    found
}

/// Looks for secrets in bytes, such as a file, which are called `name`.
#[must_use]
pub fn search_bytes(name: &str, bytes: &[u8], secrets: &[Secret]) -> Found {
    let mut found = Found::new();
    Wanted::new(secrets).find_in(bytes, |place, secret, form| {
        let place = format!("{form}, at {place} in {name}");
        found.entry(secret.to_owned()).or_default().push(place);
    });
    found
}

/// All files below a directory.
///
/// # Panics
/// If a directory cannot be read.
#[must_use]
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let below = |path: PathBuf| match path.symlink_metadata().expect("it is there").file_type() {
        kind if kind.is_dir() => files(&path),
        kind if kind.is_file() => vec![path],
        _ => Vec::new(),
    };
    paths.flat_map(below).collect()
}

/// All pieces of all secrets, to be found in one pass.
struct Wanted<'s> {
    pieces: HashMap<&'s [u8; PIECE], Vec<(&'s str, &'s str)>>,
    /// A bit for what three bytes a piece may begin with.
    begins: Vec<u64>,
}

impl<'s> Wanted<'s> {
    fn new(secrets: &'s [Secret]) -> Self {
        let mut wanted = Self { pieces: HashMap::new(), begins: vec![0; 1 << 18] };
        for secret in secrets {
            for (piece, form) in &secret.pieces {
                let begin = begin(piece);
                wanted.begins[begin >> 6] |= 1 << (begin & 63);
                wanted.pieces.entry(piece).or_default().push((&secret.name, form));
            }
        }
        wanted
    }

    fn find_in(&self, memory: &[u8], mut each: impl FnMut(usize, &str, &str)) {
        const ZEROS: [u8; PAGE + PIECE] = [0; PAGE + PIECE];
        let mut page = 0;
        while page < memory.len() {
            let end = (page + PAGE + PIECE - 1).min(memory.len());
            let bytes = &memory[page..end];
            if bytes != &ZEROS[..bytes.len()] {
                for place in 0..bytes.len().saturating_sub(PIECE - 1).min(PAGE) {
                    let begin = begin(&bytes[place..]);
                    if self.begins[begin >> 6] >> (begin & 63) & 1 == 0 {
                        continue;
                    }
                    let piece = bytes[place..].first_chunk::<PIECE>().expect("within the page");
                    for (secret, form) in self.pieces.get(piece).into_iter().flatten() {
                        each(page + place, secret, form);
                    }
                }
            }
            page += PAGE;
        }
    }
}

fn begin(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2])
}
