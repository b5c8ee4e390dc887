//! What a function passes on: which of its results are parameters of it, as they came.

use crate::native::{Action, Code, Returned};

/// For each place of a function's results the parameter that stands there whatever it returns, if one does; as many places as it
/// always returns, if anything. `None`: it returns lists, matches or nothing at all.
pub(crate) fn kept(body: &[Action]) -> Option<Vec<Option<usize>>> {
    let mut found = None;
    look(body, &mut found)?;
    found
}

/// Compares all that a program may return; `None` where that cannot be said.
fn look(body: &[Action], found: &mut Option<Vec<Option<usize>>>) -> Option<()> {
    for action in body {
        match action {
            Action::Set(..) | Action::SetMany(..) => {}
            Action::Each(_, _, _, repeated) => look(repeated, found)?,
            Action::Give(_) | Action::Repeat(_) => return None,
            Action::If(arms, otherwise) => {
                arms.iter().try_for_each(|(_, guarded)| look(guarded, found))?;
                look(otherwise, found)?;
            }
            Action::Return(Returned::Values(values)) if values.is_empty() => {}
            Action::Return(Returned::Values(values)) => {
                let places = values.iter().map(|value| if let Code::Field(field) = value { Some(*field) } else { None });
                let places: Vec<Option<usize>> = places.collect();
                *found = Some(match found.take() {
                    None => places,
                    Some(before) => before.into_iter().zip(places).map(|(a, b)| a.filter(|_| a == b)).collect(),
                });
            }
            Action::Return(_) => return None,
        }
    }
    Some(())
}
