//! Power-up, and each fault that it must find.

use std::vec::Vec;

use super::*;

fn image() -> Vec<u8> {
    let mut image = std::vec![0x13; 100];
    let mac = image_mac(&image).unwrap();
    image.extend_from_slice(&mac);
    image
}

#[test]
fn power_up_passes_with_and_without_an_image() {
    assert_eq!(power_up(&[]), Ok(6));
    assert_eq!(power_up(&image()), Ok(7));
}

#[test]
fn each_corrupted_answer_fails_power_up() {
    for &kat in Kat::ALL {
        fault::inject(Some(kat));
        let result = power_up(&image());
        fault::inject(None);
        let expected = match kat {
            Kat::Integrity => Err(ErrorCode::INTEGRITY_FAILED),
            _ if Kat::POWER_UP.contains(&kat) => Err(ErrorCode::SELF_TEST_FAILED),
            _ => Ok(7), // tests an algorithm before its first use
        };
        assert_eq!(result, expected, "{kat:?}");
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
    assert_eq!(power_up(&image[..31]), Err(ErrorCode::INTEGRITY_FAILED));
}
