//! Firmware image for Arm's MPS2 board with the AN386 image, and for QEMU's machine of that name.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

hsm_firmware::entry!(mps2_an386, run);
