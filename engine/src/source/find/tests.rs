//! Which files a path finds.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::*;

/// Names found in a directory that holds the given files, relative to it.
fn check(files: &[&str], path: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
        fs::write(dir.path().join(file), file).unwrap();
    }
    let stores = Stores::new([]);
    let found = |path: &str| find(&Paths::Listed(vec![path.to_owned()]), None, true, World { base: dir.path(), stores: &stores });
    let relative: Vec<String> = found(path).unwrap().iter().map(|file| file.name.to_string()).collect();
    let absolute = found(&format!("{}/{path}", dir.path().display())).unwrap();
    let absolute: Vec<String> = absolute
        .iter()
        .map(|file| Path::new(&*file.name).strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(relative, absolute);
    relative
}

const TREE: [&str; 10] =
    ["a.txt", "b.txt", "b.csv", "_c.txt", ".d.txt", "sub/e.txt", "sub/deep/f.txt", "sub2/g.txt", "_hid/h.txt", "x/[1].txt"];

#[test]
fn wildcards_work_in_any_component() {
    assert_eq!(check(&TREE, "*.txt"), ["a.txt", "b.txt"]);
    assert_eq!(check(&TREE, "?.csv"), ["b.csv"]);
    assert_eq!(check(&TREE, "sub*/*.txt"), ["sub/e.txt", "sub2/g.txt"]);
    assert_eq!(check(&TREE, "s*/deep/[a-f].txt"), ["sub/deep/f.txt"]);
    assert_eq!(check(&TREE, "sub/*/*"), ["sub/deep/f.txt"]);
}

#[test]
fn two_stars_stand_for_any_levels_none_among_them() {
    assert_eq!(check(&TREE, "**/*.txt"), ["a.txt", "b.txt", "sub/deep/f.txt", "sub/e.txt", "sub2/g.txt", "x/[1].txt"]);
    assert_eq!(check(&TREE, "sub/**"), ["sub/deep/f.txt", "sub/e.txt"]);
    assert_eq!(check(&TREE, "**/deep/**/f.txt"), ["sub/deep/f.txt"]);
}

#[test]
fn two_stars_find_each_file_once_and_what_only_links_lead_to() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |path: std::path::PathBuf| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    };
    let link = |to: &Path, from: &str| std::os::unix::fs::symlink(to, dir.path().join(from)).unwrap();
    file(dir.path().join("sub/x/y.txt"));
    file(other.path().join("far/z.txt"));
    // As in a volume of a cluster: what is seen are links into a hidden directory.
    file(dir.path().join("..data/deep/b.txt"));
    link(Path::new("..data/deep"), "deep");
    link(Path::new(".."), "sub/back");
    link(Path::new("sub"), "again");
    link(other.path(), "elsewhere");
    link(dir.path(), "elsewhere/far/round");
    let stores = Stores::new([]);
    let found = |path: &str| {
        let found = find(&Paths::Listed(vec![path.to_owned()]), None, true, World { base: dir.path(), stores: &stores });
        found.unwrap().iter().map(|file| file.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found("**/*.txt"), ["deep/b.txt", "elsewhere/far/z.txt", "sub/x/y.txt"]);
    assert_eq!(found("**"), ["deep/b.txt", "elsewhere/far/z.txt", "sub/x/y.txt"]);
    assert_eq!(found("sub/**/*.txt"), ["sub/x/y.txt"], "a link up is not followed");
    assert_eq!(found("s*/b*/sub/x/*.txt"), ["sub/back/sub/x/y.txt"], "a link that is named is followed");
}

#[test]
fn a_name_that_is_not_text_is_told_where_a_pattern_would_leave_it_out() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "a").unwrap();
    fs::write(dir.path().join(OsStr::from_bytes(b"b\xff.txt")), "b").unwrap();
    let stores = Stores::new([]);
    let found = |path: &str| find(&Paths::Listed(vec![path.to_owned()]), None, true, World { base: dir.path(), stores: &stores });
    let told = found("*.txt").unwrap_err().to_string();
    assert!(told.contains("b\u{fffd}.txt") && told.contains("not UTF-8"), "{told}");
    assert_eq!(found("a*").unwrap().len(), 1);
    assert_eq!(found(".").unwrap().len(), 2);
}

#[test]
fn a_directory_means_its_files_but_not_those_below() {
    assert_eq!(check(&TREE, "sub"), ["sub/e.txt"]);
    assert_eq!(check(&TREE, "sub/"), ["sub/e.txt"]);
    assert_eq!(check(&TREE, "sub?"), ["sub2/g.txt"]);
}

#[test]
fn hidden_names_are_skipped_unless_asked_for() {
    assert_eq!(check(&TREE, "*/h.txt"), [""; 0]);
    assert_eq!(check(&TREE, "_c.txt"), ["_c.txt"]);
    assert_eq!(check(&TREE, "_*/*"), ["_hid/h.txt"]);
}

#[test]
fn a_path_that_exists_is_no_pattern() {
    assert_eq!(check(&TREE, "x/[1].txt"), ["x/[1].txt"]);
}

#[test]
fn nothing_found_fails_unless_that_is_allowed() {
    let (stores, dir) = (Stores::new([]), tempfile::tempdir().unwrap());
    let world = World { base: dir.path(), stores: &stores };
    for path in ["gone.txt", "*.txt", "gone/*.txt", "."] {
        let paths = Paths::Listed(vec![path.to_owned()]);
        let error = find(&paths, None, false, world).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains("allowEmpty"), "{error}");
        assert_eq!(find(&paths, None, true, world).unwrap().len(), 0);
    }
    assert!(matches!(find(&Paths::Rows, Some(&[]), false, world), Err(SourceError::NoPaths)));
}

#[test]
fn paths_may_come_from_rows() {
    let (stores, dir) = (Stores::new([]), tempfile::tempdir().unwrap());
    let odd = OsStr::from_bytes(b"odd\xff.txt");
    fs::write(dir.path().join(odd), "x").unwrap();
    fs::write(dir.path().join("b.txt"), "x").unwrap();
    let rows = [b"odd\xff.txt".to_vec(), b"b*.txt".to_vec()];
    let world = World { base: dir.path(), stores: &stores };
    let found = find(&Paths::Rows, Some(&rows), false, world).unwrap();
    assert_eq!(found[0].path_bytes(), b"odd\xff.txt");
    assert_eq!(&*found[1].name, "b.txt");
}

#[test]
fn a_wildcard_over_http_is_refused() {
    let (stores, base) = (Stores::new([]), Path::new("/"));
    let find = |url: &str| find(&Paths::Listed(vec![url.to_owned()]), None, true, World { base, stores: &stores });
    assert!(find("https://host/a*.csv").unwrap_err().to_string().contains("cannot be listed"));
}
