//! A noise source that sends its samples over a UART, one byte each, as long as somebody reads.

use super::cmsdk_timer::{Alarm, Clock};
use super::cmsdk_uart::Uart;
use super::cortex_m;
use super::uart_port::Uart as _;

/// The source does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoAnswer;

/// Microseconds without a byte until the source counts as dead.
const PATIENCE_US: u64 = 2_000_000;
/// Ticks between two looks at the clock.
const TICK: u32 = 2_500_000;

/// The source at the other end of a started UART.
pub struct UartNoise<const N: usize> {
    uart: &'static Uart<N>,
    clock: &'static Clock,
    alarm: &'static Alarm,
}

impl<const N: usize> UartNoise<N> {
    /// The source; clock and alarm limit how long it is waited for.
    #[must_use]
    pub const fn new(uart: &'static Uart<N>, clock: &'static Clock, alarm: &'static Alarm) -> Self {
        Self { uart, clock, alarm }
    }

    /// Fills `out` with the next samples.
    ///
    /// # Errors
    /// [`NoAnswer`] if no byte comes for two seconds.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<(), NoAnswer> {
        self.alarm.start(TICK);
        let result = self.receive(out);
        self.alarm.stop();
        result
    }

    fn receive(&mut self, out: &mut [u8]) -> Result<(), NoAnswer> {
        let mut rest = out;
        let mut last = self.clock.now_us();
        while !rest.is_empty() {
            let count = self.uart.receive(rest);
            if count > 0 {
                rest = rest.get_mut(count..).unwrap_or_default();
                last = self.clock.now_us();
            } else if self.clock.now_us().saturating_sub(last) > PATIENCE_US {
                return Err(NoAnswer);
            } else {
                cortex_m::wait();
            }
        }
        Ok(())
    }
}
