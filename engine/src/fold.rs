//! What folds the values of a group pairwise: the seam between the combine table and Lua.

use crate::{Result, RowBuf, Val};

/// A fold function of a flow. Single-threaded; one per task and step.
pub trait Folder {
    /// Folds `row` into `acc` (the values of one group): the folded values are appended to `out`, which is empty.
    ///
    /// # Errors
    /// What the function raised, with step and row.
    fn fold(&mut self, acc: &[Val<'_>], row: &[Val<'_>], out: &mut RowBuf) -> Result<()>;

    /// One shortcut per value, where the function is known to do nothing else; for values that a shortcut does not
    /// cover (see [`Shortcut`]) and for rows of another width, `fold` is called all the same.
    fn shortcuts(&self) -> Option<&[Shortcut]>;
}

/// What a function does to value `x` of the accumulator and value `y` of the row, where both are *plain Lua numbers*:
/// floats, and integers within ±2^53. Results are normalised as Lua's are: an integral float within ±2^53 becomes an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// `x + y`.
    Add,
    /// The smaller one; a NaN on either side is not covered.
    Min,
    /// The larger one; a NaN on either side is not covered.
    Max,
}

/// The largest magnitude up to which integers and Lua numbers are the same thing.
const EXACT: i64 = 1 << 53;

/// A number as Lua hands it back: an integral one within ±2^53 is an integer.
#[inline]
#[must_use]
pub fn normalise(number: f64) -> Val<'static> {
    let integer = number as i64;
    if integer as f64 == number && (-EXACT..=EXACT).contains(&integer) { Val::Int(integer) } else { Val::Float(number) }
}

impl Shortcut {
    /// The folded value, or `None` where this pair is not covered.
    #[inline]
    #[must_use]
    pub fn apply(self, x: Val<'_>, y: Val<'_>) -> Option<Val<'static>> {
        if let (Shortcut::Add, Val::Int(x), Val::Int(y)) = (self, x, y)
            && let Some(sum) = x.checked_add(y)
            && is_exact(x)
            && is_exact(y)
            && is_exact(sum)
        {
            return Some(Val::Int(sum));
        }
        self.apply_floats(plain(x)?, plain(y)?)
    }

    fn apply_floats(self, x: f64, y: f64) -> Option<Val<'static>> {
        match self {
            Shortcut::Add => Some(normalise(x + y)),
            Shortcut::Min | Shortcut::Max if x.is_nan() || y.is_nan() => None,
            Shortcut::Min => Some(normalise(if y < x { y } else { x })),
            Shortcut::Max => Some(normalise(if y > x { y } else { x })),
        }
    }
}

fn is_exact(integer: i64) -> bool {
    (-EXACT..=EXACT).contains(&integer)
}

fn plain(value: Val<'_>) -> Option<f64> {
    match value {
        Val::Int(i) if is_exact(i) => Some(i as f64),
        Val::Float(f) => Some(f),
        Val::Nil | Val::Bool(_) | Val::Int(_) | Val::Str(_) | Val::List(_) | Val::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_what_lua_would_make_of_them() {
        let add = |x, y| Shortcut::Add.apply(x, y);
        assert_eq!(add(Val::Int(1), Val::Int(2)), Some(Val::Int(3)));
        assert_eq!(add(Val::Float(0.5), Val::Int(1)), Some(Val::Float(1.5)));
        assert_eq!(add(Val::Float(0.5), Val::Float(0.5)), Some(Val::Int(1)));
        assert_eq!(add(Val::Int(EXACT), Val::Int(-1)), Some(Val::Int(EXACT - 1)));
        assert_eq!(add(Val::Int(EXACT), Val::Int(EXACT)), Some(Val::Float(2.0 * EXACT as f64)));
        assert_eq!(add(Val::Int(EXACT + 1), Val::Int(1)), None);
        assert_eq!(add(Val::Str(b"1"), Val::Int(1)), None);
        assert_eq!(add(Val::Float(f64::INFINITY), Val::Int(1)), Some(Val::Float(f64::INFINITY)));
    }

    #[test]
    fn the_smaller_and_the_larger_of_two_numbers_are_found_across_kinds() {
        assert_eq!(Shortcut::Min.apply(Val::Int(3), Val::Float(2.5)), Some(Val::Float(2.5)));
        assert_eq!(Shortcut::Max.apply(Val::Int(3), Val::Float(2.5)), Some(Val::Int(3)));
        assert_eq!(Shortcut::Max.apply(Val::Int(3), Val::Float(4.0)), Some(Val::Int(4)));
        assert_eq!(Shortcut::Max.apply(Val::Int(3), Val::Float(f64::NAN)), None);
        assert_eq!(Shortcut::Min.apply(Val::Nil, Val::Int(3)), None);
    }
}
