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

/// An answer in chunks of a thousand bytes, without a length; to every method.
fn in_chunks(request: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
    if request.starts_with("HEAD") {
        return answer;
    }
    for chunk in body.chunks(1000) {
        answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        answer.extend([chunk, b"\r\n"].concat());
    }
    [answer, b"0\r\n\r\n".to_vec()].concat()
}

#[test]
fn what_is_made_on_the_way_is_read_to_its_end() {
    let address = serve(|request| in_chunks(request, text().as_bytes()));
    let url = format!("http://{address}/report?day=1");
    let found = splits(&Stores::new([]), &files(Format::Text, &url), Some(3)).unwrap();
    assert_eq!(found.concat().join("\n") + "\n", text());
    // A server that tells HEAD of no bytes at all; an answer without any.
    for body in [text(), String::new()] {
        let expected: Vec<String> = body.lines().map(str::to_owned).collect();
        let address = serve(move |request| match request.split(' ').next() {
            Some("HEAD") => reply(request, "200 OK", "", b""),
            _ => in_chunks(request, body.as_bytes()),
        });
        assert_eq!(rows(&Stores::new([]), &files(Format::Text, &format!("http://{address}/r"))).unwrap(), expected);
    }
}

#[test]
fn a_table_that_is_made_on_the_way_is_read_by_its_header_and_decompressed_by_the_ending_of_its_path() {
    let table = "name,count\na,1\nb,2\n";
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, table.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    for (path, has_length, body) in [
        ("t.csv", false, table.as_bytes().to_vec()),
        ("t.csv.gz?token=1", false, packed.clone()),
        ("a%20b.csv.gz?token=1", true, packed),
    ] {
        let address = serve(move |request| match has_length {
            true => reply(request, "200 OK", "", &body),
            false => in_chunks(request, &body),
        });
        let options = plan::CsvOptions { header: true, delimiter: b',', quote: Some(b'"'), columns: None, types: Vec::new() };
        let found = rows(&Stores::new([]), &files(Format::Csv(options), &format!("http://{address}/{path}")));
        assert_eq!(found.unwrap(), ["a|1", "b|2"], "{path}");
    }
}

#[test]
fn what_is_made_on_the_way_and_breaks_off_fails() {
    let address = serve(|request| {
        let answer = in_chunks(request, text().as_bytes());
        if request.starts_with("HEAD") { answer } else { answer[..answer.len() / 2].to_vec() }
    });
    let url = format!("http://{address}/in.txt");
    let error = rows(&Stores::new([]), &files(Format::Text, &url)).unwrap_err();
    assert!(error.contains(&format!("failed to read {url}")), "{error}");
}

#[test]
fn an_answer_whose_end_cannot_be_told_is_refused_with_advice() {
    let address = serve(|request| {
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        if request.starts_with("HEAD") { head.to_vec() } else { [head, text().as_bytes()].concat() }
    });
    let url = format!("http://{address}/in.txt");
    let error = rows(&Stores::new([]), &files(Format::Text, &url)).unwrap_err();
    assert!(error.contains(&url) && error.contains("save it first (curl -o FILE)"), "{error}");
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
