//! The container alone.

use super::*;
use kms_base::hex;

const CHEAP: Cost = Cost { memory: 64, passes: 1, lanes: 1 };

fn passphrase() -> Passphrase {
    Passphrase::of_file(b"correct horse battery staple\n").unwrap()
}

fn sealed(content: &[u8], salt: u8) -> Vec<u8> {
    let begun = Sealer::begin_with(Vec::new(), Kind::Backup, &passphrase(), [salt; SALT], CHEAP);
    let mut sealer = begun.unwrap();
    sealer.write_all(content).unwrap();
    let (file, bytes, sum) = sealer.finish().unwrap();
    assert_eq!(bytes, file.len() as u64);
    assert_eq!(sum, <[u8; 32]>::from(Sha256::digest(&file)));
    file
}

/// So many bytes that do not repeat with the chunks.
fn content(length: usize) -> Vec<u8> {
    (0..251).cycle().take(length).collect()
}

fn opened(file: &[u8]) -> Result<Vec<u8>, BackupError> {
    let mut unsealer = Unsealer::begin(file, file.len() as u64, Kind::Backup, &passphrase())?;
    let mut content = Vec::new();
    unsealer.read_to_end(&mut content)?;
    assert!(unsealer.is_at_end());
    Ok(content)
}

fn checked(file: &[u8]) -> Result<[u8; 32], BackupError> {
    compare_checksum(file, file.len() as u64, Kind::Backup, &mut |_| {})
}

#[test]
fn what_goes_in_comes_out() {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7] {
        let content = content(length);
        let file = sealed(&content, 1);
        assert_eq!(opened(&file).unwrap(), content);
        assert_eq!(checked(&file).unwrap(), <[u8; 32]>::from(Sha256::digest(&file)));
    }
}

#[test]
fn no_bit_can_be_changed_and_no_byte_left_out() {
    let content = content(2 * CHUNK + 100);
    let file = sealed(&content, 2);
    let borders = [0, 19, 20, 51, 52, 63, 64, 95, 96, HEAD + CHUNK, HEAD + CHUNK + TAG];
    let end = file.len() - CHECKSUM;
    for at in borders.into_iter().chain([end - 1, end - TAG, end - TAG - 100]) {
        let mut altered = file.clone();
        altered[at] ^= 1;
        assert!(opened(&altered).is_err(), "byte {at}");
        assert!(checked(&altered).is_err(), "byte {at}");
    }
    let mut checksum = file.clone();
    *checksum.last_mut().unwrap() ^= 1;
    assert!(matches!(checked(&checksum), Err(BackupError::Incomplete)));
    for length in [0, 5, 20, HEAD, HEAD + 47, HEAD + CHUNK + TAG, end, file.len() - 1] {
        assert!(opened(&file[..length]).is_err(), "{length} bytes");
        assert!(checked(&file[..length]).is_err(), "{length} bytes");
    }
    let longer = [file.as_slice(), b"x"].concat();
    assert!(opened(&longer).is_err() && checked(&longer).is_err());
}

#[test]
fn chunks_keep_their_place_and_their_backup() {
    let chunk = CHUNK + TAG;
    let content = vec![7; 3 * CHUNK];
    let (one, other) = (sealed(&content, 3), sealed(&content, 4));
    let mut swapped = one.clone();
    swapped[HEAD..HEAD + 2 * chunk].rotate_left(chunk);
    assert!(opened(&swapped).is_err());
    let mut foreign = one.clone();
    foreign[HEAD..HEAD + chunk].copy_from_slice(&other[HEAD..HEAD + chunk]);
    assert!(opened(&foreign).is_err());
    // The last chunk is cut off cleanly, and a good checksum put behind.
    let mut shorter = one[..HEAD + 2 * chunk].to_vec();
    let checksum = Sha256::digest(&shorter);
    shorter.extend_from_slice(&checksum);
    assert!(checked(&shorter).is_ok(), "a checksum can be forged");
    assert!(opened(&shorter).is_err(), "what it covers can not");
}

#[test]
fn who_does_not_know_the_passphrase_is_told_so() {
    let file = sealed(b"secret", 5);
    let wrong = Passphrase::of_file(b"correct horse battery stable").unwrap();
    let refused = Unsealer::begin(&*file, file.len() as u64, Kind::Backup, &wrong).err().unwrap();
    assert!(matches!(refused, BackupError::WrongPassphrase), "{refused}");
    assert!(!file.windows(6).any(|bytes| bytes == b"secret"));
}

/// Neither as it is, nor with the other magic in its place.
#[test]
fn an_export_is_not_taken_for_a_backup() {
    let begun =
        Sealer::begin_with(Vec::new(), Kind::Export, &passphrase(), [8; SALT], CHEAP).unwrap();
    let (mut file, ..) = begun.finish().unwrap();
    assert!(matches!(opened(&file), Err(BackupError::NoBackup)));
    file[..MAGIC].copy_from_slice(Kind::Backup.magic());
    assert!(matches!(opened(&file), Err(BackupError::WrongPassphrase)));
}

#[test]
fn what_is_no_backup_costs_nothing() {
    let mut dear = sealed(b"x", 6);
    dear[52..56].copy_from_slice(&u32::MAX.to_be_bytes()); // 4 TiB
    assert!(matches!(opened(&dear), Err(BackupError::Altered(0))));
    assert!(matches!(opened(&[b'x'; 500]), Err(BackupError::NoBackup)));
    assert!(matches!(opened(b"x"), Err(BackupError::NoBackup)));
    let mut newer = sealed(b"x", 6);
    newer[18] = b'2';
    assert!(matches!(opened(&newer), Err(BackupError::Newer)));
}

/// Format 1, made by another implementation: argon2-cffi and the `cryptography` package of Python.
/// Add another for a new format; never change this one.
#[test]
fn golden_bytes() {
    let file = sealed(b"one chunk", 9);
    assert_eq!(hex::encode(&file), GOLDEN);
    assert_eq!(opened(&hex_bytes(GOLDEN)).unwrap(), b"one chunk");
}

fn hex_bytes(text: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(pair).collect()
}

const GOLDEN: &str = "5354524f4e47524f4f4d204241434b555020310a0909090909090909090909090909090909090909\
     0909090909090909090909090000004000000001000000015c9b015cc4d8fc5862cf82aa63c694d4\
     f2b750a1d07aaf6e33f5ae16c4813d61eb7cb13cb82fcea908f9d269393c5feef0e9a22a38a318cd\
     6f612b8f16c8948d82e87b3a0cc5e08fe7ea5bc996d08becf5739995982c93f0f2";
