//! Entries that are whole, damaged, missing or contended; versions of inputs.

use std::fs;
use std::os::unix::fs::FileExt;

use plan::cache::{Ingredient, Part};
use plan::{Format, Paths, Source};

use super::*;
use crate::{MemoryPool, RowScratch, Stores, Val};

fn recipe(number: u8) -> Recipe {
    let ingredient = Ingredient { step: "read".to_owned(), part: Part::Input("a.txt".to_owned()), digest: String::new() };
    Recipe { collection: "c".to_owned(), fingerprint: Fingerprint::new([number; 32]), ingredients: vec![ingredient] }
}

/// Two partitions, the second without rows, and a third.
fn parts(dir: &Path) -> Vec<Arc<BatchLog>> {
    let part = |rows: std::ops::Range<i64>| {
        let mut log = BatchLog::new(&MemoryPool::new(1 << 20), dir);
        rows.for_each(|row| log.push(&[Val::Int(row), Val::Str(b"text")]).unwrap());
        log.seal().unwrap();
        Arc::new(log)
    };
    vec![part(0..50_000), part(0..0), part(7..9)]
}

fn rows(entry: &Arc<Entry>) -> Vec<Vec<i64>> {
    let part = |part| {
        let (mut reader, mut rows) = (entry.reader(part), Vec::new());
        while let Some(batch) = reader.next_batch().unwrap() {
            let push = |row: &[Val<'_>]| match row {
                [Val::Int(number), Val::Str(b"text")] => {
                    rows.push(*number);
                    Ok(())
                }
                _ => panic!("not what was written"),
            };
            batch.for_each(&mut RowScratch::default(), push).unwrap();
        }
        rows
    };
    (0..entry.parts()).map(part).collect()
}

#[test]
fn an_entry_gives_back_its_partitions_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("new/cache"), "flow", 3).unwrap();
    assert!(cache.find(&recipe(1).fingerprint).is_none());
    assert!(cache.former("c").is_none());
    cache.store(&recipe(1), &parts(dir.path())).unwrap();
    assert_eq!(cache.former("c"), Some(recipe(1)));
    let cache = Cache::look(&dir.path().join("new/cache"), "flow", 1);
    let entry = cache.find(&recipe(1).fingerprint).unwrap();
    let expected = vec![(0..50_000).collect::<Vec<_>>(), Vec::new(), vec![7, 8]];
    assert_eq!((entry.rows(), rows(&entry)), (50_002, expected.clone()));
    assert!(cache.find(&recipe(2).fingerprint).is_none());
    // It was found: it may be deleted.
    fs::remove_dir_all(dir.path().join("new")).unwrap();
    assert_eq!(rows(&entry), expected);
    assert!(cache.find(&recipe(1).fingerprint).is_some());
}

#[test]
fn a_damaged_entry_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), "flow", 2).unwrap();
    cache.store(&recipe(1), &parts(dir.path())).unwrap();
    let path = dir.path().join("v1").join(recipe(1).fingerprint.to_string());
    let whole = fs::read(&path).unwrap();
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Cache::look(dir.path(), "flow", 2).find(&recipe(1).fingerprint).is_some()
    };
    assert!(check(&whole));
    for at in [0, whole.len() / 2, whole.len() - 1, whole.len() - 20, whole.len() - 45, whole.len() - 100] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(!check(&damaged), "a bit at {at} of {}", whole.len());
    }
    for len in [0, 1, 47, 48, 100, whole.len() / 2, whole.len() - 1] {
        assert!(!check(&whole[..len]), "cut off at {len}");
    }
    assert!(!check(&[&whole[..], b"x"].concat()));
    // A whole entry under another name.
    fs::write(dir.path().join("v1").join(recipe(2).fingerprint.to_string()), &whole).unwrap();
    assert!(Cache::look(dir.path(), "flow", 2).find(&recipe(2).fingerprint).is_none());
}

#[test]
fn writers_of_one_entry_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(dir.path());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let cache = Cache::open(&dir.path().join("cache"), "flow", 1).unwrap();
                    cache.store(&recipe(1), &parts).unwrap();
                    assert_eq!(cache.find(&recipe(1).fingerprint).unwrap().rows(), 50_002);
                }
            });
        }
    });
    assert_eq!(fs::read_dir(dir.path().join("cache/v1")).unwrap().count(), 2);
}

#[test]
fn what_killed_runs_left_is_removed_and_what_is_being_written_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), "flow", 1).unwrap();
    let old = SystemTime::now() - 2 * ABANDONED;
    let held = cache.temporary().unwrap();
    held.as_file().set_modified(old).unwrap();
    for (name, age) in [("tmp-left", old), ("tmp-new", SystemTime::now())] {
        File::create(cache.dir.join(name)).unwrap().set_modified(age).unwrap();
    }
    Cache::open(dir.path(), "flow", 1).unwrap();
    assert!(held.path().exists() && cache.dir.join("tmp-new").exists() && !cache.dir.join("tmp-left").exists());
}

#[test]
fn a_directory_that_takes_nothing_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let error = Cache::open(&dir.path().join("file"), "flow", 1).unwrap_err();
    assert!(error.to_string().starts_with("failed to make the cache at"), "{error}");
}

fn text(path: &str) -> Source {
    Source::Files { format: Format::Text, paths: Paths::Listed(vec![path.to_owned()]), allow_empty: false }
}

#[test]
fn a_file_that_changes_within_one_tick_is_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("cache"), "flow", 2).unwrap();
    let inputs = || Inputs::new(dir.path(), Stores::new([]), &cache);
    let path = dir.path().join("a.txt");
    fs::write(&path, "before").unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let run = inputs();
    let before = run.versions("read", &text("a.txt")).unwrap();
    assert_eq!(run.unchanged(&recipe(1)), Ok(()));
    file.write_all_at(b"BEFORE", 0).unwrap();
    file.set_modified(modified).unwrap();
    run.remember(&cache);
    assert_ne!(before, inputs().versions("read", &text("a.txt")).unwrap());
    assert_eq!(run.unchanged(&recipe(1)).unwrap_err(), "input a.txt changed while the flow ran");
    file.write_all_at(b"before", 0).unwrap();
    assert_eq!(before, inputs().versions("read", &text("*.txt")).unwrap());
    fs::write(dir.path().join("b.txt"), "before").unwrap();
    assert_eq!(inputs().versions("read", &text("*.txt")).unwrap().len(), 2);
}

#[test]
fn a_large_file_has_one_digest_for_any_number_of_threads() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&(0..5_000_000_u32).flat_map(|number| (number as u16).to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let digest = |threads| digest::digest(&file, 10_000_000, threads).unwrap();
    let before = digest(1);
    assert_eq!(before, digest(5));
    file.write_all_at(b"x", 9_999_999).unwrap();
    assert_ne!(before, digest(5));
    assert!(digest::digest(&file, 10_000_001, 2).is_err());
}

#[test]
fn what_can_be_read_once_or_has_no_version_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::look(dir.path(), "flow", 1);
    let inputs = Inputs::new(dir.path(), Stores::new([]), &cache);
    let why = inputs.versions("read", &text("/dev/null")).unwrap_err();
    assert_eq!(why, "input /dev/null is no file that can be read twice");
    assert!(inputs.versions("read", &text("gone.txt")).unwrap_err().contains("gone.txt"));
    assert!(inputs.unchanged(&recipe(1)).is_err());
}
