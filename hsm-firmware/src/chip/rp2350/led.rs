//! The light of the board, which shows what the device is doing. A PWM makes it dim or has it blink, so that no
//! code has to (12.5).

/// What there is to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// The firmware starts: full light.
    Starting,
    /// It waits for a host: dim.
    Serving,
    /// It works: full light.
    Working,
    /// The module has failed, or has been zeroised: blinks nine times a second.
    Failed,
}

impl Shown {
    /// What to show of a module that has failed or not, and waits or not.
    #[must_use]
    pub const fn of(failed: bool, waits: bool) -> Self {
        match (failed, waits) {
            (true, _) => Self::Failed,
            (false, true) => Self::Serving,
            (false, false) => Self::Working,
        }
    }

    /// The counter's clock divisor in 16ths, its last value, and for how many counts of a round the light is on.
    const fn pulse(self) -> [u32; 3] {
        match self {
            Self::Starting | Self::Working => [16, 999, 1000],
            Self::Serving => [16, 999, 50],
            // 150 MHz, divided by 255 and 65536.
            Self::Failed => [255 * 16, 0xFFFF, 0x8000],
        }
    }
}

/// The light at output B of a PWM channel.
#[cfg(target_arch = "arm")]
#[derive(Debug)]
pub(super) struct Led {
    channel: usize,
}

#[cfg(target_arch = "arm")]
impl Led {
    /// The light at the channel whose registers are at an address.
    ///
    /// # Safety
    /// `channel` must be that address, and the pin of output B drive the light.
    pub(super) const unsafe fn new(channel: usize) -> Self {
        Self { channel }
    }

    /// Shows something.
    pub(super) fn show(&self, what: Shown) {
        const CONTROL: usize = 0x00;
        const DIVISOR: usize = 0x04;
        const COUNTER: usize = 0x08;
        const LEVELS: usize = 0x0C;
        const LAST: usize = 0x10;
        let [divisor, last, level] = what.pulse();
        let write = |offset: usize, value| super::register(self.channel + offset).write(value);
        // A level takes effect in the next round, and a round of blinking is long.
        if super::register(self.channel + LAST).read() != last {
            write(DIVISOR, divisor);
            write(LAST, last);
            write(COUNTER, 0);
        }
        write(LEVELS, level << 16);
        write(CONTROL, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_whatever_else_happens() {
        assert_eq!(Shown::of(true, true), Shown::Failed);
        assert_eq!(Shown::of(true, false), Shown::Failed);
        assert_eq!(Shown::of(false, true), Shown::Serving);
        assert_eq!(Shown::of(false, false), Shown::Working);
    }

    #[test]
    fn each_looks_different_and_fits_its_registers() {
        let light = |shown: Shown| {
            let [divisor, last, level] = shown.pulse();
            assert!((16..4096).contains(&divisor) && last <= 0xFFFF && level <= 0xFFFF);
            // Rounds a second, and percent of the light.
            (150_000_000 * 16 / divisor / (last + 1), 100 * level / (last + 1))
        };
        assert_eq!(light(Shown::Starting), (150_000, 100));
        assert_eq!(light(Shown::Working), (150_000, 100));
        assert_eq!(light(Shown::Serving), (150_000, 5));
        let (hertz, percent) = light(Shown::Failed);
        assert!((1..=10).contains(&hertz) && percent == 50);
    }
}
