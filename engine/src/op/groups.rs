//! The groups of a hash aggregation, and the forms in which their accumulators travel.

use plan::{Key, Values};

use super::Allowance;
use super::accumulator::{Arena, Cell, Fold, Item, Method};
use super::combine::{Partials, Results};
use super::sorted_run::{RowOrder, RunWriter, SortedRun};
use super::table::{Entry, KeyTable, Pick, Probe};
use crate::{Error, Result, RowScratch, Val, codec, key};

/// How a group travels from the map side to the reduce side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As a whole row, from which the key is taken again.
    Whole,
    /// Key fields, then the accumulator.
    Flat,
    /// Key fields, then a value per fold: an integer or a list.
    Packed,
}

/// Groups by key with an accumulator per fold.
#[derive(Debug)]
pub(super) struct Groups {
    key: Key,
    values: Values,
    form: Form,
    /// Empty for a set of whole rows: those are their keys.
    folds: Vec<Fold>,
    table: KeyTable<Cell>,
    /// The cells of groups that have more than one.
    cells: Vec<Cell>,
    cells_per_group: usize,
    arena: Arena,
    probe: Probe,
    scratch: RowScratch,
    encoded: Vec<u8>,
    grown: bool,
}

/// How many groups of merged runs are handed out at once.
const BLOCK: usize = 4096;

/// What is pushed: a row's values, or accumulators in one of two forms.
#[derive(Clone, Copy)]
enum Input<'r> {
    Raw(&'r [Val<'r>]),
    Flat(&'r [Val<'r>]),
    Packed(&'r [Val<'r>]),
}

impl Groups {
    pub(super) fn new(key: Key, values: Values, methods: Vec<Method>) -> Groups {
        let form = match (&methods[..], &key) {
            ([Method::Smallest], _) => Form::Whole,
            ([_], Key::Columns(_)) => Form::Flat,
            _ => Form::Packed,
        };
        let set = form == Form::Whole && key == Key::Row;
        let (mut folds, mut cells) = (Vec::new(), 0);
        for method in methods.into_iter().filter(|_| !set) {
            let fold = Fold::new(method, cells);
            cells += fold.cells;
            folds.push(fold);
        }
        Groups {
            key,
            values,
            form,
            folds,
            table: KeyTable::new(if set { Pick::Row } else { Pick::Fields }),
            cells: Vec::new(),
            cells_per_group: cells,
            arena: Arena::default(),
            probe: Probe::default(),
            scratch: RowScratch::default(),
            encoded: Vec::new(),
            grown: false,
        }
    }

    /// Folds a row in.
    #[inline]
    pub(super) fn push_raw(&mut self, row: &[Val<'_>], allowance: &Allowance) -> Result<()> {
        self.probe.set_key(row, &self.key).map_err(|error| allowance.no_column(row, error))?;
        match (self.values, &self.key) {
            (Values::Row, Key::Columns(_)) => self.absorb(|groups, out| groups.write_key(row, out), Input::Raw(row)),
            (_, Key::Row) => {
                let values = if self.values == Values::Row { row } else { &[] };
                self.absorb(|_, out| codec::write_row(out, row), Input::Raw(values))
            }
            (Values::Rest, Key::Columns(columns)) if leads(columns) => {
                let (fields, values) = row.split_at(columns.len());
                self.absorb(|_, out| codec::write_row(out, fields), Input::Raw(values))
            }
            (Values::Rest, Key::Columns(columns)) => {
                let mut values = self.scratch.take();
                values.extend(rest(row, columns));
                let absorbed = self.absorb(|groups, out| groups.write_key(row, out), Input::Raw(&values));
                self.scratch.give(values);
                absorbed
            }
        }
    }

    /// Hands out, behind `tag`, the partial row that a table with this row alone would hand out.
    pub(super) fn pass(
        &mut self,
        tag: &[Val<'static>],
        row: &[Val<'_>],
        allowance: &Allowance,
        out: &mut Partials<'_>,
    ) -> Result<()> {
        self.probe.set_key(row, &self.key).map_err(|error| allowance.no_column(row, error))?;
        let hash = self.probe.hash;
        if tag.is_empty() && self.is_alike() {
            return out(hash, row);
        }
        let mut encoded = std::mem::take(&mut self.encoded);
        let mut partial = self.scratch.take();
        partial.extend_from_slice(tag);
        if self.form == Form::Whole {
            partial.extend_from_slice(row);
        } else {
            self.alone(row, &mut encoded, &mut partial);
        }
        let passed = out(hash, &partial);
        self.scratch.give(partial);
        self.encoded = encoded;
        passed
    }

    /// Whether a row by itself is a partial row already.
    #[inline]
    fn is_alike(&self) -> bool {
        match (self.form, &self.key, self.values) {
            (Form::Whole, ..) => true,
            (Form::Flat, Key::Columns(columns), Values::Rest) => leads(columns) && !matches!(self.folds[0].method, Method::Count),
            (Form::Flat | Form::Packed, ..) => false,
        }
    }

    /// Appends the key fields of a row that has them, and what its values alone fold into.
    fn alone<'v>(&self, row: &[Val<'v>], encoded: &'v mut Vec<u8>, partial: &mut Vec<Val<'v>>) {
        match &self.key {
            Key::Row => partial.extend_from_slice(row),
            Key::Columns(columns) => partial.extend(columns.iter().map(|column| row[*column as usize])),
        }
        let values: &mut dyn Iterator<Item = Val<'v>> = match (self.values, &self.key) {
            (Values::Row, _) => &mut row.iter().copied(),
            (Values::Rest, Key::Row) => &mut std::iter::empty(),
            (Values::Rest, Key::Columns(columns)) => &mut rest(row, columns),
        };
        let counts = |fold: &Fold| matches!(fold.method, Method::Count);
        if self.form == Form::Flat {
            if counts(&self.folds[0]) {
                partial.push(Val::Int(1))
            } else {
                partial.extend(values)
            }
            return;
        }
        encoded.clear();
        if !self.folds.iter().all(counts) {
            codec::write_row(encoded, &values.collect::<Vec<_>>());
        }
        let encoded: &'v [u8] = encoded;
        partial.extend(self.folds.iter().map(|fold| if counts(fold) { Val::Int(1) } else { Val::List(encoded) }));
    }

