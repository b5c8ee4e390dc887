//! Uploads in parts that were begun and neither completed nor aborted. The client library cannot list them, so this asks S3 itself,
//! with the library's own signatures and connections.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::path::Path;
use object_store::{ClientOptions, Error, Result};

/// How often a listing is tried, and how long apart.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// Pages of a listing: a thousand uploads each.
const PAGES: usize = 1000;

/// Where the unfinished uploads of a bucket are asked for.
#[derive(Debug)]
pub(super) struct Unfinished {
    client: HttpClient,
    /// The bucket's URL.
    endpoint: String,
    region: String,
    /// `None`: requests are not signed.
    credentials: Option<AwsCredentialProvider>,
}

/// One page of a listing.
#[derive(Debug, Default, PartialEq)]
struct Page {
    uploads: Vec<(String, String)>,
    next: Option<(String, String)>,
}

impl Unfinished {
    /// Of an opened bucket, by the settings that it was opened with.
    pub(super) fn new(builder: &AmazonS3Builder, store: &AmazonS3, bucket: &str, options: ClientOptions) -> Result<Unfinished> {
        let setting = |key| builder.get_config_value(&key);
        let is_set = |key| setting(key).is_some_and(|value: String| matches!(value.as_str(), "true" | "1" | "yes" | "on" | "y"));
        let region = setting(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = setting(AmazonS3ConfigKey::S3Endpoint).or_else(|| setting(AmazonS3ConfigKey::Endpoint));
        let in_host = is_set(AmazonS3ConfigKey::VirtualHostedStyleRequest);
        let endpoint = match endpoint {
            Some(endpoint) if in_host => endpoint,
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            None if in_host => format!("https://{bucket}.s3.{region}.amazonaws.com"),
            None => format!("https://s3.{region}.amazonaws.com/{bucket}"),
        };
        let credentials = (!is_set(AmazonS3ConfigKey::SkipSignature)).then(|| Arc::clone(store.credentials()));
        let options = options.with_allow_http(endpoint.starts_with("http://"));
        Ok(Unfinished { client: ReqwestConnector::default().connect(&options)?, endpoint, region, credentials })
    }

    /// Keys below a prefix, and the ids of the uploads to them.
    pub(super) async fn list(&self, prefix: &Path) -> Result<Vec<(String, String)>> {
        let (mut uploads, mut from) = (Vec::new(), None);
        for _ in 0..PAGES {
            let page = self.page(prefix, from.as_ref()).await?;
            uploads.extend(page.uploads);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        Ok(uploads)
    }

    async fn page(&self, prefix: &Path, from: Option<&(String, String)>) -> Result<Page> {
        let mut url = format!("{}?uploads=&prefix={}", self.endpoint.trim_end_matches('/'), escaped(&below(prefix)));
        if let Some((key, id)) = from {
            url += &format!("&key-marker={}&upload-id-marker={}", escaped(key), escaped(id));
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.ask(&url).await {
                Ok((200, text)) => return Ok(parse(&text)),
                Ok((status, text)) if status < 500 || tries >= TRIES => {
                    return Err(failed(format!("status code: {status}: {}", text.chars().take(300).collect::<String>())));
                }
                Err(error) if tries >= TRIES => return Err(error),
                Ok(_) | Err(_) => tokio::time::sleep(PAUSE * tries).await,
            }
        }
    }

    async fn ask(&self, url: &str) -> Result<(u16, String)> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.parse().map_err(failed)?;
        if let Some(credentials) = &self.credentials {
            let credential = credentials.get_credential().await?;
            AwsAuthorizer::new(&credential, "s3", &self.region).try_authorize(&mut request, None)?;
        }
        let response = self.client.execute(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.into_body().bytes().await.map_err(failed)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn below(prefix: &Path) -> String {
    if prefix.as_ref().is_empty() { String::new() } else { format!("{prefix}/") }
}

fn failed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: "S3", source: why.into() }
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The answer is XML without attributes that matter.
fn parse(text: &str) -> Page {
    let upload = |text: &str| Some((inner(text, "Key")?, inner(text, "UploadId")?));
    let mut rest = text;
    let mut page = Page::default();
    while let Some((_, from)) = rest.split_once("<Upload>") {
        let (this, after) = from.split_once("</Upload>").unwrap_or((from, ""));
        page.uploads.extend(upload(this));
        rest = after;
    }
    if inner(text, "IsTruncated").is_some_and(|truncated| truncated == "true") {
        page.next = inner(text, "NextKeyMarker").zip(inner(text, "NextUploadIdMarker"));
    }
    page
}

fn inner(text: &str, tag: &str) -> Option<String> {
    let (_, from) = text.split_once(&format!("<{tag}>"))?;
    let (value, _) = from.split_once(&format!("</{tag}>"))?;
    let value = value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    Some(value.replace("&#39;", "'").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_uploads_are_read() {
        let text = "<?xml version=\"1.0\"?><ListMultipartUploadsResult xmlns=\"x\"><Bucket>b</Bucket><KeyMarker></KeyMarker>\
                    <NextKeyMarker>out/b</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker><IsTruncated>true</IsTruncated>\
                    <Upload><Key>out/a&amp;&lt;b</Key><UploadId>1</UploadId></Upload><Upload><Key>out/b</Key><UploadId>2</UploadId>\
                    <Initiator><ID>x</ID></Initiator></Upload></ListMultipartUploadsResult>";
        let owned = |key: &str, id: &str| (key.to_owned(), id.to_owned());
        let expected = Page { uploads: vec![owned("out/a&<b", "1"), owned("out/b", "2")], next: Some(owned("out/b", "2")) };
        assert_eq!(parse(text), expected);
        assert_eq!(parse(&text.replace("true", "false")).next, None);
        assert_eq!(parse("<ListMultipartUploadsResult/>"), Page::default());
    }

    #[test]
    fn queries_are_escaped_strictly() {
        assert_eq!(escaped("a b/ü~+"), "a%20b%2F%C3%BC~%2B");
    }
}
