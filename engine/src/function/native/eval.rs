//! Lua's expressions over borrowed values. `None` everywhere means: not covered, ask Lua.

use std::cell::Cell;

use bumpalo::Bump;
use lua::native::{Action, Arithmetic, Code, Many, Returned};
use lua::pattern::Pattern;

use super::made::{self, Made};
use super::number::{self, exact, number};
use super::{captured, library};
use crate::Val;
use crate::function::cells::{self, MAX_EXACT};

/// So many texts are joined at once.
const FEW: usize = 6;

/// A row, the variables of the function that runs over it, and where made strings live.
pub(in crate::function) struct Frame<'a, 's> {
    row: &'a [Val<'a>],
    slots: &'s [Cell<Val<'a>>],
    pub(super) arena: &'a Bump,
    /// Where the rows go that it makes on its way.
    pub(super) made: Option<&'s Made<'a>>,
}

/// How a function ends.
pub(in crate::function) enum Exit<'c> {
    /// Falling off its end returns nothing.
    Return(Option<&'c Returned>),
    Uncovered,
}

/// Runs a function's body up to a return, whose values are still to be computed.
#[inline]
pub(in crate::function) fn run<'a>(body: &'a [Action], frame: &Frame<'a, '_>) -> Exit<'a> {
    // Most functions are one return.
    if let [Action::Return(returned)] = body {
        return Exit::Return(Some(returned));
    }
    match actions(body, frame) {
        Some(returned) => Exit::Return(returned),
        None => Exit::Uncovered,
    }
}

/// `Some(None)`: the actions are through, and the function goes on.
pub(super) fn actions<'a>(body: &'a [Action], frame: &Frame<'a, '_>) -> Option<Option<&'a Returned>> {
    for action in body {
        match action {
            Action::Return(returned) => return Some(Some(returned)),
            Action::Set(slot, code) => frame.slots[*slot].set(frame.value(code)?),
            Action::SetMany(slots, many) => {
                let mut values = bumpalo::collections::Vec::with_capacity_in(slots.len(), frame.arena);
                frame.many(many, &mut values)?;
                for (at, slot) in slots.iter().enumerate() {
                    frame.slots[*slot].set(values.get(at).copied().unwrap_or(Val::Nil));
                }
            }
            Action::Each(variables, text, pattern, block) => {
                if let Some(returned) = made::each(variables, (text, pattern), block, frame)? {
                    return Some(Some(returned));
                }
            }
            Action::Give(row) => {
                if !made::give(row, frame)? {
                    return Some(Some(&Returned::Made));
                }
            }
            Action::Repeat(block) => made::repeat(block, frame)?,
            Action::If(arms, otherwise) => {
                let mut taken = otherwise;
                for (condition, block) in arms {
                    if frame.truth(condition)? {
                        taken = block;
                        break;
                    }
                }
                if let Some(returned) = actions(taken, frame)? {
                    return Some(Some(returned));
                }
            }
        }
    }
    Some(None)
}

