//! What is left of secrets in the memory of a process, read as a debugger would.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::prelude::Engine;
use memchr::memmem::Finder;

/// Bytes of a secret that are looked for in one piece: what is left of it need not be whole.
const PIECE: usize = 12;
/// Bytes of memory that are read at a time.
const CHUNK: usize = 4 << 20;

/// Something to look for, in each form in which it may be there.
pub struct Secret {
    name: String,
    pieces: Vec<(&'static str, Finder<'static>)>,
}

impl Secret {
    /// Bytes: as they are, in Base64 wherever they begin in it, and in hexadecimal.
    ///
    /// # Panics
    /// If there are fewer than twelve bytes: such are found by chance.
    #[must_use]
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        assert!(bytes.len() >= PIECE, "{name} is too short");
        let mut pieces = cut("in clear", bytes);
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
fn cut(form: &'static str, bytes: &[u8]) -> Vec<(&'static str, Finder<'static>)> {
    let pieces = bytes.chunks(PIECE).filter(|piece| piece.len() == PIECE);
    pieces.map(|piece| (form, Finder::new(piece).into_owned())).collect()
}

/// Where pieces of secrets were found: the mapping and the forms, by the secret's name.
pub type Found = BTreeMap<String, Vec<String>>;

/// Looks for secrets in all memory of a process that it can read itself.
///
/// # Panics
/// If the memory cannot be read: this takes root, or being the process's parent where that is
/// allowed.
#[must_use]
pub fn search(process: u32, secrets: &[Secret]) -> Found {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("the process runs");
    let memory = File::open(format!("/proc/{process}/mem")).expect("root may read memory");
    let overlap = 2 * PIECE;
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
        let (mut at, end) = (parse(begin), parse(end));
        while at < end {
            let length = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            let Ok(length) = memory.read_at(&mut buffer[..length], at) else {
                break; // unmapped since, or the end of a file
            };
            bytes_read += length;
            for secret in secrets {
                for (form, finder) in &secret.pieces {
                    for place in finder.find_iter(&buffer[..length]) {
                        let address = at + place as u64;
                        let place = format!("{form} at {address:x} in {name}");
                        found.entry(secret.name.clone()).or_default().push(place);
                    }
                }
            }
            let step = if length > overlap { length - overlap } else { length };
            at += if at + length as u64 == end { length } else { step } as u64;
        }
    }
    assert!(bytes_read > 1 << 20, "{bytes_read} bytes of memory are not all there is");
    found
}
