//! NS16550A UART, interrupt-driven.
//!
//! The receive interrupt moves bytes to a ring. When the ring is full the interrupt is masked and
//! bytes wait in the UART and on the line; the host's credit keeps that from happening.

use core::sync::atomic::{AtomicU8, Ordering};

use super::hart;
use super::register::Register;
use super::ring::Ring;
use super::uart_port;

/// Bytes of the receive ring, as many as the device announces in `rx_bytes`.
pub const RING: usize = 64 * 1024;

const DATA: usize = 0; // receive and transmit; divisor low byte while DLAB is set
const IER: usize = 1; // interrupt enable; divisor high byte while DLAB is set
const FCR: usize = 2; // FIFO control
const LCR: usize = 3; // line control
const MCR: usize = 4; // modem control
const LSR: usize = 5; // line status

const IER_RECEIVE: u8 = 1 << 0;
const IER_TRANSMIT_EMPTY: u8 = 1 << 1;
const FCR_ENABLE_AND_CLEAR: u8 = 0b111;
const FCR_TRIGGER_14: u8 = 0b11 << 6;
const LCR_8N1: u8 = 0b11;
const LCR_DLAB: u8 = 1 << 7;
const MCR_DTR_RTS_OUT2: u8 = 0b1011; // OUT2 gates the interrupt on PC boards
const LSR_DATA_READY: u8 = 1 << 0;
const LSR_TRANSMIT_EMPTY: u8 = 1 << 5;
const FIFO: usize = 16;

/// A UART and its receive ring, shared between main loop and interrupt handler.
pub struct Uart {
    base: usize,
    ring: &'static Ring<RING>,
    /// The interrupt enable register, which is changed from both sides.
    enabled: AtomicU8,
}

impl Uart {
    /// The UART at a base address, registers one byte apart, and its ring.
    ///
    /// # Safety
    /// `base` must be that of an NS16550A.
    #[must_use]
    pub const unsafe fn new(base: usize, ring: &'static Ring<RING>) -> Self {
        Self { base, ring, enabled: AtomicU8::new(0) }
    }

    /// Sets 8N1 at the highest rate, clears the FIFOs and enables the receive interrupt.
    pub fn start(&self) {
        self.register(LCR).write(LCR_DLAB);
        self.register(DATA).write(1); // divisor 1: the receive timeout is four characters long
        self.register(IER).write(0);
        self.register(LCR).write(LCR_8N1);
        // Until the FIFOs are on the UART holds one byte and stops the line (or overruns). That one is
        // lost: reading it here would let in another, to be lost as well.
        self.register(FCR).write(FCR_ENABLE_AND_CLEAR | FCR_TRIGGER_14);
        self.register(MCR).write(MCR_DTR_RTS_OUT2);
        self.enable(IER_RECEIVE, 0);
    }

    /// Serves the UART's interrupt.
    pub fn interrupt(&self) {
        while self.register(LSR).read() & LSR_DATA_READY != 0 {
            if self.ring.room() == 0 {
                self.enable(0, IER_RECEIVE);
                break;
            }
            // There is room, and only this side puts.
            let _ = self.ring.put(self.register(DATA).read());
        }
        // Wanted once only, to wake the main loop.
        self.enable(0, IER_TRANSMIT_EMPTY);
    }

    fn enable(&self, set: u8, clear: u8) {
        hart::without_interrupts(|| {
            let before = self.enabled.load(Ordering::Relaxed);
            let after = (before | set) & !clear;
            if after != before {
                self.enabled.store(after, Ordering::Relaxed);
                self.register(IER).write(after);
            }
        });
    }

    fn register(&self, offset: usize) -> Register<u8> {
        // SAFETY: `new` was promised the base of an NS16550A; these offsets are its registers.
        unsafe { Register::new(self.base + offset) }
    }
}

impl uart_port::Uart for Uart {
    fn receive(&self, out: &mut [u8]) -> usize {
        let count = self.ring.take(out);
        if self.enabled.load(Ordering::Relaxed) & IER_RECEIVE == 0 && self.ring.room() >= RING / 2 {
            self.enable(IER_RECEIVE, 0);
        }
        count
    }

    fn transmit(&self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        for chunk in bytes.chunks(FIFO) {
            if self.register(LSR).read() & LSR_TRANSMIT_EMPTY == 0 {
                self.enable(IER_TRANSMIT_EMPTY, 0);
                break;
            }
            for byte in chunk {
                self.register(DATA).write(*byte);
            }
            sent += chunk.len();
        }
        sent
    }
}