impl<'a, 's> Frame<'a, 's> {
    /// A frame over a row; all of its borrows shrink to the shortest one's life.
    pub(in crate::function) fn new(row: &'a [Val<'a>], slots: &'s mut [Val<'a>], arena: &'a Bump) -> Frame<'a, 's> {
        Frame { row, slots: Cell::from_mut(slots).as_slice_of_cells(), arena, made: None }
    }

    /// The same for a function that makes rows.
    pub(super) fn making(row: &'a [Val<'a>], slots: &'s mut [Val<'a>], arena: &'a Bump, made: &'s Made<'a>) -> Frame<'a, 's> {
        Frame { made: Some(made), ..Frame::new(row, slots, arena) }
    }

    pub(super) fn row(&self) -> &'a [Val<'a>] {
        self.row
    }

    /// A value as a field of a row: numbers as Lua gives them back. Lists and maps are a parameter's, and stay as they are.
    #[inline]
    pub(super) fn field(&self, code: &'a Code) -> Option<Val<'a>> {
        Some(as_field(self.value(code)?))
    }

    /// Appends a value as a field; most are copied, and are not worth to be handed around.
    #[inline]
    pub(super) fn push_field(&self, code: &'a Code, row: &mut Vec<Val<'a>>) -> Option<()> {
        match code {
            Code::Field(at) => match self.row.get(*at) {
                Some(Val::Str(text)) => row.push(Val::Str(text)),
                Some(Val::Int(integer)) => row.push(Val::Int(*integer)),
                Some(other) => row.push(as_field(*other)),
                None => row.push(Val::Nil),
            },
            Code::Number(n) => row.push(cells::number(*n)),
            Code::Str(text) => row.push(Val::Str(text)),
            _ => row.push(self.field(code)?),
        }
        Some(())
    }

    /// All values that are returned, as fields.
    pub(in crate::function) fn fields(&self, returned: &'a Returned, row: &mut Vec<Val<'a>>) -> Option<()> {
        let (codes, many) = match returned {
            Returned::Values(codes) => (codes, None),
            Returned::Open(codes, many) => (codes, Some(many)),
            Returned::Matches(..) | Returned::Items(_) | Returned::Made => return None,
        };
        for code in codes {
            self.push_field(code, row)?;
        }
        many.map_or(Some(()), |many| self.push_fields(many, row))
    }

    /// Appends all results of a call as fields.
    pub(super) fn push_fields(&self, many: &'a Many, row: &mut Vec<Val<'a>>) -> Option<()> {
        let from = row.len();
        self.many(many, row)?;
        for value in &mut row[from..] {
            *value = as_field(*value);
        }
        Some(())
    }

    /// The value of an expression.
    pub(super) fn value(&self, code: &'a Code) -> Option<Val<'a>> {
        Some(match code {
            Code::Field(at) => self.row.get(*at).copied().unwrap_or(Val::Nil),
            Code::Slot(slot) => self.slots[*slot].get(),
            Code::Number(n) => Val::Float(*n),
            Code::Str(text) => Val::Str(text),
            Code::Nil => Val::Nil,
            Code::Bool(b) => Val::Bool(*b),
            Code::Not(inner) => Val::Bool(!self.value(inner)?.truthy()),
            Code::Negate(_) | Code::Arithmetic(..) => Val::Float(self.number(code)?),
            Code::Len(inner) => match self.value(inner)? {
                Val::Str(text) => Val::Int(text.len() as i64),
                _ => return None,
            },
            Code::Equal(left, right) => Val::Bool(equal(self.simple(left)?, self.simple(right)?)?),
            Code::Less(left, right) => Val::Bool(self.compare(left, right, |a, b| a < b, |a, b| a < b)?),
            Code::LessOrEqual(left, right) => Val::Bool(self.compare(left, right, |a, b| a <= b, |a, b| a <= b)?),
            Code::And(left, right) => {
                let left = self.value(left)?;
                if left.truthy() { self.value(right)? } else { left }
            }
            Code::Or(left, right) => {
                let left = self.value(left)?;
                if left.truthy() { left } else { self.value(right)? }
            }
            Code::Coalesce(left, right) => match self.value(left)? {
                Val::Nil => self.value(right)?,
                left => left,
            },
            Code::Pick(parts) => {
                let [condition, then, otherwise] = &**parts;
                self.value(if self.value(condition)?.truthy() { then } else { otherwise })?
            }
            Code::Concat(parts) => self.concat(parts)?,
            Code::Call(builtin, arguments) => library::call(*builtin, arguments, self)?,
            Code::First(many) => self.first(many)?,
            Code::Next(text, at, pattern) => self.next((*text, *at), pattern)?,
        })
    }

    /// A value that most often is a field or a constant, for which no call is needed.
    #[inline]
    fn simple(&self, code: &'a Code) -> Option<Val<'a>> {
        match code {
            Code::Field(at) => Some(self.row.get(*at).copied().unwrap_or(Val::Nil)),
            Code::Number(n) => Some(Val::Float(*n)),
            Code::Str(text) => Some(Val::Str(text)),
            _ => self.value(code),
        }
    }

    /// The number that an expression is: nested ones come back in registers.
    fn number(&self, code: &'a Code) -> Option<f64> {
        match code {
            Code::Number(n) => Some(*n),
            Code::Negate(inner) => Some(-self.number(inner)?),
            Code::Arithmetic(operator, left, right) => arithmetic(*operator, self.number(left)?, self.number(right)?),
            Code::Field(_) => number(self.simple(code)?),
            _ => number(self.value(code)?),
        }
    }

    /// Whether an expression is true.
    #[inline]
    pub(super) fn truth(&self, code: &'a Code) -> Option<bool> {
        match code {
            Code::Less(left, right) => self.compare(left, right, |a, b| a < b, |a, b| a < b),
            Code::LessOrEqual(left, right) => self.compare(left, right, |a, b| a <= b, |a, b| a <= b),
            Code::And(left, right) => Some(self.truth_of(left)? && self.truth_of(right)?),
            Code::Or(left, right) => Some(self.truth_of(left)? || self.truth_of(right)?),
            _ => Some(self.value(code)?.truthy()),
        }
    }

    /// The same, for what is nested.
    fn truth_of(&self, code: &'a Code) -> Option<bool> {
        self.truth(code)
    }

    #[inline]
    fn compare(
        &self,
        left: &'a Code,
        right: &'a Code,
        numbers: impl Fn(f64, f64) -> bool,
        texts: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Option<bool> {
        match (self.simple(left)?, self.simple(right)?) {
            (Val::Str(a), Val::Str(b)) => Some(texts(a, b)),
            (a, b) => Some(numbers(number(a)?, number(b)?)),
        }
    }

    /// The next match in the text of a variable, from where another one says.
    fn next(&self, (text, at): (usize, usize), pattern: &Pattern) -> Option<Val<'a>> {
        let (Val::Str(text), from) = (self.slots[text].get(), number(self.slots[at].get())?) else { return None };
        let Some((start, end)) = made::next_match(text, from as usize, pattern) else { return Some(Val::Nil) };
        // An empty match is left by one byte.
        self.slots[at].set(Val::Int(if end == start { end + 1 } else { end } as i64));
        Some(Val::Str(&text[start..end]))
    }

    pub(super) fn set(&self, slot: usize, value: Val<'a>) {
        self.slots[slot].set(value);
    }

    fn concat(&self, parts: &'a [Code]) -> Option<Val<'a>> {
        if let Some(joined) = self.concat_texts(parts) {
            return joined;
        }
        let mut text = bumpalo::collections::Vec::new_in(self.arena);
        for part in parts {
            match self.value(part)? {
                Val::Str(piece) => text.extend_from_slice(piece),
                value => number::write(number(value)?, &mut text)?,
            }
        }
        Some(Val::Str(text.into_bump_slice()))
    }

    /// The same for a few texts, whose place is made at once; `None` if that is not what they are.
    fn concat_texts(&self, parts: &'a [Code]) -> Option<Option<Val<'a>>> {
        let mut pieces: [&[u8]; FEW] = [&[]; FEW];
        if parts.len() > FEW {
            return None;
        }
        for (piece, part) in pieces.iter_mut().zip(parts) {
            match self.simple(part) {
                Some(Val::Str(text)) => *piece = text,
                Some(_) => return None,
                None => return Some(None),
            }
        }
        let len = pieces.iter().map(|piece| piece.len()).sum();
        let mut text = bumpalo::collections::Vec::with_capacity_in(len, self.arena);
        pieces.iter().for_each(|piece| text.extend_from_slice_copy(piece));
        Some(Some(Val::Str(text.into_bump_slice())))
    }

    /// The first result of a call, nil where it has none.
    pub(super) fn first(&self, many: &'a Many) -> Option<Val<'a>> {
        Some(match many {
            Many::Match(text, pattern) => {
                let text = self.text(text)?;
                pattern.find(text, 0).map_or(Val::Nil, |found| captured(text, found.captures()[0]))
            }
            Many::Find(text, pattern) => {
                pattern.find(self.text(text)?, 0).map_or(Val::Nil, |found| Val::Int(found.start as i64 + 1))
            }
            Many::Replace(text, pattern, by) => Val::Str(library::replace(self.text(text)?, pattern, by, self.arena).0),
        })
    }

    /// All results of a call.
    fn many(&self, many: &'a Many, results: &mut impl Extend<Val<'a>>) -> Option<()> {
        match many {
            Many::Match(text, pattern) => {
                let text = self.text(text)?;
                match pattern.find(text, 0) {
                    Some(found) => results.extend(found.captures().iter().map(|capture| captured(text, *capture))),
                    None => results.extend([Val::Nil]),
                }
            }
            Many::Find(text, pattern) => {
                let text = self.text(text)?;
                let Some(found) = pattern.find(text, 0) else {
                    results.extend([Val::Nil]);
                    return Some(());
                };
                results.extend([Val::Int(found.start as i64 + 1), Val::Int(found.end as i64)]);
                if pattern.has_captures() {
                    results.extend(found.captures().iter().map(|capture| captured(text, *capture)));
                }
            }
            Many::Replace(text, pattern, by) => {
                let (text, count) = library::replace(self.text(text)?, pattern, by, self.arena);
                results.extend([Val::Str(text), Val::Int(count)]);
            }
        }
        Some(())
    }

    pub(super) fn text(&self, code: &'a Code) -> Option<&'a [u8]> {
        match self.value(code)? {
            Val::Str(text) => Some(text),
            _ => None,
        }
    }
}

#[inline]
fn as_field(value: Val<'_>) -> Val<'_> {
    match value {
        Val::Float(n) => cells::number(n),
        Val::List(_) | Val::Map(_) | Val::Nil | Val::Bool(_) | Val::Int(_) | Val::Str(_) => value,
    }
}

fn equal(a: Val<'_>, b: Val<'_>) -> Option<bool> {
    Some(match (a, b) {
        (Val::Str(a), Val::Str(b)) => a == b,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Nil, Val::Nil) => true,
        (Val::Int(_) | Val::Float(_), Val::Int(_) | Val::Float(_)) => number(a)? == number(b)?,
        // Two tables may be one, and an int64_t has its own mind.
        (Val::List(_) | Val::Map(_), Val::List(_) | Val::Map(_)) => return None,
        (Val::Int(i), _) | (_, Val::Int(i)) if !exact(i) => return None,
        _ => false,
    })
}

#[inline]
fn arithmetic(operator: Arithmetic, a: f64, b: f64) -> Option<f64> {
    Some(match operator {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Modulo => a - floor(a / b) * b,
        Arithmetic::Power => return number::power(a, b),
    })
}

/// The largest integer that is not above a number; by hand, as not every processor has an instruction for it.
#[inline]
fn floor(n: f64) -> f64 {
    if n.abs() >= MAX_EXACT as f64 || n.is_nan() {
        return n.floor();
    }
    let whole = n as i64 as f64;
    // A negative zero stays what it is.
    if whole == n {
        n
    } else if whole > n {
        whole - 1.0
    } else {
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_are_those_of_the_library() {
        let mut numbers = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MIN_POSITIVE, f64::MAX, 5e-324];
        for exponent in 0..1023 {
            let power = 2_f64.powi(exponent);
            numbers.extend([power, power - 0.5, power + 0.5, power - 1.0, power * 1.37, 1.0 / power]);
        }
        for n in numbers.iter().flat_map(|n| [*n, -*n]) {
            assert_eq!(floor(n).to_bits(), n.floor().to_bits(), "{n:?}");
        }
    }
}
