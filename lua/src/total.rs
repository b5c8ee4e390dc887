//! Which programs never raise an error, whatever values they are given.

use std::collections::BTreeSet;

use crate::native::{Action, Builtin, Code, Returned};

/// Whether a program gives a result for every row. What needs a number may stand behind a test that it is one.
pub(crate) fn never_raises(body: &[Action]) -> bool {
    body.iter().all(|action| match action {
        Action::Set(_, code) => is_total(code, &BTreeSet::new()),
        Action::If(arms, otherwise) => {
            arms.iter().all(|(condition, guarded)| is_total(condition, &BTreeSet::new()) && never_raises(guarded))
                && never_raises(otherwise)
        }
        Action::Return(Returned::Values(values)) => values.iter().all(|value| is_total(value, &BTreeSet::new())),
        // Calls with several results want strings; what makes rows may run into a limit.
        Action::SetMany(..) | Action::Each(..) | Action::Give(_) | Action::Repeat(_) => false,
        Action::Return(Returned::Open(..) | Returned::Matches(..) | Returned::Items(_) | Returned::Made) => false,
    })
}

/// Whether an expression has a value, given the fields that are numbers.
fn is_total(code: &Code, numbers: &BTreeSet<usize>) -> bool {
    let both = |a: &Code, b: &Code| is_total(a, numbers) && is_total(b, numbers);
    match code {
        Code::Nil | Code::Bool(_) | Code::Number(_) | Code::Str(_) | Code::Field(_) | Code::Slot(_) => true,
        Code::Not(of) => is_total(of, numbers),
        // Values of any two kinds can be compared in this way.
        Code::Equal(a, b) | Code::Or(a, b) | Code::Coalesce(a, b) => both(a, b),
        Code::And(a, b) => {
            let mut then = numbers.clone();
            proves_number(a, &mut then);
            is_total(a, numbers) && is_total(b, &then)
        }
        Code::Pick(parts) => {
            let mut then = numbers.clone();
            proves_number(&parts[0], &mut then);
            is_total(&parts[0], numbers) && is_total(&parts[1], &then) && is_total(&parts[2], numbers)
        }
        Code::Less(a, b) | Code::LessOrEqual(a, b) | Code::Arithmetic(_, a, b) => is_number(a, numbers) && is_number(b, numbers),
        Code::Negate(of) => is_number(of, numbers),
        Code::Call(Builtin::Type | Builtin::ToString | Builtin::ToNumber, arguments) => {
            arguments.len() == 1 && is_total(&arguments[0], numbers)
        }
        Code::Call(..) | Code::Len(_) | Code::Concat(_) | Code::First(_) | Code::Next(..) => false,
    }
}

/// Whether an expression has a value, and that is a Lua number.
fn is_number(code: &Code, numbers: &BTreeSet<usize>) -> bool {
    match code {
        Code::Number(_) => true,
        Code::Field(field) => numbers.contains(field),
        Code::Arithmetic(_, a, b) => is_number(a, numbers) && is_number(b, numbers),
        Code::Negate(of) => is_number(of, numbers),
        _ => false,
    }
}

/// Adds the fields that are numbers where a condition holds: `type(x) == "number"`, and more such behind `and`.
fn proves_number(condition: &Code, numbers: &mut BTreeSet<usize>) {
    match condition {
        Code::And(a, b) => {
            proves_number(a, numbers);
            proves_number(b, numbers);
        }
        Code::Equal(a, b) => {
            let pair = match (a.as_ref(), b.as_ref()) {
                (Code::Call(Builtin::Type, of), Code::Str(name)) | (Code::Str(name), Code::Call(Builtin::Type, of)) => {
                    Some((of, name))
                }
                _ => None,
            };
            if let Some(([Code::Field(field)], b"number")) = pair.map(|(of, name)| (of.as_slice(), name.as_ref())) {
                numbers.insert(*field);
            }
        }
        _ => {}
    }
}
