//! Firmware image for the Raspberry Pi Pico, a board with an RP2040.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

hsm_firmware::entry!(rp2040, run);
