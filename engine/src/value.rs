//! Values: borrowed ([`Val`], what rows are made of on their way) and owned ([`Value`], for cold paths).

/// A value borrowed from a batch, a file's block or a function's result. Copying it copies no bytes.
///
/// Equality is representation equality (an integer 4 is not a float 4.0); the language's equality is the order of `key`.
#[derive(Clone, Copy, Debug, PartialEq)]
// A tag of eight bytes makes copies whole words: with a smaller one they go in pieces that wait for each other.
#[repr(u64)]
pub enum Val<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Bytes, mostly UTF-8 but never required to be.
    Str(&'a [u8]),
    /// The whole list as `codec` writes it, its header included.
    List(&'a [u8]),
    /// The whole map as `codec` writes it: pairs sorted by key in the total order, no key twice.
    Map(&'a [u8]),
}

/// An owned value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Vec<u8>),
    List(Vec<Value>),
    /// Sorted by key in the total order (`codec::write_value` sorts on writing).
    Map(Vec<(Value, Value)>),
}

impl Val<'_> {
    /// Lua's truth: all but nil and false.
    #[must_use]
    pub fn truthy(&self) -> bool {
        !matches!(self, Val::Nil | Val::Bool(false))
    }

    /// What the value is, in the words of messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Val::Nil => "nil",
            Val::Bool(_) => "bool",
            Val::Int(_) => "integer",
            Val::Float(_) => "float",
            Val::Str(_) => "string",
            Val::List(_) => "list",
            Val::Map(_) => "map",
        }
    }
}
