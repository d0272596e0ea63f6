//! hsm-firmware
#![no_std]
