//! `onError` of operators that need fields of a row, or a form for it: rows that they cannot take are found before them.

use crds::step::ErrorPolicy;
use crds::{FieldRef, Operator, OrderField};
use plan::{Do, Fit, Op, Sink};

use super::{Current, Expansion, Made};
use crate::check::aside;
use crate::names::Names;

impl Expansion<'_> {
    /// Puts a check of its own before each input that a key or an order of the operator reaches into.
    pub(super) fn fit_keys(&mut self, current: &mut Current<'_>) {
        let fits: Vec<Option<Fit>> = current.inputs.iter().map(|input| keyed(current.operator, &input.names)).collect();
        self.fit(current, &fits);
    }

    /// The inputs of a write, without rows that have no line in its format.
    pub(super) fn fit_lines(&mut self, current: &Current<'_>, sink: &Sink) -> Vec<plan::CollectionId> {
        let mut current = Current { inputs: current.inputs.clone(), sides: Vec::new(), ..*current };
        let fits = vec![Some(Fit::Line(sink.clone())); current.inputs.len()];
        self.fit(&mut current, &fits);
        current.ids()
    }

    fn fit(&mut self, current: &mut Current<'_>, fits: &[Option<Fit>]) {
        if aside::policy(current.step) == ErrorPolicy::Fail || aside::refused(current.operator).is_some() {
            return;
        }
        let mut letters = Vec::new();
        for (at, fit) in fits.iter().enumerate() {
            let Some(fit) = fit else { continue };
            let input = current.inputs[at].clone();
            let one = Current { inputs: vec![input.clone()], sides: Vec::new(), ..*current };
            let id = self.one(&one, Op::ParallelDo(Do::Fit(fit.clone())), one.ids());
            if let Some(collection) = self.graph.collections.get_mut(&id) {
                collection.fields = input.names.complete();
                collection.ordered = input.ordered;
            }
            letters.extend(self.letters[current.index].take());
            current.inputs[at] = Made { id, ..input };
        }
        self.letters[current.index] = self.all_letters(current, letters);
    }

    /// The bad rows of all inputs together.
    fn all_letters(&mut self, current: &Current<'_>, mut letters: Vec<Made>) -> Option<Made> {
        if letters.len() < 2 {
            return letters.pop();
        }
        let names: Vec<Names> = letters.iter().map(|letters| letters.names.clone()).collect();
        let label = letters[0].label.clone();
        let ids = letters.iter().map(|letters| letters.id).collect();
        let id = self.node(current, Op::Flatten { ordered: false }, ids, std::slice::from_ref(&label))[0];
        Some(Made { label, ..current.made(id, Names::union(&names)) })
    }
}

/// How wide rows must be for the keys and orders of an operator; `None` where it has none, or where a field is not known.
fn keyed(operator: &Operator<'_>, names: &Names) -> Option<Fit> {
    let widest = |fields: &mut dyn Iterator<Item = &FieldRef>| {
        let columns: Option<Vec<u32>> = fields.map(|field| names.column(field).ok()).collect();
        columns?.into_iter().max().map(|column| Fit::Width(column + 1))
    };
    let by = |by: &[OrderField]| widest(&mut by.iter().map(|by| &by.field));
    match operator {
        Operator::GroupBy(group) => widest(&mut group.key.iter().chain(group.order_by.iter().map(|by| &by.field))),
        Operator::Distinct(keyed) | Operator::Count(keyed) => widest(&mut keyed.key.iter().flatten()),
        Operator::CoGroup(keyed) | Operator::Partition(keyed) => widest(&mut keyed.key.iter()),
        Operator::Join(join) => widest(&mut join.key.iter()),
        Operator::Sort(sort) => by(&sort.by),
        Operator::Top(top) => by(&top.by),
        Operator::Merge(merge) => by(&merge.by),
        _ => None,
    }
}
