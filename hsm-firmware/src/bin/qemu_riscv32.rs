//! Firmware image for QEMU's riscv32 `virt` machine.
#![no_std]
#![no_main]
#![allow(unsafe_code)]

hsm_firmware::entry!(qemu_riscv32, run);
