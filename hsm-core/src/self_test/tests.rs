//! Power-up, and each fault that it must find.

use std::vec::Vec;

use super::*;
use crate::algorithm::PORTABLE;

fn image() -> Vec<u8> {
    let mut image = std::vec![0x13; 100];
    let mac = image_mac(&image).unwrap();
    image.extend_from_slice(&mac);
    image
}

#[test]
fn power_up_passes_with_and_without_an_image() {
    assert_eq!(power_up(&[], PORTABLE), Ok(Passed { tests: 8, measurement: None }));
    assert_eq!(power_up(&image(), PORTABLE), Ok(passed()));
}

/// The integrity value as `xtask` makes it, and the measurement that others compute from an image.
#[test]
fn one_pass_gives_what_others_compute_of_an_image() {
    let image = image();
    let (covered, value) = image.split_last_chunk::<IMAGE_MAC_SIZE>().unwrap();
    let mac = hmac(b"strongroom-image-integrity-v1", &[&Sha256::digest(covered)]).unwrap();
    assert_eq!((mac, image_mac(covered)), (*value, Ok(*value)));
    assert_eq!(integrity_test(&image), Ok(Measurement(Sha256::digest(&image).into())));
}

/// What power-up finds with the image above.
fn passed() -> Passed {
    Passed { tests: 9, measurement: Some(Measurement(Sha256::digest(image()).into())) }
}

/// Power-up covers what the module uses itself, the algorithm's own test the rest.
#[test]
fn each_corrupted_answer_fails_the_test_that_has_it() {
    for kat in Kat::ALL {
        fault::inject(Some(*kat));
        let power_up = power_up(&image(), PORTABLE);
        let algorithms = PORTABLE.iter().try_for_each(|entry| entry.self_test());
        fault::inject(None);
        let failed = Err(ErrorCode::SELF_TEST_FAILED);
        match kat {
            Kat::Integrity => assert_eq!(power_up, Err(ErrorCode::INTEGRITY_FAILED)),
            Kat::Pairwise => assert_eq!(power_up, Ok(passed())), // tests new key pairs, not the module
            kat if Kat::POWER_UP.contains(kat) => assert_eq!(power_up.map(|_| ()), failed),
            kat => {
                assert_eq!(power_up, Ok(passed()), "{kat:?}");
                assert_eq!(algorithms, failed, "{kat:?}");
            }
        }
    }
}

#[test]
fn every_damaged_byte_of_the_image_is_found() {
    let image = image();
    for index in 0..image.len() {
        let mut bad = image.clone();
        bad[index] ^= 1;
        assert_eq!(integrity_test(&bad), Err(ErrorCode::INTEGRITY_FAILED), "byte {index}");
    }
    assert_eq!(power_up(&image[..31], PORTABLE), Err(ErrorCode::INTEGRITY_FAILED));
}
