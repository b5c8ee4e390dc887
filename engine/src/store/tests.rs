//! Object stores without a network: URLs and settings.

use super::*;

fn stores() -> Arc<Stores> {
    Stores::new([("AWS_ACCESS_KEY_ID".to_owned(), "key".to_owned()), ("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned())])
}

#[test]
fn a_url_is_taken_apart_into_bucket_and_key() {
    let stores = stores();
    let location = stores.locate("s3://bucket/a b/c%20d.csv").unwrap();
    assert_eq!((location.key(), &**location.url()), ("a b/c%20d.csv", "s3://bucket/a b/c%20d.csv"));
    assert_eq!(stores.locate("s3://bucket").unwrap().key(), "");
    let child = stores.locate("s3://bucket/out/").unwrap().child("part-0").unwrap();
    assert_eq!((child.key(), &**child.url()), ("out/part-0", "s3://bucket/out/part-0"));
    let child = stores.locate("s3://bucket").unwrap().child("part-0").unwrap();
    assert_eq!(&**child.url(), "s3://bucket/part-0");
}

#[test]
fn a_url_of_no_known_store_is_refused_with_the_known_ones() {
    let check = |url: &str, expected: &str| assert!(stores().locate(url).unwrap_err().to_string().contains(expected), "{url}");
    check("ftp://host/file", "known are s3://");
    check("s3:///key", "names no bucket");
    check("http://", "is not a valid URL");
    check("s3://bucket/a//b", "is not a valid URL");
}

#[test]
fn local_paths_are_no_urls() {
    for path in ["books/*.txt", "/a://b", "://x", "C:\\x", "a b://c"] {
        assert!(!Stores::is_url(path), "{path}");
    }
    assert!(Stores::is_url("s3://bucket/key") && Stores::is_url("hdfs://x"));
}

#[test]
fn debug_output_holds_no_secret() {
    assert!(!format!("{:?}", stores()).contains("secret"));
}
