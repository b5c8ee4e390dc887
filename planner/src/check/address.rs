//! Addresses of files: those that can never work, by their text alone. What a store has is found out when it is asked.

use super::CheckOptions;

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    Write,
}

/// Stores that flows read from and write to.
const STORES: [&str; 3] = ["s3", "gs", "az"];

/// Why nothing can be there, and what to do; `None` for an address that may work.
pub(crate) fn problem(address: &str, purpose: Use) -> Option<(String, Option<String>)> {
    if address.contains('\0') {
        return Some((format!("{address:?} has a zero byte, which no path can have"), None));
    }
    let (scheme, rest) = address.split_once("://").filter(|(scheme, _)| is_scheme(scheme))?;
    match scheme {
        "file" => local(address, rest),
        "http" | "https" => web(address, rest, purpose),
        _ if STORES.contains(&scheme) => object(address, scheme, rest),
        _ => {
            let lower = scheme.to_ascii_lowercase();
            let known = |known: &str| known == lower;
            let help = if STORES.into_iter().chain(["file", "http", "https"]).any(known) {
                format!("write {lower}://")
            } else {
                let web = if purpose == Use::Read { ", http:// and https://" } else { "" };
                format!("known are local paths, file:///, s3://, gs:// and az://{web}").replace(" and az://,", ", az://,")
            };
            Some((format!("{address:?} is not in a store that is known here"), Some(help)))
        }
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'))
}

fn local(address: &str, rest: &str) -> Option<(String, Option<String>)> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let help = || Some("write file:///path, or the path alone".to_owned());
    (!path.starts_with('/')).then(|| (format!("{address:?} is not a file of this machine"), help()))
}

fn web(address: &str, rest: &str, purpose: Use) -> Option<(String, Option<String>)> {
    if purpose == Use::Write {
        let help = "write to a path or to s3://, gs:// or az://".to_owned();
        return Some((format!("{address:?} cannot be written to: what is behind http is only read"), Some(help)));
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if host.is_empty() || host.starts_with(':') || host.contains(char::is_whitespace) {
        return Some((format!("{address:?} names no host"), None));
    }
    let path = rest.split('?').next().unwrap_or_default();
    let help = || Some("name each file, or read a bucket".to_owned());
    path.contains(['*', '[']).then(|| (format!("{address:?} has a wildcard, and what is behind http cannot be listed"), help()))
}

fn object(address: &str, scheme: &str, rest: &str) -> Option<(String, Option<String>)> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Some((format!("{address:?} names no bucket"), Some(format!("write {scheme}://bucket/path"))));
    }
    if bucket.contains(['*', '?', '[']) {
        let help = "wildcards stand in the path behind it".to_owned();
        return Some((format!("{address:?} has a wildcard in the name of its bucket"), Some(help)));
    }
    let mut parts = key.strip_suffix('/').unwrap_or(key).split('/');
    let odd = parts.find(|part| matches!(*part, "" | "." | "..")).filter(|_| !key.is_empty())?;
    let what = if odd.is_empty() { "an empty part".to_owned() } else { format!("the part {odd:?}") };
    Some((format!("{address:?} has {what}, which no path in a bucket can have"), None))
}

/// Where a path of the flow leads, as far as its text tells: alike for all ways to write it.
pub(crate) fn normal(path: &str, options: &CheckOptions<'_>) -> String {
    let path = absolute(path, options);
    let (scheme, rest) = match path.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => ("", rest),
        Some((scheme, rest)) => (scheme, rest),
        None => ("", path.as_str()),
    };
    let is_rooted = rest.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in rest.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match parts.last() {
            // Nothing is above a root or a bucket.
            Some(_) if part == ".." && !scheme.is_empty() && parts.len() == 1 => {}
            Some(last) if part == ".." && *last != ".." => {
                parts.pop();
            }
            None if part == ".." && is_rooted => {}
            Some(_) | None => parts.push(part),
        }
    }
    format!("{}:{}{}", scheme.to_ascii_lowercase(), if is_rooted { "/" } else { "" }, parts.join("/"))
}

/// A relative path as one of the flow's folder, where that is known.
fn absolute(path: &str, options: &CheckOptions<'_>) -> String {
    let folder = options.working_directory.zip(options.places).filter(|_| !path.starts_with('/') && !path.contains("://"));
    let Some((directory, places)) = folder else { return path.to_owned() };
    let file = places.file();
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    match file.starts_with('/') {
        true => format!("{folder}/{path}"),
        false => format!("{directory}/{folder}/{path}"),
    }
}

/// Whether one normal path is below another.
pub(crate) fn is_within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, read: &str, write: &str) {
        let text = |purpose| match problem(address, purpose) {
            Some((message, Some(help))) => format!("{message}; {help}"),
            Some((message, None)) => message,
            None => String::new(),
        };
        assert_eq!((text(Use::Read).as_str(), text(Use::Write).as_str()), (read, write), "{address}");
    }

    #[test]
    fn addresses_that_may_work() {
        for address in ["a.txt", "/a/*.txt", "a:b/c", "file:///a", "file://localhost/a", "1://x", "s3://b", "s3://b/"] {
            check(address, "", "");
        }
        for address in ["gs://b/a/**/*.csv", "az://c/a b", "s3://b/a/"] {
            check(address, "", "");
        }
    }

    #[test]
    fn schemes_that_nobody_knows() {
        for address in ["ftp://x/y", "hdfs://n/x"] {
            let message = format!("{address:?} is not in a store that is known here; known are local paths, file:///, ");
            let (read, write) = ("s3://, gs://, az://, http:// and https://", "s3://, gs:// and az://");
            check(address, &format!("{message}{read}"), &format!("{message}{write}"));
        }
        let message = "\"S3://b/x\" is not in a store that is known here; write s3://";
        check("S3://b/x", message, message);
    }

    #[test]
    fn the_web_is_only_read() {
        let write = |address: &str| {
            format!(
                "{address:?} cannot be written to: what is behind http is only read; write to a path or to s3://, gs:// or az://"
            )
        };
        check("https://x.org/y", "", &write("https://x.org/y"));
        check("http://x.org/y?q=*", "", &write("http://x.org/y?q=*"));
        for address in ["http://", "http:///a", "http://:80/a", "http://a b/c"] {
            check(address, &format!("{address:?} names no host"), &write(address));
        }
        let listed = "\"http://x/*\" has a wildcard, and what is behind http cannot be listed; name each file, or read a bucket";
        check("http://x/*", listed, &write("http://x/*"));
    }

    #[test]
    fn buckets_and_files() {
        let same = |address: &str, message: &str| check(address, message, message);
        for scheme in STORES {
            let address = format!("{scheme}://");
            same(&address, &format!("{address:?} names no bucket; write {address}bucket/path"));
            same(&format!("{address}/a"), &format!("{:?} names no bucket; write {address}bucket/path", format!("{address}/a")));
        }
        same("s3://b*/a", "\"s3://b*/a\" has a wildcard in the name of its bucket; wildcards stand in the path behind it");
        same("s3://b//a", "\"s3://b//a\" has an empty part, which no path in a bucket can have");
        same("s3://b/a/../c", "\"s3://b/a/../c\" has the part \"..\", which no path in a bucket can have");
        same("file://a/b", "\"file://a/b\" is not a file of this machine; write file:///path, or the path alone");
        same("a\0b", "\"a\\0b\" has a zero byte, which no path can have");
    }
}
