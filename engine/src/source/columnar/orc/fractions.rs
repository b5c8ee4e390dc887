//! Looks for timestamps whose fraction of a second is negative, as ORC's C++ library (pyarrow) writes times before 1970. The
//! decoder takes such a fraction for a huge positive one, and gives another time. Never decides what a value is.

use std::io::Read;

use orc_rust::proto::column_encoding::Kind as Encoding;
use orc_rust::proto::stream::Kind as StreamKind;
use orc_rust::stripe::Stripe;

/// The name of a column of a stripe that has such a timestamp.
pub(super) fn negative(stripe: &Stripe) -> std::io::Result<Option<String>> {
    for column in stripe.columns() {
        let mut open = vec![column.clone()];
        while let Some(inner) = open.pop() {
            open.extend(inner.children());
            let mut bytes = Vec::new();
            let Some(mut stream) = stripe.stream_map().get_opt(&inner, StreamKind::Secondary) else { continue };
            if !super::is_timestamp(inner.data_type()) {
                continue;
            }
            stream.read_to_end(&mut bytes)?;
            let found = match inner.encoding().kind() {
                Encoding::Direct | Encoding::Dictionary => any_negative_1(&bytes),
                Encoding::DirectV2 | Encoding::DictionaryV2 => any_negative_2(&bytes),
            };
            // What is cut off is the decoder's to tell.
            if found == Some(true) {
                return Ok(Some(column.name().to_owned()));
            }
        }
    }
    Ok(None)
}

/// Whether any number of a run-length encoded stream, version 1, is negative; `None`: the stream is cut off.
fn any_negative_1(mut bytes: &[u8]) -> Option<bool> {
    while let [control, rest @ ..] = bytes {
        bytes = rest;
        let control = *control as i8;
        if control >= 0 {
            let delta = i64::from(take(&mut bytes, 1)?[0] as i8);
            let first = varint(&mut bytes)? as i64;
            if first < 0 || first.wrapping_add(delta * (i64::from(control) + 2)) < 0 {
                return Some(true);
            }
        } else {
            for _ in 0..-i32::from(control) {
                if (varint(&mut bytes)? as i64) < 0 {
                    return Some(true);
                }
            }
        }
    }
    Some(false)
}

/// As `any_negative_1`, for version 2.
fn any_negative_2(mut bytes: &[u8]) -> Option<bool> {
    while let [head, ..] = bytes {
        let is_negative = match head >> 6 {
            0 => repeat(&mut bytes)?,
            1 => direct(&mut bytes)?,
            2 => patched(&mut bytes)?,
            _ => delta(&mut bytes)?,
        };
        if is_negative {
            return Some(true);
        }
    }
    Some(false)
}

/// One number, repeated: how many bytes it has, then these.
fn repeat(bytes: &mut &[u8]) -> Option<bool> {
    let width = usize::from(take(bytes, 1)?[0] >> 3 & 7) + 1;
    let number = take(bytes, width)?;
    Some(width == 8 && number[0] >= 0x80)
}

/// Numbers side by side, all of one width.
fn direct(bytes: &mut &[u8]) -> Option<bool> {
    let (width, len) = head(bytes)?;
    let numbers = take(bytes, (len * width).div_ceil(8))?;
    Some(width == 64 && numbers.chunks(8).any(|number| number[0] >= 0x80))
}

/// A base, of which the first bit is its sign, and what is to be added to it, with patches.
fn patched(bytes: &mut &[u8]) -> Option<bool> {
    let (width, len) = head(bytes)?;
    let more = take(bytes, 2)?;
    let (base_width, patch_width) = (usize::from(more[0] >> 5) + 1, WIDTHS[usize::from(more[0] & 31)]);
    let (gap_width, patches) = (usize::from(more[1] >> 5) + 1, usize::from(more[1] & 31));
    let base = take(bytes, base_width)?;
    take(bytes, (len * width).div_ceil(8))?;
    let patch = WIDTHS.into_iter().find(|width| *width >= gap_width + patch_width).unwrap_or(64);
    take(bytes, (patches * patch).div_ceil(8))?;
    Some(base[0] >= 0x80)
}

