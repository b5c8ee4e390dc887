//! What the store holds, and what it does for each request. Keys begin with the name of their bucket.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::request::Request;

const XML: &str = "Content-Type: application/xml\r\n";
const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// An object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) bytes: Vec<u8>,
    /// It came as which change of all.
    pub(crate) change: u64,
}

#[derive(Default)]
pub(super) struct Bucket {
    objects: BTreeMap<String, Object>,
    /// By id: the key, and parts by their numbers.
    uploads: BTreeMap<String, (String, BTreeMap<u32, Vec<u8>>)>,
    changes: u64,
}

impl Bucket {
    pub(super) fn put(&mut self, key: &str, bytes: Vec<u8>) {
        self.changes += 1;
        self.objects.insert(key.to_owned(), Object { key: key.to_owned(), bytes, change: self.changes });
    }

    pub(super) fn objects(&self, prefix: &str) -> Vec<Object> {
        self.objects.values().filter(|object| object.key.starts_with(prefix)).cloned().collect()
    }

    pub(super) fn uploads(&self) -> Vec<String> {
        self.uploads.values().map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn answer(&mut self, request: &Request) -> Vec<u8> {
        let is_signed = request.header("authorization").is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256"));
        if !is_signed || request.target.contains("denied") {
            return error(request, "403 Forbidden", "AccessDenied", "Access Denied");
        }
        let asks = |name: &str| request.query.contains_key(name);
        match request.method.as_str() {
            "GET" if asks("list-type") => self.list(request),
            "GET" if asks("uploads") => self.list_uploads(request),
            "GET" | "HEAD" => self.give(request),
            "POST" if asks("uploads") => self.begin(request),
            "POST" if asks("uploadId") => self.complete(request),
            "POST" if asks("delete") => self.delete(request),
            "PUT" if asks("uploadId") => self.take_part(request),
            "PUT" if request.header("x-amz-copy-source").is_none() => {
                self.put(&request.path, request.body.clone());
                request.reply("200 OK", "ETag: \"e\"\r\n", b"")
            }
            "DELETE" if asks("uploadId") => match self.uploads.remove(&request.query["uploadId"]) {
                Some(_) => request.reply("204 No Content", "", b""),
                None => no_upload(request),
            },
            _ => error(request, "501 Not Implemented", "NotImplemented", "this store does not do that"),
        }
    }

    fn list(&self, request: &Request) -> Vec<u8> {
        let bucket = format!("{}/", request.path.trim_end_matches('/'));
        let prefix = request.query.get("prefix").map(String::as_str).unwrap_or_default();
        let delimiter = request.query.get("delimiter").map(String::as_str).unwrap_or_default();
        let (mut found, mut last) = (String::new(), String::new());
        for (key, object) in self.objects.iter().filter_map(|(key, object)| Some((key.strip_prefix(&bucket)?, object))) {
            let Some(rest) = key.strip_prefix(prefix) else { continue };
            if let Some((folder, _)) = rest.split_once(delimiter).filter(|_| !delimiter.is_empty()) {
                let folder = format!("{prefix}{folder}{delimiter}");
                if folder != last {
                    let _ = write!(found, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
                    last = folder;
                }
                continue;
            }
            let size = object.bytes.len();
            let _ = write!(
                found,
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag>\
                 <Size>{size}</Size></Contents>"
            );
        }
        xml(request, &format!("<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"))
    }

    fn list_uploads(&self, request: &Request) -> Vec<u8> {
        let bucket = format!("{}/", request.path.trim_end_matches('/'));
        let prefix = request.query.get("prefix").map(String::as_str).unwrap_or_default();
        let mut found = String::new();
        for (id, (key, _)) in &self.uploads {
            if let Some(key) = key.strip_prefix(&bucket).filter(|key| key.starts_with(prefix)) {
                let _ = write!(found, "<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>");
            }
        }
        xml(request, &format!("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{found}</ListMultipartUploadsResult>"))
    }

    fn give(&self, request: &Request) -> Vec<u8> {
        let Some(object) = self.objects.get(&request.path) else {
            return error(request, "404 Not Found", "NoSuchKey", "no such key");
        };
        let headers = format!("ETag: \"e\"\r\nLast-Modified: {DATE}\r\n");
        let size = object.bytes.len();
        match range(request, size) {
            Some((from, to)) => {
                let headers = format!("{headers}Content-Range: bytes {from}-{}/{size}\r\n", to - 1);
                request.reply("206 Partial Content", &headers, &object.bytes[from..to])
            }
            None => request.reply("200 OK", &headers, &object.bytes),
        }
    }

    fn begin(&mut self, request: &Request) -> Vec<u8> {
        self.changes += 1;
        let id = format!("upload-{}", self.changes);
        self.uploads.insert(id.clone(), (request.path.clone(), BTreeMap::new()));
        let (bucket, key) = request.path.split_once('/').unwrap_or((&request.path, ""));
        let named = format!("<Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>");
        xml(request, &format!("<InitiateMultipartUploadResult>{named}</InitiateMultipartUploadResult>"))
    }

    fn take_part(&mut self, request: &Request) -> Vec<u8> {
        let number = request.query.get("partNumber").and_then(|number| number.parse::<u32>().ok());
        let (Some(number), Some((_, parts))) = (number, self.uploads.get_mut(&request.query["uploadId"])) else {
            return no_upload(request);
        };
        parts.insert(number, request.body.clone());
        request.reply("200 OK", &format!("ETag: \"part-{number}\"\r\n"), b"")
    }

    /// Makes an object of the parts that are named.
    fn complete(&mut self, request: &Request) -> Vec<u8> {
        let Some((key, parts)) = self.uploads.remove(&request.query["uploadId"]) else { return no_upload(request) };
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let numbers = between(&body, "PartNumber").into_iter().filter_map(|number| number.parse::<u32>().ok());
        let bytes = numbers.flat_map(|number| parts.get(&number).cloned().unwrap_or_default()).collect();
        self.put(&key, bytes);
        xml(request, "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>")
    }

    fn delete(&mut self, request: &Request) -> Vec<u8> {
        let (bucket, body) = (request.path.trim_end_matches('/'), String::from_utf8_lossy(&request.body).into_owned());
        let mut deleted = String::new();
        for key in between(&body, "Key") {
            self.changes += 1;
            self.objects.remove(&format!("{bucket}/{key}"));
            let _ = write!(deleted, "<Deleted><Key>{key}</Key></Deleted>");
        }
        xml(request, &format!("<DeleteResult>{deleted}</DeleteResult>"))
    }
}

fn xml(request: &Request, text: &str) -> Vec<u8> {
    request.reply("200 OK", XML, format!("<?xml version=\"1.0\"?>{text}").as_bytes())
}

fn error(request: &Request, status: &str, code: &str, message: &str) -> Vec<u8> {
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    request.reply(status, XML, body.as_bytes())
}

fn no_upload(request: &Request) -> Vec<u8> {
    error(request, "404 Not Found", "NoSuchUpload", "no such upload")
}

/// What is between tags of this name.
fn between<'t>(text: &'t str, tag: &str) -> Vec<&'t str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    text.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0)).collect()
}

/// First byte and end of what is asked for, where it is a part.
fn range(request: &Request, size: usize) -> Option<(usize, usize)> {
    let (from, to) = request.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse().ok()?;
    let to = to.parse().map_or(size, |last: usize| (last + 1).min(size));
    (from < to).then_some((from, to))
}
