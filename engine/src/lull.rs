//! When rows that are gathered have waited for long enough: those of a slow source must not wait for as many as would be worth it.

use std::time::{Duration, Instant};

/// Rows that wait for longer than this are passed on.
const LONGEST: Duration = Duration::from_millis(50);

/// Rows that are gathered. The clock is looked at for few of them: the first, second, fourth, eighth and so on.
#[derive(Debug, Default)]
pub(crate) struct Lull {
    rows: u32,
    begun: Option<Instant>,
}

impl Lull {
    /// Counts a row; whether the first one has waited for long.
    #[inline]
    pub(crate) fn is_over(&mut self) -> bool {
        self.rows = self.rows.wrapping_add(1);
        self.rows.is_power_of_two() && self.begun.get_or_insert_with(Instant::now).elapsed() > LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_source_is_noticed_with_its_second_row() {
        let mut lull = Lull::default();
        assert!(!lull.is_over());
        lull.begun = lull.begun.and_then(|begun| begun.checked_sub(LONGEST * 2));
        assert!(lull.is_over());
        assert!(!lull.is_over(), "the third row");
        assert!(lull.is_over());
    }
}
