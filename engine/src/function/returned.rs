//! What a list or map looks like that went into Lua and came back: nils left no trace, 4.0 is 4, {} is a list.

use super::cells;
use crate::{Val, codec};

/// Appends a value as Lua gives it back.
pub(super) fn write(value: Val<'_>, to: &mut Vec<u8>) {
    match value {
        Val::Float(f) if f.is_nan() => codec::write_val(to, Val::Float(f64::NAN)),
        Val::Float(f) => codec::write_val(to, cells::number(f)),
        Val::List(mut rest) => {
            let len = codec::read_array_header(&mut rest).unwrap_or_default();
            write_list(&items(rest, len), to);
        }
        Val::Map(mut rest) => {
            let len = codec::read_map_header(&mut rest).unwrap_or_default();
            write_map(&items(rest, 2 * len), to);
        }
        Val::Nil | Val::Bool(_) | Val::Int(_) | Val::Str(_) => codec::write_val(to, value),
    }
}

/// The items of a field, which was read before without a fault.
fn items(mut rest: &[u8], count: usize) -> Vec<Val<'_>> {
    (0..count).map_while(|_| codec::read_val(&mut rest).ok()).collect()
}

/// A list; with nils between its items it is a map.
fn write_list(items: &[Val<'_>], to: &mut Vec<u8>) {
    let len = items.iter().rposition(|item| *item != Val::Nil).map_or(0, |last| last + 1);
    let items = &items[..len];
    if items.contains(&Val::Nil) {
        let present = || items.iter().enumerate().filter(|(_, item)| **item != Val::Nil);
        codec::write_map_header(to, present().count());
        for (at, item) in present() {
            codec::write_val(to, Val::Int(at as i64 + 1));
            write(*item, to);
        }
    } else {
        codec::write_array_header(to, len);
        items.iter().for_each(|item| write(*item, to));
    }
}

/// A map, whose keys stand in their order; with the keys 1 to n it is a list.
fn write_map(items: &[Val<'_>], to: &mut Vec<u8>) {
    let present = || items.chunks_exact(2).filter(|pair| pair[1] != Val::Nil);
    let is_index = |(at, pair): (usize, &[Val<'_>])| match pair[0] {
        Val::Int(key) => key == at as i64 + 1,
        Val::Float(key) => key == (at + 1) as f64,
        _ => false,
    };
    let is_list = present().enumerate().all(is_index);
    if is_list {
        codec::write_array_header(to, present().count());
        present().for_each(|pair| write(pair[1], to));
    } else {
        codec::write_map_header(to, present().count());
        present().flatten().for_each(|item| write(*item, to));
    }
}
