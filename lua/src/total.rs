//! Which programs never raise an error, given what is known of their parameters.

use std::collections::BTreeSet;

use crate::native::{Action, Builtin, Code, Returned};

/// The fields of which it is known what they are, wherever an expression stands.
#[derive(Debug, Clone, Default)]
struct Known {
    numbers: BTreeSet<usize>,
    texts: BTreeSet<usize>,
}

/// Whether a program gives a result for every row in which these fields are strings. What needs a number or a string may also stand
/// behind a test that it is one.
pub(crate) fn never_raises(body: &[Action], texts: &BTreeSet<usize>) -> bool {
    goes_through(body, &Known { texts: texts.clone(), ..Known::default() })
}

fn goes_through(body: &[Action], known: &Known) -> bool {
    body.iter().all(|action| match action {
        Action::Set(_, code) => is_total(code, known),
        Action::If(arms, otherwise) => {
            arms.iter().all(|(condition, guarded)| is_total(condition, known) && goes_through(guarded, known))
                && goes_through(otherwise, known)
        }
        Action::Return(Returned::Values(values)) => values.iter().all(|value| is_total(value, known)),
        // Calls with several results match patterns, which may be too complex; what makes rows may run into a limit.
        Action::SetMany(..) | Action::Each(..) | Action::Give(_) | Action::Repeat(_) => false,
        Action::Return(Returned::Open(..) | Returned::Matches(..) | Returned::Items(_) | Returned::Made) => false,
    })
}

/// Whether an expression has a value.
fn is_total(code: &Code, known: &Known) -> bool {
    let both = |a: &Code, b: &Code| is_total(a, known) && is_total(b, known);
    match code {
        Code::Nil | Code::Bool(_) | Code::Number(_) | Code::Str(_) | Code::Field(_) | Code::Slot(_) => true,
        Code::Not(of) => is_total(of, known),
        // Values of any two kinds can be compared in this way.
        Code::Equal(a, b) | Code::Or(a, b) | Code::Coalesce(a, b) => both(a, b),
        Code::And(a, b) => is_total(a, known) && is_total(b, &known.where_true(a)),
        Code::Pick(parts) => {
            is_total(&parts[0], known) && is_total(&parts[1], &known.where_true(&parts[0])) && is_total(&parts[2], known)
        }
        Code::Less(a, b) | Code::LessOrEqual(a, b) => {
            is_number(a, known) && is_number(b, known) || is_text(a, known) && is_text(b, known)
        }
        Code::Arithmetic(..) | Code::Negate(_) => is_number(code, known),
        Code::Concat(_) | Code::Len(_) => is_text(code, known) || is_number(code, known),
        Code::Call(Builtin::Type | Builtin::ToString | Builtin::ToNumber, arguments) => {
            matches!(arguments.as_slice(), [one] if is_total(one, known))
        }
        Code::Call(..) => is_text(code, known) || is_number(code, known),
        Code::First(_) | Code::Next(..) => false,
    }
}

/// Whether an expression has a value, and that is a Lua number.
fn is_number(code: &Code, known: &Known) -> bool {
    match code {
        Code::Number(_) => true,
        Code::Field(field) => known.numbers.contains(field),
        Code::Arithmetic(_, a, b) => is_number(a, known) && is_number(b, known),
        Code::Negate(of) => is_number(of, known),
        Code::Len(of) => is_text(of, known),
        Code::Call(Builtin::Length, arguments) => matches!(arguments.as_slice(), [one] if is_text(one, known)),
        _ => false,
    }
}

/// Whether an expression has a value, and that is a string.
fn is_text(code: &Code, known: &Known) -> bool {
    match code {
        Code::Str(_) => true,
        Code::Field(field) => known.texts.contains(field),
        Code::Concat(parts) => parts.iter().all(|part| is_text(part, known)),
        Code::Call(Builtin::Lower | Builtin::Upper | Builtin::Reverse, arguments) => {
            matches!(arguments.as_slice(), [one] if is_text(one, known))
        }
        Code::Call(Builtin::Sub, arguments) => match arguments.as_slice() {
            [text, places @ ..] => is_text(text, known) && places.iter().all(|place| matches!(place, Code::Number(_))),
            [] => false,
        },
        _ => false,
    }
}

impl Known {
    /// What is known where a condition holds: `type(x) == "number"`, and more such behind `and`.
    fn where_true(&self, condition: &Code) -> Known {
        let mut known = self.clone();
        known.learn(condition);
        known
    }

    fn learn(&mut self, condition: &Code) {
        match condition {
            Code::And(a, b) => {
                self.learn(a);
                self.learn(b);
            }
            Code::Equal(a, b) => {
                let pair = match (a.as_ref(), b.as_ref()) {
                    (Code::Call(Builtin::Type, of), Code::Str(name)) | (Code::Str(name), Code::Call(Builtin::Type, of)) => {
                        Some((of.as_slice(), name.as_ref()))
                    }
                    _ => None,
                };
                match pair {
                    Some(([Code::Field(field)], b"number")) => drop(self.numbers.insert(*field)),
                    Some(([Code::Field(field)], b"string")) => drop(self.texts.insert(*field)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}
