//! Values as text: tab-joined fields, JSON for lists and maps, C's printf verbs.

use crate::Val;

/// Appends a field's text form (design: nil is empty, floats shortest round-trip, lists and maps as JSON).
pub fn write_field(_out: &mut Vec<u8>, _value: Val<'_>) {
    unimplemented!("helper sinks")
}