/// A first number, the distance to the second, and the distances of the others, all of which go one way.
fn delta(bytes: &mut &[u8]) -> Option<bool> {
    let is_fixed = bytes[0] >> 1 & 31 == 0;
    let (width, len) = head(bytes)?;
    let first = i128::from(varint(bytes)? as i64);
    let zigzag = varint(bytes)?;
    let step = i128::from((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
    let last = if is_fixed {
        first + step * (len as i128 - 1)
    } else {
        let others = len.saturating_sub(2);
        let packed = take(bytes, (others * width).div_ceil(8))?;
        let sum: i128 = (0..others).map(|at| number(packed, at * width, width)).sum();
        first + step + if step < 0 { -sum } else { sum }
    };
    Some(first < 0 || last < 0)
}

/// The number of so many bits from a bit on.
fn number(packed: &[u8], from: usize, width: usize) -> i128 {
    (from..from + width).fold(0, |number, bit| number << 1 | i128::from(packed[bit / 8] >> (7 - bit % 8) & 1))
}

/// Widths of numbers in bits, by their code.
const WIDTHS: [usize; 32] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 28, 30, 32, 40, 48, 56, 64];

/// The head of all runs but a repetition: the width in bits, and how many numbers.
fn head(bytes: &mut &[u8]) -> Option<(usize, usize)> {
    let head = take(bytes, 2)?;
    Some((WIDTHS[usize::from(head[0] >> 1 & 31)], (usize::from(head[0] & 1) << 8 | usize::from(head[1])) + 1))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_numbers_are_found_in_every_kind_of_run() {
        // Examples of the format's specification, all of them positive.
        let repeat = [0x0a, 0x27, 0x10];
        let direct = [0x5e, 0x03, 0x5c, 0xa1, 0xab, 0x1e, 0xde, 0xad, 0xbe, 0xef];
        let patched = [
            0x8e, 0x13, 0x2b, 0x21, 0x07, 0xd0, 0x1e, 0x00, 0x14, 0x70, 0x28, 0x32, 0x3c, 0x46, 0x50, 0x5a, 0x64, 0x6e, 0x78,
            0x82, 0x8c, 0x96, 0xa0, 0xaa, 0xb4, 0xbe, 0xfc, 0xe8,
        ];
        let delta = [0xc6, 0x09, 0x02, 0x02, 0x22, 0x42, 0x42, 0x46];
        let all = [&repeat[..], &direct, &patched, &delta].concat();
        assert_eq!(any_negative_2(&all), Some(false));
        assert_eq!(any_negative_2(&all[..all.len() - 1]), None);
        let mut signed_base = patched;
        signed_base[4] |= 0x80;
        let negative: [&[u8]; 5] = [
            &[0x38, 0xff, 0, 0, 0, 0, 0, 0, 1],
            &[0x7e, 0x01, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xdf],
            &signed_base,
            // 5, 3, 1, -1; and 5, 3, 0, -2.
            &[0xc0, 0x03, 0x05, 0x03],
            &[0xc2, 0x03, 0x05, 0x03, 0b1110_0000],
        ];
        for run in negative {
            assert_eq!(any_negative_2(run), Some(true), "{run:x?}");
            assert_eq!(any_negative_2(&[&all, run].concat()), Some(true), "{run:x?}");
        }
        assert_eq!(any_negative_2(&[0xc0, 0x02, 0x05, 0x03]), Some(false));
    }

    #[test]
    fn negative_numbers_are_found_in_runs_of_the_first_version() {
        let negative = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(any_negative_1(&[0x61, 0x00, 0x07, 0xfb, 0x02, 0x03, 0x04, 0x07, 0xb]), Some(false));
        assert_eq!(any_negative_1(&[0x61, 0xff, 0x64]), Some(false));
        assert_eq!(any_negative_1(&[0x61, 0xff, 0x62]), Some(true));
        assert_eq!(any_negative_1(&[&[0xfe, 0x02][..], &negative].concat()), Some(true));
        assert_eq!(any_negative_1(&[&[0x00, 0x00][..], &negative].concat()), Some(true));
        assert_eq!(any_negative_1(&[0xfe, 0x02]), None);
    }
}
