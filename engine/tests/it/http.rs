//! Files over HTTP, from a server in the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::Stores;
use plan::Format;

use super::server::{reply, serve};
use super::{files, rows, splits};

fn text() -> String {
    (0..300_000).map(|line| format!("line {line}\n")).collect()
}

/// The bytes that a `Range` header asks for.
fn asked(request: &str) -> Option<(usize, usize)> {
    let value = request.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned))?;
    let (start, end) = value.split_once('-')?;
    Some((start.parse().ok()?, end.trim().parse().ok()?))
}

#[test]
fn a_file_behind_http_is_read_by_ranges_where_the_server_has_them() {
    let whole = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&whole);
    let address = serve(move |request| match asked(request) {
        Some((start, end)) => {
            let content = text();
            let end = end.min(content.len() - 1);
            let range = format!("Content-Range: bytes {start}-{end}/{}\r\n", content.len());
            reply(request, "206 Partial Content", &range, &content.as_bytes()[start..=end])
        }
        None => {
            count.fetch_add(usize::from(request.starts_with("GET")), Ordering::Relaxed);
            reply(request, "200 OK", "", text().as_bytes())
        }
    });
    let source = files(Format::Text, &format!("http://{address}/dir/in.txt"));
    let found = splits(&Stores::new([]), &source, Some(3)).unwrap();
    assert!(found.iter().all(|rows| rows.len() > 90_000), "{:?}", found.iter().map(Vec::len).collect::<Vec<_>>());
    assert_eq!(found.concat().join("\n") + "\n", text());
    assert_eq!(whole.load(Ordering::Relaxed), 0);
}

#[test]
fn a_file_behind_http_is_read_whole_where_the_server_has_no_ranges() {
    let address = serve(|request| match request.split(' ').next() {
        Some("HEAD") => reply(request, "405 Method Not Allowed", "", b""),
        _ => reply(request, "200 OK", "", text().as_bytes()),
    });
    let source = files(Format::Text, &format!("http://{address}/a%20b?token=1&x=%2F"));
    let found = splits(&Stores::new([]), &source, Some(3)).unwrap();
    assert_eq!(found.concat().join("\n") + "\n", text());
}

#[test]
fn a_download_that_breaks_off_fails() {
    let address = serve(|request| match request.split(' ').next() {
        Some("HEAD") => reply(request, "200 OK", "", text().as_bytes()),
        _ => {
            let answer = reply(request, "200 OK", "", text().as_bytes());
            answer[..answer.len() / 2].to_vec()
        }
    });
    let url = format!("http://{address}/in.txt");
    let error = rows(&Stores::new([]), &files(Format::Text, &url)).unwrap_err();
    assert!(error.contains(&format!("failed to read {url}")), "{error}");
}

#[test]
fn a_file_that_grew_between_the_look_and_the_read_fails_instead_of_ending_in_the_middle_of_a_row() {
    for has_ranges in [false, true] {
        let address = serve(move |request| match (request.split(' ').next(), asked(request)) {
            (Some("HEAD"), _) => reply(request, "200 OK", "", text().as_bytes()),
            (_, Some((start, end))) if has_ranges => {
                let range = format!("Content-Range: bytes {start}-{end}/{}\r\n", 2 * text().len());
                reply(request, "206 Partial Content", &range, &text().repeat(2).as_bytes()[start..=end])
            }
            _ => reply(request, "200 OK", "", text().repeat(2).as_bytes()),
        });
        let url = format!("http://{address}/in.txt");
        let error = rows(&Stores::new([]), &files(Format::Text, &url)).unwrap_err();
        assert!(error.contains(&format!("{url} was changed while it was read")), "{error}");
    }
}

#[test]
fn what_is_not_there_or_refused_is_told_with_its_url() {
    let missing = serve(|request| reply(request, "404 Not Found", "", b""));
    let url = format!("http://{missing}/in.txt");
    let error = rows(&Stores::new([]), &files(Format::Text, &url)).unwrap_err();
    assert!(error.contains("nothing found at") && error.contains(&url), "{error}");
    let refused = serve(|request| reply(request, "401 Unauthorized", "", b""));
    let url = format!("http://{refused}/in.txt");
    let error = rows(&Stores::new([]), &files(Format::Text, &url)).unwrap_err();
    assert!(error.contains(&url) && error.contains("access was refused"), "{error}");
}

#[test]
fn wrong_credentials_are_told_with_what_to_set() {
    let body = b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>";
    let address = serve(|request| reply(request, "403 Forbidden", "", body));
    let settings =
        [("AWS_ACCESS_KEY_ID", "wrong"), ("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ENDPOINT_URL", &format!("http://{address}"))];
    let stores = Stores::new(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for path in ["s3://bucket/in.txt", "s3://bucket/*.txt", "s3://bucket/dir/"] {
        let error = rows(&stores, &files(Format::Text, path)).unwrap_err();
        assert!(error.contains("s3://bucket") && error.contains("access was refused; set AWS_ACCESS_KEY_ID"), "{error}");
    }
}
