//! Firmware image for the Raspberry Pi Pico 2 and other boards with an RP2350 and 4 MiB of flash.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

hsm_firmware::entry!(rp2350, run);