    /// Folds in what a map-side table has flushed.
    pub(super) fn push_partial(&mut self, row: &[Val<'_>], allowance: &Allowance) -> Result<()> {
        let fields = match (self.form, &self.key) {
            (Form::Whole, _) => return self.push_raw(row, allowance),
            (Form::Flat | Form::Packed, Key::Columns(columns)) => Some(columns.len()),
            (Form::Flat | Form::Packed, Key::Row) => row.len().checked_sub(self.folds.len()),
        };
        let (fields, values) =
            fields.and_then(|at| row.split_at_checked(at)).ok_or(Error::Corrupt("a partial row is too short"))?;
        self.push_keyed(fields, if self.form == Form::Flat { Input::Flat(values) } else { Input::Packed(values) })
    }

    /// Folds in a row of a run made by `spill`.
    pub(super) fn push_spilled(&mut self, row: &[Val<'_>]) -> Result<()> {
        let (lead, values) = row.split_at_checked(self.lead()).ok_or(Error::Corrupt("a spilled row is too short"))?;
        match (&self.key, lead) {
            (Key::Columns(_), _) => self.push_keyed(lead, Input::Packed(values)),
            (Key::Row, [Val::List(encoded)]) => {
                let mut fields = Vec::new();
                codec::read_row(&mut &encoded[..], &mut fields)?;
                self.push_keyed(&fields, Input::Packed(values))
            }
            (Key::Row, _) => Err(Error::Corrupt("a spilled key is no list")),
        }
    }

    fn push_keyed(&mut self, fields: &[Val<'_>], input: Input<'_>) -> Result<()> {
        match self.key {
            Key::Columns(_) => self.probe.set_fields(fields),
            Key::Row => self.probe.set(|out| -> Result<bool> { Ok(key::encode_row(fields, out)) })?,
        }
        self.absorb(|_, out| codec::write_row(out, fields), input)
    }

    /// Folds the input into the group of the key that is in `probe`.
    #[inline]
    fn absorb(&mut self, fields: impl FnOnce(&KeyWriter<'_>, &mut Vec<u8>), input: Input<'_>) -> Result<()> {
        let writer = KeyWriter { key: &self.key };
        let (cells, per_group) = (&mut self.cells, self.cells_per_group);
        let (cell, found) = self.table.upsert(&self.probe, |out| fields(&writer, out), || new_cell(cells, per_group));
        let rows_before = self.arena.rows.bytes();
        let group = match cell {
            Cell::Many(first) => &mut self.cells[*first as usize..][..per_group],
            Cell::Int(_) | Cell::Float(_) | Cell::Row(_) | Cell::Empty => std::slice::from_mut(cell),
        };
        for (at, fold) in self.folds.iter_mut().enumerate() {
            let cells = &mut group[fold.first..fold.first + fold.cells];
            absorb_one(fold, cells, at, input, &mut self.arena)?;
        }
        self.grown |= !found || self.arena.rows.bytes() != rows_before;
        Ok(())
    }

    /// Whether more is held than `budget`; looks only where something has grown.
    #[inline]
    pub(super) fn is_over(&mut self, budget: usize) -> bool {
        std::mem::take(&mut self.grown) && self.bytes() >= budget
    }

    pub(super) fn bytes(&self) -> usize {
        self.table.bytes() + self.cells.len() * size_of::<Cell>() + self.arena.rows.bytes()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is as much as should be handed out at once: little, so that it stays in a cache.
    pub(super) fn is_block(&self, budget: usize) -> bool {
        self.table.len() >= BLOCK || self.table.key_bytes() + self.arena.rows.bytes() >= budget / 4
    }

    /// Forgets all groups and gives the memory back.
    pub(super) fn reset(&mut self) {
        self.table.reset();
        self.cells = Vec::new();
        self.arena = Arena::default();
    }

    /// Forgets all groups; keeps the allocations.
    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.cells.clear();
        self.arena.clear();
    }

    /// How many leading columns of a spilled row are its key.
    pub(super) fn lead(&self) -> usize {
        match &self.key {
            Key::Columns(columns) => columns.len(),
            Key::Row => 1,
        }
    }

    /// Hands out every group as a partial row behind `tag`.
    pub(super) fn emit_partials(&self, tag: &[Val<'static>], out: &mut Partials<'_>) -> Result<()> {
        let mut emission = Emission::new(self);
        self.table.for_each(|entry| {
            emission.emit(entry, |groups, fields, cells, row, lists| {
                row.extend_from_slice(tag);
                match groups.form {
                    Form::Whole if groups.folds.is_empty() => row.extend_from_slice(fields),
                    Form::Whole => groups.folds[0].read(cells, &groups.arena.rows, row)?,
                    Form::Flat => {
                        row.extend_from_slice(fields);
                        groups.folds[0].read(cells, &groups.arena.rows, row)?;
                    }
                    Form::Packed => {
                        row.extend_from_slice(fields);
                        groups.pack(cells, lists, row)?;
                    }
                }
                out(groups.table.hash(entry), row)
            })
        })
    }

    /// Hands out every group's result rows.
    pub(super) fn emit_results(&self, out: &mut Results<'_>) -> Result<()> {
        let mut emission = Emission::new(self);
        self.table.for_each(|entry| {
            emission.emit(entry, |groups, fields, cells, row, _| {
                if groups.folds.is_empty() {
                    return out(0, fields);
                }
                for (at, fold) in groups.folds.iter().enumerate() {
                    row.clear();
                    if !matches!(fold.method, Method::Smallest) {
                        row.extend_from_slice(fields);
                    }
                    fold.read(&cells[fold.first..][..fold.cells], &groups.arena.rows, row)?;
                    out(at, row)?;
                }
                Ok(())
            })
        })
    }

    /// Moves all groups into a run, in the order of their keys.
    pub(super) fn spill(&mut self, order: &RowOrder, allowance: &Allowance) -> Result<SortedRun> {
        let mut writer = RunWriter::new(order, allowance);
        let mut emission = Emission::new(self);
        for entry in self.table.sorted() {
            emission.emit(entry, |groups, fields, cells, row, lists| {
                let (key, lists) = lists.split_first_mut().expect("one more list than folds");
                if groups.key == Key::Row {
                    key.clear();
                    codec::write_row(key, fields);
                    row.push(Val::List(key));
                } else {
                    row.extend_from_slice(fields);
                }
                groups.pack(cells, lists, row)?;
                writer.push(row)
            })?;
        }
        let run = writer.finish()?;
        self.clear();
        Ok(run)
    }

    /// Appends a value per fold: an integer for a count, else the accumulator as a list.
    fn pack<'a>(&'a self, cells: &[Cell], lists: &'a mut [Vec<u8>], row: &mut Vec<Val<'a>>) -> Result<()> {
        for (fold, list) in self.folds.iter().zip(lists) {
            let cells = &cells[fold.first..][..fold.cells];
            row.push(match (&fold.method, cells[0]) {
                (Method::Count, Cell::Int(count)) => Val::Int(count),
                (_, Cell::Row(id)) => Val::List(self.arena.rows.get(id)),
                _ => {
                    let mut values = Vec::new();
                    fold.read(cells, &self.arena.rows, &mut values)?;
                    list.clear();
                    codec::write_row(list, &values);
                    Val::List(list)
                }
            });
        }
        Ok(())
    }

    /// The largest single accumulator in the table: what must fit into memory.
    pub(super) fn only_group(&self) -> Result<Option<(String, usize)>> {
        let (Some(entry), 1) = (self.table.iter().next(), self.len()) else { return Ok(None) };
        let mut emission = Emission::new(self);
        emission.emit(entry, |groups, fields, cells, row, lists| {
            groups.pack(cells, lists, row)?;
            let bytes = row.iter().map(|value| if let Val::List(encoded) = value { encoded.len() } else { 0 }).sum();
            Ok(Some((codec::preview(fields), bytes)))
        })
    }
}

#[inline]
fn absorb_one(fold: &mut Fold, cells: &mut [Cell], at: usize, input: Input<'_>, arena: &mut Arena) -> Result<()> {
    let counts = matches!(fold.method, Method::Count);
    let packed = match input {
        Input::Raw(_) if counts => return fold.absorb(cells, Item::Count(1), arena),
        Input::Raw(values) => return fold.absorb(cells, Item::Values(values), arena),
        Input::Flat(values) if !counts => return fold.absorb(cells, Item::Values(values), arena),
        Input::Flat(values) | Input::Packed(values) => values.get(at),
    };
    match packed {
        Some(Val::Int(count)) => fold.absorb(cells, Item::Count(*count), arena),
        Some(Val::List(encoded)) => {
            let mut values = Vec::new();
            codec::read_row(&mut &encoded[..], &mut values)?;
            fold.absorb(cells, Item::Values(&values), arena)
        }
        _ => Err(Error::Corrupt("a partial row without an accumulator")),
    }
}

fn new_cell(cells: &mut Vec<Cell>, per_group: usize) -> Cell {
    if per_group <= 1 {
        return Cell::Empty;
    }
    let first = u32::try_from(cells.len()).expect("a table has fewer than 2^32 cells in memory");
    cells.resize(cells.len() + per_group, Cell::Empty);
    Cell::Many(first)
}

/// Whether a key is made of the leading columns in order.
pub(super) fn leads(columns: &[u32]) -> bool {
    columns.iter().enumerate().all(|(at, column)| at == *column as usize)
}

/// The fields of a row that are not in its key.
pub(super) fn rest<'r, 'v>(row: &'r [Val<'v>], columns: &'r [u32]) -> impl Iterator<Item = Val<'v>> + 'r {
    row.iter().enumerate().filter(|(at, _)| !columns.contains(&(*at as u32))).map(|(_, value)| *value)
}

/// Appends the fields that are not in the key as an encoded row.
pub(super) fn write_rest(row: &[Val<'_>], columns: &[u32], out: &mut Vec<u8>) {
    codec::write_array_header(out, rest(row, columns).count());
    rest(row, columns).for_each(|value| codec::write_val(out, value));
}

/// Writes the key's fields of a row that has them.
struct KeyWriter<'k> {
    key: &'k Key,
}

impl KeyWriter<'_> {
    fn write_key(&self, row: &[Val<'_>], out: &mut Vec<u8>) {
        match self.key {
            Key::Row => codec::write_row(out, row),
            Key::Columns(columns) => write_columns(row, columns, out),
        }
    }
}

/// Appends columns that exist as an encoded row.
pub(super) fn write_columns(row: &[Val<'_>], columns: &[u32], out: &mut Vec<u8>) {
    codec::write_array_header(out, columns.len());
    for column in columns {
        codec::write_val(out, row[*column as usize]);
    }
}

/// Puts the rows of groups together, with allocations that serve for all of them.
struct Emission<'g> {
    groups: &'g Groups,
    keys: RowScratch,
    rows: RowScratch,
    lists: Vec<Vec<u8>>,
}

impl<'g> Emission<'g> {
    fn new(groups: &'g Groups) -> Emission<'g> {
        let lists = vec![Vec::new(); groups.folds.len() + 1];
        Emission { groups, keys: RowScratch::default(), rows: RowScratch::default(), lists }
    }

    fn emit<R>(
        &mut self,
        entry: &Entry<Cell>,
        f: impl for<'a> FnOnce(&'a Groups, &[Val<'a>], &[Cell], &mut Vec<Val<'a>>, &'a mut [Vec<u8>]) -> Result<R>,
    ) -> Result<R> {
        let groups = self.groups;
        let cells = match &entry.value {
            Cell::Many(first) => &groups.cells[*first as usize..][..groups.cells_per_group],
            one => std::slice::from_ref(one),
        };
        groups.table.with_key(entry, &mut self.keys, |fields| {
            let mut row = self.rows.take();
            let result = f(groups, fields, cells, &mut row, &mut self.lists);
            self.rows.give(row);
            result
        })
    }
}
