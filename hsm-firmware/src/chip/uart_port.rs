//! The main loop's side of a UART.

use crate::serve::Port;

/// A UART that interrupts serve.
pub trait Uart {
    /// Moves received bytes to the start of `out`; returns how many.
    fn receive(&self, out: &mut [u8]) -> usize;
    /// Gives the transmitter as much of `bytes` as it takes, and asks for an interrupt if not all; returns
    /// how many.
    fn transmit(&self, bytes: &[u8]) -> usize;
}

/// The port of a UART.
pub struct UartPort<U: 'static> {
    uart: &'static U,
    /// Received bytes from `start` to `end`.
    staged: [u8; 256],
    start: usize,
    end: usize,
}

impl<U: 'static> UartPort<U> {
    /// The port of a started UART.
    #[must_use]
    pub const fn new(uart: &'static U) -> Self {
        Self { uart, staged: [0; 256], start: 0, end: 0 }
    }
}

impl<U: Uart + 'static> Port for UartPort<U> {
    fn received(&mut self) -> &[u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = self.uart.receive(&mut self.staged);
        }
        self.staged.get(self.start..self.end).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        self.uart.transmit(bytes)
    }
}
