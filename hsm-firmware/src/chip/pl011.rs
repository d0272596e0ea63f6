//! UART of Arm, PrimeCell PL011 (Technical Reference Manual, ARM DDI 0183), interrupt-driven.
//!
//! It holds 32 bytes in each direction. The receive interrupt moves bytes to a ring. When the ring is full the
//! interrupt is masked, bytes wait in the UART, and its RTS output asks the other end to wait as well; the
//! host's credit keeps that from happening.

use core::sync::atomic::{AtomicU32, Ordering};

use super::cortex_m;
use super::register::Register;
use super::ring::Ring;
use super::uart_port;

const DATA: usize = 0x00;
const FLAGS: usize = 0x18;
const BAUD_INTEGER: usize = 0x24;
const BAUD_FRACTION: usize = 0x28;
const LINE_CONTROL: usize = 0x2C;
const CTRL: usize = 0x30;
const FIFO_LEVELS: usize = 0x34;
/// Interrupts that are let through.
const MASK: usize = 0x38;

const FLAG_RECEIVE_EMPTY: u32 = 1 << 4;
const FLAG_TRANSMIT_FULL: u32 = 1 << 5;
/// Eight bits, no parity, one stop bit, and the FIFOs.
const LINE_8N1_FIFO: u32 = 0b11 << 5 | 1 << 4;
/// On, both directions, and RTS as the receive FIFO has room.
const CTRL_ENABLE: u32 = 1 << 0 | 1 << 8 | 1 << 9 | 1 << 14;
/// Interrupts when the receive FIFO is an eighth full (0 from bit 3 on), and when the transmit FIFO is down to a
/// half.
const LEVELS: u32 = 0b010;
const INTERRUPT_TRANSMIT: u32 = 1 << 5;
/// Received as many bytes as the level says, or fewer and nothing since.
const INTERRUPT_RECEIVE: u32 = 1 << 4 | 1 << 6;

/// A UART and its receive ring of `N` bytes, shared between main loop and interrupt handler.
pub struct Uart<const N: usize> {
    base: usize,
    ring: &'static Ring<N>,
    /// The interrupt mask, which is changed from both sides.
    mask: AtomicU32,
}

impl<const N: usize> Uart<N> {
    /// The UART at a base address, and its ring.
    ///
    /// # Safety
    /// `base` must be that of a PL011.
    #[must_use]
    pub const unsafe fn new(base: usize, ring: &'static Ring<N>) -> Self {
        Self { base, ring, mask: AtomicU32::new(0) }
    }

    /// Starts both directions at a rate in bits per second, given the UART's clock in Hz.
    pub fn start(&self, clock: u32, rate: u32) {
        let [whole, fraction] = divisors(clock, rate);
        self.register(BAUD_INTEGER).write(whole);
        self.register(BAUD_FRACTION).write(fraction);
        // The write to this register is what puts the divisors in force (3.3.7).
        self.register(LINE_CONTROL).write(LINE_8N1_FIFO);
        self.register(FIFO_LEVELS).write(LEVELS);
        self.register(CTRL).write(CTRL_ENABLE);
        self.mask(INTERRUPT_RECEIVE, 0);
    }

    /// Serves the UART's interrupts. Those of received bytes end when the bytes are read.
    pub fn interrupt(&self) {
        while self.register(FLAGS).read() & FLAG_RECEIVE_EMPTY == 0 {
            if self.ring.room() == 0 {
                self.mask(0, INTERRUPT_RECEIVE);
                break;
            }
            // There is room, and only this side puts.
            let _ = self.ring.put(self.register(DATA).read().to_le_bytes()[0]);
        }
        // Wanted once only, to wake the main loop.
        self.mask(0, INTERRUPT_TRANSMIT);
    }

    fn is_full(&self) -> bool {
        self.register(FLAGS).read() & FLAG_TRANSMIT_FULL != 0
    }

    fn mask(&self, set: u32, clear: u32) {
        cortex_m::without_interrupts(|| {
            let before = self.mask.load(Ordering::Relaxed);
            let after = (before | set) & !clear;
            if after != before {
                self.mask.store(after, Ordering::Relaxed);
                self.register(MASK).write(after);
            }
        });
    }

    fn register(&self, offset: usize) -> Register<u32> {
        // SAFETY: `new` was promised the base of a PL011; these offsets are its registers.
        unsafe { Register::new(self.base + offset) }
    }
}

/// Divisors of the clock for a rate, the second in 64ths (3.3.6).
const fn divisors(clock: u32, rate: u32) -> [u32; 2] {
    // 16 clocks to a bit: the divisor in 64ths, rounded, is clock * 64 / (16 * rate).
    let parts = (clock * 4 + rate / 2) / rate;
    [parts / 64, parts % 64]
}

// The manual's example: 4 MHz and 230400 bits per second are 1 and 5/64.
const _: () = assert!(matches!(divisors(4_000_000, 230_400), [1, 5]));

impl<const N: usize> uart_port::Uart for Uart<N> {
    fn receive(&self, out: &mut [u8]) -> usize {
        let count = self.ring.take(out);
        let masked = self.mask.load(Ordering::Relaxed) & INTERRUPT_RECEIVE == 0;
        if masked && self.ring.room() >= N / 2 {
            // What waits in the FIFO raises it again.
            self.mask(INTERRUPT_RECEIVE, 0);
        }
        count
    }

    fn transmit(&self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        for byte in bytes {
            if self.is_full() {
                // Raised by the FIFO's going down to its level, also if it has already.
                self.mask(INTERRUPT_TRANSMIT, 0);
                break;
            }
            self.register(DATA).write(u32::from(*byte));
            sent += 1;
        }
        sent
    }
}
