//! Object stores against an S3-compatible server that the test starts.

use std::sync::Arc;

use engine::Stores;
use plan::{CsvOptions, Format};

use engine::store::Access;

use super::moto::{make_bucket, stores, strict};
use super::{files, rows, splits};

fn put(stores: &Arc<Stores>, url: &str, content: impl Into<Vec<u8>>) {
    stores.locate(url).unwrap().put(content.into().into()).unwrap();
}

fn csv() -> CsvOptions {
    CsvOptions { header: false, delimiter: b',', quote: Some(b'"'), columns: None, types: Vec::new() }
}

#[test]
fn more_than_a_thousand_keys_are_listed() {
    make_bucket("many");
    let stores = stores();
    for number in 0..1100 {
        put(&stores, &format!("s3://many/in/{number:04}.txt"), number.to_string());
    }
    put(&stores, "s3://many/in/_hidden.txt", "x");
    put(&stores, "s3://many/in/below/deep.txt", "deep");
    let expected: Vec<String> = (0..1100).map(|number| number.to_string()).collect();
    for path in ["s3://many/in", "s3://many/in/*.txt", "s3://many/in/", "s3://many/i?/*"] {
        let mut found = rows(&stores, &files(Format::Text, path)).unwrap();
        found.retain(|row| row != "deep" || path != "s3://many/i?/*");
        assert_eq!(found, expected, "{path}");
    }
    assert_eq!(rows(&stores, &files(Format::Text, "s3://many/**/d*.txt")).unwrap(), ["deep"]);
    assert_eq!(rows(&stores, &files(Format::Text, "s3://many/**")).unwrap().len(), 1101);
    assert_eq!(stores.locate("s3://many/in").unwrap().list().unwrap().len(), 1102);
}

#[test]
fn a_large_object_is_read_by_ranges_and_cut_at_records() {
    make_bucket("large");
    let stores = stores();
    let text: String = (0..900_000).map(|row| format!("{row},\"text, {}\"\n", row % 7)).collect();
    put(&stores, "s3://large/in.csv", text.clone());
    let expected: Vec<String> = text.lines().map(str::to_owned).collect();
    let found = splits(&stores, &files(Format::Text, "s3://large/in.csv"), Some(3)).unwrap();
    assert!(found.iter().all(|rows| rows.len() > 250_000));
    assert_eq!(found.concat(), expected);
    let found = splits(&stores, &files(Format::Csv(csv()), "s3://large/in.csv"), Some(3)).unwrap();
    assert!(found.iter().all(|rows| rows.len() > 250_000));
    let expected: Vec<String> = (0..900_000).map(|row| format!("{row}|text, {}", row % 7)).collect();
    assert_eq!(found.concat(), expected);
    let range = stores.locate("s3://large/in.csv").unwrap().get_range(7..20).unwrap();
    assert_eq!(range, text.as_bytes()[7..20]);
}

#[test]
fn a_missing_key_or_bucket_is_told_with_its_url() {
    make_bucket("some");
    let stores = stores();
    let error = rows(&stores, &files(Format::Text, "s3://some/gone.txt")).unwrap_err();
    assert!(error.contains("nothing found at \"s3://some/gone.txt\""), "{error}");
    for path in ["s3://no-such-bucket/in.txt", "s3://no-such-bucket/*.txt"] {
        let error = rows(&stores, &files(Format::Text, path)).unwrap_err();
        assert!(error.contains("s3://no-such-bucket") && error.contains("bucket does not exist"), "{error}");
    }
}

#[test]
fn an_upload_in_parts_is_seen_when_it_is_complete_and_never_when_aborted() {
    make_bucket("parts");
    let stores = stores();
    let location = stores.locate("s3://parts/out").unwrap().child("part-0").unwrap();
    let upload = location.create_upload().unwrap();
    let parts = [vec![b'a'; 5 << 20], b"end".to_vec()];
    let tags: Vec<String> =
        parts.iter().enumerate().map(|(at, part)| location.put_part(&upload, at, part.clone().into()).unwrap()).collect();
    assert!(location.head().unwrap().is_none());
    location.complete_upload(&upload, &tags).unwrap();
    assert_eq!(location.head().unwrap().unwrap().size, (5 << 20) + 3);
    assert_eq!(location.get().unwrap(), parts.concat());

    let copy = stores.locate("s3://parts/copy").unwrap();
    location.copy_to(&copy).unwrap();
    location.delete().unwrap();
    location.delete().unwrap();
    assert!(location.head().unwrap().is_none());
    assert_eq!(copy.get().unwrap().len(), (5 << 20) + 3);

    let upload = location.create_upload().unwrap();
    location.put_part(&upload, 0, b"x".to_vec().into()).unwrap();
    location.abort_upload(&upload).unwrap();
    assert!(location.head().unwrap().is_none());
}

#[test]
fn columns_are_read_from_a_store() {
    make_bucket("columns");
    let stores = stores();
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/types.orc")).unwrap();
    put(&stores, "s3://columns/in.orc", bytes);
    let wanted = Some(vec!["s".to_owned(), "i8".to_owned()]);
    assert_eq!(
        rows(&stores, &files(Format::Orc { columns: wanted, known: None }, "s3://columns/*.orc")).unwrap(),
        ["é|Int(-128)", "Nil|Nil"]
    );
}

#[test]
fn each_prefix_is_reached_with_its_own_credentials_and_no_others() {
    let (endpoint, users) = strict(&["left", "right"]);
    let secrets = tempfile::tempdir().unwrap();
    let access = |prefix: &str, name: &str, key: &str, secret: &str| {
        let directory = secrets.path().join(name);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("AWS_ACCESS_KEY_ID"), key).unwrap();
        std::fs::write(directory.join("AWS_SECRET_ACCESS_KEY"), format!("{secret}\n")).unwrap();
        let region = Some("us-east-1".to_owned());
        Access { prefix: prefix.to_owned(), endpoint: Some(endpoint.clone()), region, secrets: Some(directory) }
    };
    let stores = Stores::from_environment_and(vec![
        access("s3://left", "left", &users[0].key, &users[0].secret),
        access("s3://right", "right", &users[1].key, &users[1].secret),
        access("s3://right/forged", "forged", &users[1].key, "not the secret"),
        access("s3://left/other", "other", &users[1].key, &users[1].secret),
    ]);
    for url in ["s3://left/in/a.txt", "s3://right/in/a.txt"] {
        put(&stores, url, url);
        assert_eq!(rows(&stores, &files(Format::Text, url)).unwrap(), [url]);
    }
    for url in ["s3://right/forged/a.txt", "s3://left/other/a.txt"] {
        let error = rows(&stores, &files(Format::Text, url)).unwrap_err();
        assert!(error.contains(url) && error.contains("access was refused") && error.contains("AWS_ACCESS_KEY_ID"), "{error}");
    }
}
