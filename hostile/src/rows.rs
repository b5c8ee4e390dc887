//! Encoded rows, as they come from a disk or a wire.

use engine::{Batch, RowScratch, codec, key};

/// Rows that can be read are written back as rows that mean the same.
pub(crate) fn rows(bytes: &[u8]) {
    let (mut rest, mut read) = (bytes, Vec::new());
    while !rest.is_empty() {
        read.clear();
        if codec::read_row(&mut rest, &mut read).is_err() {
            return;
        }
        let _ = codec::preview(&read);
        let mut encoded = Vec::new();
        // A list or map is only looked at by who needs it, who then finds what is wrong inside.
        for value in &read {
            if codec::to_value(*value).is_err() {
                return;
            }
            key::encode(*value, &mut encoded);
        }
        let mut written = Vec::new();
        codec::write_row(&mut written, &read);
        let mut again = Vec::new();
        codec::read_row(&mut written.as_slice(), &mut again).expect("what was written can be read");
        let mut encoded_again = Vec::new();
        for value in &again {
            key::encode(*value, &mut encoded_again);
        }
        assert_eq!(encoded, encoded_again, "{}", codec::preview(&read));
    }
}

/// A batch from a spill file.
pub(crate) fn spilled(bytes: &[u8]) {
    let Ok(bytes) = engine::spill::decompress(bytes) else { return };
    let batch = Batch { rows: 0, bytes };
    let _ = batch.for_each(&mut RowScratch::default(), |row| row.iter().try_for_each(|value| codec::to_value(*value).map(drop)));
}
