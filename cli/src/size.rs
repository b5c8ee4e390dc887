//! Numbers of bytes as people read them. (How they write them is [`crds::Quantity`].)

use std::fmt;

/// A number of bytes, shown with one decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = match self.0 {
            0..1_024 => return write!(f, "{} B", self.0),
            1_024..1_048_576 => ("KiB", 1u64 << 10),
            1_048_576..1_073_741_824 => ("MiB", 1 << 20),
            1_073_741_824..1_099_511_627_776 => ("GiB", 1 << 30),
            1_099_511_627_776.. => ("TiB", 1 << 40),
        };
        #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let shown = self.0 as f64 / factor as f64;
        write!(f, "{shown:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_for_people() {
        let shown = [0, 1023, 1024, 1_572_864, 5 << 30, 3 << 40].map(|bytes| ByteSize(bytes).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB", "3.0 TiB"]);
    }
}
