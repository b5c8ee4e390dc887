//! What the generator knows of a collection: enough to write only flows that run, and run to one result.

/// The most rows that any collection of a generated flow may have.
pub(super) const MOST_ROWS: u64 = 20_000;
/// Sums stay below this, so that no integer loses digits in Lua.
pub(super) const MOST_VALUE: u64 = 1 << 50;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Integers of at most this size.
    Int(u64),
    /// Integers and floats with quarters, of at most this size: their sums are exact.
    Number(u64),
    /// Strings without tabs and line ends.
    Text,
    /// Nil, bools, numbers (4 beside 4.0), strings.
    Scalar,
    /// Anything, lists too.
    Any,
}

impl Kind {
    /// Whether a Lua list of such values has no holes and only one form for each.
    pub(super) fn plain(self) -> bool {
        matches!(self, Kind::Int(_) | Kind::Text)
    }

    /// Whether two values can be folded in any order to one result.
    pub(super) fn folds(self) -> bool {
        matches!(self, Kind::Int(_) | Kind::Number(_) | Kind::Text)
    }

    pub(super) fn is_list(self) -> bool {
        self == Kind::Any
    }

    /// A kind that covers both.
    pub(super) fn or(self, other: Kind) -> Kind {
        match (self, other) {
            (Kind::Int(a), Kind::Int(b)) => Kind::Int(a.max(b)),
            (Kind::Int(a) | Kind::Number(a), Kind::Int(b) | Kind::Number(b)) => Kind::Number(a.max(b)),
            (Kind::Text, Kind::Text) => Kind::Text,
            (Kind::Any, _) | (_, Kind::Any) => Kind::Any,
            _ => Kind::Scalar,
        }
    }

    /// What it becomes where it may be missing.
    pub(super) fn or_nil(self) -> Kind {
        self.or(if self == Kind::Any { Kind::Any } else { Kind::Scalar })
    }
}

/// A collection as the generator sees it.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// The columns that every row has.
    pub(super) columns: Vec<Kind>,
    /// Whether no row has more.
    pub(super) exact: bool,
    /// Names, where steps may use them.
    pub(super) names: Option<Vec<String>>,
    pub(super) ordered: bool,
    /// Whether the first column is a key of its own for each row.
    pub(super) unique: bool,
    /// At most so many rows.
    pub(super) rows: u64,
}

impl Shape {
    /// An unordered, unnamed collection of rows of one width.
    pub(super) fn of(columns: Vec<Kind>, rows: u64) -> Shape {
        Shape { columns, exact: true, names: None, ordered: false, unique: false, rows }
    }

    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Other columns, otherwise what a row by row function leaves of it.
    pub(super) fn mapped(&self, columns: Vec<Kind>) -> Shape {
        Shape { columns, exact: true, names: None, ordered: self.ordered, unique: false, rows: self.rows }
    }

    pub(super) fn shuffled(&self) -> Shape {
        Shape { ordered: false, ..self.clone() }
    }

    /// Columns (0-based) that satisfy a condition.
    pub(super) fn columns_where(&self, condition: impl Fn(Kind) -> bool) -> Vec<usize> {
        (0..self.width()).filter(|at| condition(self.columns[*at])).collect()
    }

    /// The columns that are not in the key.
    pub(super) fn rest(&self, key: &[usize]) -> Vec<usize> {
        (0..self.width()).filter(|at| !key.contains(at)).collect()
    }

    /// A kind that covers column by column what both have; as wide as the narrower one.
    pub(super) fn or(&self, other: &Shape) -> Shape {
        let columns = self.columns.iter().zip(&other.columns).map(|(a, b)| a.or(*b)).collect();
        Shape {
            columns,
            exact: self.exact && other.exact && self.width() == other.width(),
            names: None,
            ordered: self.ordered && other.ordered,
            unique: false,
            rows: self.rows + other.rows,
        }
    }
}
