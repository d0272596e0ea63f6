//! UART of Arm's Cortex-M System Design Kit (CMSDK), interrupt-driven.
//!
//! It holds one byte in each direction. The receive interrupt moves bytes to a ring. When the ring
//! is full the interrupt is masked and bytes wait on the line; the host's credit keeps that from
//! happening, and a source of entropy has no use for more.

use core::sync::atomic::{AtomicU32, Ordering};

use super::cortex_m;
use super::register::Register;
use super::ring::Ring;
use super::uart_port;

const DATA: usize = 0x00;
const STATE: usize = 0x04;
const CTRL: usize = 0x08;
/// Interrupt status; a written 1 clears.
const INTERRUPTS: usize = 0x0C;
const BAUD_DIVISOR: usize = 0x10;

const STATE_TRANSMIT_FULL: u32 = 1 << 0;
const STATE_RECEIVE_FULL: u32 = 1 << 1;
const CTRL_ENABLE: u32 = 0b11;
const CTRL_TRANSMIT_INTERRUPT: u32 = 1 << 2;
const CTRL_RECEIVE_INTERRUPT: u32 = 1 << 3;
const TRANSMITTED: u32 = 1 << 0;
const RECEIVED: u32 = 1 << 1;

/// Smallest divisor that the UART works with.
const FASTEST: u32 = 16;

/// A UART and its receive ring of `N` bytes, shared between main loop and interrupt handler.
pub struct Uart<const N: usize> {
    base: usize,
    ring: &'static Ring<N>,
    /// The control register, which is changed from both sides.
    control: AtomicU32,
}

impl<const N: usize> Uart<N> {
    /// The UART at a base address, and its ring.
    ///
    /// # Safety
    /// `base` must be that of a CMSDK UART.
    #[must_use]
    pub const unsafe fn new(base: usize, ring: &'static Ring<N>) -> Self {
        Self { base, ring, control: AtomicU32::new(0) }
    }

    /// Sets the highest rate and enables both directions and the receive interrupt.
    pub fn start(&self) {
        self.register(BAUD_DIVISOR).write(FASTEST);
        self.control(CTRL_ENABLE | CTRL_RECEIVE_INTERRUPT, 0);
    }

    /// Serves the UART's interrupts.
    pub fn interrupt(&self) {
        // Before the byte is read: the next one may raise it again at once.
        self.register(INTERRUPTS).write(RECEIVED | TRANSMITTED);
        while self.register(STATE).read() & STATE_RECEIVE_FULL != 0 {
            if self.ring.room() == 0 {
                self.control(0, CTRL_RECEIVE_INTERRUPT);
                break;
            }
            // There is room, and only this side puts.
            let _ = self.ring.put(self.register(DATA).read().to_le_bytes()[0]);
        }
        // Wanted once only, to wake the main loop.
        self.control(0, CTRL_TRANSMIT_INTERRUPT);
    }

    fn is_full(&self) -> bool {
        self.register(STATE).read() & STATE_TRANSMIT_FULL != 0
    }

    fn control(&self, set: u32, clear: u32) {
        cortex_m::without_interrupts(|| {
            let before = self.control.load(Ordering::Relaxed);
            let after = (before | set) & !clear;
            if after != before {
                self.control.store(after, Ordering::Relaxed);
                self.register(CTRL).write(after);
            }
        });
    }

    fn register(&self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised the base of a CMSDK UART; these offsets are its registers.
        unsafe { Register::new(self.base + offset) }
    }
}

impl<const N: usize> uart_port::Uart for Uart<N> {
    fn receive(&self, out: &mut [u8]) -> usize {
        let count = self.ring.take(out);
        let masked = self.control.load(Ordering::Relaxed) & CTRL_RECEIVE_INTERRUPT == 0;
        if masked && self.ring.room() >= N / 2 {
            self.control(CTRL_RECEIVE_INTERRUPT, 0);
            // The byte that has waited raises no interrupt any more.
            cortex_m::without_interrupts(|| self.interrupt());
        }
        count
    }

    fn transmit(&self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        for byte in bytes {
            if self.is_full() {
                self.control(CTRL_TRANSMIT_INTERRUPT, 0);
                // Only what becomes empty from here on raises the interrupt.
                if self.is_full() {
                    break;
                }
            }
            self.register(DATA).write(u32::from(*byte));
            sent += 1;
        }
        sent
    }
}
